"""Eve as a process between two modems: on the light, on the messages, or listening to both."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import zmq

from qkd_hal.entropy import SystemEntropy
from qkd_hal.errors import ProtocolError
from qkd_hal.private_files import replace_private
from qkd_hal_simulators.eve_listener import Listener
from qkd_hal_simulators.eve_relay import ClassicalRelay
from qkd_hal_simulators.eve_report import cost_fields, knowledge_fields, tap_fields
from qkd_hal_simulators.eve_settings import place_of
from qkd_hal_simulators.man_in_the_middle import make_man_in_the_middle
from qkd_hal_simulators.modem.classical import QUEUED_MESSAGES
from qkd_hal_simulators.modem.quantum import QUEUED_FRAMES
from qkd_hal_simulators.modem.sockets import attach, link_socket
from qkd_hal_simulators.modem.workers import Workers
from qkd_hal_simulators.physics.eve import Notebook, make_attack
from qkd_hal_simulators.physics.eve.options import AttackOptions
from qkd_hal_simulators.physics.frame import MAX_FRAME_BYTES, PhotonFrame
from qkd_hal_simulators.physics.random import physical_generator

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    import numpy as np

    from qkd_hal_simulators.eve_settings import EveSettings, Tap
    from qkd_hal_simulators.physics.eve import Attack

    Socket = zmq.Socket[bytes]

__all__ = ["run_eve"]

_LOG = logging.getLogger("qkd_hal.modem.eve")
_SLICE_MS = 50
_REPORT_SECONDS = 0.2


class Eve:
    """One Eve and what she has open. Made and closed within :func:`run_eve`."""

    def __init__(self, settings: EveSettings, cleanup: ExitStack) -> None:
        self._settings = settings
        self._place = place_of(settings.attack)
        self._options = AttackOptions(settings.attack)
        seed = settings.seed
        self._rng = physical_generator(SystemEntropy() if seed is None else seed)
        self._target = settings.target
        self._attack: Attack | None = None
        self._middle = None
        if self._place.tampers_with_messages:
            self._middle = make_man_in_the_middle(self._options, self._rng)
        else:
            self._attack = make_attack(self._options, self._target)
        notes = self._attack.hands.notes if self._attack else Notebook()
        self._listener = Listener(notes, levels=settings.preset.parameters.levels)
        self._context = cleanup.enter_context(zmq.Context())
        self._addresses: dict[str, str] = {}
        self._quantum = self._open_quantum(cleanup)
        self._relay = self._open_classical(cleanup)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where she listens, by channel."""
        return self._addresses

    def report(self) -> dict[str, object]:
        """Return what she did, learned and cost so far."""
        overheard, parameters = self._listener.overheard, self._settings.preset.parameters
        return {
            "attack": self._options.name,
            "options": self._options.taken,
            **self._deeds(),
            **knowledge_fields(overheard),
            **cost_fields(overheard, self._target, parameters),
        }

    def _deeds(self) -> dict[str, object]:
        if self._middle is not None:
            return {"fraction": self._middle.fraction, **self._middle.to_json()}
        assert self._attack is not None  # noqa: S101 - she is on one channel or the other
        return {"fraction": self._attack.fraction, **tap_fields(self._attack)}

    def run(self, stop: threading.Event) -> None:
        """Work on every channel that she has until *stop* is set, and report as she goes."""
        with Workers(stop) as workers:
            if self._quantum is not None:
                workers.start("quantum", self._tap_light)
            if self._relay is not None:
                workers.start("classical", self._relay.run)
            while not stop.wait(_REPORT_SECONDS):
                self._write_report()
        self._write_report()

    def _write_report(self) -> None:
        if self._settings.report is not None:
            replace_private(self._settings.report, json.dumps(self.report()).encode())

    def _open_quantum(self, cleanup: ExitStack) -> tuple[Socket, Socket] | None:
        tap = self._settings.quantum
        if tap is None:
            return None
        kinds = (zmq.PUSH, zmq.PULL) if self._settings.emitter_listens else (zmq.PULL, zmq.PUSH)
        size, queue = MAX_FRAME_BYTES, QUEUED_FRAMES
        near, far = self._open("quantum", tap, kinds, size, queue, cleanup)
        return (far, near) if self._settings.emitter_listens else (near, far)

    def _open_classical(self, cleanup: ExitStack) -> ClassicalRelay | None:
        tap = self._settings.classical
        if tap is None:
            return None
        size = self._settings.preset.parameters.max_message_bytes + 1
        kinds = (zmq.DEALER, zmq.DEALER)
        ends = self._open("classical", tap, kinds, size, QUEUED_MESSAGES, cleanup)
        return ClassicalRelay(*ends, hear=self._listener.hear, tampering=self._middle)

    def _open(
        self,
        name: str,
        tap: Tap,
        kinds: tuple[int, int],
        size: int,
        queue: int,
        cleanup: ExitStack,
    ) -> tuple[Socket, Socket]:
        """Return the socket for the end that connects, and the one for the end that binds."""
        near, far = (
            link_socket(self._context, kind, max_message=size, queue=queue) for kind in kinds
        )
        cleanup.callback(near.close)
        cleanup.callback(far.close)
        self._addresses[name] = attach(near, tap.listen, bind=True)
        attach(far, tap.forward, bind=False)
        return near, far

    def _tap_light(self, stop: threading.Event) -> None:
        assert self._quantum is not None  # noqa: S101 - the thread is only started with it
        while not stop.is_set():
            _forward_one(self._attack, self._rng, *self._quantum)


def run_eve(
    settings: EveSettings,
    stop: threading.Event,
    *,
    ready: Callable[[Mapping[str, str]], None],
) -> dict[str, object]:
    """Eavesdrop until *stop* is set; *ready* hears where she listens. Return her report.

    Raises:
        UsageError: the attack is none.
        ConfigurationError: an address cannot be used.
    """
    with ExitStack() as cleanup:
        eve = Eve(settings, cleanup)
        ready(eve.addresses)
        eve.run(stop)
        return eve.report()


def _forward_one(
    attack: Attack | None, rng: np.random.Generator, light_in: Socket, light_out: Socket
) -> None:
    if not light_out.poll(_SLICE_MS, zmq.POLLOUT) or not light_in.poll(_SLICE_MS):
        return
    try:
        raw = light_in.recv()
        if attack is not None:
            raw = attack.tap(PhotonFrame.from_bytes(raw), rng).to_bytes()
        light_out.send(raw, zmq.NOBLOCK)
    except ProtocolError as error:
        # Clicks that were sampled at the emitting end come here, too: she has nothing to tap.
        _LOG.warning("dropped a message on the quantum channel: %s", error)
    except zmq.Again:
        _LOG.debug("a frame found no receiver")
