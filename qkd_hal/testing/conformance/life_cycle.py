"""The state table, opening and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.device import QKDDevice, QKDSession
from qkd_hal.errors import DeviceClosedError, StateError
from qkd_hal.keys import KeyId
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import End, driver_of, refused

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LifeCycle"]

_CALLS: dict[str, Callable[[QKDDevice], object]] = {
    "info": lambda device: device.info,
    "status": lambda device: device.status(),
    "start": lambda device: device.start(),
    "get_key_by_id": lambda device: device.get_key_by_id(KeyId.random()),
    "events": lambda device: device.events(),
}
_SESSION_CALLS: dict[str, Callable[[QKDSession], object]] = {
    "connect": lambda session: session.connect(),
    "get_key": lambda session: session.get_key(1),
    "derive": lambda session: session.derive(b"late"),
}


class LifeCycle(Conformance):
    """The state table holds for this driver, too; opening and closing may be repeated."""

    def test_a_new_device_says_to_call_init(self, end: End) -> None:
        """No call reaches a driver that was not opened."""
        end.device.close()
        device = self.reopen(end.device)
        for name, call in _CALLS.items():
            why = f"{name}() works on a device that was not initialised"
            with refused(StateError, match="init()", otherwise=why):
                call(device)
        device.close()

    def test_a_closed_device_says_to_open_it_anew(self, end: End) -> None:
        """No call reaches a driver that was closed."""
        end.device.close()
        for name, call in (_CALLS | {"init": lambda device: device.init()}).items():
            why = f"{name}() works on a closed device"
            with refused(DeviceClosedError, match="open_device()", otherwise=why):
                call(end.device)

    def test_calls_out_of_order_say_what_to_call(self, end: End) -> None:
        """A session connects, hands out, and closes; in this order only."""
        with end.start() as session:
            for name in ("get_key", "derive"):
                why = f"{name}() works before connect()"
                with refused(StateError, match="connect()", otherwise=why):
                    _SESSION_CALLS[name](session)
            session.connect()
            with refused(StateError, match="get_key()", otherwise="connect() works twice"):
                session.connect()
        for name, call in _SESSION_CALLS.items():
            why = f"{name}() works on a closed session"
            with refused(StateError, match="start", otherwise=why):
                call(session)

    def test_opens_again_after_closing(self, end: End) -> None:
        """Closing releases the device for the next who opens it."""
        for _ in range(3):
            end.device.close()
            end.device = self.reopen(end.device)
            end.device.init()
            end.device.status()
        end.device.close()

    def test_a_driver_may_be_closed_at_any_time(self, end: End) -> None:
        """Before it was opened, and again after it was closed."""
        driver = driver_of(end.device)
        end.device.close()
        driver.close()
        another = self.reopen(end.device)
        driver_of(another).close()
        another.close()
