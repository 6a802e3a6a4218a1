"""The commands of ``docs/key-token.md`` and what they answer. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.keys import KeyId, Origin, Provenance, check_name
from qkd_hal_drivers.usb_token import tlv
from qkd_hal_drivers.usb_token.apdu import Command

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ASK_PIN",
    "ERASE_ALL",
    "ERASE_CLAIMED",
    "FULL_PIN_TRIES",
    "LOG_OUT",
    "SELECT",
    "Entry",
    "Identity",
    "Life",
    "TokenStatus",
    "change_pin",
    "confirm",
    "encode_provenance",
    "erase_key",
    "fetch",
    "find",
    "get_status",
    "initialise",
    "list_keys",
    "load_key",
    "parse_entries",
    "parse_found",
    "parse_key_id",
    "parse_selected",
    "parse_status",
    "reserve",
    "reset_retry_counter",
    "verify",
]

FULL_PIN_TRIES: Final = 3
_AID: Final = b"\xf0QKDHAL\x01"
_MAJOR: Final = 1
_OWN, _PEER = 1, 2
_ENTRY: Final = struct.Struct(">I16sBBI")
_KEY_ID_BYTES: Final = 16
_MAX_PROVENANCE: Final = 255
_ANSWER_BYTES: Final = 4096  # of status, list and entry: the page's own come to some hundreds
_ORIGINS: Final = (Origin.HARDWARE, Origin.UNKNOWN, Origin.SIMULATED)
_PIN_HEAD: Final = (0x00, 0x81)  # P1, P2
_LEAST_LIMITS: Final = (255, 256, 32, 0)


class Life(IntEnum):
    """The states of a token."""

    BLANK = 0
    INITIALISED = 1
    OPERATIONAL = 2
    LOCKED = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """What SELECT answers: who the token is, and its limits in bytes."""

    serial_number: str
    firmware: str
    vendor: str
    model: str
    max_command_data: int
    max_response_data: int
    max_key_size: int
    max_keys: int


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """What GET STATUS answers; ``own_of_size`` is ``None`` where it was not asked for."""

    life: Life
    pin_tries: int
    puk_tries: int
    verified: bool
    own_keys: int
    claimed_keys: int
    peer_keys: int
    own_bytes: int
    peer_bytes: int
    free_bytes: int
    free_entries: int
    site: str
    peer: str
    provenance: Provenance | None
    own_of_size: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A key on the token, as LIST KEYS tells it."""

    number: int
    key_id: KeyId
    own: bool
    claimed: bool
    size: int


SELECT = Command("SELECT", (0x00, 0xA4, 0x04, 0x00), _AID, 256)
ASK_PIN = Command("VERIFY", (0x00, 0x20, *_PIN_HEAD))
LOG_OUT = Command("log out", (0x00, 0x20, 0xFF, 0x81))
ERASE_ALL = Command("ERASE", (0x80, 0x1E, 0x00, 0x00))
ERASE_CLAIMED = Command("ERASE", (0x80, 0x1E, 0x01, 0x00))


def verify(block: bytearray) -> Command:
    """Return VERIFY, which burns a try where the PIN is wrong."""
    return Command("VERIFY", (0x00, 0x20, *_PIN_HEAD), block, repeatable=False)


def change_pin(old: bytearray, new: bytearray) -> Command:
    """Return CHANGE PIN."""
    return Command("CHANGE PIN", (0x00, 0x24, *_PIN_HEAD), old + new, repeatable=False)


def reset_retry_counter(puk: bytearray, new: bytearray) -> Command:
    """Return RESET RETRY COUNTER."""
    data = puk + new
    return Command("RESET RETRY COUNTER", (0x00, 0x2C, *_PIN_HEAD), data, repeatable=False)


def initialise(
    pin: bytearray, puk: bytearray, site: str, peer: str, provenance: Provenance | None
) -> Command:
    """Return INITIALISE, which erases all keys."""
    objects: list[tuple[int, bytes | bytearray]] = [(0x80, pin), (0x81, puk)]
    objects += [(0x82, site.encode()), (0x83, peer.encode())]
    if provenance is not None:
        objects.append((0x84, encode_provenance(provenance)))
    data = tlv.encode(objects)
    return Command("INITIALISE", (0x80, 0x10, 0x00, 0x00), data, repeatable=False)


