"""The keys themselves."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
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

        def exchanges(back: bool) -> list[bytes]:
            return [bytes(ends.exchange(back=back)) for _ in range(2)]

        with ThreadPoolExecutor(4) as threads:
            names = [name for part in threads.map(exchanges, [False, True] * 2) for name in part]
        assert len(set(names)) == len(names), "two threads started the same key"


def _ones(end: End) -> int:
    with end.begin() as session:
        key = session.get_key() if end.both_extract else session.derive(b"pattern", SIZE)
        return _weight(key)


def _weight(key: QuantumKey) -> int:
    with key.exposed() as view:
        return sum(byte.bit_count() for byte in view)
