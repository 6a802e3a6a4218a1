"""What drivers of USB devices share: libusb, finding one device, and its errors in our tree."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import usb.backend.libusb1
import usb.core
import usb.util

from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    ProtocolError,
    QKDError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qkd_hal.device_url import DeviceURL

__all__ = ["configure", "device_error", "errors", "find", "ids_of", "libusb", "provide_backend"]

_IDS = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_UDEV = "Run: qkd-hal udev install; then plug the device in again"
_GONE = frozenset({errno.ENODEV, errno.EIO, errno.ESHUTDOWN})


def libusb() -> Any:
    """Return pyusb's back end on the system's libusb, or on the one that `libusb-package` has.

    Raises:
        ConfigurationError: there is neither.
    """
    backend = usb.backend.libusb1.get_backend()
    if backend is None:
        import libusb_package

        backend = usb.backend.libusb1.get_backend(find_library=libusb_package.find_library)
    if backend is None:
        raise ConfigurationError("libusb cannot be loaded", cure="apt install libusb-1.0-0")
    return backend


provide_backend: Callable[[], Any] = libusb
"""Where drivers get the back end from; tests put a virtual bus here."""


def ids_of(url: DeviceURL) -> tuple[int, int]:
    """Return vendor and product ID from the authority of *url*, ``VID:PID`` in hexadecimal.

    Raises:
        ConfigurationError: it is nothing of the kind.
    """
    match = _IDS.fullmatch(url.authority)
    if match is None:
        raise ConfigurationError(
            f"{url} names no USB device", cure=f"Write {url.scheme}://VID:PID or …/SERIAL"
        )
    return int(match[1], 16), int(match[2], 16)


def find(ids: tuple[int, int], serial_number: str, *, device: str) -> Any:
    """Return the one ``usb.core.Device`` with *ids* and, unless empty, *serial_number*.

    Raises:
        DeviceNotFoundError: there is none.
        DevicePermissionError: no serial number fits, and one cannot be read.
        ConfigurationError: several fit; the message lists their serial numbers.
    """
    vendor, product = ids
    with errors(device):
        backend = provide_backend()
        every = usb.core.find(find_all=True, backend=backend, idVendor=vendor, idProduct=product)
        fitting = list(every)
        if serial_number:
            fitting = _with_serial_number(fitting, serial_number)
        if len(fitting) > 1:
            several = ", ".join(sorted(str(each.serial_number) for each in fitting))
            raise ConfigurationError(
                f"several devices fit: {several}", device=device, cure="Add one to the URL"
            )
    if not fitting:
        raise DeviceNotFoundError("no such device is plugged in", device=device, cure="Plug it in")
    return fitting[0]


def _with_serial_number(devices: Iterable[Any], serial_number: str) -> list[Any]:
    """Return those that have it; one that does not tell its own hides no other."""
    fitting, fault = [], None
    for each in devices:
        try:
            if each.serial_number == serial_number:
                fitting.append(each)
        except (usb.core.USBError, ValueError, IndexError) as error:
            fault = error
    if not fitting and fault is not None:
        raise fault
    return fitting


def configure(found: Any) -> Any:
    """Return the active configuration of *found*; choose one only where none is chosen.

    Setting it again would fail as soon as anybody else uses another interface.
    """
    try:
        return found.get_active_configuration()
    except usb.core.USBError as error:
        if error.errno not in (None, errno.ENOENT):
            raise
        found.set_configuration()
        return found.get_active_configuration()


@contextmanager
def errors(device: str) -> Iterator[None]:
    """Turn what pyusb raises inside into our errors, about *device*."""
    try:
        yield
    except QKDError:
        raise
    except usb.core.USBError as error:
        raise device_error(error, device) from None
    except (UnicodeError, IndexError):  # pyusb, of descriptors that are none
        raise ProtocolError("the device describes itself wrongly", device=device) from None
    except ValueError:  # pyusb: a string was asked for, and the device may not be opened
        raise _forbidden(device) from None


def device_error(error: usb.core.USBError, device: str) -> DeviceError | DeadlineError:
    """Return our error for *error*."""
    number = error.errno
    if isinstance(error, usb.core.USBTimeoutError):
        return DeadlineError("no answer in time over USB", device=device)
    if number in _GONE:
        return DeviceLostError(
            "the device went away", device=device, cure="Plug it in and open it again"
        )
    if number in (errno.EACCES, errno.EPERM):
        return _forbidden(device)
    if number == errno.EBUSY:
        cure = "End the other process, or detach the kernel's driver"
        return DeviceBusyError("something else uses the device", device=device, cure=cure)
    if number == errno.EPIPE:
        return ProtocolError("the device refuses a request (STALL)", device=device)
    if number == errno.EOVERFLOW:
        return ProtocolError("the device sent more than was asked for", device=device)
    name = errno.errorcode.get(number or 0, "an unknown fault")
    return DeviceError(f"a USB transfer failed with {name}", device=device)


def _forbidden(device: str) -> DevicePermissionError:
    return DevicePermissionError("this user may not open the device", device=device, cure=_UDEV)
