"""The emitter's clock as the receiver's clicks show it: a comb, found once and then followed.

Clicks cluster around the moments at which pulses arrive. In units of the pulse period, the
mean of exp(2 pi i t) over some clicks has the comb's phase as its angle; its length, the
coherence, is 1 without jitter and background. A Fourier transform of the same phasors over a
longer stretch gives the difference of the two clocks' rates. Then a loop of second order
follows phase and rate through the wander of both clocks.

Times are a receiver's ticks (int64), of any unit; pulses are numbered from an origin of the
clock's own until :meth:`PulseClock.renumber`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PulseClock"]

_POWER = 60  # clicks times squared coherence: the phase is then known to 0.015 of a period
_LOST_POWER = 9  # pure noise exceeds it once in 8000 pieces, light hardly ever falls below
_LEAST_PIECE, _MOST_PIECE = 256, 1 << 14  # clicks
_MOST_BINS = 1 << 20  # of the transform: 64 MB
_MAX_PHASE_STEP = 0.25  # periods; beyond, a slip by a whole pulse is near
_PHASE_GAIN, _RATE_GAIN = 1 / 2, 1 / 6  # critically damped
_HOLD_PIECES = 8  # how far, in darkness, the last rate is good enough
_SMOOTHING = 0.1
_CURE = "Check the light, the fibre and both reference clocks, and begin anew with new light"


class PulseClock:
    """Assigns clicks to pulses.

    ``period``: ticks per pulse, as measured. ``coherence``: see the module, smoothed.
    ``piece``: how many clicks one step takes; :meth:`follow` wants at least as many.
    """

    def __init__(self, origin: int, offset: float, period: float, coherence: float) -> None:
        self.period = period
        self.coherence = coherence
        wanted = math.ceil(_POWER / coherence**2)
        self.piece = min(max(wanted, _LEAST_PIECE), _MOST_PIECE)
        self.hold = 0
        self._origin = origin
        self._number = 0
        self._offset = offset  # ticks from the origin to the pulse `_number`
        self._latest = origin
        self._span = 0.0  # pulses in a piece, smoothed

    @classmethod
    def acquire(
        cls, ticks: NDArray[np.int64], period: float, *, max_drift: float, hold: int = 0
    ) -> PulseClock:
        """Find the comb in the first of *ticks*, rising, whose period differs from *period*.

        *max_drift*: by which share at most. *hold*: so many dark pulses are always bridged.

        Raises:
            DeviceError: there is no comb, or too few clicks show it.
        """
        size = _LEAST_PIECE
        while size <= len(ticks):
            clock = _comb(ticks[:size], period, max_drift)
            if clock is not None:
                clock.hold = hold
                return clock
            size *= 2
        raise DeviceError("clicks do not cluster at the pulse rate", cure=_CURE)

    def follow(self, ticks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest pulse of each click, and how late it is, in periods.

        Raises:
            DeviceError: the comb got lost: clicks that do not cluster any more, a jump of a
                clock, or darkness for longer than the clocks can be trusted.
        """
        self._check_hold(ticks)
        steps = [self._step(part) for part in np.array_split(ticks, len(ticks) // self.piece)]
        return np.concatenate([n for n, _ in steps]), np.concatenate([late for _, late in steps])

    def renumber(self, shift: int) -> None:
        """Add *shift* to all numbers from now on."""
        self._number += shift

    def _check_hold(self, ticks: NDArray[np.int64]) -> None:
        dark = int(np.diff(ticks, prepend=self._latest).max()) / self.period
        self._latest = int(ticks[-1])
        if dark > max(self.hold, _HOLD_PIECES * self._span) > 0:
            raise _lost(f"no light came for {dark:.3g} pulses")

    def _step(self, ticks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        at = np.asarray((ticks - self._origin - self._offset) / self.period, np.float64)
        phasor = np.exp(2j * np.pi * at).mean()
        if len(ticks) * abs(phasor) ** 2 < _LOST_POWER:
            raise _lost("clicks cluster no more")
        error = float(np.angle(phasor)) / (2 * math.pi)
        if abs(error) > _MAX_PHASE_STEP:
            raise _lost(f"the pulses' phase jumped by {error:+.2f} of a period")
        numbers = np.rint(at - error)
        late = at - error - numbers
        first = self._number
        self._correct(ticks, at, error)
        self.coherence += _SMOOTHING * (abs(phasor) - self.coherence)
        return numbers.astype(np.int64) + first, late

    def _correct(self, ticks: NDArray[np.int64], at: NDArray[np.float64], error: float) -> None:
        """Move the origin into this piece, so that sums stay small, and close the loop there."""
        middle = len(ticks) // 2
        passed = float(at[-1] - at[0])
        self._span += (passed - self._span) * (_SMOOTHING if self._span else 1.0)
        number = round(float(at[middle]))
        self._origin = int(ticks[middle])
        self._number += number
        self._offset = (_PHASE_GAIN * error - (float(at[middle]) - number)) * self.period
        self.period *= 1 + _RATE_GAIN * error / max(passed, 1.0)


def _comb(ticks: NDArray[np.int64], period: float, max_drift: float) -> PulseClock | None:
    at = (ticks - ticks[0]) / period
    bins = 1 << max(4, math.ceil(16 * float(at[-1]) * max_drift)).bit_length()
    if bins > _MOST_BINS:
        return None
    drift = _strongest(at, bins, max_drift)
    for _ in range(2):  # the transform's grid is coarser than what the clicks know
        drift += _slope(at, np.exp(2j * np.pi * at * (1 - drift)))
    phasor = np.exp(2j * np.pi * at * (1 - drift)).mean()
    if len(ticks) * abs(phasor) ** 2 < _POWER:
        return None
    period /= 1 - drift
    offset = float(np.angle(phasor)) / (2 * math.pi) * period
    return PulseClock(int(ticks[0]), offset, period, abs(phasor))


def _strongest(at: NDArray[np.float64], bins: int, max_drift: float) -> float:
    """Return the drift at which the phasors of all clicks add up best."""
    phasors = np.exp(2j * np.pi * at)
    width = float(at[-1]) / bins
    places = np.minimum((at / width).astype(np.int64), bins - 1)
    summed = np.bincount(places, phasors.real, bins) + 1j * np.bincount(places, phasors.imag, bins)
    power = np.abs(np.fft.fft(summed, 4 * bins))
    drifts = np.fft.fftfreq(4 * bins, width)
    power[np.abs(drifts) > max_drift] = 0
    return float(drifts[np.argmax(power)])


def _slope(at: NDArray[np.float64], phasors: NDArray[np.complex128]) -> float:
    """Return by how many turns per period the later half is ahead of the earlier."""
    half = len(at) // 2
    turn = np.angle(phasors[half:].sum() * phasors[:half].sum().conjugate()) / (2 * np.pi)
    return float(turn) / max(1.0, float(at[half:].mean() - at[:half].mean()))


def _lost(what: str) -> DeviceError:
    return DeviceError(f"the emitter's clock got lost: {what}", cure=_CURE)