def get_status(size: int | None = None) -> Command:
    """Return GET STATUS, which also counts the own keys of *size* bytes."""
    data = b"" if size is None else _u32(size)
    return Command("GET STATUS", (0x80, 0x02, 0x00, 0x00), data, _ANSWER_BYTES)


def load_key(key_id: KeyId, key: memoryview, provenance: Provenance, *, own: bool) -> Command:
    """Return LOAD KEY. After a lost answer FIND tells whether the key was stored."""
    origin = encode_provenance(provenance)
    data = bytearray(bytes(key_id) + _u32(len(key)) + bytes([len(origin)]) + origin)
    data += key
    return Command("LOAD KEY", (0x80, 0x12, _direction(own), 0x00), data, repeatable=False)


def list_keys(after: int) -> Command:
    """Return LIST KEYS for the keys behind number *after*."""
    return Command("LIST KEYS", (0x80, 0x14, 0x00, 0x00), _u32(after), 65536)


def reserve(claim: bytes, size: int) -> Command:
    """Return RESERVE."""
    return Command("RESERVE", (0x80, 0x16, 0x00, 0x00), claim + _u32(size), _KEY_ID_BYTES)


def find(key_id: KeyId) -> Command:
    """Return FIND."""
    answer = _ENTRY.size + _MAX_PROVENANCE
    return Command("FIND", (0x80, 0x18, 0x00, 0x00), bytes(key_id), answer)


def fetch(key_id: KeyId, claim: bytes, offset: int, length: int, *, own: bool) -> Command:
    """Return FETCH of *length* bytes from *offset*."""
    data = bytes(key_id) + claim + _u32(offset) + _u32(length)
    return Command("FETCH", (0x80, 0x1A, _direction(own), 0x00), data, length)


def confirm(key_id: KeyId, claim: bytes, *, own: bool) -> Command:
    """Return CONFIRM, which erases the key."""
    return Command("CONFIRM", (0x80, 0x1C, _direction(own), 0x00), bytes(key_id) + claim)


def erase_key(key_id: KeyId) -> Command:
    """Return ERASE of one key."""
    return Command("ERASE", (0x80, 0x1E, 0x02, 0x00), bytes(key_id), repeatable=False)


def encode_provenance(provenance: Provenance) -> bytes:
    """Return *provenance* as the token keeps it.

    Raises:
        UsageError: the names of the relays do not fit.
    """
    nodes = ",".join(check_name(node) for node in provenance.trusted_nodes)
    encoded = bytes([_ORIGINS.index(provenance.origin)]) + nodes.encode()
    if len(encoded) > _MAX_PROVENANCE:
        raise UsageError(f"a token keeps {_MAX_PROVENANCE} bytes of provenance, not more")
    return encoded


def parse_selected(data: bytearray) -> Identity:
    """Read what SELECT answers.

    Raises:
        ProtocolError: it is something else, or of another major version.
    """
    outer = tlv.decode(_value(tlv.decode(data), 0x6F))
    objects = tlv.decode(_value(outer, 0xA5))
    version = _value(objects, 0x80, 2)
    if version[0] != _MAJOR:
        raise ProtocolError(
            f"the token's applet has version {version[0]}.{version[1]}; this speaks {_MAJOR}",
            cure="Install a release of qkd-hal for that version",
        )
    limits = struct.unpack(">IIII", _value(objects, 0x85, 16))
    if any(limit < least for limit, least in zip(limits, _LEAST_LIMITS, strict=True)):
        raise ProtocolError("the token states impossible limits")
    serial_number, firmware, vendor, model = (
        _printable(_value(objects, tag)) for tag in (0x81, 0x82, 0x83, 0x84)
    )
    return Identity(serial_number, firmware, vendor, model, *limits)


