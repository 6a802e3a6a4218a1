"""What a site remembers durably about a directed space and its blocks.

The two sites of a link keep the same two kinds of record for each of their two spaces,
one of which they own (source) and one of which they answer for (destination).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal.keys import KeyRef, Provenance

__all__ = [
    "CHECK_SIZE",
    "EPOCH_SIZE",
    "MAX_BLOCKS",
    "MAX_BLOCK_SIZE",
    "BlockRecord",
    "BlockState",
    "Space",
    "SpaceRecord",
]

CHECK_SIZE = 32  # the last bytes of a block key its one-time check and are never served
EPOCH_SIZE = 16  # bytes; two openings never share an epoch
MAX_BLOCK_SIZE = 1 << 24  # bytes: an offset fits the 24 bits that a key ID has for it
MAX_BLOCKS = 4096  # live blocks of one space: the list of them fits one message


@dataclass(frozen=True, slots=True, order=True)
class Space:
    """The keys that *source* may start and *destination* may take."""

    source: str
    destination: str

    def __str__(self) -> str:
        return f"{self.source}>{self.destination}"


class BlockState(Enum):
    """Where a block stands; see the tables in :mod:`qkd_hal.link.owner` and ``responder``."""

    PENDING = "pending"  # stored here; the peer has not said so yet
    ACTIVE = "active"  # stored durably at both ends
    SPENT = "spent"  # every byte was leased and served or burned; material erased


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One block of key at one site.

    ``mark``: every byte below it was leased (owner) or opened (responder) and counts as
    consumed after a crash. ``acked``: the highest mark that the peer is known to have stored.
    ``origin``: the device key that the bytes came from. ``remains``: after a clean close, what
    the responder may still hand out; ``None`` while the space is open and after a crash.
    """

    number: int
    size: int
    provenance: Provenance
    state: BlockState
    mark: int = 0
    acked: int = 0
    origin: KeyRef | None = None
    remains: tuple[tuple[int, int], ...] | None = None

    @property
    def usable(self) -> int:
        """Bytes that may be served: all but the check key at the end."""
        return self.size - CHECK_SIZE

    @property
    def room(self) -> int:
        """Bytes above the mark of an active block."""
        return self.usable - self.mark if self.state is BlockState.ACTIVE else 0


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """What one site remembers about a space.

    ``floor``: the highest block number ever used. ``closed``: at the responder, the epoch
    that its ``remains`` belong to, empty while open. ``peer_epoch``: at the owner, the epoch
    of the responder that it met last. ``keep``: whether that epoch continued the one before.
    """

    floor: int = 0
    closed: bytes = b""
    peer_epoch: bytes = b""
    keep: bool = False
