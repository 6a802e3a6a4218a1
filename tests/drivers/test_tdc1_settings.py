"""What a tdc1: URL may say, and that a wrong one names its part and the cure."""

from __future__ import annotations

import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import DeviceURL
from qkd_hal_drivers.tdc1 import Tdc1Settings


def _of(query: str) -> Tdc1Settings:
    return Tdc1Settings.of(DeviceURL.parse(f"tdc1:///dev/ttyACM0?{query}"))


def test_only_the_rate_must_be_said() -> None:
    settings = _of("rate_hz=80000000")
    assert settings == Tdc1Settings("/dev/ttyACM0", 80_000_000)
    assert settings.inputs == ("X0", "X1", "Z0", "Z1")
    assert (settings.gate_ns, settings.level, settings.clock) == (None, "NIM", 0)


def test_everything_can_be_said() -> None:
    query = "rate_hz=5&offset_ns=-1.5&gate_ns=3&inputs=z1,-,x0,X1&level=-0.2&clock=external"
    inputs = ("Z1", None, "X0", "X1")
    expected = Tdc1Settings("/dev/ttyACM0", 5, -1.5, 3.0, inputs, "NEG -0.200", 1)
    assert _of(query) == expected
    assert _of("rate_hz=1&level=1.25").level == "POS 1.250"
    assert _of("rate_hz=1&level=ttl&clock=internal").level == "TTL"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("gate_ns=1", "rate_hz="),
        ("rate_hz=0", "rate_hz=0"),
        ("rate_hz=1e6", "rate_hz=1e6"),
        ("rate_hz=250000001", "rate_hz=250000001"),
        ("rate_hz=" + "9" * 30, "rate_hz=999"),
        ("rate_hz=1&offset_ns=nan", "offset_ns=nan"),
        ("rate_hz=1&offset_ns=1e10", "offset_ns=1e10"),
        ("rate_hz=1&gate_ns=-1", "gate_ns=-1"),
        ("rate_hz=1&gate_ns=wide", "gate_ns=wide"),
        ("rate_hz=1&inputs=X0,X1,Z0", "inputs=X0,X1,Z0"),
        ("rate_hz=1&inputs=X0,X1,Z0,Y0", "inputs="),
        ("rate_hz=1&inputs=-,-,-,-", "inputs="),
        ("rate_hz=1&level=3.4", "level=3.4"),
        ("rate_hz=1&clock=sun", "clock=sun"),
        ("rate_hz=1&rate=1", "rate=1"),
    ],
)
def test_a_wrong_part_is_named(query: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match="describes no TDC1 receiver") as caught:
        _of(query)
    assert named in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize(
    "url", ["tdc1:?rate_hz=1", "tdc1://host/dev?rate_hz=1", "tdc1:/?rate_hz=1"]
)
def test_a_url_without_a_port_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="describes no TDC1"):
        Tdc1Settings.of(DeviceURL.parse(url))
