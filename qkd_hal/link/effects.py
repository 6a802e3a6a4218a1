"""What the state machines of a link ask their host to do, in order.

The machines decide and never act. A host carries the effects out one by one and stops at the
first that fails, so that the order of a list *is* the safety argument: what stands behind a
:class:`Persist` happens only after it is durable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from qkd_hal.errors import QKDError
    from qkd_hal.link.messages import Message, Offer
    from qkd_hal.link.records import BlockRecord, SpaceRecord

__all__ = [
    "Answer",
    "Burn",
    "Change",
    "DropBlock",
    "Effect",
    "EraseMaterial",
    "Fetch",
    "Forget",
    "Grant",
    "Notify",
    "Open",
    "Persist",
    "PutBlock",
    "PutSpace",
    "Send",
    "Settle",
    "Shut",
]


@dataclass(frozen=True, slots=True)
class PutSpace:
    """Replace the space's record."""

    record: SpaceRecord


@dataclass(frozen=True, slots=True)
class PutBlock:
    """Insert or replace a block's record; ``material`` is given when it is new."""

    record: BlockRecord
    material: bytearray | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EraseMaterial:
    """Erase the bytes of a block; its record stays."""

    number: int


@dataclass(frozen=True, slots=True)
class DropBlock:
    """Erase a block, its bytes and its record."""

    number: int


Change: TypeAlias = PutSpace | PutBlock | EraseMaterial | DropBlock


@dataclass(frozen=True, slots=True)
class Persist:
    """Make all changes durable, in one transaction, before going on."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send to the peer; without a connection the message is lost, which is always safe."""

    message: Message


@dataclass(frozen=True, slots=True)
class Grant:
    """Owner: ``[start, end)`` of the block may be reserved from memory."""

    block: BlockRecord
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Burn:
    """Owner: serve nothing more of what was granted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Owner: the block offered under ``number`` is active, or void because of ``error``."""

    number: int
    error: QKDError | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Responder: ``[start, end)`` of the block may be taken from memory."""

    block: BlockRecord
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Shut:
    """Responder: nothing of the block from ``start`` on may be taken."""

    number: int
    start: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Responder: the owner was heard. Keep what may be taken, or burn it."""

    keep: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Either: the block is gone; wipe its bytes in memory."""

    number: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Responder: get the offered bytes from the device, then call ``fetched``."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the operator (log, status): something is wrong that the link survived."""

    error: QKDError


Effect: TypeAlias = (
    Persist | Send | Grant | Burn | Answer | Open | Shut | Settle | Forget | Fetch | Notify
)
