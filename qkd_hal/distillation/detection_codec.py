"""Announcements of sparse patterns near their entropy: which pulses clicked, which basis.

A rising list is coded as its gaps (pulses left out before each) by a Golomb-Rice code: R. F.
Rice, JPL Publication 79-22, 1979. Gaps of independent clicks are geometric, for which the best
such code is 0.03 to 0.12 bits per click above the entropy. The parameter is the best for the
gaps at hand, so drift and rates need not be agreed on; the parts stand apart, so that numpy
codes each in one go. With k = 8 a + b, for n gaps::

    1                 k, the smallest that gives the shortest code, padding apart
    a * n             low a bytes of each gap, little-endian
    b * ceil(n / 8)   next b bits: a bit plane for each, lowest first
    rest              unary: of each gap, gap >> k zero bits and a one; zeros to a whole byte

An empty list has no bytes. Every list has one code: anything else is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.bits import pack_bits, unpack_bits
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack_pattern", "pack_pulses", "unpack_pattern", "unpack_pulses"]

_MAX_PARAMETER = 61  # pulse numbers stay below 2^62, so a code of more is not the shortest
_PATTERN_HEADER = 5  # bytes: which symbol is listed, how often it occurs


def pack_pulses(pulses: NDArray[np.int64], first: int) -> bytes:
    """Code strictly rising pulse numbers, the lowest at least *first*; all below 2^62."""
    if not len(pulses):
        return b""
    if _is_dense(int(pulses[-1]) - first, len(pulses)):
        return b"\0" + _pack_ones(pulses - first)
    gaps = np.diff(pulses, prepend=np.int64(first - 1))
    gaps -= 1
    parameter = _best_parameter(gaps)
    ones = np.cumsum((gaps >> parameter) + 1)
    ones -= 1
    return bytes([parameter]) + _pack_low_bits(gaps, parameter) + _pack_ones(ones)


def unpack_pulses(coded: bytes, count: int, first: int, end: int) -> NDArray[np.int64]:
    """Read *count* pulse numbers, strictly rising, all in ``[first, end)``.

    Takes no memory for a *count* that *coded* cannot hold.

    Raises:
        ProtocolError: anything but the one code of such a list.
    """
    if not count:
        if coded:
            raise ProtocolError("a list of no pulses takes no bytes")
        return np.zeros(0, np.int64)
    parameter, low, unary = _split(coded, count)
    ones = _unpack_ones(unary, count)
    if not parameter and _is_dense(int(ones[-1]), count):
        return _below(end, ones + first)
    gaps = _quotients(ones, (end - first) >> parameter)
    if parameter:
        gaps <<= parameter
        gaps |= _unpack_low_bits(low, count, parameter)
    pulses: NDArray[np.int64] = gaps + 1
    pulses[0] += first - 1
    np.cumsum(pulses, out=pulses)
    # A gap is below 2^62, so a sum that overflows is negative at its first step too far.
    if pulses.min() < first:
        raise ProtocolError("a detection lies outside its block")
    if parameter != _best_parameter(gaps):
        raise ProtocolError("pulse numbers are not coded in the shortest way")
    return _below(end, pulses)


def pack_pattern(symbols: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Code 0/1 values as the places of the rarer one.

    Layout: 1 byte, the symbol that is listed (1 where both occur as often); 4 bytes, how
    often, big-endian; its places as pulse numbers from 0. At worst a dozen bytes longer than
    the plain bits.
    """
    rarer = int(2 * np.count_nonzero(symbols) <= len(symbols))
    places = np.flatnonzero(symbols == rarer)
    return bytes([rarer]) + len(places).to_bytes(4, "big") + pack_pulses(places, 0)


def unpack_pattern(coded: bytes, count: int) -> NDArray[np.uint8]:
    """Read *count* values 0 or 1; *count* is the caller's, not the wire's.

    Raises:
        ProtocolError: anything but the one code of such a pattern.
    """
    if len(coded) < _PATTERN_HEADER:
        raise ProtocolError("a coded pattern is shorter than its header")
    rarer, listed = coded[0], int.from_bytes(coded[1:_PATTERN_HEADER], "big")
    if rarer > 1 or 2 * listed >= count + rarer:
        raise ProtocolError("a coded pattern does not list the rarer symbol")
    symbols = np.full(count, 1 - rarer, np.uint8)
    symbols[unpack_pulses(coded[_PATTERN_HEADER:], listed, 0, count)] = rarer
    return symbols


