"""Detections and emitted states as the bytes of a transcript: small, and read strictly."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from qkd_hal.distillation.bits import pack_bits, unpack_bits
from qkd_hal.distillation.sifting import Emitted
from qkd_hal.errors import ProtocolError
from qkd_hal.sources import DetectionBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack_batch", "pack_states", "pulses_digest", "unpack_batch", "unpack_states"]

_MAX_PULSE = (1 << 63) - 1


def pack_batch(batch: DetectionBatch) -> list[object]:
    """Return ``[first_pulse, end_pulse, gap width, gaps, bases, bits]``, all but three bytes."""
    gaps = np.diff(batch.pulses, prepend=np.int64(batch.first_pulse))
    width = next(w for w in (1, 2, 4, 8) if int(gaps.max(initial=0)) < 1 << 8 * w)
    coded = gaps.astype(f"<u{width}").tobytes()
    ends = (batch.first_pulse, batch.end_pulse)
    return [*ends, width, coded, pack_bits(batch.bases), pack_bits(batch.bits)]


def unpack_batch(packed: Any) -> DetectionBatch:
    """Read a batch.

    Raises:
        ProtocolError: it is malformed.
    """
    first, end, width, gaps, bases, bits = _items(packed, int, int, int, bytes, bytes, bytes)
    if not 0 <= first <= end <= _MAX_PULSE or width not in (1, 2, 4, 8) or len(gaps) % width:
        raise ProtocolError("recorded detections are malformed")
    steps = np.frombuffer(gaps, f"<u{width}")
    pulses = first + np.cumsum(steps, dtype=np.int64)
    rising = not steps.size or (steps.max() <= end - first and pulses[-1] < end)
    if not rising or not steps[1:].all() or (np.diff(pulses) <= 0).any():
        raise ProtocolError("recorded detections do not rise within their batch")
    count = len(pulses)
    return DetectionBatch(pulses, unpack_bits(bases, count), unpack_bits(bits, count), first, end)


def pack_states(pulses: NDArray[np.int64], states: Emitted) -> list[object]:
    """Return ``[digest of the pulses, count, bases, bits, intensities (two bit planes)]``."""
    levels = states.intensities
    planes = (states.bases, states.bits, levels % 2 == 1, levels > 1)
    return [pulses_digest(pulses), len(pulses), *(pack_bits(plane) for plane in planes)]


def unpack_states(packed: Any) -> tuple[bytes, Emitted]:
    """Read the digest of the pulses that were asked for, and their states.

    Raises:
        ProtocolError: they are malformed.
    """
    digest, count, *planes = _items(packed, bytes, int, *[bytes] * 4)
    bases, bits, low, high = (unpack_bits(plane, count) for plane in planes)
    return digest, Emitted(bases, bits, low + 2 * high)


def pulses_digest(pulses: NDArray[np.int64]) -> bytes:
    """Return the SHA-256 of pulse numbers: they stand in the DETECTIONS message."""
    return hashlib.sha256(pulses.astype("<i8").tobytes()).digest()


def _items(packed: Any, *kinds: type) -> list[Any]:
    if type(packed) is not list or list(map(type, packed)) != list(kinds):
        raise ProtocolError("a recorded array is malformed")
    return packed
