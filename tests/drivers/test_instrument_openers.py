"""Each scheme opens as one kind of thing; who errs is told the right call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import qkd_hal
from qkd_hal import schemes
from qkd_hal.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[[str], object]


@pytest.mark.parametrize(
    ("wrong", "url", "words"),
    [
        (qkd_hal.open_device, "tdc1:///dev/x", "a detection source, not a key device"),
        (qkd_hal.open_entropy_source, "tdc1:///dev/x", "a detection source, not an entropy"),
        (qkd_hal.open_device, "quantis:", "an entropy source, not a key device"),
        (qkd_hal.open_detection_source, "quantis:", "an entropy source, not a detection"),
        (qkd_hal.open_detection_source, "bb84+tcp://h:1", "a key device, not a detection"),
        (qkd_hal.open_entropy_source, "bb84+tcp://h:1", "a key device, not an entropy"),
    ],
)
def test_the_wrong_opener_names_the_right_one(wrong: Open, url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        wrong(url)
    right = {
        "tdc1": "open_detection_source",
        "quantis": "open_entropy_source",
        "bb84+tcp": "open_device",
    }[url.partition(":")[0]]
    assert caught.value.cure == f"Open it with qkd_hal.{right}()"


@pytest.mark.parametrize("opener", [qkd_hal.open_detection_source, qkd_hal.open_entropy_source])
def test_an_unknown_scheme_lists_the_known(opener: Open) -> None:
    with pytest.raises(ConfigurationError, match=r"no driver for nope:; known schemes are \w+1?"):
        opener("nope:x")
    with pytest.raises(ConfigurationError, match="no secret stands in a URL"):
        opener("tdc1:///dev/x?pin=1")


def test_the_schemes_that_ship() -> None:
    assert schemes.known(schemes.DETECTION_SOURCES) == ["tdc1"]
    assert schemes.known(schemes.ENTROPY_SOURCES) == ["quantis"]


@pytest.mark.parametrize(
    ("opener", "url", "module", "extras"),
    [
        (qkd_hal.open_detection_source, "tdc1:///dev/x", "serial", "serial,sim"),
        (qkd_hal.open_entropy_source, "quantis:", "usb", "usb"),
    ],
)
def test_a_missing_extra_is_named(
    opener: Open, url: str, module: str, extras: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("qkd_hal_drivers.tdc1", "qkd_hal_drivers.quantis", f"{module}.")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("qkd_hal_drivers._usb", module):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'qkd-hal\[{extras}\]'"):
        opener(url)
