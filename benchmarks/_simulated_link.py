"""A link in one process: light, fibre, detectors, both engines, no wire between them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qkd_hal.distillation.authentication import MemoryPad
from qkd_hal.distillation.events import BlockConfirmed, BlockDistilled, Event
from qkd_hal.distillation.session import DistillationSession, Role
from qkd_hal.entropy import SystemEntropy
from qkd_hal_simulators.modem.sampling import emission_of, reception_of
from qkd_hal_simulators.settings import PRESETS, ModemSettings

__all__ = ["LinkRun", "run_link"]

_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LinkRun:
    """Link time of the pulses that went into keys, net key bits, processor time of it all."""

    link_seconds: float
    net_bits: int
    seconds: float


class _End:
    """One end, and a host that stores nothing."""

    def __init__(self, role: Role, settings: ModemSettings, secret: bytes) -> None:
        self.pad = MemoryPad(secret, first=role is Role.EMITTER)
        parameters = settings.preset.parameters
        self.engine = DistillationSession(role, parameters, pad=self.pad, entropy=SystemEntropy())
        self.keys: dict[int, bytes] = {}
        self.blocks: list[BlockDistilled] = []

    def act(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, BlockDistilled):
                self.blocks.append(event)
                self.keys[event.number] = bytes(event.key)
                self.pad.append(event.number, event.refill)
                self.act(self.engine.stored(event.number))
            elif isinstance(event, BlockConfirmed):
                self.pad.confirm(event.number)


def run_link(preset: str, blocks: int) -> LinkRun:
    """Distil *blocks* blocks; both ends' keys are compared."""
    settings = _settings(preset)
    seeds = (np.random.Generator(np.random.SFC64(seed)) for seed in (1, 2))
    source = emission_of(settings, next(seeds), first_pulse=0)
    receiver = reception_of(settings, next(seeds))
    secret = np.random.default_rng(3).bytes(_SECRET_BYTES)
    emitter, detector = (_End(role, settings, secret) for role in (Role.EMITTER, Role.DETECTOR))
    emitter.engine.attach_emissions(source.log)
    for end in (emitter, detector):
        end.act(end.engine.start())
    _carry(emitter, detector)
    began = time.process_time()  # of all threads: nobody gains by a second core
    while len(detector.blocks) < blocks:
        _, light = source.emit()
        detector.engine.add_detections(receiver.measure(light))
        _carry(emitter, detector)
    seconds = time.process_time() - began
    assert emitter.keys == detector.keys
    reports = [block.report for block in detector.blocks]
    pulses = sum(report.pulses for report in reports)
    clock = 1e6 * settings.channel.clock_mhz
    return LinkRun(pulses / clock, sum(report.net_bits for report in reports), seconds)


def _carry(emitter: _End, detector: _End) -> None:
    """Carry messages until both ends are silent."""
    moved = True
    while moved:
        moved = False
        for mine, theirs in ((emitter, detector), (detector, emitter)):
            for message in mine.engine.outgoing():
                moved = True
                theirs.act(theirs.engine.receive(message))


def _settings(preset: str) -> ModemSettings:
    chosen = PRESETS[preset]
    nowhere = "127.0.0.1:0"
    return ModemSettings(
        site="alice",
        peer="bob",
        first=True,
        emits=True,
        quantum=nowhere,
        classical=nowhere,
        app=nowhere,
        directory=Path(),
        preset=chosen,
        channel=chosen.channel,
    )
