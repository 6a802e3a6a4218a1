"""Checks that every device must pass, for vendors and users to run on their own.

Subclass in a test module, say which boxes may be used, and give two open devices::

    class TestMyBox(DeviceConformance):
        serial_numbers = frozenset({"A-0001", "B-0001"})

        @pytest.fixture
        def pair(self):
            with open_device("mybox:A") as alice, open_device("mybox:B") as bob:
                yield alice, bob

Each check uses up key material. A device claims what it can do with its capabilities; a check
of something that it does not claim is skipped.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import pytest

from qkd_hal.errors import (
    DeadlineError,
    KeyMaterialError,
    KeyNotFoundError,
    KeysExhaustedError,
    StateError,
)
from qkd_hal.keys import KeyId
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.keys import QuantumKey

__all__ = ["DeviceConformance", "Pair"]

Pair: TypeAlias = "tuple[QKDDevice, QKDDevice]"
_SIZE = 32  # bytes in each key of the checks
_AT_ONCE = 1.0  # seconds; generous, for busy machines


class DeviceConformance:
    """One check per promise of :class:`~qkd_hal.sources.KeyDriver`."""

    serial_numbers: ClassVar[frozenset[str]] = frozenset()
    """The boxes that the checks may empty: any other is left alone."""

    @pytest.fixture
    def pair(self) -> Pair:
        """Give two open devices that share keys; a subclass overrides this."""
        raise NotImplementedError("override the fixture 'pair'")

    @pytest.fixture
    def ends(self, pair: Pair) -> Pair:
        """Give the pair, once both are known to be boxes that the checks may use."""
        for device in pair:
            number = device.info.serial_number
            if number not in self.serial_numbers:
                pytest.fail(
                    f"serial number {number!r} is not in {type(self).__name__}.serial_numbers"
                )
        return pair

    def test_says_what_it_is(self, ends: Pair) -> None:
        """Identity is complete and the two ends can tell each other apart."""
        for device in ends:
            info = device.info
            assert info.vendor
            assert info.model
            assert info.firmware
            assert info.capabilities
        assert ends[0].info.serial_number != ends[1].info.serial_number

    def test_reports_plausible_figures(self, ends: Pair) -> None:
        """A status has no impossible number."""
        for device in ends:
            status = device.status()
            assert status.qber is None or 0 <= status.qber <= 1
            assert (status.secret_key_rate_bps or 0) >= 0
            assert (status.stored_bytes or 0) >= 0

    def test_both_ends_hold_the_same_bytes(self, ends: Pair) -> None:
        """``start`` here, ``start(key_id)`` there, ``connect`` and ``get_key`` at both."""
        _require(ends, Capability.EXTRACT)
        first, second = _sessions(ends)
        with first, second:
            first.connect()
            second.connect()
            assert first.get_key(_SIZE).matches(second.get_key(_SIZE))

    def test_a_session_is_one_sequence(self, ends: Pair) -> None:
        """Pieces of any length are the same bytes in the same order, each given once."""
        _require(ends, Capability.EXTRACT)
        whole, pieces = _keys(ends, [_SIZE], [5, 11, 16])
        with whole[0].exposed() as view:
            places = [slice(0, 5), slice(5, 16), slice(16, _SIZE)]
            assert all(
                piece.matches(view[place]) for piece, place in zip(pieces, places, strict=True)
            )

    def test_asking_for_more_than_is_left_consumes_nothing(self, ends: Pair) -> None:
        """The refused call costs no byte."""
        _require(ends, Capability.EXTRACT)
        with ends[0].start(_peer(ends), size=_SIZE) as session:
            session.connect()
            with pytest.raises(KeysExhaustedError):
                session.get_key(_SIZE + 1)
            assert len(session.get_key(_SIZE)) == _SIZE

    def test_threads_share_a_session_without_sharing_bytes(self, ends: Pair) -> None:
        """Every byte goes to exactly one caller."""
        _require(ends, Capability.EXTRACT)
        first, second = _sessions(ends)
        with first, second, ThreadPoolExecutor(4) as threads:
            first.connect()
            second.connect()
            pieces = [_plain(key) for key in threads.map(first.get_key, [4] * (_SIZE // 4))]
            expected = [_plain(second.get_key(4)) for _ in pieces]
        same = sorted(pieces) == sorted(expected)
        assert same  # a plain comparison would print key bytes when it fails

    def test_look_up_gives_the_key_once(self, ends: Pair) -> None:
        """What one end reserved, the other looks up by its ID, one time."""
        _require(ends, Capability.LOOK_UP)
        with ends[0].start(_peer(ends), size=_SIZE) as session:
            session.connect()
            key = session.get_key(_SIZE)
        names = session.key_id, ends[0].info.site or None
        assert key.matches(ends[1].get_key_by_id(*names))
        with pytest.raises(KeyNotFoundError):
            ends[1].get_key_by_id(*names)

    def test_a_key_is_not_given_to_its_owner_by_id(self, ends: Pair) -> None:
        """A reflected key ID does not make an end hand out its own key again."""
        _require(ends, Capability.LOOK_UP)
        with ends[0].start(_peer(ends), size=_SIZE) as session:
            session.connect()
            session.get_key(_SIZE)
        with pytest.raises(KeyMaterialError):
            ends[0].get_key_by_id(session.key_id, _peer(ends))

    def test_an_unknown_key_id_is_refused(self, ends: Pair) -> None:
        """A guess opens nothing, and does not harm the device."""
        with pytest.raises(KeyNotFoundError):
            ends[0].start(_peer(ends), key_id=KeyId.random())
        ends[0].status()

    def test_keys_differ(self, ends: Pair) -> None:
        """No two keys, and no two key IDs, are the same."""
        _require(ends, Capability.EXTRACT)
        names, values = set(), set()
        for _ in range(8):
            with ends[0].start(_peer(ends), size=_SIZE) as session:
                session.connect()
                names.add(session.key_id)
                values.add(hashlib.sha256(_plain(session.get_key(_SIZE))).digest())
        assert (len(names), len(values)) == (8, 8)

    def test_derives_alike_at_both_ends(self, ends: Pair) -> None:
        """HKDF-Expand over the session's key, a fresh label each time."""
        first, second = _sessions(ends)
        with first, second:
            first.connect()
            second.connect()
            assert first.derive(b"records", 48).matches(second.derive(b"records", 48))
            assert not first.derive(b"a").matches(second.derive(b"b"))

    def test_calls_out_of_order_say_what_to_call(self, ends: Pair) -> None:
        """The state table holds for this driver, too."""
        session = ends[0].start(_peer(ends), size=_SIZE)
        with session, pytest.raises(StateError, match="connect"):
            session.get_key(_SIZE)

    def test_a_deadline_is_kept_and_harms_nothing(self, ends: Pair) -> None:
        """A call without time ends at once, with or without an answer; the next one works."""
        begin = time.monotonic()
        with suppress(DeadlineError):
            ends[0].status(timeout=0)
        assert time.monotonic() - begin < _AT_ONCE
        ends[0].status()

    def test_keys_stay_out_of_logs(self, ends: Pair, caplog: pytest.LogCaptureFixture) -> None:
        """At the lowest level, in none of the usual spellings."""
        _require(ends, Capability.EXTRACT)
        with caplog.at_level(logging.DEBUG), ends[0].start(_peer(ends), size=_SIZE) as session:
            session.connect()
            key = _plain(session.get_key(_SIZE))
        spellings = (key.hex(), base64.b64encode(key).decode(), repr(key))
        leaked = any(spelling in caplog.text for spelling in spellings)
        assert not leaked


def _require(ends: Pair, capability: Capability) -> None:
    for device in ends:
        if capability not in device.info.capabilities:
            pytest.skip(f"{device.name} does not claim {capability.value}")


def _peer(ends: Pair) -> str | None:
    return ends[1].info.site or None


def _sessions(ends: Pair) -> tuple[QKDSession, QKDSession]:
    first = ends[0].start(_peer(ends), size=_SIZE)
    return first, ends[1].start(ends[0].info.site or None, key_id=first.key_id)


def _keys(
    ends: Pair, sizes: list[int], others: list[int]
) -> tuple[list[QuantumKey], list[QuantumKey]]:
    first, second = _sessions(ends)
    with first, second:
        first.connect()
        second.connect()
        return [first.get_key(size) for size in sizes], [second.get_key(size) for size in others]


def _plain(key: QuantumKey) -> bytes:
    with key.exposed() as view:
        return bytes(view)
