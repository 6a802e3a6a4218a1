"""Sessions: one byte sequence that both ends agree on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from qkd_hal.errors import KeysExhaustedError, UnsupportedError, UsageError
from qkd_hal.sources import Capability
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends, fingerprint, refused

__all__ = ["Sessions"]

_OTHER_SIZES = (1, 16, SIZE + 1, 64)


class Sessions(Conformance):
    """Start here, start with the key ID there, connect and take at both."""

    def test_both_ends_hold_the_same_bytes(self, ends: Ends) -> None:
        """The papers' order of calls, with a session at each end."""
        with ends.sessions() as (ours, theirs):
            same = ends.alice.value(ours) == ends.bob.value(theirs)
            assert same, "the two ends of a session got different bytes"

    def test_either_end_may_begin(self, ends: Ends) -> None:
        """What bob starts, alice can take."""
        ends.exchange(back=True)

    def test_a_session_is_one_sequence(self, ends: Ends) -> None:
        """Pieces of any length are the same bytes in the same order, each given once."""
        if not ends.extract():
            return
        with ends.sessions() as (ours, theirs):
            whole = ours.get_key(SIZE)
            pieces = [theirs.get_key(size) for size in (5, 11, SIZE - 16)]
            places = [slice(0, 5), slice(5, 16), slice(16, SIZE)]
            with whole.exposed() as view:
                same = [key.matches(view[place]) for key, place in zip(pieces, places, strict=True)]
            assert all(same), "pieces of a session are not the bytes of the whole"

    def test_asking_for_more_than_is_left_consumes_nothing(self, end: End) -> None:
        """The refused call costs no byte."""
        if not end.claims(Capability.EXTRACT):
            return end.keeps_keys_inside()
        with end.begin() as session:
            with refused(KeysExhaustedError, otherwise="a session gave more than its size"):
                session.get_key(SIZE + 1)
            assert len(session.get_key(SIZE)) == SIZE, "the refused call cost bytes"
        return None

    def test_threads_share_a_session_without_sharing_bytes(self, ends: Ends) -> None:
        """Every byte goes to exactly one caller."""
        if not ends.extract():
            return
        with ends.sessions() as (ours, theirs), ThreadPoolExecutor(4) as threads:
            keys = threads.map(ours.get_key, [4] * (SIZE // 4))
            pieces = sorted(fingerprint(key) for key in keys)
            expected = sorted(fingerprint(theirs.get_key(4)) for _ in pieces)
        assert len(set(pieces)) == len(pieces), "two threads got the same bytes of one session"
        assert pieces == expected, "the two ends of a session got different bytes"

    def test_sessions_may_be_used_in_any_order(self, ends: Ends) -> None:
        """Several are open at once, and the last is read first."""
        with ends.sessions() as first, ends.sessions() as second, ends.sessions() as third:
            for ours, theirs in (third, first, second):
                same = ends.alice.value(ours) == ends.bob.value(theirs)
                assert same, "a session gave the bytes of another one"

    def test_other_sizes_are_exact_or_refused(self, end: End) -> None:
        """A device that has keys of one size only says so."""
        for size in (*_OTHER_SIZES, end.device.info.max_key_size + 1):
            try:
                session = end.device.start(end.peer, size=size)
            except (KeysExhaustedError, UnsupportedError, UsageError):
                continue
            with session:
                most = end.device.info.max_key_size
                assert session.size == size <= most, f"asked for {size} bytes, got {session.size}"
