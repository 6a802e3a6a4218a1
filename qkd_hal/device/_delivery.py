"""The way of a slot's bytes out of the device: fetch, confirm, and only then hand out.

Between fetch and confirm a key exists twice, here and in the device. It is handed out only
after the device has erased its copy; when that cannot be had, ours is overwritten. A key is
lost rather than used twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.device._hooks import logger
from qkd_hal.device._state import DeviceState
from qkd_hal.errors import DeadlineError, DeviceError, KeysExhaustedError
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device._hooks import HookRunner
    from qkd_hal.sources import Deadline, Slot

__all__ = ["Delivery"]


class Delivery:
    """Brings the bytes of one slot. ``lost`` says that some can never be brought again."""

    def __init__(self, runner: HookRunner, slot: Slot, *, repeatable: bool) -> None:
        self.runner = runner
        self.slot = slot
        self._repeatable = repeatable
        self.lost = False

    def bring(self, call: str, size: int, deadline: Deadline) -> bytearray:
        """Return the next *size* bytes, erased at the device.

        A lost confirm is repeated once, a lost fetch only where the driver declares it
        repeatable. On any error the bytes are overwritten.
        """
        material = bytearray(size)
        try:
            # In one turn: a fetch of the same key between ours and its confirm would succeed.
            with self.runner.turn(call, deadline):
                self._attempt(call, lambda: self._fetch(material, deadline), self._repeatable)
                self._attempt(call, lambda: self._confirm(deadline), repeatable=True)
        except BaseException:
            wipe(material)
            self._write_off()
            raise
        return material

    def _attempt(self, call: str, hook: Callable[[], None], repeatable: bool) -> None:
        try:
            self.runner.step(call, hook)
        except (DeviceError, DeadlineError):
            if not repeatable or not self._ready():
                raise
            self.runner.step(call, hook)

    def _fetch(self, material: bytearray, deadline: Deadline) -> None:
        self.lost = not self._repeatable  # before the first byte moves: we may not come back
        try:
            self.runner.driver.fetch(self.slot, memoryview(material), deadline)
        except KeysExhaustedError:
            self.lost = False  # the driver fills completely or not at all
            raise
        self.lost = True

    def _confirm(self, deadline: Deadline) -> None:
        self.runner.driver.confirm(self.slot, deadline)
        self.lost = False

    def _ready(self) -> bool:
        return self.runner.machine.state is DeviceState.READY

    def _write_off(self) -> None:
        if self.lost:
            logger.warning("%s: key ID %s was burned", self.runner.name, self.slot.key_id)
            self.runner.owe(self.slot)
