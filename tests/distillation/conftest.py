"""Two engines in one process, a seeded photon channel between them, and hosts that store."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qkd_hal.distillation.authentication import MemoryPad
from qkd_hal.distillation.session import (
    BlockAborted,
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    DistillationParameters,
    DistillationSession,
    Emitted,
    Event,
    Role,
)
from qkd_hal.distillation.stages import Stages
from qkd_hal.distillation.transcript import Transcript
from qkd_hal.distillation.transcript_recorder import RecordingSession
from qkd_hal.distillation.transcript_replay import Replay, replay
from qkd_hal.sources import DetectionBatch

SECRET = bytes(np.random.default_rng(7).integers(0, 256, 4096, dtype=np.uint8))

SMALL = DistillationParameters(
    source="single-photon",
    intensities=(1.0,),
    intensity_probabilities=(1.0,),
    key_basis_probability=0.5,
    block_size=3000,
    qber_threshold=0.11,
    eps_sec=1e-6,
    eps_cor=1e-9,
    pad_refill_bytes=64,
)


class SeededEntropy:
    """Random bytes that replay."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def read_into(self, view: memoryview) -> None:
        view[:] = self._generator.bytes(len(view))


class Channel:
    """Light with an error rate; a pulse of one photon clicks half of the time. Also the log."""

    def __init__(self, parameters: DistillationParameters, qber: float, seed: int) -> None:
        self._click = 0.5
        self._random = np.random.default_rng(seed)
        self._parameters = parameters
        self._qber = qber
        self.begin()

    def begin(self) -> None:
        """Start over at pulse 0, as a restarted emitter does."""
        none = np.zeros(0, np.uint8)
        self._states = Emitted(none, none, none)
        self._first = 0
        self.discarded = 0

    @property
    def end(self) -> int:
        return self._first + len(self._states.bits)

    def emit(self, pulses: int) -> DetectionBatch:
        """Send *pulses* more; return what the receiver saw of them."""
        first = self.end
        sent = self._draw(pulses)
        self._states = Emitted(
            np.concatenate([self._states.bases, sent.bases]),
            np.concatenate([self._states.bits, sent.bits]),
            np.concatenate([self._states.intensities, sent.intensities]),
        )
        photons = -np.log1p(-self._click) * np.array(self._parameters.intensities)
        clicks = 1 - np.exp(-photons)[sent.intensities]
        seen = np.flatnonzero(self._random.random(pulses) < clicks)
        bases = self._bases(len(seen))
        flips = (self._random.random(len(seen)) < self._qber).astype(np.uint8)
        guesses = self._random.integers(0, 2, len(seen), dtype=np.uint8)
        bits = np.where(bases == sent.bases[seen], sent.bits[seen] ^ flips, guesses)
        return DetectionBatch(seen + first, bases, bits.astype(np.uint8), first, self.end)

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        assert pulses[0] >= self.discarded
        at = pulses - self._first
        return Emitted(self._states.bases[at], self._states.bits[at], self._states.intensities[at])

    def discard(self, before: int) -> None:
        self.discarded = before
        cut = before - self._first
        self._first = before
        kept = self._states
        self._states = Emitted(kept.bases[cut:], kept.bits[cut:], kept.intensities[cut:])

    def _draw(self, pulses: int) -> Emitted:
        bits = self._random.integers(0, 2, pulses, dtype=np.uint8)
        levels = self._random.choice(
            self._parameters.levels, pulses, p=self._parameters.intensity_probabilities
        )
        return Emitted(self._bases(pulses), bits, levels.astype(np.uint8))

    def _bases(self, count: int) -> NDArray[np.uint8]:
        test = self._random.random(count) >= self._parameters.key_basis_probability
        return test.astype(np.uint8)