def parse_status(data: bytearray) -> TokenStatus:
    """Read what GET STATUS answers.

    Raises:
        ProtocolError: it is something else.
    """
    objects = tlv.decode(data)
    life, pin_tries, puk_tries, verified = (_value(objects, tag, 1)[0] for tag in range(0x80, 0x84))
    if life not in list(Life):
        raise ProtocolError(f"the token is in a state of its own, {life}")
    site, peer = (_name(objects, tag) for tag in (0x8B, 0x8C))
    if (not site or not peer or site == peer) and life != Life.BLANK:
        raise ProtocolError("the token does not say whose it is")
    return TokenStatus(
        life=Life(life),
        pin_tries=pin_tries,
        puk_tries=puk_tries,
        verified=bool(verified),
        own_keys=_number(objects, 0x84),
        claimed_keys=_number(objects, 0x85),
        peer_keys=_number(objects, 0x86),
        own_bytes=_number(objects, 0x87),
        peer_bytes=_number(objects, 0x88),
        free_bytes=_number(objects, 0x89),
        free_entries=_number(objects, 0x8A),
        site=site,
        peer=peer,
        provenance=_provenance(objects[0x8D]) if 0x8D in objects else None,
        own_of_size=_number(objects, 0x8E) if 0x8E in objects else None,
    )


def parse_entries(data: bytearray) -> list[Entry]:
    """Read what LIST KEYS answers.

    Raises:
        ProtocolError: it is something else.
    """
    if len(data) % _ENTRY.size:
        raise ProtocolError("the token's list of keys is broken")
    starts = range(0, len(data), _ENTRY.size)
    return [_entry(data[start : start + _ENTRY.size]) for start in starts]


def parse_found(data: bytearray) -> tuple[Entry, Provenance]:
    """Read what FIND answers.

    Raises:
        ProtocolError: it is something else.
    """
    return _entry(data[: _ENTRY.size]), _provenance(bytes(data[_ENTRY.size :]))


def parse_key_id(data: bytearray) -> KeyId:
    """Read what RESERVE answers.

    Raises:
        ProtocolError: it is something else.
    """
    if len(data) != _KEY_ID_BYTES:
        raise ProtocolError("the token reserved a key without a name")
    return KeyId.from_bytes(bytes(data))


def _entry(data: bytearray) -> Entry:
    if len(data) != _ENTRY.size:
        raise ProtocolError("the token's entry of a key is broken")
    number, raw, direction, state, size = _ENTRY.unpack(data)
    if direction not in (_OWN, _PEER) or state > 1 or not size or not number:
        raise ProtocolError("the token's entry of a key is broken")
    return Entry(number, KeyId.from_bytes(raw), direction == _OWN, state == 1, size)


def _provenance(raw: bytes) -> Provenance:
    try:
        nodes = raw[1:].decode("ascii").split(",") if len(raw) > 1 else []
        return Provenance(_ORIGINS[raw[0]], tuple(map(check_name, nodes)))
    except (IndexError, UnicodeDecodeError, UsageError):
        raise ProtocolError("the token's provenance is broken") from None


def _value(objects: Mapping[int, bytes], tag: int, size: int | None = None) -> bytes:
    value = objects.get(tag)
    if value is None or size not in (None, len(value)):
        raise ProtocolError(f"the token's data object {tag:02X} is missing or broken")
    return value


def _number(objects: Mapping[int, bytes], tag: int) -> int:
    return int.from_bytes(_value(objects, tag, 4), "big")


def _name(objects: Mapping[int, bytes], tag: int) -> str:
    raw = objects.get(tag, b"")
    if not raw:
        return ""
    try:
        return check_name(raw.decode("ascii"))
    except (UnicodeDecodeError, UsageError):
        raise ProtocolError("the token names itself wrongly") from None


def _printable(raw: bytes) -> str:
    if not 1 <= len(raw) <= 32 or not all(0x20 <= byte < 0x7F for byte in raw):
        raise ProtocolError("the token's description of itself is broken")
    return raw.decode("ascii")


def _direction(own: bool) -> int:
    return _OWN if own else _PEER


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")
