"""The name of a key, and who may use it."""

from __future__ import annotations

from qkd_hal.errors import KeyMaterialError, KeyNotFoundError, QKDError, UnsupportedError
from qkd_hal.keys import KeyId
from qkd_hal.sources import Capability
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends, fingerprint, refused

__all__ = ["LookUp"]

_STRANGER = "nobody-we-know"


class LookUp(Conformance):
    """A key is had by its name, by the end that did not start it."""

    def test_an_unknown_key_id_is_refused(self, end: End) -> None:
        """A guess opens nothing, and does not harm the device."""
        with refused(KeyNotFoundError, otherwise="a guessed key ID was accepted"):
            end.device.start(end.peer, key_id=KeyId.random()).close()
        end.device.status()

    def test_binding_consumes_nothing(self, ends: Ends) -> None:
        """A session that was closed unused leaves the key to the next."""
        key_id, value = ends.alice.give()
        ends.bob.answer(key_id).close()
        assert ends.bob.take(key_id) == value, "the key changed by being bound"

    def test_a_key_of_another_size_is_refused_and_kept(self, ends: Ends) -> None:
        """Who expects another size gets nothing and loses nothing."""
        key_id, value = ends.alice.give()
        with refused(KeyNotFoundError, UnsupportedError, otherwise="a key had another size"):
            ends.bob.device.get_key_by_id(key_id, ends.bob.peer, size=SIZE + 1)
        assert ends.bob.take(key_id) == value, "the key changed by being refused"

    def test_a_key_of_another_peer_is_refused(self, ends: Ends) -> None:
        """A key belongs to the pair of sites that made it."""
        key_id, value = ends.alice.give()
        with refused(QKDError, otherwise="a key was given in the name of a stranger"):
            ends.bob.device.start(_STRANGER, key_id=key_id).close()
        assert ends.bob.take(key_id) == value, "the key changed by being refused"

    def test_a_key_is_not_given_to_its_owner_by_id(self, ends: Ends) -> None:
        """A reflected key ID does not make an end hand out its own key again."""
        why = "an end took its own key by its key ID"
        with ends.alice.begin() as session:
            with refused(KeyMaterialError, otherwise=why):
                ends.alice.take(session.key_id)
            ends.alice.value(session)
        with refused(KeyMaterialError, otherwise=why):
            ends.alice.take(session.key_id)

    def test_look_up_as_claimed(self, ends: Ends) -> None:
        """At any time without a session; refused where it is not claimed."""
        key_id, value = ends.alice.give()
        bob = ends.bob
        if not (bob.claims(Capability.LOOK_UP) and bob.claims(Capability.EXTRACT)):
            with refused(UnsupportedError, otherwise="look-up works, and is not claimed"):
                bob.device.get_key_by_id(key_id, bob.peer)
            return
        key = bob.device.get_key_by_id(key_id, bob.peer)
        assert len(key) == SIZE, f"a key of {SIZE} bytes has {len(key)} when it is looked up"
        assert not bob.both_extract or fingerprint(key) == value, "look-up gave another key"
