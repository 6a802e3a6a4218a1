"""Eve as a process in the middle of the quantum channel; the classical one she leaves alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import zmq

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.modem.quantum import QUEUED_FRAMES
from qkd_hal_simulators.modem.sockets import attach, link_socket
from qkd_hal_simulators.physics.frame import MAX_FRAME_BYTES, PhotonFrame

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import numpy as np

    from qkd_hal_simulators.physics.eve import InterceptResend

__all__ = ["run_eve"]

_SLICE_MS = 50


def run_eve(
    attack: InterceptResend,
    rng: np.random.Generator,
    stop: threading.Event,
    *,
    listen: str,
    forward: str,
    emitter_listens: bool,
    ready: Callable[[str], None],
) -> None:
    """Tap every frame until *stop* is set.

    Eve binds *listen*, for the end that connects, and connects to *forward*, the end that
    binds; *emitter_listens* says which of them emits. *ready* is told where she listens.
    """
    with ExitStack() as cleanup:
        context = cleanup.enter_context(zmq.Context())
        sockets = []
        for kind, bind in ((zmq.PULL, not emitter_listens), (zmq.PUSH, emitter_listens)):
            made = link_socket(context, kind, max_message=MAX_FRAME_BYTES, queue=QUEUED_FRAMES)
            cleanup.callback(made.close)
            endpoint = attach(made, listen if bind else forward, bind=bind)
            sockets.append(made)
            if bind:
                bound = endpoint
        ready(bound)
        while not stop.is_set():
            _forward_one(attack, rng, *sockets)


def _forward_one(
    attack: InterceptResend,
    rng: np.random.Generator,
    light_in: zmq.Socket[bytes],
    light_out: zmq.Socket[bytes],
) -> None:
    if not light_out.poll(_SLICE_MS, zmq.POLLOUT) or not light_in.poll(_SLICE_MS):
        return
    try:
        frame = PhotonFrame.from_bytes(light_in.recv())
        light_out.send(attack.tap(frame, rng).to_bytes(), zmq.NOBLOCK)
    except (ProtocolError, zmq.Again):
        return  # light that is no light, or a receiver that went away: it is lost in the fibre
