"""The keys themselves."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends

if TYPE_CHECKING:
    from qkd_hal.keys import QuantumKey

__all__ = ["Keys"]

_KEYS = 8
_SIGMAS = 6  # one run in 500 million fails a fair device


class Keys(Conformance):
    """Keys and their names are unique and look like nothing."""

    def test_keys_differ(self, end: End) -> None:
        """No two keys, and no two key IDs, are the same."""
        given = [end.give() for _ in range(_KEYS)]
        assert len({name for name, _ in given}) == _KEYS, "two keys have one key ID"
        assert len({value for _, value in given}) == _KEYS, "two key IDs have one key"

    def test_keys_are_no_pattern(self, end: End) -> None:
        """As many ones as zeros, within what chance allows."""
        bits = _KEYS * SIZE * 8
        ones = sum(_ones(end) for _ in range(_KEYS))
        bound = _SIGMAS * math.sqrt(bits) / 2
        assert abs(ones - bits / 2) < bound, f"{ones} of {bits} key bits are one"

    def test_callers_at_the_same_time_get_different_keys(self, ends: Ends) -> None:
        """Threads that start, take and look up at both ends do not meet."""
        starters = [ends.alice, ends.bob] * 3
        takers = [ends.bob, ends.alice] * 3
        with ThreadPoolExecutor(len(starters)) as threads, ExitStack() as stack:
            sessions = list(threads.map(End.begin, starters))
            for session in sessions:
                stack.enter_context(session)
            names = [session.key_id for session in sessions]
            assert len(set(names)) == len(names), "two callers started the same key"
            given = threads.map(End.value, starters, sessions)
            taken = threads.map(End.take, takers, names)
            assert list(given) == list(taken), "the two ends got different bytes"


def _ones(end: End) -> int:
    with end.begin() as session:
        key = session.get_key() if end.both_extract else session.derive(b"pattern", SIZE)
        return _weight(key)


def _weight(key: QuantumKey) -> int:
    with key.exposed() as view:
        return sum(byte.bit_count() for byte in view)
