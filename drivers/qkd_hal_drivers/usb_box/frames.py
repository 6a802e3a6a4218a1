"""Where a frame ends among bulk transfers: ``docs/boxlink.md``, section 2.2. No I/O."""

from __future__ import annotations

import zlib

__all__ = ["FrameCollector"]

_CRC_BYTES = 4


class FrameCollector:
    """Puts the parts of a frame together; *packet* is ``wMaxPacketSize``, *longest* in bytes.

    A read that ends with a short packet ends the frame. One that ends with a full packet may
    also have ended because its time was up, and libusb does not tell; then the CRC decides,
    and a zero-length packet that still comes stands for nothing.
    """

    def __init__(self, packet: int, longest: int) -> None:
        self._packet = packet
        self._longest = longest
        self._parts = bytearray()
        self._skipping = False

    def add(self, data: memoryview) -> bytes | None:
        """Take the bytes of one read; return the frame that they complete."""
        ends = len(data) % self._packet != 0 or not data
        if len(self._parts) + len(data) > self._longest:
            self._skipping = True
        if self._skipping:
            self._parts.clear()
            self._skipping = not ends
            return None
        if ends and not self._parts:
            return bytes(data) or None
        self._parts += data
        if not ends and not _is_whole(self._parts):
            return None
        frame = bytes(self._parts)
        self._parts.clear()
        return frame

    def clear(self) -> None:
        """Forget a frame that will not be finished."""
        self._parts.clear()
        self._skipping = False


def _is_whole(frame: bytearray) -> bool:
    with memoryview(frame) as view:
        found = int.from_bytes(view[-_CRC_BYTES:], "big")
        return zlib.crc32(view[:-_CRC_BYTES]) == found