@dataclass
class Host:
    """What surrounds one engine: its durable store, which survives :meth:`restart`."""

    role: Role
    parameters: DistillationParameters
    pad: MemoryPad
    seed: int = 0
    log: Channel | None = None
    pending: dict[int, bytes] = field(default_factory=dict)
    active: dict[int, bytes] = field(default_factory=dict)
    ever: set[int] = field(default_factory=set)
    crash: str = ""  # "before" or "after" the next block is stored
    refills: dict[int, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)
    in_flight: int = 1

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Lose everything but the store and the pad."""
        self.seed += 1000
        self.crash = ""
        self.engine = DistillationSession(
            self.role,
            self.parameters,
            pad=self.pad,
            entropy=SeededEntropy(self.seed),
            first_block=max(self.ever, default=-1) + 1,
            unconfirmed=list(self.pending),
            holds=self.ever.__contains__,
            stages=self.stages,
            max_in_flight=self.in_flight,
        )
        if self.log is not None:
            self.log.begin()
            self.engine.attach_emissions(self.log)
        self.act(self.engine.start())

    def act(self, events: list[Event]) -> None:
        """Do what a host does on *events*."""
        self.events += events
        for event in events:
            if isinstance(event, BlockDistilled):
                self.store(event)
            elif isinstance(event, BlockConfirmed) and event.number in self.pending:
                self.active[event.number] = self.pending.pop(event.number)
                self.pad.confirm(event.number)
            elif isinstance(event, BlockDropped):
                self.pending.pop(event.number, None)
                self.pad.drop(event.number)

    def store(self, event: BlockDistilled) -> None:
        assert event.number not in self.ever
        if self.crash == "before":
            self.restart()
            return
        self.ever.add(event.number)
        self.pending[event.number] = bytes(event.key)
        self.refills[event.number] = bytes(event.refill)
        self.pad.append(event.number, event.refill)
        if self.crash == "after":
            self.restart()
        else:
            self.act(self.engine.stored(event.number))

    def receive(self, message: bytes) -> None:
        self.act(self.engine.receive(message))

    @property
    def block(self) -> Any:
        """The oldest block that is under way, or None."""
        return next(iter(self.engine._window), None)

    @property
    def aborts(self) -> list[BlockAborted]:
        return [event for event in self.events if isinstance(event, BlockAborted)]

    @property
    def distilled(self) -> list[BlockDistilled]:
        return [event for event in self.events if isinstance(event, BlockDistilled)]


Tamper = Callable[[bool, bytes], list[bytes]]


class Pair:
    """An emitter and a detector, joined by two queues that a test may tamper with."""

    def __init__(
        self,
        parameters: DistillationParameters,
        qber: float = 0.02,
        seed: int = 1,
        in_flight: int = 1,
    ) -> None:
        self.channel = Channel(parameters, qber, seed)
        self.parameters = parameters
        emitter_pad = MemoryPad(SECRET, first=True)
        detector_pad = MemoryPad(SECRET, first=False)
        hosts = partial(Host, in_flight=in_flight)
        self.emitter = hosts(Role.EMITTER, parameters, emitter_pad, seed, self.channel)
        self.detector = hosts(Role.DETECTOR, parameters, detector_pad, seed + 1)
        self.tamper: Tamper = lambda _to_emitter, message: [message]
        self._queues: dict[bool, deque[bytes]] = {True: deque(), False: deque()}

    def photons(self, blocks: float = 1.0) -> None:
        """Send light for about *blocks* blocks."""
        pulses = int(2.05 * blocks * self.parameters.detections_per_block)
        self.detector.engine.add_detections(self.channel.emit(pulses))

    def run(self, limit: int = 50_000) -> None:
        """Carry messages until both ends are silent."""
        for _ in range(limit):
            self._collect()
            moved = [self._deliver(to_emitter) for to_emitter in (True, False)]
            if not any(moved):
                return
        raise AssertionError("the two ends never fall silent")

    def time_out(self) -> None:
        """Do what hosts do when the peer stays silent."""
        for host in (self.detector, self.emitter):
            if host.engine.waiting_for.value in {"hello", "peer"}:
                host.act(host.engine.abort("the peer is silent"))

    def lose_queues(self) -> None:
        self._collect()
        for queue in self._queues.values():
            queue.clear()

    def check_keys(self) -> None:
        """No block is active with different keys, or active where the other end lacks it."""
        for mine, other in ((self.emitter, self.detector), (self.detector, self.emitter)):
            for number, key in mine.active.items():
                theirs = other.active.get(number) or other.pending.get(number)
                assert theirs == key

    def _collect(self) -> None:
        for to_emitter, host in ((True, self.detector), (False, self.emitter)):
            messages = host.engine.outgoing()
            host.sent += messages
            for message in messages:
                self._queues[to_emitter] += self.tamper(to_emitter, message)

    def _deliver(self, to_emitter: bool) -> bool:
        queue = self._queues[to_emitter]
        if not queue:
            return False
        (self.emitter if to_emitter else self.detector).receive(queue.popleft())
        return True


@pytest.fixture
def make_pair() -> Callable[..., Pair]:
    """Build a pair with small, fast blocks: ``make_pair(qber=0.01, seed=1, **settings)``.

    ``in_flight``: how many blocks may run at once.
    """

    def make(qber: float = 0.01, seed: int = 1, in_flight: int = 1, **settings: object) -> Pair:
        return Pair(replace(SMALL, **settings), qber, seed, in_flight)  # type: ignore[arg-type]

    return make


@pytest.fixture
def entropy() -> SeededEntropy:
    return SeededEntropy(5)


class Recorded:
    """A pair whose engines write down what they do; a file for each engine that was made."""

    def __init__(self, make_pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> None:
        """*monkeypatch* makes hosts take recording engines."""
        self.files: dict[Role, list[io.BytesIO]] = {role: [] for role in Role}
        self.engines: list[RecordingSession] = []
        monkeypatch.setitem(globals(), "DistillationSession", self._engine)
        self.make = make_pair

    def _engine(self, role: Role, *arguments: Any, **options: Any) -> DistillationSession:
        self.files[role].append(io.BytesIO())
        write = self.files[role][-1].write
        self.engines.append(RecordingSession(role, *arguments, write=write, **options))
        return self.engines[-1]

    def end(self) -> None:
        for engine in self.engines:
            engine.end_recording()

    def file(self, role: Role, which: int = -1) -> bytes:
        return self.files[role][which].getvalue()

    def replay(self, role: Role, which: int = -1) -> Replay:
        return replay(Transcript(io.BytesIO(self.file(role, which)).read))


@pytest.fixture
def recorded(make_pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(make_pair, monkeypatch)


@pytest.fixture
def one_block(recorded: Recorded) -> Recorded:
    pair = recorded.make()
    pair.run()
    pair.photons(1.1)
    pair.run()
    recorded.end()
    return recorded
