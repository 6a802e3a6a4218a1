"""Rising pulse indices on the quantum channel: each as its distance from the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qkd_hal.errors import ProtocolError

__all__ = ["GAP_WIDTHS", "pack_gaps", "unpack_gaps"]

GAP_WIDTHS = (1, 2, 4, 8)  # bytes of each gap, little-endian


def pack_gaps(indices: NDArray[np.int64]) -> tuple[int, bytes]:
    """Return the width that the largest gap needs, and the gaps; the first counts from 0."""
    gaps = indices.copy()
    gaps[1:] -= indices[:-1]
    largest = int(gaps.max(initial=0))
    width = next(width for width in GAP_WIDTHS if largest < 1 << 8 * width)
    return width, gaps.astype(f"<u{width}").tobytes()


def unpack_gaps(
    raw: bytes | memoryview, *, width: int, count: int, offset: int, span: int
) -> NDArray[np.int64]:
    """Read *count* strictly rising indices below *span*, whose product with it fits int64.

    Raises:
        ProtocolError: they do not rise, or leave the span.
    """
    gaps = np.frombuffer(raw, f"<u{width}", count, offset)
    # A gap beyond the span is caught before sums of such gaps could overflow.
    if count and not (gaps[1:].all() and gaps.max() <= span):
        raise ProtocolError("a frame's pulse indices do not rise within the frame")
    indices = np.cumsum(gaps, dtype=np.int64)
    if count and indices[-1] >= span:
        raise ProtocolError("a frame's pulse indices do not rise within the frame")
    return indices
