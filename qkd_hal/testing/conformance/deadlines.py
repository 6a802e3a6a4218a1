"""Every call has a deadline, and keeps it."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from qkd_hal.errors import DeadlineError, KeyMaterialError
from qkd_hal.keys import KeyId
from qkd_hal.sources import Deadline
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends, driver_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Deadlines"]

_SHORT = (0.0, 0.0001, 0.0005, 0.002, 0.01)  # seconds: before, while and after a device answers


class Deadlines(Conformance):
    """A call ends by its deadline, with or without an answer, and the next one works."""

    def test_a_deadline_is_kept_and_harms_nothing(self, end: End) -> None:
        """A call without time ends at once."""
        for call in (
            end.device.status,
            lambda timeout: end.device.start(end.peer, timeout=timeout),
        ):
            with _within(self.at_once), suppress(DeadlineError):
                call(timeout=0)
        end.device.status()

    def test_a_session_keeps_its_deadline(self, end: End) -> None:
        """Without time a session gives its key at once, or nothing."""
        with (
            end.begin() as session,
            _within(self.at_once),
            suppress(DeadlineError, KeyMaterialError),
        ):
            if end.both_extract:
                session.get_key(timeout=0).wipe()
            else:
                session.derive(b"soon", timeout=0).wipe()
        end.device.status()

    def test_hooks_without_time_say_so(self, end: End) -> None:
        """Before a hook fails for want of time it may not fail for anything else."""
        driver, late = driver_of(end.device), Deadline(0)
        slot = end.reserve()[0]
        hooks = (
            lambda: driver.status(late),
            lambda: driver.agree(slot, late),
            lambda: driver.reserve(slot.peer, SIZE, 1, late),
            lambda: driver.bind(slot.peer, KeyId.random(), late),
            lambda: end.fetch(slot, 0).wipe(),
            lambda: driver.confirm(slot, late),
        )
        for hook in hooks:
            with suppress(DeadlineError, KeyMaterialError):
                hook()

    def test_a_late_answer_is_not_taken_for_the_next(self, ends: Ends) -> None:
        """After a time-out the answers belong to their questions again."""
        for seconds in _SHORT:
            with suppress(DeadlineError):
                ends.alice.device.status(timeout=seconds)
            with suppress(DeadlineError, KeyMaterialError):
                ends.alice.device.start(ends.alice.peer, timeout=seconds).close()
            ends.alice.recover()
            ends.exchange()


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert took < seconds, f"a call without time took {took:.1f} s"
