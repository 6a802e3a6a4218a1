"""Which end of the quantum channel this modem is, and what follows from it."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import zmq

from qkd_hal.distillation.session import Waiting
from qkd_hal_simulators.modem.quantum import Emitter, Receiver
from qkd_hal_simulators.modem.sampling import emission_of, reception_of
from qkd_hal_simulators.physics.random import physical_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.distillation.session import DistillationParameters, DistillationSession, Event
    from qkd_hal.sources import EntropySource
    from qkd_hal_simulators.modem.record import LinkRecord
    from qkd_hal_simulators.modem.sockets import Waker
    from qkd_hal_simulators.settings import ModemSettings

__all__ = ["EmittingEnd", "ReceivingEnd", "shared_parameters"]

_STALL_SECONDS = 10.0  # a full log and no block: the light was lost on its way


def shared_parameters(settings: ModemSettings) -> DistillationParameters:
    """Return the parameters with all that both ends must have in common beside them."""
    names = (settings.site, settings.peer)
    first, second = names if settings.first else names[::-1]
    # An end with a smaller store would overwrite what the other still starts keys from.
    mine = {"first_site": first, "second_site": second, "high_water": settings.high_water}
    extra = {**asdict(settings.channel), **mine}
    return replace(settings.preset.parameters, extra=extra)


class EmittingEnd:
    """The light source and what it remembers."""

    kind = zmq.PUSH

    def __init__(
        self,
        settings: ModemSettings,
        entropy: EntropySource,
        socket: zmq.Socket[bytes],
        record: LinkRecord,
        hungry: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        rng = physical_generator(entropy if settings.seed is None else settings.seed)
        # Pulses are numbered from the clock on, so that light from before a restart is known by
        # its number. One that simulated faster than a pulse per nanosecond may meet its old
        # numbers again: the detector sees them fall, and begins anew.
        self._emission = emission_of(settings, rng, first_pulse=time.time_ns())
        self._clock = clock
        self._full_since: float | None = None
        self.thread = Emitter(
            socket,
            self._emission,
            wanted=lambda: not self._emission.full and hungry(),
            record=record,
        )

    def attach(self, session: DistillationSession) -> None:
        """Give the engine the log."""
        session.attach_emissions(self._emission.log)

    def work(self, session: DistillationSession) -> list[Event]:
        """Begin anew, with new light, when no block comes of all that was sent."""
        stalled = self._emission.full and session.waiting_for is Waiting.DETECTIONS
        if not stalled or self._full_since is None:
            self._full_since = self._clock() if stalled else None
        elif self._clock() - self._full_since > _STALL_SECONDS:
            self._full_since = None
            return session.abort("the light was lost on its way")
        return []


class ReceivingEnd:
    """The detectors and the clicks on their way to the engine."""

    kind = zmq.PULL

    def __init__(
        self,
        settings: ModemSettings,
        entropy: EntropySource,
        socket: zmq.Socket[bytes],
        record: LinkRecord,
        waker: Waker,
    ) -> None:
        self._waker = waker
        seed = None if settings.seed is None else settings.seed + 1
        self.thread = Receiver(
            socket,
            reception_of(settings, physical_generator(entropy if seed is None else seed)),
            waker,
            record,
        )

    def attach(self, session: DistillationSession) -> None:
        """The engine takes detections as they come."""

    def work(self, session: DistillationSession) -> list[Event]:
        """Hand a batch of what was detected to the engine, if it needs any."""
        if session.wants_detections:
            with suppress(queue.Empty):
                session.add_detections(self.thread.batches.get_nowait())
                self._waker.set()  # there may be more
        return []
