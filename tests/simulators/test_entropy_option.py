"""A modem that draws its randomness from a generator, and ends when that fails."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qkd_hal.errors import DeviceError, DeviceNotFoundError
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.quantis.firmware import Quantis
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from qkd_hal_simulators._cli import modem
from qkd_hal_simulators.modem.initial_secret import create_initial_secret
from qkd_hal_simulators.modem.process import run_modem
from qkd_hal_simulators.settings import PRESETS, ModemSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

URL = "quantis://1209:0007"
A_BLOCK_DRAWS = 4096  # bytes at least, for the matrix of privacy amplification


class Counted:
    """Makes random bytes, and tells when enough were drawn."""

    def __init__(self) -> None:
        self.drawn = 0
        self.enough = threading.Event()

    def __call__(self, size: int) -> bytes:
        self.drawn += size
        if self.drawn > 4 * A_BLOCK_DRAWS:
            self.enough.set()
        return os.urandom(size)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    return bus


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    paths = [tmp_path / "alice.secret", tmp_path / "bob.secret"]
    create_initial_secret(paths, 4096)
    return paths


def _settings(secret: Path, links: Mapping[str, str], *, entropy: str | None) -> ModemSettings:
    names = ("alice", "bob") if secret.stem == "alice" else ("bob", "alice")
    return ModemSettings(
        site=names[0],
        peer=names[1],
        first=names[0] == "alice",
        emits=names[0] == "alice",
        quantum=links.get("quantum", "127.0.0.1:0"),
        classical=links.get("classical", "127.0.0.1:0"),
        app="127.0.0.1:0",
        directory=secret.parent / names[0],
        secret=secret,
        preset=PRESETS["short"],
        entropy=entropy,
    )


def test_blocks_are_distilled_from_the_generators_bytes(
    bus: VirtualBus, secrets: list[Path]
) -> None:
    made = Counted()
    bus.plug(Quantis(made))
    stop, bound = threading.Event(), threading.Event()
    links: dict[str, str] = {}

    def ready(endpoints: Mapping[str, str]) -> None:
        links.update(endpoints)
        bound.set()

    with ThreadPoolExecutor(2) as threads:
        emitter = _settings(secrets[0], links, entropy=URL)
        running = [threads.submit(run_modem, emitter, stop, ready=ready)]
        try:
            assert bound.wait(20)
            detector = _settings(secrets[1], links, entropy=None)
            running.append(threads.submit(run_modem, detector, stop, ready=lambda _: None))
            assert made.enough.wait(20)
        finally:
            stop.set()
        for end in running:
            end.result(20)


def test_a_generator_that_fails_ends_the_modem(bus: VirtualBus, secrets: list[Path]) -> None:
    firmware = Quantis()
    bus.plug(firmware)

    def fail(_: object) -> None:
        firmware.module_ok = False

    with pytest.raises(DeviceError, match="failed module"):
        run_modem(_settings(secrets[0], {}, entropy=URL), threading.Event(), ready=fail)


def test_the_command_takes_the_generators_url(bus: VirtualBus, tmp_path: Path) -> None:
    home = ["--bind", "127.0.0.1:0", "--dir", str(tmp_path / "alice")]
    done = CliRunner().invoke(modem, ["alice", *home, "--entropy", URL])
    assert isinstance(done.exception, DeviceNotFoundError)
    assert not (tmp_path / "alice").exists()
