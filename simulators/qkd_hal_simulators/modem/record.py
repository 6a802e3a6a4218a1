"""What the modem tells applications about its link: totals, rates, alarms."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from qkd_hal.errors import (
    AuthenticationError,
    DistillationError,
    PadExhaustedError,
    QBERError,
    VerificationError,
)
from qkd_hal.sources import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.distillation.report import BlockReport
    from qkd_hal.errors import QKDError

__all__ = ["LinkRecord"]

_SILENCE_SECONDS = 3.0  # without a word from the peer, the link counts as down
_COUNTED = ("pulses", "detections", "sifted_bits", "test_bits", "leak_bits")
_ALARM_OF: dict[type[DistillationError], Alarm] = {
    QBERError: Alarm.QBER_HIGH,
    AuthenticationError: Alarm.AUTHENTICATION,
    VerificationError: Alarm.AUTHENTICATION,
    PadExhaustedError: Alarm.PAD_LOW,
}


class LinkRecord:
    """Totals of this run; any thread may write or read. *clock*: monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._totals = dict.fromkeys((*_COUNTED, "secret_bits"), 0)
        self._light_pulses = 0
        self._net_bits = 0
        self._blocks = 0
        self._aborted = 0
        self._last_abort = ""
        self._qber: float | None = None
        self._corrected_bits = 0
        self._shannon_bits = 0.0
        self._first_light: float | None = None
        self._last_secret: float | None = None
        self._heard: float | None = None
        self._alarms: set[Alarm] = set()

    def light(self, pulses: int = 0) -> None:
        """So many *pulses* were emitted or arrived: the run's clock starts with the first."""
        with self._lock:
            self._light_pulses += pulses
            self._first_light = self._first_light or self._clock()

    def heard(self) -> None:
        """The peer said something."""
        self._heard = self._clock()

    @property
    def link_up(self) -> bool:
        """Whether the peer was heard lately."""
        return self._heard is not None and self._clock() - self._heard < _SILENCE_SECONDS

    def distilled(self, report: BlockReport) -> None:
        """A block became key: add it up, and take back the alarms of bad blocks."""
        with self._lock:
            self._add(report)
            self._totals["secret_bits"] += report.secret_bits
            self._net_bits += report.net_bits
            self._blocks += 1
            self._last_secret = self._clock()
            self._qber = report.qber
            self._corrected_bits += report.leak_bits
            self._shannon_bits += report.leak_bits / (report.efficiency or 1)
            self._alarms.clear()

    def aborted(self, error: QKDError, report: BlockReport) -> None:
        """A block was given up because of *error*."""
        with self._lock:
            self._add(report)
            self._aborted += 1
            self._last_abort = error.code
            if report.qber is not None:
                self._qber = report.qber
            self._alarms |= {a for kind, a in _ALARM_OF.items() if isinstance(error, kind)}

    def refused(self, error: QKDError) -> None:
        """The peer cannot work with us: no block will come until somebody mends it."""
        with self._lock:
            self._last_abort = str(error)

    def snapshot(self) -> dict[str, object]:
        """Return the link's part of a status reply."""
        with self._lock:
            seconds = self._seconds()
            down = set() if self.link_up else {Alarm.LINK_DOWN}
            return {
                "qber": self._qber,
                "secret_key_rate_bps": self._net_bits / seconds if seconds else None,
                "link_up": not down,
                "alarms": sorted(alarm.value for alarm in self._alarms | down),
                "details": self._details(seconds),
            }

    def _add(self, report: BlockReport) -> None:
        for name in _COUNTED:
            self._totals[name] += getattr(report, name)

    def _seconds(self) -> float:
        if self._first_light is None or self._last_secret is None:
            return 0.0
        return self._last_secret - self._first_light

    def _details(self, seconds: float) -> dict[str, str | int | float]:
        details: dict[str, str | int | float] = {
            **self._totals,
            "light_pulses": self._light_pulses,
            "net_bits": self._net_bits,
            "blocks": self._blocks,
            "aborted_blocks": self._aborted,
            "seconds": seconds,
        }
        if self._last_abort:
            details["last_abort"] = self._last_abort
        if self._shannon_bits:
            details["reconciliation_efficiency"] = self._corrected_bits / self._shannon_bits
        return details
