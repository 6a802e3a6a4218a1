"""The open unit: an iterator of detections."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from qkd_hal.entropy import SystemEntropy
from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    DeviceError,
    DeviceNotFoundError,
    ProtocolError,
    StateError,
)
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.tdc1._port import CHUNK_BYTES, Tdc1Port
from qkd_hal_drivers.tdc1._slots import PulseSlots
from qkd_hal_drivers.tdc1._time_base import TimeBase
from qkd_hal_drivers.tdc1._words import WordReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from qkd_hal.sources import Deadline, DetectionBatch, EntropySource
    from qkd_hal_drivers.tdc1._settings import Tdc1Settings

__all__ = ["Tdc1Source"]

_TIMESTAMP_MODE = "3"
_START = "INPKT;time 0;timestamp;counts?"  # without end, until `abort`


class Tdc1Source:
    """A :class:`~qkd_hal.sources.DetectionSource`; a context manager.

    *entropy* decides what several detectors clicked in one pulse count as; by default the
    operating system's. ``identity`` is what the unit says of itself.

    Raises:
        DeviceNotFoundError, DevicePermissionError, DeviceBusyError: the port cannot be used,
            or nobody answers there as a TDC1.
        ProtocolError: it does not take its settings.
    """

    def __init__(
        self, settings: Tdc1Settings, deadline: Deadline, *, entropy: EntropySource | None = None
    ) -> None:
        self._settings = settings
        self._entropy = entropy or SystemEntropy()
        self._device = f"tdc1://{settings.port}"
        self._next_pulse = 0
        self._running = False
        self._port = Tdc1Port(settings.port, device=self._device)
        try:
            self.identity = self._identify(deadline)
            self._set_up(deadline)
        except BaseException:
            self._port.close()
            raise

    @property
    def provenance(self) -> Provenance:
        """Simulated where the unit says so, else hardware."""
        simulated = "simulated" in self.identity.lower()
        return Provenance(Origin.SIMULATED if simulated else Origin.HARDWARE)

    def batches(self, deadline: Deadline) -> Iterator[DetectionBatch]:
        """Acquire, and yield the detections of all pulses that are over, up to 50 times a second.

        Pulse numbers rise over all acquisitions of this object. They count from the slot of
        the first word; aligning them with the emitter's is up to the caller. The iterator
        ends when :meth:`close` is called.

        Raises:
            StateError: another iterator of this unit is running.
            DeadlineError: *deadline* passed.
            DeviceLostError: the unit was unplugged.
            ProtocolError: its time can no longer be trusted; begin anew, with new light.
        """
        if self._running:
            raise StateError(
                "this unit is acquiring already", device=self._device, cure="Close that iterator"
            )
        self._running = True
        try:
            yield from self._acquire(deadline)
        except DeviceClosedError:
            return
        finally:
            self._running = False
            with suppress(DeviceError):  # gone or closed: it has stopped
                self._port.tell("abort")

    def close(self) -> None:
        """Stop the unit and release its port; idempotent, from any thread."""
        self._port.close()

    def _identify(self, deadline: Deadline) -> str:
        self._port.quieten(deadline)
        try:
            identity = self._port.ask("*idn?", deadline)
        except DeadlineError:
            identity = ""
        if "TDC1" not in identity:
            what = f"it says it is {identity!r}" if identity else "nobody answers"
            raise DeviceNotFoundError(
                f"this is no TDC1: {what}", device=self._device, cure="Name the unit's own port"
            )
        return identity

    def _set_up(self, deadline: Deadline) -> None:
        self._port.tell(self._settings.level)
        self._port.tell(f"refclk {self._settings.clock}")
        self._port.tell("timestamp")
        if self._port.ask("mode?", deadline) != _TIMESTAMP_MODE:
            raise ProtocolError("the unit does not take time stamps", device=self._device)

    def _acquire(self, deadline: Deadline) -> Iterator[DetectionBatch]:
        slots = PulseSlots(self._settings, self._entropy, self._next_pulse)
        words = WordReader()
        self._port.quieten(deadline)  # words of an earlier acquisition may still wait
        self._port.tell(_START)
        time_base = TimeBase(time.monotonic(), device=self._device)
        while True:
            deadline.check("time stamps are taken", device=self._device)
            before = time.monotonic()
            data = self._port.read()
            after = time.monotonic()
            ticks, inputs = words.feed(data)
            time_base.check(ticks, before, after, drained=len(data) < CHUNK_BYTES)
            batch = slots.add(ticks, inputs)
            if batch is not None:
                self._next_pulse = batch.end_pulse
                yield batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
