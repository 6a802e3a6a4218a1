"""Random calls on two devices that share keys, every answer judged."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from qkd_hal.device import DeviceState
from qkd_hal.errors import DevicePermissionError, QKDError
from qkd_hal.keys import KeyId

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.keys import QuantumKey
    from tests.soak.ledger import Ledger
    from tests.soak.overheard import Overheard

__all__ = ["Player", "World"]

T = TypeVar("T")

_ALLOWANCE = 1.0  # seconds beyond its deadline in which a call ends, if nothing else runs
_TIMEOUT = 1.0  # seconds of a call that names none
_TIMEOUTS = ([None, 0.0, 0.001, 0.02, 0.2, 2.0], [70, 2, 4, 6, 8, 10])
_SIZES = ([32, 1, 48, 256, 5000, 65536, None, 1 << 30], [50, 4, 10, 10, 3, 1, 20, 2])
_SESSIONS = 8  # held at once; older ones are dropped unclosed
_WEIGHTS = {
    "start": 14,
    "join": 8,
    "connect": 14,
    "get": 22,
    "derive": 5,
    "look up": 12,
    "status": 4,
    "init": 3,
    "close session": 4,
    "drop session": 3,
    "reopen": 0.5,
    "together": 5,
    "disturb": 1,
}


class World(Protocol):
    """Two devices that share keys, and what may befall them."""

    ledger: Ledger
    names: tuple[str, str]
    pace: float  # of all times that calls are given

    def open(self, end: str, timeout: float) -> QKDDevice:
        """Return a new device at *end*, not yet initialised."""
        ...

    def disturb(self, chance: Random) -> None:
        """Let something happen behind the devices' backs."""
        ...

    def calm(self) -> None:
        """Let nothing happen any more; by and by everything works again."""
        ...

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        """Tell whether the device at *end* has bytes of the key *below* that place."""
        ...

    def faults(self) -> Sequence[str]:
        """Name the faults that struck."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


@dataclass(slots=True)
class _Held:
    end: str
    device: QKDDevice
    session: QKDSession
    connected: bool = False


class Player:
    """Plays on *world* as *chance* has it. ``outcomes`` counts how calls ended.

    *lateness* tells how much later than planned things happen on this machine, in seconds.
    """

    def __init__(
        self,
        world: World,
        chance: Random,
        overheard: Overheard,
        lateness: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._world = world
        self._chance = chance
        self._overheard = overheard
        self._lateness = lateness
        self._default = _TIMEOUT * world.pace
        self._devices = {end: world.open(end, self._default) for end in world.names}
        # Where a secret was refused it is not given again, until a person opens the device anew.
        self._barred: set[QKDDevice] = set()
        self._held: list[_Held] = []
        self._named: deque[tuple[str, KeyId]] = deque(maxlen=24)
        self.outcomes: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=40)
        self.done = 0
        self.last = time.monotonic()  # when a call ended last

    def step(self) -> None:
        """Make one call, or a few at once."""
        end = self._chance.choice(self._world.names)
        if self._devices[end] in self._barred:
            self._reopen(end)
            return
        if self._devices[end].state is not DeviceState.READY and self._chance.random() < 0.7:
            self._init(end)
            return
        (name,) = self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        getattr(self, f"_{name.replace(' ', '_')}")(end)

    def recover(self) -> None:
        """Without faults, everything works again: one key, the same at both ends."""
        self._world.calm()
        until = time.monotonic() + 10
        while not self._exchanged():
            assert time.monotonic() < until, "no key came after the faults had ended"
            time.sleep(0.05)

    def close(self) -> None:
        """Close everything."""
        for device in self._devices.values():
            device.close()

    def _start(self, end: str) -> None:
        device, size = self._devices[end], self._pick(_SIZES)
        timeout = self._timeout()
        session = self._call(
            "start", device, timeout, lambda: device.start(size=size, timeout=timeout)
        )
        if session is not None:
            self._named.append((end, session.key_id))
            self._keep(_Held(end, device, session))

    def _join(self, end: str) -> None:
        end, key_id = self._from_other(end)
        device, timeout = self._devices[end], self._timeout()
        session = self._call(
            "join", device, timeout, lambda: device.start(key_id=key_id, timeout=timeout)
        )
        if session is not None:
            self._keep(_Held(end, device, session))

    def _connect(self, _: str) -> None:
        held, timeout = self._any_held(connected=False), self._timeout()
        if held is not None:
            agreement = self._call(
                "connect", held.device, timeout, lambda: held.session.connect(timeout=timeout)
            )
            held.connected |= agreement is not None

    def _get(self, _: str) -> None:
        held = self._any_held()
        if held is not None:
            sizes: list[int | None] = [32, 8, None, 1, 100, 0]
            (size,) = self._chance.choices(sizes, [40, 20, 25, 6, 6, 1])
            self._read(held, size, self._timeout())

    def _derive(self, _: str) -> None:
        held = self._any_held()
        if held is not None:
            label = self._chance.choice([b"a", b"b", self._chance.randbytes(4)])
            size = self._chance.choice([32, 32, 32, 8, 100, 0])
            self._derive_of(held, label, size, self._timeout())

    def _look_up(self, end: str) -> None:
        end, key_id = self._from_other(end)
        self._take(end, key_id, self._timeout())

    def _status(self, end: str) -> None:
        self._later_status(end)()

    def _init(self, end: str) -> None:
        device, timeout = self._devices[end], self._timeout()
        self._call("init", device, timeout, lambda: device.init(timeout))

    def _close_session(self, _: str) -> None:
        held = self._any_held()
        if held is not None:
            self._held.remove(held)
            self._call("close", held.device, 0.0, held.session.close)

    def _drop_session(self, _: str) -> None:
        held = self._any_held()
        if held is not None:
            self._held.remove(held)

    def _reopen(self, end: str) -> None:
        device = self._devices[end]
        self._call("close", device, self._default, device.close)
        self._devices[end] = self._world.open(end, self._default)
        self._init(end)

    def _disturb(self, _: str) -> None:
        self._world.disturb(self._chance)

    def _together(self, end: str) -> None:
        """Let calls that are after the same bytes run at once, with one that may end them."""
        works: list[Callable[[], object]] = []
        held, key = self._any_held(), self._from_other(end)
        if held is not None and self._chance.random() < 0.7:
            works += [self._later_read(held) for _ in range(2)]
            works.append(self._chance.choice([held.session.close, self._later_status(held.end)]))
        else:
            works += [self._later_take(*key) for _ in range(2)]
        if self._chance.random() < 0.1:
            device = self._devices[end]
            works.append(lambda: self._call("close", device, self._default, device.close))
            self._devices[end] = self._world.open(end, self._default)
        self._at_once(works)
        self._world.ledger.check_order()

    def _later_read(self, held: _Held) -> Callable[[], object]:
        size, timeout = self._chance.choice([8, 16, 32]), self._timeout()
        return lambda: self._read(held, size, timeout)

    def _later_status(self, end: str) -> Callable[[], object]:
        # Chance is asked here, not in the thread, or a seed would not repeat the calls.
        device, timeout = self._devices[end], self._timeout()
        return lambda: self._call("status", device, timeout, lambda: device.status(timeout))

    def _later_take(self, end: str, key_id: KeyId) -> Callable[[], object]:
        timeout = self._timeout()
        return lambda: self._take(end, key_id, timeout)

    def _at_once(self, works: list[Callable[[], object]]) -> None:
        failures: list[BaseException] = []

        def run(work: Callable[[], object]) -> None:
            try:
                work()
            except BaseException as failure:  # handed on below
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _read(self, held: _Held, size: int | None, timeout: float | None) -> None:
        key = self._call(
            "get", held.device, timeout, lambda: held.session.get_key(size, timeout=timeout)
        )
        if key is not None:
            self._world.ledger.give(held.end, held.session.key_id, _bytes_of(key))

    def _derive_of(self, held: _Held, label: bytes, size: int, timeout: float | None) -> None:
        key = self._call(
            "derive", held.device, timeout, lambda: held.session.derive(label, size, timeout)
        )
        if key is not None:
            self._world.ledger.derive(held.end, held.session.key_id, label, _bytes_of(key))

    def _take(self, end: str, key_id: KeyId, timeout: float | None) -> None:
        device = self._devices[end]
        key = self._call(
            "look up", device, timeout, lambda: device.get_key_by_id(key_id, timeout=timeout)
        )
        if key is not None:
            self._world.ledger.give(end, key_id, _bytes_of(key))

    def _exchanged(self) -> bool:
        first, second = self._world.names
        for end in self._world.names:
            if self._devices[end] in self._barred:
                self._reopen(end)
        if any(self._devices[end].state is not DeviceState.READY for end in self._world.names):
            self._init(first)
            self._init(second)
        with (
            contextlib.suppress(QKDError),
            self._devices[first].start(size=32) as mine,
            self._devices[second].start(key_id=mine.key_id) as theirs,
        ):
            for end, session in ((first, mine), (second, theirs)):
                session.connect()
                derived = _bytes_of(session.derive(b"all is well"))
                self._world.ledger.derive(end, session.key_id, b"all is well", derived)
            return True
        return False

    def _call(
        self, name: str, device: QKDDevice, timeout: float | None, work: Callable[[], T]
    ) -> T | None:
        """Return what *work* gives; judge how it ends, and when."""
        limit = (self._default if timeout is None else timeout) + _ALLOWANCE
        begin = time.monotonic()
        outcome, result = "ok", None
        try:
            result = work()
        except QKDError as error:
            self._judge(error, device)
            outcome = type(error).__name__
        self.last = time.monotonic()
        took = self.last - begin
        self.done += 1
        self.outcomes[f"{name}: {outcome}"] += 1
        self.trace.append(f"{name} at {device.name.partition('?')[0]}, {timeout} s: {outcome}")
        limit += self._lateness()
        assert took < limit, f"{name} took {took:.1f} s with {timeout} s to go"
        return result

    def _judge(self, error: QKDError, device: QKDDevice) -> None:
        self._overheard.note(error)
        if isinstance(error, DevicePermissionError):
            self._barred.add(device)
        named = error.device is not None and device.name.startswith(error.device)
        assert named, f"{error!r} names {error.device} rather than {device.name}"
        assert "bug in the driver" not in error.what, error.what

    def _keep(self, held: _Held) -> None:
        self._held.append(held)
        del self._held[:-_SESSIONS]

    def _any_held(self, *, connected: bool = True) -> _Held | None:
        """Choose a session, mostly a late one, and mostly one that lives and is *connected*."""
        fit = self._held
        if self._chance.random() < 0.9:
            fit = [one for one in fit if one.session.alive and one.connected is connected]
        return self._latest(fit) if fit else None

    def _latest(self, rest: Sequence[T]) -> T:
        back = int(self._chance.expovariate(0.4))
        return rest[-1 - min(back, len(rest) - 1)]

    def _from_other(self, end: str) -> tuple[str, KeyId]:
        """Name a key, mostly one that the other end started, at the end that takes it."""
        if not self._named or self._chance.random() < 0.02:
            return end, KeyId.from_bytes(self._chance.randbytes(16))
        owner, key_id = self._latest(self._named)
        first, second = self._world.names
        other = second if owner == first else first
        return (owner if self._chance.random() < 0.05 else other), key_id

    def _timeout(self) -> float | None:
        timeout = self._pick(_TIMEOUTS)
        return None if timeout is None else timeout * self._world.pace

    def _pick(self, choice: tuple[list[T], list[int]]) -> T:
        (one,) = self._chance.choices(*choice)
        return one


def _bytes_of(key: QuantumKey) -> bytes:
    with key.exposed() as view:
        return bytes(view)
