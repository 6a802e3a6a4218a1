"""Closing from another thread ends what waits."""

from __future__ import annotations

import threading

from qkd_hal.errors import DeviceClosedError, QKDError
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import End
from qkd_hal.testing.conformance._threads import ended_within, in_thread

__all__ = ["Closing"]

_THREADS = 3


class Closing(Conformance):
    """``close()`` may come from any thread, at any moment."""

    def test_close_ends_the_calls_of_other_threads(self, end: End) -> None:
        """Threads that keep calling end with DeviceClosedError, all of them, soon."""
        called = threading.Barrier(_THREADS + 1)

        def keep_calling() -> None:
            end.device.status()
            called.wait(self.patience)
            while True:
                end.device.status()

        calls = [in_thread(keep_calling) for _ in range(_THREADS)]
        called.wait(self.patience)
        closing = in_thread(end.device.close)
        for call in calls:
            error = ended_within(self.at_once, call)
            assert isinstance(error, DeviceClosedError), f"close() ended a call with {error!r}"
        assert ended_within(self.at_once, closing) is None, "close() failed"

    def test_sessions_end_with_their_device(self, end: End) -> None:
        """What was not handed out before close() never is."""
        with end.begin() as session:
            end.device.close()
            try:
                end.value(session)
            except QKDError:
                return
        raise AssertionError("a session gave its key after its device was closed")
