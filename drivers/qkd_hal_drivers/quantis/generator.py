"""The open generator: it fills buffers, completely or not at all."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from qkd_hal.errors import DeadlineError, DeviceClosedError, DeviceError
from qkd_hal.health_tests import HealthTests
from qkd_hal.keys import wipe
from qkd_hal.sources import Deadline
from qkd_hal_drivers import _usb
from qkd_hal_drivers.quantis._board import Board

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["QuantisSource"]

_MAX_TRANSFER = 16384  # bytes; 33 ms of a board with one module, so that close() gets through
_STARTUP_BYTES = 2048  # tested and thrown away; SP 800-90B, section 4.3, wants 1024 samples
_QUIET_SECONDS = 2.0  # without a byte; a board with one module needs 1 ms for a packet
_LOOK_SECONDS = 0.05


class QuantisSource:
    """An :class:`~qkd_hal.sources.EntropySource`; a context manager.

    What the board gives is watched by the tests of :mod:`qkd_hal.health_tests`; a failure is
    final. ``board_version``, ``kilobits_per_second`` (of each module) are the board's words.

    Raises:
        DeviceNotFoundError, DevicePermissionError, DeviceBusyError, ConfigurationError: it
            cannot be opened.
        DeviceError: a module or a health test failed.
        DeadlineError: it gives nothing.
        ProtocolError: it is no Quantis.
    """

    def __init__(
        self, ids: tuple[int, int], serial_number: str, deadline: Deadline, *, name: str
    ) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._health = HealthTests()
        self._board = Board(_usb.find(ids, serial_number, device=name), device=name)
        try:
            self.board_version = self._board.version
            self.kilobits_per_second = self._board.kilobits_per_second
            self._start_up(deadline)
        except BaseException:
            self.close()
            raise

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with random bytes; on any error it holds zeros.

        Nothing is read ahead: what a packet holds beyond *view* is thrown away, so that no
        byte can come twice, not even in a forked process.

        Raises:
            DeviceError: a module or a health test failed, now or before.
            DeviceLostError: it was unplugged.
            DeviceClosedError: :meth:`close` was called.
            DeadlineError: it gave nothing for two seconds.
        """
        target = view.cast("B")
        with self._lock:
            try:
                self._fill(target)
            except BaseException:
                wipe(target)
                raise

    def close(self) -> None:
        """Release the board; idempotent, from any thread, and wakes a blocked read."""
        self._closed.set()
        with self._lock:
            self._board.release()

    def _start_up(self, deadline: Deadline) -> None:
        if self._board.failed_modules:
            self._board.restart_modules()
        while self._board.failed_modules and not deadline.expired:
            time.sleep(_LOOK_SECONDS)
        tested = bytearray(_STARTUP_BYTES)
        self._fill(memoryview(tested))
        wipe(tested)
        if self._board.wants_startup_tests:
            self._board.confirm_startup_tests()

    def _fill(self, target: memoryview) -> None:
        place = 0
        while place < len(target):
            chunk = self._chunk(len(target) - place)
            taken = min(len(chunk), len(target) - place)
            target[place : place + taken] = memoryview(chunk)[:taken]
            wipe(chunk)
            place += taken
        # Last, so that a module that failed meanwhile taints all that it gave.
        self._check_modules()

    def _chunk(self, wanted: int) -> bytearray:
        size = min(-(-wanted // self._board.packet) * self._board.packet, _MAX_TRANSFER)
        quiet = Deadline(_QUIET_SECONDS)
        while True:
            if self._closed.is_set():
                raise DeviceClosedError("the generator was closed", device=self._name)
            chunk = self._board.read(size)
            if chunk:
                break
            if quiet.expired:
                raise DeadlineError("the generator gives no bytes", device=self._name)
        if not self._health.take(chunk):
            wipe(chunk)
            what = f"the generator's output failed the {self._health.failure} test"
            raise DeviceError(what, device=self._name, cure="Do not use it; have it repaired")
        return chunk

    def _check_modules(self) -> None:
        failed = self._board.failed_modules
        if failed == 0:
            return
        which = "no module" if failed is None else f"a failed module (mask {failed:#04x})"
        raise DeviceError(
            f"the generator has {which}", device=self._name, cure="Plug it in again, or replace it"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
