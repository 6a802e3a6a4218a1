"""Which end of the quantum channel this modem is, and what follows from it."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import zmq

from qkd_hal.distillation.session import Waiting
from qkd_hal_simulators.modem.quantum import Emitter, Receiver
from qkd_hal_simulators.physics.emission_log import FrameLog
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.source import LightSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.distillation.session import DistillationParameters, DistillationSession, Event
    from qkd_hal.sources import EntropySource
    from qkd_hal_simulators.modem.record import LinkRecord
    from qkd_hal_simulators.modem.sockets import Waker
    from qkd_hal_simulators.settings import ModemSettings

__all__ = ["EmittingEnd", "ReceivingEnd", "shared_parameters"]

_BLOCKS_AHEAD = 4  # light that is emitted before the detector has used the earlier
_MAX_REMEMBERED = 1 << 30  # pulses, a byte each: bounds the emission log on a lossy line
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
        parameters = settings.preset.parameters
        rng = physical_generator(entropy if settings.seed is None else settings.seed)
        source = LightSource(
            settings.light, key_basis_probability=parameters.key_basis_probability, rng=rng
        )
        # Pulses are numbered by a clock of 1 GHz, which outruns the source: after a restart no
        # number means a second pulse, and light from before is known by its number.
        self._log = FrameLog(intensities=source.intensities, first_pulse=time.time_ns())
        self._budget = _pulses_ahead(settings)
        self._clock = clock
        self._full_since: float | None = None
        self.thread = Emitter(
            socket,
            source,
            self._log,
            frame_pulses=settings.preset.frame_pulses,
            wanted=lambda: self._log.held < self._budget and hungry(),
            record=record,
        )

    def attach(self, session: DistillationSession) -> None:
        """Give the engine the log."""
        session.attach_emissions(self._log)

    def work(self, session: DistillationSession) -> list[Event]:
        """Begin anew, with new light, when no block comes of all that was sent."""
        stalled = self._log.held >= self._budget and session.waiting_for is Waiting.DETECTIONS
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
        seed = None if settings.seed is None else settings.seed + 1
        self.thread = Receiver(
            socket,
            settings.channel.fibre,
            settings.channel.detector(settings.preset.parameters),
            physical_generator(entropy if seed is None else seed),
            waker,
            record,
        )

    def attach(self, session: DistillationSession) -> None:
        """The engine takes detections as they come."""

    def work(self, session: DistillationSession) -> list[Event]:
        """Hand what was detected to the engine, while it needs any."""
        with suppress(queue.Empty):
            while session.waiting_for is Waiting.DETECTIONS and not session.paused:
                session.add_detections(self.thread.batches.get_nowait())
        return []


def _pulses_ahead(settings: ModemSettings) -> int:
    """Return how many pulses may be out: a few blocks' worth, as far as memory goes."""
    photons = settings.light.photon_numbers()
    arriving = settings.channel.fibre.transmittance * settings.channel.efficiency
    silent = (1 - arriving) ** np.arange(photons.shape[0])
    clicks = max(1e-9, 1 - float(silent @ photons.sum(axis=1)))
    needed = _BLOCKS_AHEAD * settings.preset.parameters.detections_per_block / clicks
    return min(int(needed) + 4 * settings.preset.frame_pulses, _MAX_REMEMBERED)
