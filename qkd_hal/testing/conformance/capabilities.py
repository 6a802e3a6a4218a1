"""What a device claims, it does; what it does not claim is refused, not half done."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from qkd_hal.device import DeviceKeySource
from qkd_hal.errors import DeadlineError, KeyMaterialError, KeyNotFoundError, UnsupportedError
from qkd_hal.sources import Agreement, Capability
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SECONDS, SIZE, End, Ends, fingerprint, refused

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId, QuantumKey
    from qkd_hal.sources import Slot

__all__ = ["Capabilities"]

_MORE = 48  # bytes: more than one block of HKDF


class Capabilities(Conformance):
    """One check per :class:`~qkd_hal.sources.Capability`; look-up has its own in ``look_up``."""

    def test_extract_as_claimed(self, end: End) -> None:
        """Key bytes leave the device, or do not."""
        if not end.claims(Capability.EXTRACT):
            return end.keeps_keys_inside()
        with end.begin() as session:
            assert len(session.get_key()) == SIZE, "get_key() gave less than the session has"
        return None

    def test_stream_as_claimed(self, ends: Ends) -> None:
        """A session without size gives one sequence, in pieces of any length."""
        for end in (ends.alice, ends.bob):
            if not (end.claims(Capability.STREAM) and end.claims(Capability.EXTRACT)):
                with refused(UnsupportedError, otherwise="a stream opens, and is not claimed"):
                    _read_stream(end)
                return
        with ends.sessions(size=None) as (ours, theirs):
            whole = [ours.get_key(SIZE) for _ in range(2)]
            pieces = [theirs.get_key(size) for size in (5, SIZE - 5, SIZE)]
            with whole[0].exposed() as view:
                assert pieces[0].matches(view[:5]), "the two ends of a stream differ"
                assert pieces[1].matches(view[5:]), "a stream gives bytes twice or leaves some out"
            assert pieces[2].matches(whole[1]), "a stream does not go on where it was"

    def test_derive_as_claimed(self, ends: Ends) -> None:
        """In the device or in software, both ends derive alike, each label for itself."""
        with ends.sessions() as (ours, theirs):
            first = [fingerprint(ours.derive(label, _MORE)) for label in (b"one", b"two")]
            second = [fingerprint(theirs.derive(label, _MORE)) for label in (b"two", b"one")]
        assert first == second[::-1], "the two ends derive different keys"
        assert first[0] != first[1], "two labels derive one key"

    def test_derives_what_rfc_5869_says(self, ends: Ends) -> None:
        """HKDF-Expand-SHA256 (RFC 5869, 2.3) of a key that can be seen at the other end."""
        if not ends.bob.claims(Capability.EXTRACT):
            return ends.bob.keeps_keys_inside()
        with ends.sessions() as (ours, theirs):
            derived = ours.derive(b"records", _MORE)
            same = derived.matches(_hkdf_expand(theirs.get_key(), b"records", _MORE))
        assert same, "derive() is not HKDF-Expand-SHA256 of the session's key"
        return None

    def test_reserve_ahead_as_claimed(self, ends: Ends) -> None:
        """A key source over the device offers keys before the peer appears, or refuses."""
        alice, bob = ends.devices
        wanted = {Capability.RESERVE_AHEAD, Capability.LOOK_UP, Capability.EXTRACT}
        if not wanted <= alice.info.capabilities & bob.info.capabilities:
            why = "a key source works over devices that cannot reserve ahead"
            with refused(UnsupportedError, otherwise=why):
                _passed_on(ends)
            return
        key_id = _passed_on(ends)
        with refused(KeyNotFoundError, otherwise="a reserved key was taken twice"):
            ends.bob.take(key_id)

    def test_confirm_peer_as_claimed(self, ends: Ends) -> None:
        """``connect`` says CONFIRMED where the device can tell, and nowhere else."""
        with ends.alice.start() as session:
            told = session.connect()
        can = ends.alice.claims(Capability.CONFIRM_PEER)
        claimed = "claimed" if can else "not claimed"
        expected = Agreement.CONFIRMED if can else Agreement.UNCHECKED
        assert told is expected, f"connect() says {told.value}, and confirm-peer is {claimed}"

    def test_repeatable_fetch_as_claimed(self, ends: Ends) -> None:
        """A fetch that ran out of time is repeated: the same bytes, or none if not claimed."""
        if not ends.extract():
            return
        slot = ends.alice.reserve()[0]
        value = _fetched_again(ends.alice, slot)
        if value is None:
            claimed = ends.alice.claims(Capability.REPEATABLE_FETCH)
            assert not claimed, "a fetch cannot be repeated, and repeatable-fetch is claimed"
        else:
            assert value == ends.bob.take(slot.key_id), "a repeated fetch gave other bytes"


def _read_stream(end: End) -> None:
    with end.device.start(end.peer, size=None) as session:
        session.connect()
        session.get_key(1).wipe()


def _passed_on(ends: Ends) -> KeyId:
    alice, bob = ends.devices
    peer = bob.info.site or next(iter(alice.info.peers), "peer")
    with DeviceKeySource(alice).reserve(peer, SIZE) as reservation:
        with DeviceKeySource(bob).take(reservation.ref, SIZE) as key:
            assert key.matches(reservation.key), "the peer takes another key"
        return reservation.ref.key_id


def _fetched_again(end: End, slot: Slot) -> bytes | None:
    for seconds in (0, SECONDS):
        try:
            return fingerprint(end.fetch(slot, seconds))
        except DeadlineError:
            continue
        except KeyMaterialError:
            return None
    return None


def _hkdf_expand(key: QuantumKey, label: bytes, size: int) -> bytes:
    """Compute RFC 5869, 2.3 anew, so that it shares nothing with what it checks."""
    with key.exposed() as view:
        block, out = b"", b""
        while len(out) < size:
            number = bytes([len(out) // hashlib.sha256().digest_size + 1])
            block = hmac.digest(view, block + label + number, "sha256")
            out += block
    return out[:size]
