"""The drivers of boxes on lines of bytes, from their URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers.boxlink.driver import BoxDriver
from qkd_hal_drivers.serial_box.port import LocalPort
from qkd_hal_drivers.serial_box.rfc2217 import Rfc2217Line
from qkd_hal_drivers.serial_box.stream import StreamTransport
from qkd_hal_drivers.serial_box.tcp import TcpLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import KeyDriver
    from qkd_hal_drivers.serial_box.line import ByteLine

__all__ = ["rfc2217", "serial", "tcp"]

_DEFAULT_BAUD: Final = 115200
_MAX_BAUD: Final = 20_000_000  # the fastest UARTs behind USB do 12 million


def serial(url: DeviceURL) -> KeyDriver:
    """Return the driver of the box at ``serial:///dev/NAME?baud=N&credential=FILE``.

    Raises:
        ConfigurationError: *url* is something else.
    """
    if url.authority or not url.path.startswith("/"):
        raise _wrong(url, "serial:///dev/ttyUSB0?baud=115200&credential=FILE")
    baud = _baud(url)
    return _driver(url, {"baud", "credential"}, lambda: LocalPort(url.path, baud))


def rfc2217(url: DeviceURL) -> KeyDriver:
    """Return the driver of the box at ``serial+rfc2217://HOST:PORT?baud=N&credential=FILE``.

    Raises:
        ConfigurationError: *url* is something else.
    """
    host, port = _address(url)
    baud = _baud(url)
    return _driver(url, {"baud", "credential"}, lambda: Rfc2217Line(host, port, baud))


def tcp(url: DeviceURL) -> KeyDriver:
    """Return the driver of the box at ``serial+socket://HOST:PORT?credential=FILE``.

    Raises:
        ConfigurationError: *url* is something else.
    """
    host, port = _address(url)
    return _driver(url, {"credential"}, lambda: TcpLine(host, port))


def _driver(url: DeviceURL, options: set[str], line: Callable[[], ByteLine]) -> KeyDriver:
    foreign = url.query.keys() - options
    if foreign:
        known = ", ".join(sorted(options))
        raise ConfigurationError(
            f"{url} has the unknown option {min(foreign)}", cure=f"Known are: {known}"
        )
    return BoxDriver(lambda: StreamTransport(line()), url.query.get("credential"))


def _address(url: DeviceURL) -> tuple[str, int]:
    port = url.port
    if port is None or url.path not in ("", "/"):
        raise _wrong(url, f"{url.scheme}://HOST:PORT?credential=FILE")
    return url.host, port


def _baud(url: DeviceURL) -> int:
    text = url.query.get("baud", str(_DEFAULT_BAUD))
    baud = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= baud <= _MAX_BAUD:
        raise ConfigurationError(f"{text!r} is no baud rate", cure="Write it like ?baud=115200")
    return baud


def _wrong(url: DeviceURL, right: str) -> ConfigurationError:
    return ConfigurationError(f"{url} is no address of a serial box", cure=f"Write {right}")
