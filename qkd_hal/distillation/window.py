"""The blocks of one session that are under way at once: bounded, in order of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.distillation.block import Stage
from qkd_hal.distillation.detector import DetectorBlock
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qkd_hal.distillation.block import Block

__all__ = ["Window"]

_UNTAGGED = {Stage.RUNNING, Stage.VERIFIED, Stage.SEALED}
_OWE_STORED = {Stage.SEALED, Stage.DISTILLED}


class Window:
    """Running blocks, oldest first, and blocks that only the peer may still believe in.

    A block that this end gave up keeps its place until the peer gave it up, too: what it says
    about the block until then means nothing, and more than *limit* blocks never exist.
    """

    def __init__(self) -> None:
        self.open(1, 0)

    def open(self, limit: int, first_block: int) -> None:
        """Begin a session."""
        self._limit = limit
        self.next_number = first_block
        self._blocks: dict[int, Block] = {}
        self._given_up: set[int] = set()

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks.values())

    def __contains__(self, block: Block) -> bool:
        return self._blocks.get(block.number) is block

    @property
    def has_room(self) -> bool:
        """Whether one more block may start."""
        return len(self._blocks) + len(self._given_up) < self._limit

    @property
    def is_empty(self) -> bool:
        """Whether no block is under way, at either end as far as this one knows."""
        return not self._blocks and not self._given_up

    def awaits_peer(self, stored_by_host: Iterable[int]) -> bool:
        """Whether anything but the host must act: *stored_by_host* are in its hands."""
        return bool(self._given_up) or not self._blocks.keys() <= set(stored_by_host)

    def add(self, block: Block) -> None:
        """Let *block*, which bears the next number, run."""
        self._blocks[block.number] = block
        self.next_number = block.number + 1

    def find(self, number: int) -> Block | None:
        """Return the running block *number*, or None if this end gave it up.

        Raises:
            ProtocolError: there is no such block.
        """
        block = self._blocks.get(number)
        if block is None and number not in self._given_up:
            raise ProtocolError(f"the peer speaks of block {number}, which is not under way")
        return block

    def finish(self, number: int) -> bool:
        """Forget a block that came to its end at both ends; false if it was not running."""
        return self._blocks.pop(number, None) is not None

    def give_up(self, block: Block) -> None:
        """Forget a block of which the peer does not know yet that it is over."""
        self.finish(block.number)
        self._given_up.add(block.number)

    def agree_to_end(self, number: int) -> bool:
        """Note that the peer gave up *number*; tell whether this end had done so before."""
        known = number in self._given_up
        self._given_up.discard(number)
        return known

    def clear(self) -> list[Block]:
        """End all that is under way; return the blocks, oldest first."""
        blocks = list(self._blocks.values())
        self.open(self._limit, self.next_number)
        return blocks

    def check_turn(self, block: Block) -> None:
        """Refuse to close *block* before an older one.

        Raises:
            ProtocolError: an older block lacks the peer's tag.
        """
        for older in self:
            if older.number < block.number and older.stage in _UNTAGGED:
                raise ProtocolError("the peer closes blocks out of their order")

    def next_to_seal(self) -> DetectorBlock | None:
        """Detector: return the block whose tag is next, once its key is verified."""
        for block in self:
            if block.stage is Stage.RUNNING:
                return None
            if isinstance(block, DetectorBlock) and block.stage is Stage.VERIFIED:
                return block
        return None

    @property
    def masks_owed(self) -> int:
        """Detector: the STORED messages, each with a mask, that its tags will call for."""
        return sum(block.stage in _OWE_STORED for block in self)
