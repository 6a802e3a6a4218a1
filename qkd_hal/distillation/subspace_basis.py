"""From powers of x to products of subspace polynomials, and back: XORs alone.

Lin, Chung and Han (FOCS 2014) evaluate polynomials that are written as sums of products
s_0^b0 s_1^b1 ..., where s_i vanishes on the first 2^i points. Over Cantor's basis s_i of a
power of two is x^(2^i) + x, and an expansion in its powers takes a few additions (Gao and
Mateer, IEEE Trans. Inf. Theory 56, 2010; Chen et al., arXiv:1708.09746).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

__all__ = ["from_subspace_basis", "to_subspace_basis"]


def to_subspace_basis(coefficients: Bytes) -> Bytes:
    """Convert 2^k coefficients of powers of x, lowest power first."""
    return _convert(coefficients.reshape(-1, 1).copy(), inverse=False).reshape(-1)


def from_subspace_basis(coefficients: Bytes) -> Bytes:
    """Undo :func:`to_subspace_basis`."""
    return _convert(coefficients.reshape(-1, 1).copy(), inverse=True).reshape(-1)


def _convert(rows: Bytes, *, inverse: bool) -> Bytes:
    count, width = rows.shape
    log_count = count.bit_length() - 1
    if log_count <= 1:
        return rows
    step = 1 << (log_count - 1).bit_length() - 1  # the greatest power of two below
    if not inverse:
        _expand(rows, step, inverse=False)
    outer, inner = count >> step, 1 << step
    rows = _convert(rows.reshape(outer, inner * width), inverse=inverse)
    # Turned round, so that the innermost loops stay long.
    turned = _turned(rows.reshape(outer, inner, width)).reshape(inner, outer * width)
    turned = _convert(turned, inverse=inverse)
    rows = _turned(turned.reshape(inner, outer, width)).reshape(count, width)
    if inverse:
        _expand(rows, step, inverse=True)
    return rows


def _turned(grid: Bytes) -> Bytes:
    return np.ascontiguousarray(grid.swapaxes(0, 1))


def _expand(rows: Bytes, step: int, *, inverse: bool) -> None:
    """Expand in powers of x^(2^step) + x, or undo it: halves of halves, or back."""
    count, width = rows.shape
    levels = range(step, count.bit_length() - 1)
    for level in levels if inverse else reversed(levels):
        half = width << level
        shift = half >> step
        pairs = rows.reshape(-1, 2, half)
        low, high = pairs[:, 0], pairs[:, 1]
        if not inverse:
            high[:, :shift] ^= high[:, half - shift :]
        low[:, shift:] ^= high[:, : half - shift]
        if inverse:
            high[:, :shift] ^= high[:, half - shift :]
