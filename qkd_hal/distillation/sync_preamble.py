"""A pattern of light, agreed on in advance, that tells which pulse is which.

Of pulse ``first_pulse + c * period + p``, for ``0 <= c < chips`` and ``0 <= p < period``,
there is light where bit p of the fine and bit c of the coarse pattern are both one; the rest
of the preamble is dark. The coarse pattern is found in time bins much longer than a pulse,
before the two clocks are compared; the fine one repeats, so that clicks of all chips fold
onto one period. Each needs one short Fourier transform, however large the offset is. With an
``interval``, the preamble comes again every so many pulses, and shows when pulses have slipped.

The patterns are public: bits, highest first, of SHAKE128 (FIPS 202) over ``qkd-hal preamble
fine`` and ``qkd-hal preamble coarse``. The pulses carry no key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.pulse_clock import PulseClock
from qkd_hal.errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Alignment", "Preamble", "SlipCheck", "find_preamble"]

_BINS_PER_CHIP = 4
_COARSE_MATCH = 0.5  # correlation; eight standard deviations with 256 chips
_FINE_MATCH = 8.0  # standard deviations
_SLIP_CLICKS = 256  # after a slip, half of them are in dark pulses, give or take 1/32
_SLIP_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Preamble:
    """Pulses ``[first_pulse, end)``, a quarter of them lit, and again each *interval* pulses.

    *period*, *chips*: powers of two. *interval*: 0 means once only.
    """

    first_pulse: int = 0
    period: int = 1 << 16
    chips: int = 256
    interval: int = 0

    def __post_init__(self) -> None:
        _check_size("period", self.period, 1 << 10, 1 << 24)
        _check_size("chips", self.chips, 1 << 6, 1 << 16)
        if self.interval and self.interval < 2 * self.pulses:
            cure = f"Repeat it after at least {2 * self.pulses} pulses, or never: 0"
            raise ConfigurationError("preambles take most of the light", cure=cure)

    @property
    def pulses(self) -> int:
        """How many pulses the preamble has."""
        return self.period * self.chips

    @property
    def end(self) -> int:
        """One past its last pulse: the first that may carry key."""
        return self.first_pulse + self.pulses

    def places(self, pulses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in the preamble each of *pulses* is; at :attr:`pulses` or beyond: key."""
        places = pulses - self.first_pulse
        return places % self.interval if self.interval else places

    def lit(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which *places* in the preamble have light."""
        chip, place = np.divmod(places, self.period)
        return (self.coarse[chip] & self.fine[place]).astype(bool)

    @property
    def fine(self) -> NDArray[np.uint8]:
        """The pattern within a lit chip: *period* bits."""
        return _pattern("fine", self.period)

    @property
    def coarse(self) -> NDArray[np.uint8]:
        """Which chips are lit: *chips* bits."""
        return _pattern("coarse", self.chips)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a preamble was found.

    ``clock`` numbers pulses as the emitter does. ``start``: tick of the first pulse.
    ``used``: clicks from the first one on that the clock has followed. ``background``: clicks
    per pulse in the dark.
    """

    clock: PulseClock
    start: float
    used: int
    background: float


def find_preamble(
    ticks: NDArray[np.int64], end: int, preamble: Preamble, period: float, max_drift: float
) -> Alignment | None:
    """Look for *preamble* among the clicks at *ticks*, rising, below *end*.

    *period*: ticks per pulse; *max_drift*: by which share it may be wrong. ``None`` where the
    whole preamble is not there, or too faint.
    """
    chip = preamble.period * period
    start = _coarse_start(ticks, end, preamble, chip)
    if start is None:
        return None
    margin = chip / _BINS_PER_CHIP  # the light around the preamble is not of this pattern
    edges = start + margin, start + preamble.chips * chip - margin
    low, high = np.searchsorted(ticks, edges)
    part = ticks[low:high]
    try:
        clock = PulseClock.acquire(part, period, max_drift=max_drift, hold=16 * preamble.period)
        numbers, late = clock.follow(part)
    except DeviceError:
        return None
    shift = _shift(numbers, round((int(part[0]) - start) / period) - int(numbers[0]), preamble)
    background = _background(numbers + shift, preamble)
    if background is None:
        return None
    clock.renumber(shift + preamble.first_pulse)
    start = int(part[0]) - float(numbers[0] + shift + late[0]) * clock.period
    return Alignment(clock, start, int(high), background)


class SlipCheck:
    """Looks at the clicks within repeated preambles for whether their numbers are still right.

    The phase of the pulses cannot tell: it is the same after a slip by whole pulses.
    """

    def __init__(self, preamble: Preamble) -> None:
        self._preamble = preamble
        self._lit = self._clicks = 0

    def look(self, places: NDArray[np.int64]) -> None:
        """Take clicks at *places*, of which those beyond the preamble do not count.

        Raises:
            DeviceError: clicks in lit chips come from dark pulses.
        """
        preamble = self._preamble
        places = places[(places >= 0) & (places < preamble.pulses)]
        places = places[preamble.coarse[places // preamble.period] == 1]
        self._lit += int(preamble.lit(places).sum())
        self._clicks += len(places)
        if self._clicks < _SLIP_CLICKS:
            return
        if self._lit < _SLIP_SHARE * self._clicks:
            raise DeviceError(
                "the emitter's clock got lost: its preamble comes at other pulses",
                cure="Check both reference clocks, and begin anew with new light",
            )
        self._lit = self._clicks = 0


def _coarse_start(
    ticks: NDArray[np.int64], end: int, preamble: Preamble, chip: float
) -> float | None:
    """Correlate clicks per bin with the coarse pattern; return the tick of the best match."""
    width = chip / _BINS_PER_CHIP
    template = np.repeat(preamble.coarse.astype(float), _BINS_PER_CHIP)
    template -= template.mean()
    if not len(ticks) or (bins := int((end - int(ticks[0])) / width)) < len(template):
        return None
    places = ((ticks - ticks[0]) / width).astype(np.int64)
    counts = np.bincount(places[places < bins], minlength=bins).astype(float)
    match = _correlation(counts, template)
    best = int(np.argmax(match))
    return int(ticks[0]) + best * width if match[best] > _COARSE_MATCH else None


def _correlation(counts: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation at every lag at which *template*, of mean 0, fits whole."""
    size, lags = len(counts), len(counts) - len(template) + 1
    product = np.fft.rfft(counts) * np.fft.rfft(template, size).conj()
    summed = np.fft.irfft(product, size)[:lags]
    mean, square = (_window_means(values, len(template)) for values in (counts, counts**2))
    spread = np.sqrt(np.maximum(square - mean**2, 1e-9) * len(template))
    return np.asarray(summed / (spread * np.linalg.norm(template)))


def _window_means(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((sums[size:] - sums[:-size]) / size)


def _shift(numbers: NDArray[np.int64], guess: int, preamble: Preamble) -> int:
    """Return what to add to *numbers*: *guess*, mended by the fine pattern."""
    size = preamble.period
    folded = np.bincount(numbers % size, minlength=size).astype(float)
    fine = preamble.fine - preamble.fine.mean()
    match = np.fft.irfft(np.fft.rfft(folded).conj() * np.fft.rfft(fine), size)
    return guess + (int(np.argmax(match)) - guess + size // 2) % size - size // 2


def _background(places: NDArray[np.int64], preamble: Preamble) -> float | None:
    """Clicks per pulse in dark chips; ``None`` where lit ones do not show the fine pattern."""
    places = places[(places >= 0) & (places < preamble.pulses)]
    lit_chip = preamble.coarse[places // preamble.period] == 1
    lit = preamble.fine[places[lit_chip] % preamble.period].astype(float)
    if 2 * (lit - 0.5).sum() < _FINE_MATCH * len(lit) ** 0.5:
        return None
    dark = int((preamble.coarse == 0).sum()) * preamble.period
    return float((~lit_chip).sum()) / dark


def _check_size(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most or value & (value - 1):
        cure = f"Choose a power of two from {least} to {most}, alike at both ends"
        raise ConfigurationError(f"a preamble's {name} of {value} makes no sense", cure=cure)


@lru_cache(maxsize=8)
def _pattern(name: str, size: int) -> NDArray[np.uint8]:
    raw = hashlib.shake_128(f"qkd-hal preamble {name}".encode()).digest(size // 8)
    bits = np.unpackbits(np.frombuffer(raw, np.uint8))
    bits.setflags(write=False)  # shared by all callers
    return bits
