"""What a box is, fixed while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BoxSettings"]


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """*max_frame*: the longest frame that the box takes; *max_chunk*: the bytes of a CHUNK,
    4096 on a stream and 16384 on USB bulk; *max_key*: bytes, also of a stream read ahead."""

    site: str
    peer: str
    serial: str
    psk: bytes = field(repr=False)
    max_frame: int = 8192
    max_chunk: int = 4096
    max_key: int = 65536
    vendor: str = "qkd-hal"
    model: str = "mock box"
    firmware: str = "1.0"
