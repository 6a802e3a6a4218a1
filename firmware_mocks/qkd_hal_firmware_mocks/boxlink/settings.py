"""What a box is, fixed while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["STREAM_CHUNK", "USB_CHUNK", "BoxSettings"]

STREAM_CHUNK, USB_CHUNK = 4096, 16384  # bytes in a CHUNK (docs/boxlink.md, section 7.1)


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """*max_frame*: the longest frame that the box takes; *max_key*: bytes, also of a stream
    read ahead."""

    site: str
    peer: str
    serial: str
    psk: bytes = field(repr=False)
    max_frame: int = 8192
    max_chunk: int = STREAM_CHUNK
    max_key: int = 65536
    vendor: str = "qkd-hal"
    model: str = "mock box"
    firmware: str = "1.0"
