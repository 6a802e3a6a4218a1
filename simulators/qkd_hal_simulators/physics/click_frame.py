"""Clicks on the quantum channel: what the per-detection sampler sends in place of light.

The emitter's process samples fibre and receiver as well, so only pulses that click cross over,
with what clicked. No eavesdropper can tap this: there is no light in it. Layout (big-endian
header, then two arrays)::

    4 magic "QPC1" | 8 first pulse | 8 pulse count | 4 clicks | 1 gap width (1, 2, 4 or 8)
    gap width * clicks  gaps, little-endian: index of the first click, then the distance
    1 * clicks          measured basis << 2 | click pattern (1: bit 0, 2: bit 1, 3: both)

"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.clicks import Clicks
from qkd_hal_simulators.physics.gaps import GAP_WIDTHS, pack_gaps, unpack_gaps
from qkd_hal_simulators.physics.sampler import BASIS_SHIFT

__all__ = ["MAX_CLICKS", "MAX_SPAN", "ClickFrame"]

MAX_CLICKS = 1 << 20  # bounds what one message can make a receiver allocate
MAX_SPAN = 1 << 42  # pulses of a frame: MAX_CLICKS gaps of as many still add up in int64
_HEADER = struct.Struct(">4sQQIB")
_MAGIC = b"QPC1"
_MAX_END = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class ClickFrame:
    """Clicks in pulses ``[first_pulse, first_pulse + pulse_count)``, by their pulse number."""

    first_pulse: int
    pulse_count: int
    clicks: Clicks

    def to_bytes(self) -> bytes:
        """Return the frame as it crosses the channel."""
        clicks = self.clicks
        width, gaps = pack_gaps(clicks.pulses - self.first_pulse)
        head = (_MAGIC, self.first_pulse, self.pulse_count, clicks.pulses.size, width)
        seen = clicks.bases << np.uint8(BASIS_SHIFT) | clicks.patterns
        return _HEADER.pack(*head) + gaps + seen.tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes | memoryview) -> ClickFrame:
        """Read a frame.

        Raises:
            ProtocolError: the bytes are not exactly one frame.
        """
        first, span, count, width = _read_header(raw)
        if len(raw) != _HEADER.size + (width + 1) * count:
            raise ProtocolError("a click frame's length does not match its header")
        indices = unpack_gaps(raw, width=width, count=count, offset=_HEADER.size, span=span)
        seen = np.frombuffer(raw, np.uint8, count, _HEADER.size + width * count)
        patterns = seen & np.uint8(3)
        if count and (seen.max() > 7 or not patterns.all()):
            raise ProtocolError("a click frame lists a click of no detector")
        return cls(first, span, Clicks(indices + first, seen >> np.uint8(BASIS_SHIFT), patterns))


def _read_header(raw: bytes | memoryview) -> tuple[int, int, int, int]:
    if len(raw) < _HEADER.size:
        raise ProtocolError("a click frame is shorter than its header")
    magic, first, span, count, width = _HEADER.unpack_from(raw)
    if magic != _MAGIC:
        raise ProtocolError("not a click frame of version 1")
    counts = count <= min(span, MAX_CLICKS) and 0 < span <= MAX_SPAN
    if not counts or first + span > _MAX_END or width not in GAP_WIDTHS:
        raise ProtocolError("a click frame's header is out of bounds")
    return first, span, count, width
