"""What the engine tells its host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal.distillation.report import BlockReport
    from qkd_hal.errors import DistillationError, ProtocolError

__all__ = [
    "BlockAborted",
    "BlockConfirmed",
    "BlockDistilled",
    "BlockDropped",
    "Event",
    "FramesReleased",
    "PeerRefused",
    "Synchronised",
]


@dataclass(frozen=True, slots=True)
class Synchronised:
    """Both ends share a fresh session; blocks can follow."""

    session: str


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A HELLO does not fit: other parameters, or the same role. Anyone can forge one."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class BlockDistilled:
    """A block's key. Store ``key`` and ``refill`` durably, *pending*, in one transaction.

    Then call ``stored(number)``. Nothing of it may be used before :class:`BlockConfirmed`.
    ``refill`` is the block's segment of the authentication pad. Both buffers are the host's.
    """

    number: int
    key: bytearray = field(repr=False)
    refill: bytearray = field(repr=False)
    report: BlockReport


@dataclass(frozen=True, slots=True)
class BlockConfirmed:
    """Both ends hold the block durably: key and pad segment may serve. May be repeated."""

    number: int


@dataclass(frozen=True, slots=True)
class BlockDropped:
    """The peer does not have this stored block: erase key and pad segment."""

    number: int


@dataclass(frozen=True, slots=True)
class BlockAborted:
    """A block came to nothing; its bits were wiped. ``error.code`` says why."""

    number: int
    error: DistillationError | ProtocolError
    report: BlockReport


@dataclass(frozen=True, slots=True)
class FramesReleased:
    """Emitter: pulses below ``before`` were discarded from the emission log."""

    before: int


Event = (
    Synchronised
    | PeerRefused
    | BlockDistilled
    | BlockConfirmed
    | BlockDropped
    | BlockAborted
    | FramesReleased
)
