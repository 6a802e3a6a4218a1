"""What a token is and how much it holds: the answers to SELECT and GET STATUS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token import tlv
from qkd_hal_firmware_mocks.token.keys import OWN, PEER, U32

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.state import Store, TokenState

__all__ = ["AID", "DEFAULT_SERIAL_NUMBER", "Model"]

AID = b"\xf0QKDHAL\x01"
DEFAULT_SERIAL_NUMBER = "QKDTOKEN0001"
_VERSION = b"\x01\x00"


@dataclass(frozen=True, slots=True)
class Model:
    """Identity and limits; sizes in bytes."""

    serial_number: str = DEFAULT_SERIAL_NUMBER
    firmware: str = "1.0.0"
    vendor: str = "qkd-hal"
    name: str = "mock token"
    version: bytes = _VERSION
    max_command_data: int = 4096
    max_response_data: int = 4096
    max_key_size: int = 1 << 16
    max_keys: int = 4096
    store_bytes: int = 1 << 20

    def template(self, state: TokenState) -> bytes:
        """The answer to SELECT."""
        texts = (self.serial_number, self.firmware, self.vendor, self.name)
        sizes = (self.max_command_data, self.max_response_data, self.max_key_size, self.max_keys)
        own = tlv.encode(
            [
                (0x80, self.version),
                *((0x81 + place, text.encode("ascii")) for place, text in enumerate(texts)),
                (0x85, b"".join(_u32(size) for size in sizes)),
                (0x86, bytes([state.life])),
            ]
        )
        return tlv.encode([(0x6F, tlv.encode([(0x84, AID), (0xA5, own)]))])

    def status(self, store: Store, *, verified: bool, asked: bytes) -> bytes:
        """The answer to GET STATUS; *asked* is empty or the size to count keys of."""
        state = store.state
        numbers = [state.life, state.pin_tries, state.puk_tries, verified]
        objects = [(0x80 + place, bytes([number])) for place, number in enumerate(numbers)]
        objects += [(0x84 + place, _u32(count)) for place, count in enumerate(self._counts(state))]
        texts = (state.site.encode(), state.peer.encode(), state.provenance)
        objects += [(0x8B + place, text) for place, text in enumerate(texts) if text]
        if asked:
            size = int.from_bytes(asked, "big")
            objects.append((0x8E, _u32(_own_sizes(state).count(size))))
        return tlv.encode(objects)

    def free_bytes(self, state: TokenState) -> int:
        """Room for key bytes."""
        return self.store_bytes - sum(key.size for key in state.keys.values())

    def free_entries(self, state: TokenState) -> int:
        """Room for keys."""
        return self.max_keys - len(state.keys)

    def _counts(self, state: TokenState) -> list[int]:
        keys = state.keys.values()
        own = _own_sizes(state)
        peer = [key.size for key in keys if key.direction == PEER]
        claimed = sum(1 for key in keys if key.direction == OWN and key.claim)
        free = [self.free_bytes(state), self.free_entries(state)]
        return [len(own), claimed, len(peer), sum(own), sum(peer), *free]


def _own_sizes(state: TokenState) -> list[int]:
    return [key.size for key in state.keys.values() if key.direction == OWN and not key.claim]


def _u32(number: int) -> bytes:
    return number.to_bytes(U32, "big")
