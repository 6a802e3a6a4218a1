"""Each side gets a key once, and both can get it or neither."""

from __future__ import annotations

from qkd_hal.errors import KeyMaterialError, QKDError
from qkd_hal.sources import Deadline
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SECONDS, SIZE, End, Ends, driver_of, refused

__all__ = ["OneDelivery"]

_KEYS = 4


class OneDelivery(Conformance):
    """Lost rather than used twice; both or none."""

    def test_a_key_is_given_once(self, ends: Ends) -> None:
        """The second who asks for a key at one end gets nothing, by either route."""
        key_id = ends.exchange()
        with refused(KeyMaterialError, otherwise="a key was handed out twice"):
            ends.bob.take(key_id)
        with refused(KeyMaterialError, otherwise="a key was handed out twice, by a session"):
            ends.bob.value(ends.bob.answer(key_id))

    def test_a_key_is_given_once_over_reopening(self, ends: Ends) -> None:
        """What was erased stays erased when the device is opened again."""
        key_id = ends.exchange()
        ends.bob.device.close()
        with self.reopen(ends.bob.device) as again:
            bob = End(again, ends.alice.device, self.patience)
            with refused(KeyMaterialError, otherwise="a key was handed out again after opening"):
                bob.take(key_id)

    def test_what_one_end_got_the_other_can_get(self, ends: Ends) -> None:
        """Several keys, in another order, later."""
        given = [ends.alice.give() for _ in range(_KEYS)]
        for key_id, value in reversed(given):
            assert ends.bob.take_if_there(key_id) == value, "the other end does not have the key"

    def test_several_keys_are_reserved_at_once(self, end: End) -> None:
        """``reserve`` with a count gives that many different keys."""
        slots = end.reserve(2)
        assert len(slots) == 2, f"asked for two keys, the driver reserved {len(slots)}"
        assert len({slot.key_id for slot in slots}) == 2, "two slots are one key"
        for slot in slots:
            assert slot.size == SIZE, f"a slot of {slot.size} bytes instead of {SIZE}"

    def test_confirm_may_be_repeated(self, end: End) -> None:
        """The base repeats a confirm whose answer was lost."""
        slot = end.reserve()[0]
        end.fetch(slot).wipe()
        driver_of(end.device).confirm(slot, Deadline(SECONDS))
        try:
            driver_of(end.device).confirm(slot, Deadline(SECONDS))
        except QKDError as error:
            why = f"the second confirm raised {type(error).__name__}"
            raise AssertionError(why) from error

    def test_a_confirmed_key_cannot_be_fetched(self, end: End) -> None:
        """Erased is erased, also for who kept the slot."""
        slot = end.reserve()[0]
        end.fetch(slot).wipe()
        driver_of(end.device).confirm(slot, Deadline(SECONDS))
        with refused(KeyMaterialError, otherwise="a confirmed key was fetched again"):
            end.fetch(slot).wipe()
