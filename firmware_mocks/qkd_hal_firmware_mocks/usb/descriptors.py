"""USB descriptors (USB 2.0, section 9.6): a firmware builds them, a bus reads them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "BULK",
    "INTERRUPT",
    "DescriptorError",
    "Endpoint",
    "Interface",
    "configuration",
    "device",
    "endpoint",
    "interface",
    "is_high_speed",
    "parse",
]

BULK = 2
INTERRUPT = 3

_DEVICE, _CONFIGURATION, _INTERFACE, _ENDPOINT = 1, 2, 4, 5
_SELF_POWERED = 0xC0
_BULK_HIGH_SPEED = 512  # the only bulk packet size that high speed has (USB 2.0, 5.8.3)


class DescriptorError(ValueError):
    """A configuration's bytes are not a chain of descriptors."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint descriptor, read."""

    address: int
    attributes: int
    max_packet: int
    interval: int
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface descriptor with what belongs to it, read."""

    number: int
    alternate: int
    triple: tuple[int, int, int]
    string: int
    endpoints: tuple[Endpoint, ...] = ()
    extra: bytes = b""


def device(
    vendor: int,
    product: int,
    *,
    release: int = 0x0100,
    triple: tuple[int, int, int] = (0, 0, 0),
    strings: tuple[int, int, int] = (1, 2, 3),
) -> bytes:
    """Build a device descriptor; *strings* are the indices of manufacturer, product and
    serial number, *triple* is class, subclass and protocol."""
    head = struct.pack("<BBH3BB", 18, _DEVICE, 0x0200, *triple, 64)
    return head + struct.pack("<HHH3BB", vendor, product, release, *strings, 1)


def endpoint(address: int, kind: int, max_packet: int, *, interval: int = 0) -> bytes:
    """Build an endpoint descriptor; bit 7 of *address* is set for IN."""
    return struct.pack("<BBBBHB", 7, _ENDPOINT, address, kind, max_packet, interval)


def interface(
    number: int,
    triple: tuple[int, int, int],
    endpoints: Sequence[bytes],
    *,
    string: int = 0,
    alternate: int = 0,
    extra: bytes = b"",
) -> bytes:
    """Build an interface descriptor, its class descriptors *extra* and its endpoints."""
    head = (9, _INTERFACE, number, alternate, len(endpoints), *triple, string)
    return bytes(head) + extra + b"".join(endpoints)


def configuration(*interfaces: bytes, prefix: bytes = b"") -> bytes:
    """Build configuration 1 from interfaces; *prefix* is for an interface association."""
    body = prefix + b"".join(interfaces)
    count = len({block[2] for block in interfaces})
    head = struct.pack("<BBHBBBBB", 9, _CONFIGURATION, 9 + len(body), count, 1, 0, _SELF_POWERED, 0)
    return head + body


def parse(data: bytes) -> list[Interface]:
    """Read the interfaces of a configuration, alternate settings included.

    Raises:
        DescriptorError: a length leads out of *data*, or an endpoint has no interface.
    """
    blocks = list(_blocks(data))
    if not blocks or blocks[0][1] != _CONFIGURATION or len(blocks[0]) < 9:
        raise DescriptorError("no configuration descriptor at the start")
    if int.from_bytes(blocks[0][2:4], "little") != len(data):
        raise DescriptorError("wTotalLength differs from the bytes given")
    interfaces: list[list[bytes]] = []
    for block in blocks[1:]:
        if block[1] == _INTERFACE:
            interfaces.append([])
        if interfaces:
            interfaces[-1].append(block)
        elif block[1] == _ENDPOINT:
            raise DescriptorError("an endpoint before any interface")
    return [_interface(blocks) for blocks in interfaces]


def is_high_speed(interfaces: Sequence[Interface]) -> bool:
    """Tell high speed (480 Mbit/s) from full speed by the size of bulk packets."""
    return any(
        end.attributes & 3 == BULK and end.max_packet == _BULK_HIGH_SPEED
        for each in interfaces
        for end in each.endpoints
    )


def _blocks(data: bytes) -> Iterator[bytes]:
    while data:
        if data[0] < 2 or data[0] > len(data):
            raise DescriptorError(f"a descriptor says {data[0]} bytes where {len(data)} are left")
        yield data[: data[0]]
        data = data[data[0] :]


def _interface(blocks: Sequence[bytes]) -> Interface:
    head, *rest = blocks
    if len(head) < 9:
        raise DescriptorError("an interface descriptor is too short")
    extra, endpoints = b"", []
    for block in rest:
        if block[1] == _ENDPOINT:
            endpoints.append(_endpoint(block))
        elif endpoints:
            endpoints[-1] = replace(endpoints[-1], extra=endpoints[-1].extra + block)
        else:
            extra += block
    if len(endpoints) != head[4]:
        raise DescriptorError(f"bNumEndpoints is {head[4]}, and {len(endpoints)} follow")
    triple = (head[5], head[6], head[7])
    return Interface(head[2], head[3], triple, head[8], tuple(endpoints), extra)


def _endpoint(block: bytes) -> Endpoint:
    if len(block) < 7:
        raise DescriptorError("an endpoint descriptor is too short")
    address, attributes, max_packet, interval = struct.unpack_from("<BBHB", block, 2)
    if not max_packet & 0x7FF:
        raise DescriptorError(f"endpoint {address:#x} has no packet size")
    return Endpoint(address, attributes, max_packet, interval)
