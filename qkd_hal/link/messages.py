"""What two sites say to each other about their pools: twelve messages and their bytes.

A message is a CBOR array (RFC 8949): its number, then its fields. The only encoding accepted
is the one that :func:`encode` makes, so that every message has exactly one form. Key bytes
have no place in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import cbor2

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.key_ids import MAX_BLOCK
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, check_name
from qkd_hal.link.check import TAG_SIZE
from qkd_hal.link.records import CHECK_SIZE, EPOCH_SIZE, MAX_BLOCK_SIZE, MAX_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_MESSAGE",
    "Hello",
    "Inventory",
    "Lease",
    "Leased",
    "Marks",
    "Message",
    "Offer",
    "Refused",
    "Release",
    "Released",
    "Report",
    "Stored",
    "Void",
    "decode",
    "encode",
]

MAX_MESSAGE = 128 * 1024  # bytes; an inventory of MAX_BLOCKS needs 90 KiB
MAX_TRUSTED_NODES = 16  # relays on one path; more is a loop
MAX_COUNT = (1 << 63) - 1  # bytes served or taken in one epoch
MAX_REASON = 32  # characters of a machine-readable code


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of each side. ``epoch`` names this opening of the sender's pool.

    As responder, the sender kept takeable ranges of the epoch ``continues`` (empty: none) and
    has seen block numbers up to ``floor``. ``served`` and ``taken`` count bytes since opening.
    """

    site: str
    epoch: bytes
    continues: bytes
    floor: int
    served: int
    taken: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """The owner's live blocks as (number, size, mark); the responder drops all others.

    ``keep``: the responder's memory is current; otherwise it burns what it could hand out.
    ``floor``: the highest block number that the owner ever used.
    """

    keep: bool
    floor: int
    blocks: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """The responder's marks as (number, mark), for the blocks of the inventory that it has.

    ``keep``: the owner's memory is current; otherwise it burns its leases.
    """

    keep: bool
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A block that the owner stored as pending: *size* bytes, the device's key *ref*."""

    number: int
    size: int
    ref: KeyRef
    provenance: Provenance
    tag: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The responder stored the offered block durably; ``provenance`` is that of its copy."""

    number: int
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Refused:
    """The responder has no such block: ``reason`` is an error code of :mod:`qkd_hal.errors`."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The owner consumed ``[start, end)`` and asks that it be opened for taking."""

    epoch: bytes
    number: int
    start: int
    end: int
    served: int


@dataclass(frozen=True, slots=True)
class Leased:
    """The range is open, durably; ``taken`` counts the responder's bytes since opening."""

    epoch: bytes
    number: int
    start: int
    end: int
    taken: int


@dataclass(frozen=True, slots=True)
class Release:
    """The owner closes and served nothing of block *number* from *mark* on."""

    number: int
    mark: int


@dataclass(frozen=True, slots=True)
class Released:
    """The responder lowered its mark durably."""

    number: int
    mark: int


@dataclass(frozen=True, slots=True)
class Void:
    """The owner dropped the block; the responder erases it."""

    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """A sign of life with both counters."""

    served: int
    taken: int


Message: TypeAlias = (
    Hello
    | Inventory
    | Marks
    | Offer
    | Stored
    | Refused
    | Lease
    | Leased
    | Release
    | Released
    | Void
    | Report
)


def encode(message: Message) -> bytes:
    """Return the bytes of *message*."""
    code = _CODES[type(message)]
    fields = _FIELDS[type(message)]
    return cbor2.dumps([code, *(_to_wire(getattr(message, name)) for name in fields)])


def decode(raw: bytes) -> Message:
    """Read one message.

    Raises:
        ProtocolError: *raw* is anything but what :func:`encode` returns.
    """
    if len(raw) > MAX_MESSAGE:
        raise ProtocolError(f"link message of {len(raw)} bytes; the limit is {MAX_MESSAGE}")
    kind, values = _split(_load(raw))
    readers = _FIELDS[kind]
    if len(values) != len(readers):
        raise ProtocolError(f"{kind.__name__} with {len(values)} fields, not {len(readers)}")
    pairs = zip(readers.items(), values, strict=True)
    message: Message = kind(**{name: reader(value) for (name, reader), value in pairs})
    if encode(message) != raw:
        raise ProtocolError(f"{kind.__name__} is not in its canonical form")
    return message


def _load(raw: bytes) -> object:
    try:
        return cbor2.loads(raw)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        raise ProtocolError("a link message is not CBOR") from None


