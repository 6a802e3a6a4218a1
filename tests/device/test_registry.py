"""open_device() and discover() over real distributions, written into a directory on sys.path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal.config import parse_configuration
from qkd_hal.discovery import discover
from qkd_hal.errors import ConfigurationError, MissingExtraError, UsageError
from qkd_hal.registry import known_schemes, open_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a distribution with one module and its entry points where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def lay(name: str, source: str, points: str) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nProvides-Extra: usb\n"
        )
        (info / "entry_points.txt").write_text(points)

    yield lay
    for module in set(sys.modules) - before:
        if module.startswith("acme"):
            del sys.modules[module]


DRIVER = """
def driver(url):
    print("made", url.path)
    return object()
"""


def _points(value: str, scheme: str = "acme", group: str = "drivers") -> str:
    return f"[qkd_hal.{group}]\n{scheme} = {value}\n"


def test_a_url_finds_its_driver_by_scheme(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("acme-box", DRIVER, _points("acme_box:driver"))
    device = open_device("ACME:/box", timeout=3)
    assert capsys.readouterr().out == "made /box\n"
    assert (device.name, device.timeout) == ("ACME:/box", 3)


def test_listing_schemes_imports_nothing(install: Install) -> None:
    install("acme-box", "raise SystemExit", _points("acme_box:driver"))
    assert "acme" in known_schemes()
    assert "acme_box" not in sys.modules


def test_a_name_is_looked_up_in_the_configuration(install: Install) -> None:
    install("acme-box", DRIVER, _points("acme_box:driver"))
    text = '[devices.lab]\nurl = "acme:/box"\npeer = "bob"\ntimeout = 4'
    config = parse_configuration(text, Path("/etc/qkd-hal.toml"))
    device = open_device("lab", config=config)
    assert (device.name, device.timeout, device._default_peer) == ("lab", 4.0, "bob")
    assert open_device("lab", config=config, timeout=1).timeout == 1
    with pytest.raises(ConfigurationError, match=r"no \[devices.labb\].*Did you mean lab\?"):
        open_device("labb", config=config)


def test_a_name_uses_the_configuration_of_the_environment(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-box", DRIVER, _points("acme_box:driver"))
    (tmp_path / "c.toml").write_text('[devices.lab]\nurl = "acme:/box"')
    monkeypatch.setenv("QKD_HAL_CONFIG", str(tmp_path / "c.toml"))
    assert open_device("lab").name == "lab"


def test_an_unknown_scheme_lists_the_known(install: Install) -> None:
    install("acme-box", DRIVER, _points("acme_box:driver"))
    with pytest.raises(ConfigurationError, match=r"no driver for nope:.*acme"):
        open_device("nope://x")


def test_two_drivers_for_one_scheme_are_refused_by_name(install: Install) -> None:
    install("acme-box", DRIVER, _points("acme_box:driver"))
    install("acme-rival", DRIVER, _points("acme_rival:driver"))
    with pytest.raises(ConfigurationError, match="acme-box and acme-rival"):
        open_device("acme:")


def test_a_missing_dependency_names_the_extra(install: Install) -> None:
    install("acme-box", "import no_such_module", _points("acme_box:driver [usb]"))
    with pytest.raises(MissingExtraError, match=r"pip install 'acme-box\[usb\]'"):
        open_device("acme:")


@pytest.mark.parametrize(
    ("source", "point"),
    [
        ("import no_such_module", "acme_box:driver"),
        ("import acme_box.lost", "acme_box:driver [usb]"),
        ("import qkd_hal.no_such_module", "acme_box:driver [usb]"),
        ("1 / 0", "acme_box:driver"),
        ("", "acme_box:driver"),
        ("", "acme_boxx:driver"),
    ],
)
def test_a_broken_package_is_named(source: str, point: str, install: Install) -> None:
    install("acme-box", source, _points(point))
    with pytest.raises(ConfigurationError, match=r"acme-box.*is broken") as caught:
        open_device("acme:")
    assert not isinstance(caught.value, MissingExtraError)


def test_a_factory_that_fails_is_named_but_not_quoted(install: Install) -> None:
    install("acme-box", "def driver(url): raise KeyError('0011')", _points("acme_box:driver"))
    with pytest.raises(ConfigurationError, match=r"KeyError.*acme-box") as caught:
        open_device("acme:")
    assert "0011" not in str(caught.value)


def test_a_factory_may_refuse_with_an_error_of_the_tree(install: Install) -> None:
    source = "import qkd_hal\ndef driver(url): raise qkd_hal.UsageError('no path')"
    install("acme-box", source, _points("acme_box:driver"))
    with pytest.raises(UsageError, match="no path"):
        open_device("acme:")


FOUND = """
from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.keys import Origin, Provenance

def _device(serial, origin):
    return DiscoveredDevice("acme:" + serial, "Acme", "Box", serial, Provenance(origin))

def search():
    yield _device("1", Origin.HARDWARE)
    yield _device("2", Origin.SIMULATED)

def unplugged():
    yield _device("3", Origin.HARDWARE)
    raise OSError("bus 3 is on fire")

def refused():
    import qkd_hal
    raise qkd_hal.DevicePermissionError("no access to the bus", cure="Install the udev rule")
"""


def _serials(*, simulators: bool) -> list[str]:
    return [d.serial_number for d in discover(simulators=simulators) if d.vendor == "Acme"]


def test_simulators_stay_hidden_unless_asked_for(install: Install) -> None:
    install("acme-box", FOUND, _points("acme_box:search", "box", "discovery"))
    assert _serials(simulators=False) == ["1"]
    assert _serials(simulators=True) == ["1", "2"]


@pytest.mark.parametrize(
    ("point", "reason", "cure"),
    [
        ("acme_box:unplugged", "OSError", "acme-box"),
        ("acme_box:refused", "no access to the bus", "Install the udev rule"),
        ("acme_lost:search [usb]", "is broken", "Install acme-box again"),
    ],
)
def test_a_bus_that_fails_is_an_entry_and_hides_no_other(
    point: str, reason: str, cure: str, install: Install
) -> None:
    install("acme-box", FOUND, _points(point, "a-bus", "discovery"))
    install("acme-good", FOUND, _points("acme_good:search", "b-bus", "discovery"))
    failed = [device for device in discover() if device.model == "a-bus"]
    assert len(failed) == 1
    assert not failed[0].usable
    assert reason in failed[0].reason
    assert cure in failed[0].cure
    assert _serials(simulators=False)[-1] == "1"


def test_what_a_bus_showed_before_it_failed_stays_in_the_list(install: Install) -> None:
    install("acme-box", FOUND, _points("acme_box:unplugged", "a-bus", "discovery"))
    assert _serials(simulators=False) == ["3"]


def test_a_missing_extra_is_an_entry_with_the_command(install: Install) -> None:
    install("acme-box", "import no_such", _points("acme_box:search [usb]", "a-bus", "discovery"))
    (entry,) = [device for device in discover() if device.model == "a-bus"]
    assert "pip install 'acme-box[usb]'" in entry.cure
