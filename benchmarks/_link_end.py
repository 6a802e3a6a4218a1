"""One end of the link whose throughput is measured: a modem's own distilling thread and stores.

``python -m benchmarks._link_end ROLE ADDRESS SECONDS IN_FLIGHT DIRECTORY``, where an ADDRESS to
bind begins with ``@``, prints one JSON object: when each block was confirmed, how many net bits
it gave, and a digest of its key.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import zmq
from numpy.typing import NDArray

from qkd_hal.distillation.cascade_variants import QUICK
from qkd_hal.distillation.session import (
    DistillationParameters,
    DistillationSession,
    Emitted,
    Event,
    Role,
)
from qkd_hal.distillation.stages import Cascade, Stages
from qkd_hal.entropy import SystemEntropy
from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators.modem.appetite import Appetite
from qkd_hal_simulators.modem.block_store import BlockStore
from qkd_hal_simulators.modem.classical import QUEUED_MESSAGES, ClassicalChannel
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.distiller import Distiller
from qkd_hal_simulators.modem.key_store import KeyStore
from qkd_hal_simulators.modem.pad_store import PadStore
from qkd_hal_simulators.modem.record import LinkRecord
from qkd_hal_simulators.modem.sockets import Waker, attach, link_socket

QBER = 0.015
KEY_SHARE = 0.95  # of the sifted bits; the others are tested
BITS = 1_000_000  # key bits of a block
CYCLE = 4  # blocks of light prepared beforehand, and used again and again
CAPACITY = 1 << 30

PARAMETERS = DistillationParameters(
    source="single-photon",
    intensities=(1.0,),
    intensity_probabilities=(1.0,),
    key_basis_probability=KEY_SHARE,
    block_size=int(BITS * KEY_SHARE),
)


class Light:
    """Sifted bits: every pulse clicks, all bases agree, and some bits are wrong."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.size = CYCLE * PARAMETERS.detections_per_block
        self.bases = (random.random(self.size) >= KEY_SHARE).astype(np.uint8)
        self.bits = random.integers(0, 2, self.size, dtype=np.uint8)
        self.flips = (random.random(self.size) < QBER).astype(np.uint8)
        self.none = np.zeros(self.size, np.uint8)


class Log:
    """What the emitter remembers of light that is always two blocks ahead."""

    def __init__(self, light: Light) -> None:
        self._light = light
        self._first = 0

    @property
    def end(self) -> int:
        return self._first + 2 * PARAMETERS.detections_per_block

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        first = int(pulses[0]) % self._light.size
        part = slice(first, first + len(pulses))  # blocks never straddle the end of the cycle
        return Emitted(self._light.bases[part], self._light.bits[part], self._light.none[part])

    def discard(self, before: int) -> None:
        self._first = before


class Clicks:
    """The detector's quantum channel: a block of clicks whenever it wants one."""

    def __init__(self, light: Light, waker: Waker) -> None:
        self._light = light
        self._waker = waker
        self._received = light.bits ^ light.flips
        self._next = 0

    def __call__(self, session: DistillationSession) -> Iterable[Event]:
        if session.wants_detections:
            session.add_detections(self._block())
            self._waker.set()
        return []

    def _block(self) -> DetectionBatch:
        count = PARAMETERS.detections_per_block
        first = self._next
        self._next += count
        part = slice(first % self._light.size, first % self._light.size + count)
        bases, bits = self._light.bases[part].copy(), self._received[part].copy()
        pulses = np.arange(first, first + count)
        return DetectionBatch(pulses, bases, bits, first, first + count)


class Ledger(BlockStore):
    """A modem's store that notes when a block was confirmed, and its digest."""

    def __init__(self, database: Database, *, first: bool) -> None:
        pad = PadStore(database, first=first)
        with memoryview(bytes(np.random.default_rng(2).bytes(4096))) as secret:
            pad.install(secret)
        self.pad = pad
        self.keys = KeyStore(database, capacity=CAPACITY)
        super().__init__(database, self.keys, pad, first=first)
        self.blocks: dict[int, tuple[float, int, str]] = {}
        self._pending: dict[int, tuple[int, str]] = {}

    def add(self, number: int, key: bytearray, refill: bytearray) -> None:
        self._pending[number] = 8 * len(key), hashlib.sha256(key).hexdigest()
        super().add(number, key, refill)

    def confirm(self, number: int) -> None:
        super().confirm(number)
        self.blocks[number] = (time.monotonic(), *self._pending.pop(number))


def main(role: str, address: str, seconds: float, in_flight: int, directory: Path) -> None:
    """Distil for *seconds*, then print the account."""
    emits = role == "emitter"
    light, record, stop = Light(), LinkRecord(), threading.Event()
    database, waker = Database(directory / f"{role}.sqlite3"), Waker()
    ledger = Ledger(database, first=emits)
    with zmq.Context() as context:
        socket = link_socket(
            context,
            zmq.DEALER,
            max_message=PARAMETERS.max_message_bytes + 1,
            queue=QUEUED_MESSAGES,
        )
        attach(socket, address.removeprefix("@"), bind=address.startswith("@"))
        session = DistillationSession(
            Role.EMITTER if emits else Role.DETECTOR,
            PARAMETERS,
            pad=ledger.pad,
            entropy=SystemEntropy(),
            max_in_flight=in_flight,
            stages=Stages(reconciliation=Cascade(variant=QUICK)),  # fewest messages
        )
        if emits:
            session.attach_emissions(Log(light))
        distiller = Distiller(
            session,
            ClassicalChannel(socket),
            ledger,
            record,
            Appetite(ledger.keys, high_water=CAPACITY),
            (lambda _: []) if emits else Clicks(light, waker),
            waker,
            answer_seconds=10.0,
        )
        began = time.monotonic()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        try:
            distiller.run(stop)
        finally:
            ended = time.monotonic()
            timer.cancel()
            socket.close()
    waker.close()
    database.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    details = record.snapshot()["details"]
    print(
        json.dumps(
            {
                "began": began,
                "ended": ended,
                "blocks": ledger.blocks,
                "cpu": usage.ru_utime + usage.ru_stime,
                "peak_mib": usage.ru_maxrss / 1024,
                "details": details,
            }
        )
    )


if __name__ == "__main__":
    name, where, duration, window, folder = sys.argv[1:]
    main(name, where, float(duration), int(window), Path(folder))