def _split(value: object) -> tuple[type[Any], list[Any]]:
    if not isinstance(value, list) or not value or type(value[0]) is not int:
        raise ProtocolError("a link message is not an array that begins with a number")
    kind = _KINDS.get(value[0])
    if kind is None:
        raise ProtocolError(f"unknown link message {value[0]}")
    return kind, value[1:]


def _to_wire(value: object) -> object:
    if isinstance(value, KeyRef):
        return [value.source, bytes(value.key_id)]
    if isinstance(value, Provenance):
        return [value.origin.value, *value.trusted_nodes]
    if isinstance(value, tuple):
        return [list(row) for row in value]
    return value


def _integer(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ProtocolError(f"a link message holds a number outside {low}..{high}")
        return value

    return read


def _octets(*sizes: int) -> Callable[[object], bytes]:
    def read(value: object) -> bytes:
        if not isinstance(value, bytes) or len(value) not in sizes:
            raise ProtocolError("a link message holds a byte string of a wrong size")
        return value

    return read


def _rows(*readers: Callable[[object], int]) -> Callable[[object], tuple[Any, ...]]:
    def read_row(row: object) -> tuple[int, ...]:
        if not isinstance(row, list) or len(row) != len(readers):
            raise ProtocolError("a link message holds a row of a wrong length")
        return tuple(reader(value) for reader, value in zip(readers, row, strict=True))

    def read(value: object) -> tuple[tuple[int, ...], ...]:
        if not isinstance(value, list) or len(value) > MAX_BLOCKS:
            raise ProtocolError(f"a link message lists more than {MAX_BLOCKS} blocks, or none")
        rows = tuple(read_row(row) for row in value)
        if any(one[0] >= other[0] for one, other in pairwise(rows)):
            raise ProtocolError("a link message lists blocks out of order")
        return rows

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ProtocolError("a link message holds no flag where one belongs")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ProtocolError("a link message holds no name where one belongs")
    try:
        return check_name(value)
    except UsageError as error:
        raise ProtocolError(f"a link message holds a bad name: {error.what}") from None


def _reason(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_REASON or not value.isascii():
        raise ProtocolError("a link message holds no error code where one belongs")
    return value


def _ref(value: object) -> KeyRef:
    if not isinstance(value, list) or len(value) != 2:
        raise ProtocolError("a link message holds no key reference where one belongs")
    return KeyRef(_name(value[0]), KeyId.from_bytes(_octets(16)(value[1])))


def _provenance(value: object) -> Provenance:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TRUSTED_NODES + 1:
        raise ProtocolError("a link message holds no provenance where one belongs")
    origin, *nodes = value
    if origin not in tuple(one.value for one in Origin):
        raise ProtocolError("a link message holds an unknown origin of keys")
    return Provenance(Origin(origin), tuple(_name(node) for node in nodes))


_number = _integer(1, MAX_BLOCK)
_floor = _integer(0, MAX_BLOCK)
_size = _integer(CHECK_SIZE + 1, MAX_BLOCK_SIZE)
_mark = _integer(0, MAX_BLOCK_SIZE - CHECK_SIZE)
_count = _integer(0, MAX_COUNT)
_epoch = _octets(EPOCH_SIZE)
_tag = _octets(TAG_SIZE)

_FIELDS: dict[type[Any], dict[str, Callable[[object], Any]]] = {
    Hello: {
        "site": _name,
        "epoch": _epoch,
        "continues": _octets(0, EPOCH_SIZE),
        "floor": _floor,
        "served": _count,
        "taken": _count,
    },
    Inventory: {"keep": _flag, "floor": _floor, "blocks": _rows(_number, _size, _mark)},
    Marks: {"keep": _flag, "blocks": _rows(_number, _mark)},
    Offer: {"number": _number, "size": _size, "ref": _ref, "provenance": _provenance, "tag": _tag},
    Stored: {"number": _number, "provenance": _provenance},
    Refused: {"number": _number, "reason": _reason},
    Lease: {"epoch": _epoch, "number": _number, "start": _mark, "end": _mark, "served": _count},
    Leased: {"epoch": _epoch, "number": _number, "start": _mark, "end": _mark, "taken": _count},
    Release: {"number": _number, "mark": _mark},
    Released: {"number": _number, "mark": _mark},
    Void: {"number": _number},
    Report: {"served": _count, "taken": _count},
}
_CODES = {kind: code for code, kind in enumerate(_FIELDS, start=1)}
_KINDS = {code: kind for kind, code in _CODES.items()}
