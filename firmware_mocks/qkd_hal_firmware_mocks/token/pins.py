"""PIN and PUK: tries that no power cut gives back, and the wipe after the last."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.apdu import Refusal, Status
from qkd_hal_firmware_mocks.token.state import PIN_TRIES, PUK_TRIES, Life, TokenState

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.state import Store

__all__ = ["BLOCK_SIZE", "LEAST_PIN", "LEAST_PUK", "Pins", "checked_block"]

BLOCK_SIZE = 16
LEAST_PIN = 6
LEAST_PUK = 8
_PADDING = b"\xff"


def checked_block(block: bytes, least: int) -> bytes:
    """Return *block* if it is 16 bytes: at least *least* characters, then ``FF``.

    Raises:
        Refusal: it is not; no try is burned.
    """
    characters = block.rstrip(_PADDING)
    printable = all(0x21 <= character <= 0x7E for character in characters)
    if len(block) != BLOCK_SIZE or len(characters) < least or not printable:
        raise Refusal(Status.WRONG_DATA)
    return block


class Pins:
    """The gate before the keys; ``verified`` lives in RAM."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.verified = False

    def power_up(self) -> None:
        """Finish a wipe that a power cut interrupted; SELECT comes next and ends verified."""
        if self._store.state.pin and not self._store.state.puk_tries:
            self._wipe()

    def ask(self) -> None:
        """Return if verified.

        Raises:
            Refusal: no PIN is set, it is blocked, or so many tries are left.
        """
        self._require_pin()
        if not self.verified:
            raise Refusal(Status.TRIES_LEFT + self._store.state.pin_tries)

    def verify(self, block: bytes) -> None:
        """Compare with the PIN.

        Raises:
            Refusal: as :meth:`ask`, or the PIN is wrong.
        """
        self._require_pin()
        self._compare_pin(checked_block(block, LEAST_PIN))
        self.verified = True

    def change(self, blocks: bytes) -> None:
        """Set another PIN, by the old one.

        Raises:
            Refusal: as :meth:`verify`.
        """
        self._require_pin()
        old, new = _two_blocks(blocks, LEAST_PIN)
        self._compare_pin(old)
        with self._store.change() as state:
            state.pin = new

    def reset_tries(self, blocks: bytes) -> None:
        """Set another PIN, by the PUK; all tries come back.

        Raises:
            Refusal: no PUK is set, or it is wrong; after the last try the token is blank.
        """
        if self._store.state.life is Life.BLANK:
            raise Refusal(Status.NO_PIN_SET)
        puk, new = _two_blocks(blocks, LEAST_PUK)
        self._compare_puk(puk)
        with self._store.change() as state:
            state.pin, state.pin_tries, state.puk_tries = new, PIN_TRIES, PUK_TRIES

    def _require_pin(self) -> None:
        if self._store.state.life is Life.BLANK:
            raise Refusal(Status.NO_PIN_SET)
        if self._store.state.life is Life.LOCKED:
            raise Refusal(Status.BLOCKED)

    def _compare_pin(self, block: bytes) -> None:
        with self._store.change() as state:  # before the comparison: a power cut saves no try
            state.pin_tries -= 1
        if not hmac.compare_digest(block, self._store.state.pin):
            self.verified = False
            raise Refusal(Status.TRIES_LEFT + self._store.state.pin_tries)
        with self._store.change() as state:
            state.pin_tries = PIN_TRIES

    def _compare_puk(self, block: bytes) -> None:
        with self._store.change() as state:
            state.puk_tries -= 1
        left = self._store.state.puk_tries
        if not hmac.compare_digest(block, self._store.state.puk):
            if not left:
                self._wipe()
            raise Refusal(Status.TRIES_LEFT + left)

    def _wipe(self) -> None:
        self._store.save(TokenState())
        self.verified = False


def _two_blocks(blocks: bytes, least: int) -> tuple[bytes, bytes]:
    first = checked_block(blocks[:BLOCK_SIZE], least)
    return first, checked_block(blocks[BLOCK_SIZE:], LEAST_PIN)
