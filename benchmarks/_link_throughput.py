"""Sifted bits to stored secret key: two processes, a modem's host in each, over ZeroMQ on TCP.

What is in it: sifting messages (all bases agree: the bits are sifted), estimation, Cascade,
verification, amplification, tags from durable pads, blocks stored in SQLite at both ends; the
finite-key length for ideal single photons with blocks of 10^6 key bits, eps_sec = 1e-10 and
eps_cor = 1e-15. What is not: light, which was prepared beforehand, with 1.5 % of errors. The rate
is that of net key, after the pads' refills, confirmed in the later 60 % of the run. Both
ends' keys are compared.

Two more runs go through a relay: one passes all on at once, one holds every message for 5 ms,
however many there are. Their ratio is what latency costs; the relay itself, a third process on
two cores, costs both alike.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import zmq

from benchmarks._report import Row
from qkd_hal_simulators.modem.sockets import bound_address

IN_FLIGHT_NEAR, IN_FLIGHT_FAR = 16, 48  # far: round trips per block x 10 ms / time per block
WARM_UP = 0.4  # of a run: the window fills
ONE_WAY_SECONDS = 0.005
QUICK_SECONDS, SECONDS = (8.0, 22.0), (30.0, 60.0)  # near and far: a long window takes time
HALF_MILLISECOND = 0.0005
TOSHIBA = 13.72  # Mbit/s of secret key: Yuan et al., J. Lightwave Technol. 36, 3427 (2018)


def rows(quick: bool) -> list[Row]:
    """Return what two processes reach, and what latency takes from it."""
    near_seconds, far_seconds = QUICK_SECONDS if quick else SECONDS
    near = run(near_seconds, IN_FLIGHT_NEAR, Direct())
    relayed = run(near_seconds, IN_FLIGHT_NEAR, Relay(0.0))
    far = run(far_seconds, IN_FLIGHT_FAR, Relay(ONE_WAY_SECONDS))
    record = f"Toshiba 2018 {TOSHIBA}"
    return [
        Row("link_secret_mbps", near, "Mbit/s", record, near / TOSHIBA),
        Row("link_secret_mbps_10ms", far, "Mbit/s", record, far / TOSHIBA),
        Row(
            "link_latency_ratio_10ms", far / relayed, "x", f"no delay {relayed:.2f}", far / relayed
        ),
    ]


def run(seconds: float, in_flight: int, between: Direct | Relay) -> float:
    """Return the net rate in Mbit/s of a link with *between* in its classical channel."""
    with between as line, tempfile.TemporaryDirectory() as directory:
        ends = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks._link_end", role, address),
                    *(str(seconds), str(in_flight), directory),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for role, address in zip(("emitter", "detector"), line.addresses, strict=True)
        ]
        outputs = [end.communicate()[0] for end in ends]
    emitter, detector = (json.loads(output) for output in outputs)
    print(summary(emitter), summary(detector), file=sys.stderr)
    return rate(emitter, detector)


def summary(end: dict[str, Any]) -> str:
    bits = sum(net for _, net, _ in end["blocks"].values())
    return (
        f"{len(end['blocks'])} blocks, {end['cpu'] / max(1, bits) * 1e9:.0f} ns of CPU per bit, "
        f"{end['peak_mib']:.0f} MiB, {end['details'].get('aborted_blocks')} aborted;"
    )


def rate(emitter: dict[str, Any], detector: dict[str, Any]) -> float:
    """Return net Mbit/s of the later part of the run; the keys must agree."""
    blocks = emitter["blocks"]
    both = blocks.keys() & detector["blocks"].keys()
    assert len(both) > 3, "hardly a block was distilled"
    assert all(blocks[number][1:] == detector["blocks"][number][1:] for number in both)
    middle = emitter["began"] + (emitter["ended"] - emitter["began"]) * WARM_UP
    bits = sum(net for when, net, _ in blocks.values() if when > middle)
    return float(bits / (emitter["ended"] - middle) / 1e6)


class Direct:
    """Nothing between the two ends: the emitter binds, the detector connects."""

    def __enter__(self) -> Direct:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.addresses = [f"@127.0.0.1:{port}", f"127.0.0.1:{port}"]
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""


class Relay:
    """Carries messages between two DEALER sockets, each *delay* seconds late."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._context = zmq.Context()
        self._sockets = [self._context.socket(zmq.DEALER) for _ in range(2)]
        for end in self._sockets:
            end.linger = 0
            end.sndhwm = end.rcvhwm = 0
            end.bind("tcp://127.0.0.1:*")
        self.addresses = [bound_address(end) for end in self._sockets]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy()

    def _run(self) -> None:
        poller = zmq.Poller()
        for end in self._sockets:
            poller.register(end, zmq.POLLIN)
        waiting: deque[tuple[float, int, zmq.Frame]] = deque()
        while not self._stop.is_set():
            left = waiting[0][0] - time.monotonic() if waiting else 0.05
            poller.poll(round(max(0.0, left * 1000)))
            self._take(waiting)
            due = time.monotonic() + HALF_MILLISECOND  # poll() counts in whole ones
            while waiting and waiting[0][0] <= due:
                _, to, message = waiting.popleft()
                with suppress(zmq.Again):  # nobody has connected yet
                    self._sockets[to].send(message, zmq.NOBLOCK, copy=False)

    def _take(self, waiting: deque[tuple[float, int, zmq.Frame]]) -> None:
        for source, end in enumerate(self._sockets):
            while end.poll(0):
                message = end.recv(copy=False)
                waiting.append((time.monotonic() + self._delay, 1 - source, message))
