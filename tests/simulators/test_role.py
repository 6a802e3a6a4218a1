"""A store that emitted and one that detected are not the same thing while a block is open."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.initial_secret import create_initial_secret
from qkd_hal_simulators.modem.key_store import KeyStore
from qkd_hal_simulators.modem.process import run_modem
from qkd_hal_simulators.settings import ModemSettings
from tests.simulators.conftest import some_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModemSettings:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    create_initial_secret([tmp_path / "secret"], 2048)
    return some_settings(tmp_path / "alice", secret=tmp_path / "secret")


def run_once(settings: ModemSettings, *, emits: bool) -> None:
    """Start a modem that is told to stop at once."""
    stop = threading.Event()
    stop.set()
    run_modem(replace(settings, emits=emits), stop, ready=lambda _: None)


@contextmanager
def opened(settings: ModemSettings) -> Iterator[KeyStore]:
    database = Database(settings.directory / "store.sqlite3")
    yield KeyStore(database, capacity=1000)
    database.close()


def test_an_emitter_with_an_open_block_does_not_come_back_as_a_detector(
    settings: ModemSettings,
) -> None:
    run_once(settings, emits=True)
    with opened(settings) as keys:
        keys.add_block(5, bytearray(64), bytearray(64))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="block 5"):
            run_once(settings, emits=False)
    run_once(settings, emits=True)
    with opened(settings) as keys:
        keys.confirm_block(5)
    run_once(settings, emits=False)


def test_a_detector_with_an_open_block_can_emit_since_an_emitter_asks(
    settings: ModemSettings,
) -> None:
    run_once(settings, emits=False)
    with opened(settings) as keys:
        keys.add_block(5, bytearray(64), bytearray(64))
    run_once(settings, emits=True)
