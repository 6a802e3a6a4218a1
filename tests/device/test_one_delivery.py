"""Random calls, faults and losses at both ends: no byte comes twice, and none is wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qkd_hal.errors import DeadlineError, DeviceLostError, ProtocolError, QKDError
from qkd_hal.keys import KeyId
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.keys import QuantumKey
    from tests.device.conftest import Pair

FAULTS = [ProtocolError, DeadlineError, DeviceLostError, RuntimeError]
HOOKS = ["status", "bind", "agree", "fetch", "after fetch", "confirm"]

end = st.integers(0, 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("start"), end, st.sampled_from([4, 8, 16])),
        st.tuples(st.just("join"), end, st.integers(0, 5)),
        st.tuples(st.just("look up"), end, st.integers(0, 5)),
        st.tuples(st.just("read"), st.integers(0, 9), st.integers(1, 9)),
        st.tuples(st.just("close"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("status"), end, st.just(0)),
        st.tuples(st.just("init"), end, st.just(0)),
        st.tuples(
            st.just("fault"), end, st.integers(0, len(HOOKS) - 1), st.integers(0, len(FAULTS) - 1)
        ),
    ),
    max_size=40,
)


class History:
    """Plays steps on a pair and keeps what each end was given of each key, in order."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.devices: list[QKDDevice] = [pair.alice, pair.bob]
        self.drivers = [pair.alice_driver, pair.bob_driver]
        self.sessions: list[tuple[int, QKDSession]] = []
        self.given: dict[tuple[int, KeyId], bytes] = {}

    def play(self, step: tuple[object, ...]) -> None:
        name, *arguments = step
        with suppress(QKDError):
            getattr(self, f"_{str(name).replace(' ', '_')}")(*arguments)

    def _start(self, end: int, size: int) -> None:
        self._opened(end, self.devices[end].start(size=size))

    def _join(self, end: int, which: int) -> None:
        self._opened(end, self.devices[end].start(key_id=self._key_id(which)))

    def _look_up(self, end: int, which: int) -> None:
        self._deliver(end, self.devices[end].get_key_by_id(self._key_id(which)))

    def _read(self, which: int, size: int) -> None:
        if self.sessions:
            end, session = self.sessions[which % len(self.sessions)]
            self._deliver(end, session.get_key(size))

    def _close(self, which: int, _: int) -> None:
        if self.sessions:
            self.sessions[which % len(self.sessions)][1].close()

    def _status(self, end: int, _: int) -> None:
        self.devices[end].status()

    def _init(self, end: int, _: int) -> None:
        self.devices[end].init()

    def _fault(self, end: int, hook: int, fault: int) -> None:
        self.drivers[end].fail(HOOKS[hook], FAULTS[fault]("fault"))

    def _opened(self, end: int, session: QKDSession) -> None:
        session.connect()
        self.sessions.append((end, session))

    def _key_id(self, which: int) -> KeyId:
        known = list(self.pair.link.entries)
        return known[which % len(known)] if known else KeyId.random()

    def _deliver(self, end: int, key: QuantumKey) -> None:
        assert key.ref is not None
        before = self.given.get((end, key.ref.key_id), b"")
        with key.exposed() as view:
            self.given[end, key.ref.key_id] = before + bytes(view)


@pytest.mark.parametrize("repeatable", [True, False])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
def test_each_end_is_given_a_prefix_of_each_key_once(
    repeatable: bool, steps: list[tuple[object, ...]], new_pair: Callable[..., Pair]
) -> None:
    can = {Capability.EXTRACT, Capability.LOOK_UP, Capability.REPEATABLE_FETCH}
    pair = new_pair(frozenset(can if repeatable else can - {Capability.REPEATABLE_FETCH}))
    history = History(pair)
    for step in steps:
        history.play(step)
    for (_, key_id), given_bytes in history.given.items():
        # A byte given twice would make this longer than, or different from, the key's start.
        assert pair.link.entries[key_id].material.startswith(given_bytes)
