"""Importing the front door is cheap: names at import, code on use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import qkd_hal

HEAVY = ("numpy", "zmq", "OpenSSL", "cryptography", "click", "rich", "cbor2", "asyncio", "sqlite3")
OURS = ("qkd_hal_drivers", "qkd_hal_simulators", "qkd_hal_firmware_mocks", "qkd_hal.tls")


def _loaded(program: str, environment: dict[str, str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    return set(done.stdout.split())


def test_importing_loads_no_room_at_all(bare_environment: dict[str, str]) -> None:
    loaded = _loaded("import qkd_hal", bare_environment)
    modules = {name for name in loaded if name.startswith("qkd_hal")}
    assert modules == {"qkd_hal"}


@pytest.mark.parametrize(
    "program",
    [
        "import qkd_hal",
        "import qkd_hal.registry; qkd_hal.registry.known_schemes()",
        "from qkd_hal import *",
    ],
)
def test_nothing_heavy_and_no_driver_is_loaded(
    program: str, bare_environment: dict[str, str]
) -> None:
    loaded = _loaded(program, bare_environment)
    assert sorted(loaded & {*HEAVY, *OURS}) == []


def test_every_public_name_is_there_and_listed() -> None:
    for name in qkd_hal.__all__:
        assert getattr(qkd_hal, name) is not None
    assert set(qkd_hal.__all__) <= set(dir(qkd_hal))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = qkd_hal.nope


def test_the_asynchronous_front_loads_on_use(bare_environment: dict[str, str]) -> None:
    loaded = _loaded("import qkd_hal; qkd_hal.aio.open_device", bare_environment)
    assert "qkd_hal.aio" in loaded
    assert "aio" in dir(qkd_hal)


def test_what_the_front_door_gives_is_named_there() -> None:
    assert qkd_hal.Event.__annotations__["kind"] == qkd_hal.EventKind.__name__