def _is_dense(last: int, count: int) -> bool:
    """Whether gaps, which end at place *last*, are one on average, or less.

    Then k is 0, since no quotient saves more than half of itself, and the unary part alone is
    the code: a map of the places, which needs no gaps.
    """
    return last < 2 * count


def _below(end: int, pulses: NDArray[np.int64]) -> NDArray[np.int64]:
    if pulses[-1] >= end:
        raise ProtocolError("a detection lies outside its block")
    return pulses


def _best_parameter(gaps: NDArray[np.int64]) -> int:
    """Return the smallest of the parameters with the shortest code.

    The length is convex in the parameter, so that the first rise ends the search. It begins
    where quotients are at least 3/2 on average, if not at 0: all smaller ones are longer.
    """
    parameter = max(0, (int(gaps.sum()) // len(gaps)).bit_length() - 2)
    while _is_longer(gaps, parameter):
        parameter += 1
    return parameter


def _is_longer(gaps: NDArray[np.int64], parameter: int) -> bool:
    """Whether *parameter* takes more bits than the next: quotients saved exceed n low bits."""
    quotients = gaps >> parameter
    return int((quotients - (quotients >> 1)).sum()) > len(gaps)


def _split(coded: bytes, count: int) -> tuple[int, bytes, bytes]:
    """Part a code into parameter, low bits and unary part, none of them empty by a lie."""
    parameter = coded[0] if coded else 0
    low_size = parameter // 8 * count + parameter % 8 * ((count + 7) // 8)
    unary = coded[1 + low_size :]
    if parameter > _MAX_PARAMETER or 8 * len(unary) < count:
        raise ProtocolError(f"{len(coded)} bytes do not code {count} pulse numbers")
    return parameter, coded[1 : 1 + low_size], unary


def _pack_low_bits(gaps: NDArray[np.int64], parameter: int) -> bytes:
    whole, rest = divmod(parameter, 8)
    octets = gaps.astype("<i8", copy=False).view(np.uint8).reshape(-1, 8)
    top = octets[:, whole]
    planes = [np.packbits(top & np.uint8(1 << bit)).tobytes() for bit in range(rest)]
    return octets[:, :whole].tobytes() + b"".join(planes)


def _unpack_low_bits(low: bytes, count: int, parameter: int) -> NDArray[np.int64]:
    whole, rest = divmod(parameter, 8)
    octets = np.zeros((count, 8), np.uint8)
    octets[:, :whole] = np.frombuffer(low, np.uint8, whole * count).reshape(count, whole)
    size = (count + 7) // 8
    for bit in range(rest):
        start = whole * count + bit * size
        octets[:, whole] |= unpack_bits(low[start : start + size], count) << np.uint8(bit)
    return octets.view("<i8").reshape(count).astype(np.int64, copy=False)


def _pack_ones(places: NDArray[np.int64]) -> bytes:
    bits = np.zeros(int(places[-1]) + 1, np.uint8)
    bits[places] = 1
    return pack_bits(bits)


def _unpack_ones(unary: bytes, count: int) -> NDArray[np.int64]:
    """Return where the *count* ones are that end the numbers; they reach the last byte."""
    bits = np.unpackbits(np.frombuffer(unary, np.uint8))
    if not unary[-1] or np.count_nonzero(bits) != count:
        raise ProtocolError(f"a unary code does not hold {count} numbers")
    return np.flatnonzero(bits)


def _quotients(ones: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    """Return the numbers that *ones* end, none above *largest*."""
    quotients: NDArray[np.int64] = np.diff(ones, prepend=-1)
    quotients -= 1
    if int(quotients.max()) > largest:
        raise ProtocolError("a detection lies outside its block")
    return quotients
