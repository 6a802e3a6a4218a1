"""Two tokens that share keys, in two directed halves, as a filler leaves them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.token.model import AID, Model
from qkd_hal_firmware_mocks.token.tlv import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["filled_pair"]

_OWN, _PEER = 1, 2
_SIMULATED = b"\x02"
_BLOCK = 16
_DONE = b"\x90\x00"


def filled_pair(
    serial_numbers: tuple[str, str], pin: bytes, puk: bytes, *, keys: int, size: int = 32
) -> tuple[KeyApplet, KeyApplet]:
    """Return the tokens of alice and bob with *keys* keys of *size* bytes in each direction."""
    pair = (
        _initialised(serial_numbers[0], ("alice", "bob"), pin, puk),
        _initialised(serial_numbers[1], ("bob", "alice"), pin, puk),
    )
    for number in range(2 * keys):
        key_id, key = os.urandom(16), os.urandom(size)
        owner, other = pair if number % 2 else reversed(pair)
        for token, half in ((other, _PEER), (owner, _OWN)):
            origin = bytes([len(_SIMULATED)]) + _SIMULATED
            _do(token, (0x80, 0x12, half), key_id + len(key).to_bytes(4, "big") + origin + key)
    for token in pair:
        token.reset()
    return pair


def _initialised(serial: str, names: Iterable[str], pin: bytes, puk: bytes) -> KeyApplet:
    token = KeyApplet(MemoryMedium(), Model(serial_number=serial))
    token.reset()
    secrets = [secret.ljust(_BLOCK, b"\xff") for secret in (pin, puk)]
    values = [*secrets, *(name.encode() for name in names)]
    _do(token, (0x00, 0xA4, 0x04), AID)
    _do(token, (0x80, 0x10, 0), encode(list(enumerate(values, 0x80))))
    _do(token, (0x00, 0x20, 0, 0x81), secrets[0])
    return token


def _do(token: KeyApplet, head: tuple[int, ...], data: bytes) -> None:
    apdu = bytes(head).ljust(4, b"\0") + b"\0" + len(data).to_bytes(2, "big") + data + bytes(2)
    answer = token.transmit(apdu)
    if not answer.endswith(_DONE):
        raise RuntimeError(f"the emulated token refuses {head[1]:02X} with {answer.hex()}")
