"""Addresses of serial boxes."""

from __future__ import annotations

import pytest

from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import known_schemes
from qkd_hal_drivers.boxlink.driver import BoxDriver
from qkd_hal_drivers.serial_box import driver

MAKERS = {"serial": driver.serial, "serial+rfc2217": driver.rfc2217, "serial+socket": driver.tcp}


def made(text: str) -> object:
    url = DeviceURL.parse(text)
    return MAKERS[url.scheme](url)


def test_the_schemes_are_known() -> None:
    assert set(MAKERS) <= set(known_schemes())


@pytest.mark.parametrize(
    "text",
    [
        "serial:///dev/ttyUSB0",
        "serial:/dev/ttyUSB0",
        "serial:///dev/ttyUSB0?baud=12000000&credential=/x/y",
        "serial+rfc2217://host:4000?baud=9600",
        "serial+rfc2217://[::1]:4000/",
        "serial+socket://10.0.0.1:4000?credential=x",
    ],
)
def test_good_addresses(text: str) -> None:
    assert isinstance(made(text), BoxDriver)


@pytest.mark.parametrize(
    "text",
    [
        "serial://ttyUSB0",
        "serial:ttyUSB0",
        "serial://host/dev/ttyUSB0",
        "serial:///dev/ttyUSB0?speed=9600",
        "serial:///dev/ttyUSB0?baud=0",
        "serial:///dev/ttyUSB0?baud=-1",
        "serial:///dev/ttyUSB0?baud=fast",
        "serial:///dev/ttyUSB0?baud=%C2%B2",
        "serial:///dev/ttyUSB0?baud=20000001",
        "serial:///dev/ttyUSB0?baud=" + "9" * 400,
        "serial+rfc2217://host",
        "serial+rfc2217://host:1/dev/ttyUSB0",
        "serial+rfc2217://host:1?ign_set_control=1",
        "serial+socket://host:1?baud=9600",
        "serial+socket://:1",
    ],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ConfigurationError):
        made(text)
