"""A serial port of this machine."""

from __future__ import annotations

import errno
import getpass
import grp
from pathlib import Path
from typing import TYPE_CHECKING

import serial

from qkd_hal.errors import (
    ConfigurationError,
    DeviceBusyError,
    DeviceError,
    DeviceNotFoundError,
    DevicePermissionError,
)
from qkd_hal_drivers.serial_box.fd_line import FdLine
from qkd_hal_drivers.serial_box.line import FAULTS

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.serial_box.fd_line import Opened

__all__ = ["LocalPort"]

_ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_BUSY = frozenset({errno.EBUSY, errno.EAGAIN})


class LocalPort(FdLine):
    """The port at *path*, for this process alone."""

    def __init__(self, path: str, baud: int) -> None:
        super().__init__()
        self._path = path
        self._baud = baud

    @property
    def what_to_check(self) -> str:
        """A wrong baud rate turns everything into noise."""
        return f"the baud rate, which is {self._baud} here (?baud=)"

    def _obtain(self, deadline: Deadline) -> Opened:
        try:
            return serial.Serial(self._path, self._baud, timeout=0, exclusive=True)
        except FAULTS as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> DeviceError | ConfigurationError:
        number = getattr(error, "errno", None)
        if number in _ABSENT:
            cure = "Plug the box in, or look for it with: qkd-hal devices"
            return DeviceNotFoundError(f"there is no port {self._path}", cure=cure)
        if number in _DENIED:
            return DevicePermissionError(f"no right to open {self._path}", cure=self._way_in())
        if number in _BUSY:
            cure = f"Close it there; fuser {self._path} names the process"
            return DeviceBusyError(f"another process has {self._path} open", cure=cure)
        if isinstance(error, ValueError):
            return ConfigurationError(
                f"{self._path} does not take {self._baud} baud", cure="Give another ?baud="
            )
        return DeviceError(f"{self._path} is no serial port, or a broken one: {error}")

    def _way_in(self) -> str:
        rule = "Run: sudo qkd-hal udev install"
        try:
            group = grp.getgrgid(Path(self._path).stat().st_gid).gr_name
            return f"{rule}; or sudo usermod -aG {group} {getpass.getuser()} and log in again"
        except (OSError, KeyError):
            return rule
