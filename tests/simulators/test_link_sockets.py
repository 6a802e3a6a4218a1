"""A peer that misbehaves on ZeroMQ's own level must not take the modem's process with it."""

from __future__ import annotations

import subprocess
import sys

FILL_AND_CUT = """
import time, zmq
from qkd_hal_simulators.modem.sockets import attach, link_socket

with zmq.Context() as context:
    ours = link_socket(context, zmq.PULL, max_message=1 << 20, queue=1)
    address = attach(ours, "127.0.0.1:0", bind=True)
    with context.socket(zmq.PUSH) as peer:
        peer.linger, peer.sndhwm, peer.sndtimeo = 0, 1, 300
        peer.connect(f"tcp://{address}")
        try:
            while True:
                peer.send(bytes(200_000))
        except zmq.Again:
            pass
    time.sleep(2.5)  # heartbeats of a second would end the process here
    ours.close()
    print("alive")
"""


def test_a_peer_that_fills_the_queue_and_cuts_does_no_harm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL_AND_CUT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
