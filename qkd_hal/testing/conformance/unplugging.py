"""A device that stalls, goes away, and comes back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    DeviceLostError,
    KeyMaterialError,
    QKDError,
)
from qkd_hal.sources import Deadline
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import End, Ends, refused
from qkd_hal.testing.conformance._threads import ended_within, in_thread
from qkd_hal.testing.conformance.error_tree import check_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.emulators import Disturbable

__all__ = ["Unplugging"]

_SETTLE = 0.1  # seconds in which a call gets to where it waits; either order must end alike
_SHORT = 0.3
_LONG = 60.0


class Unplugging(Conformance):
    """Needs the fixture ``disturb``: an emulator's hooks, or a person with a hand on the plug.

    The first device is ``"alice"`` there, the second ``"bob"``.
    """

    @pytest.fixture
    def disturb(self) -> Disturbable:
        """Give what can cut the devices off; a subclass overrides this."""
        raise NotImplementedError("override the fixture 'disturb'")

    @pytest.fixture
    def cutter(self, disturb: Disturbable) -> Iterator[Disturbable]:
        """Give *disturb*, and put everything back afterwards."""
        yield disturb
        for end in ("alice", "bob"):
            disturb.fault(end, None)
            disturb.plug(end)

    def test_a_lost_device_says_so(self, end: End, cutter: Disturbable) -> None:
        """The next call raises DeviceLostError, and the one after it, until ``init``."""
        cutter.unplug("alice")
        check_told(self._lost(end), "an unplugged device")
        with refused(DeviceLostError, match="init()", otherwise="an unplugged device answers"):
            end.device.status()

    def test_sessions_are_lost_with_their_device(self, end: End, cutter: Disturbable) -> None:
        """An open session gives nothing after the loss, nor after the return."""
        with end.begin() as session:
            cutter.unplug("alice")
            self._lost(end)
            cutter.plug("alice")
            end.recover()
            with refused(QKDError, otherwise="a session outlived its device"):
                end.value(session)

    def test_a_lost_device_comes_back_by_init(self, ends: Ends, cutter: Disturbable) -> None:
        """The same device object, the same identity, and fresh keys."""
        device = ends.alice.device
        before = device.info
        for _ in range(2):
            cutter.unplug("alice")
            self._lost(ends.alice)
            cutter.plug("alice")
            ends.alice.recover()
            ends.exchange()
        assert device.info == before, "the device came back as another one"

    def test_a_loss_gives_no_key_twice(self, ends: Ends, cutter: Disturbable) -> None:
        """What was handed out before the loss is not handed out after it."""
        used = ends.exchange()
        key_id, value = ends.alice.give()
        cutter.unplug("bob")
        self._lost(ends.bob)
        cutter.plug("bob")
        ends.bob.recover()
        with refused(KeyMaterialError, otherwise="a key was handed out again after a loss"):
            ends.bob.take(used)
        assert ends.bob.take(key_id) == value, "a key changed over a loss"

    def test_a_loss_wakes_a_blocked_call(self, end: End, cutter: Disturbable) -> None:
        """Nobody waits for a device that is gone."""
        _needs(cutter, "stall")
        cutter.fault("alice", "stall")
        call = in_thread(lambda: end.device.status(timeout=_LONG))
        time.sleep(_SETTLE)
        cutter.unplug("alice")
        error = ended_within(self.patience, call)
        assert isinstance(error, DeviceLostError), f"the loss ended a blocked call with {error!r}"

    def test_close_wakes_a_blocked_call(self, end: End, cutter: Disturbable) -> None:
        """Nor for one that was closed."""
        _needs(cutter, "stall")
        cutter.fault("alice", "stall")
        call = in_thread(lambda: end.device.status(timeout=_LONG))
        time.sleep(_SETTLE)
        end.device.close()
        error = ended_within(self.at_once, call)
        assert isinstance(error, DeviceClosedError), f"close() ended a blocked call with {error!r}"

    def test_a_stalled_device_keeps_the_deadline(self, ends: Ends, cutter: Disturbable) -> None:
        """A call ends in time though nothing answers, and the device works when it does again."""
        _needs(cutter, "stall")
        cutter.fault("alice", "stall")
        call = in_thread(lambda: ends.alice.device.status(timeout=_SHORT))
        error = ended_within(_SHORT + self.at_once, call)
        right = isinstance(error, DeadlineError | DeviceLostError)
        assert right, f"a device that answers nothing ended a call with {error!r}"
        cutter.fault("alice", None)
        ends.alice.recover()
        ends.exchange()

    def _lost(self, end: End) -> DeviceLostError:
        """Call until the loss shows, which a transport may learn a moment later."""
        patience = Deadline(self.patience)
        while not patience.expired:
            try:
                end.device.status(timeout=1)
            except DeviceLostError as error:
                return error
            except DeadlineError:
                continue
            time.sleep(0.01)
        raise AssertionError("the device is gone, and no call has noticed")


def _needs(cutter: Disturbable, fault: str) -> None:
    if fault not in cutter.faults:
        pytest.skip(f"nothing here makes the device {fault}")
