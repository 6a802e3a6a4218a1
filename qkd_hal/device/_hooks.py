"""Runs the hooks of one driver: one at a time, within the deadline, errors judged.

Whatever a driver does, a caller sees the error tree only; and whatever a driver says in an
exception of its own stays out of ours, because it may quote key bytes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.device._state import DEVICE, DeviceState, Machine
from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    KeyMaterialError,
    QKDError,
    StateError,
)
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.keys import KeyId
    from qkd_hal.sources import KeyDriver, Slot

__all__ = ["HookRunner", "logger"]

logger = logging.getLogger("qkd_hal.device")

T = TypeVar("T")

_SETTLE_SECONDS = 1.0  # an old confirm may not eat the time of the call that it goes before
_MAX_OWED = 256  # a device that loses more confirms than this is broken; its slots expire


class HookRunner:
    """The only way from the base to a driver. Holds the driver, the lock and the state."""

    def __init__(self, driver: KeyDriver, name: str) -> None:
        self.driver = driver
        self.name = name
        self.machine = Machine(DEVICE, device=name)
        self.on_lost: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._owed: deque[Slot] = deque(maxlen=_MAX_OWED)
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """True in a child process, where the driver's connection is the parent's."""
        return self._pid != os.getpid()

    def require(self, call: str) -> None:
        """Raise unless *call* is legal in the device's state, in this process."""
        if self.forked:
            what = f"{call}() is not possible: devices do not survive fork()"
            raise StateError(what, device=self.name, cure="Open the device in the child process")
        self.machine.require(call)

    def run(self, call: str, hook: Callable[[], T], deadline: Deadline) -> T:
        """Run *hook* for the public *call*, after all others and before *deadline*.

        Raises:
            DeadlineError: the device was busy with other calls until the deadline.
            DeviceClosedError: the device was closed before or meanwhile.
            DeviceLostError: the device is, or now became, lost.
            DeviceError: the driver failed with an exception of its own.
        """
        with self.turn(call, deadline):
            return self.step(call, hook)

    @contextmanager
    def turn(self, call: str, deadline: Deadline) -> Iterator[None]:
        """Keep all other callers from the driver inside the block; raises what :meth:`run` does."""
        self.require(call)
        if not self._lock.acquire(timeout=deadline.remaining(threading.TIMEOUT_MAX) or 0):
            what = f"the device was busy with another call until the deadline of {call}()"
            raise DeadlineError(what, device=self.name)
        try:
            self._settle(deadline)
            yield
        finally:
            self._lock.release()

    def step(self, call: str, hook: Callable[[], T]) -> T:
        """Run one *hook* of the turn that *call* has."""
        self.require(call)  # it may have been closed or lost while we waited
        return self._guarded(hook)

    def owe(self, slot: Slot) -> None:
        """Remember that the device still has to erase *slot*."""
        self._owed.append(slot)

    def owes(self, key_id: KeyId) -> bool:
        """Tell whether the device still has to erase the key *key_id*."""
        return any(slot.key_id == key_id for slot in list(self._owed))

    def settle_up(self) -> None:
        """Have the device erase what it still owes, if no call is in its way."""
        if self._lock.acquire(blocking=False):
            try:
                self._settle(Deadline(_SETTLE_SECONDS))
            finally:
                self._lock.release()

    def _settle(self, deadline: Deadline) -> None:
        while self._owed and self.machine.state is DeviceState.READY:
            slot = self._owed[0]
            within = Deadline(deadline.remaining(_SETTLE_SECONDS))
            try:
                self._guarded(lambda: self.driver.confirm(slot, within))  # noqa: B023 - runs now
            except KeyMaterialError:
                pass  # the device has nothing left to erase
            except QKDError:
                break  # stays owed: tried again before the next call
            self._owed.popleft()

    def _guarded(self, hook: Callable[[], T]) -> T:
        try:
            return hook()
        except QKDError as error:
            error.device = error.device or self.name  # a driver need not know what we call it
            if self.machine.state is not DeviceState.CLOSED:
                self._note_loss(error)
                raise
            fault = ""
        except Exception as error:  # noqa: BLE001 - a driver's own exceptions end here
            fault = type(error).__name__
        # Raised outside the handlers, so that the driver's exception is not even its context.
        if self.machine.state is DeviceState.CLOSED:
            raise DeviceClosedError("close() was called while this call waited", device=self.name)
        self._fail(f"the driver raised {fault}")
        raise DeviceError(
            f"the driver failed with {fault}, which is a bug in the driver",
            device=self.name,
            cure="Call init() to open the device again, and report the bug to its vendor",
        )

    def _note_loss(self, error: QKDError) -> None:
        if isinstance(error, DeviceLostError):
            self._fail("the device was lost")

    def _fail(self, why: str) -> None:
        logger.warning("%s: %s", self.name, why)
        self.machine.happen("lost")
        self.on_lost()
