"""Two modem processes over real sockets, opened through the driver."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from qkd_hal import open_device
from qkd_hal.errors import (
    DeviceError,
    DeviceLostError,
    KeyNotFoundError,
    KeysExhaustedError,
)
from qkd_hal.keys import KeyId
from qkd_hal.sources import Agreement, Alarm
from qkd_hal_simulators.emulator import ModemPair
from qkd_hal_simulators.modem.initial_secret import create_initial_secret
from tests.simulators.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal import QKDDevice


@contextmanager
def opened(pair: ModemPair) -> Iterator[tuple[QKDDevice, QKDDevice]]:
    with open_device(pair.alice_url) as alice, open_device(pair.bob_url) as bob:
        yield alice, bob


def wait_for_keys(*devices: QKDDevice, count: int = 4) -> None:
    eventually(lambda: all((d.status().stored_keys or 0) >= count for d in devices))


def agreed(starter: QKDDevice, answerer: QKDDevice, size: int = 32) -> str:
    """Start a key at one end, take it at the other, and return its ID."""
    names = starter.info.site, answerer.info.site
    session = starter.start(peer=names[1], size=size)
    session.connect()
    mine = session.get_key(size)
    theirs = answerer.get_key_by_id(session.key_id, peer=names[0])
    assert mine.matches(theirs)
    return str(session.key_id)


@pytest.fixture(scope="module")
def pair() -> Iterator[ModemPair]:
    with ModemPair() as running:
        yield running


def test_both_ends_hold_the_same_keys_whoever_starts(pair: ModemPair) -> None:
    with opened(pair) as (alice, bob):
        wait_for_keys(alice, bob)
        ids = [agreed(alice, bob) for _ in range(4)] + [agreed(bob, alice) for _ in range(4)]
        assert len(set(ids)) == 8


def test_a_session_is_confirmed_and_delivered_once(pair: ModemPair) -> None:
    with opened(pair) as (alice, bob):
        wait_for_keys(alice, bob)
        started = alice.start(peer="bob", size=48)
        answered = bob.start(peer="alice", key_id=started.key_id)
        assert started.connect() is answered.connect() is Agreement.CONFIRMED
        assert started.get_key(16).matches(answered.get_key(16))
        assert started.get_key(32).matches(answered.get_key(32))
        for end, peer in ((alice, "bob"), (bob, "alice")):
            with pytest.raises(KeyNotFoundError):
                end.get_key_by_id(started.key_id, peer=peer)


def test_the_status_accounts_for_the_link(pair: ModemPair) -> None:
    with opened(pair) as (alice, bob):
        wait_for_keys(alice, bob)
        for device in (alice, bob):
            status = device.status()
            assert device.info.provenance.simulated
            assert status.qber == pytest.approx(0.01, abs=0.006)
            assert status.secret_key_rate_bps is not None
            assert status.secret_key_rate_bps > 1000
            assert status.link_up
            assert status.alarms == frozenset()
            details = status.details
            # Few test bits: the error rate that it is measured against is off by a third.
            assert 0.5 < float(details["reconciliation_efficiency"]) < 2.0
            assert 0 < int(details["net_bits"]) < int(details["secret_bits"])
            assert int(details["secret_bits"]) < int(details["sifted_bits"])
            assert int(details["sifted_bits"]) < int(details["detections"])
            assert int(details["detections"]) < int(details["pulses"])


def test_a_forged_id_and_a_key_too_long_are_refused(pair: ModemPair) -> None:
    with opened(pair) as (alice, bob):
        wait_for_keys(alice, bob)
        with pytest.raises(KeyNotFoundError, match="forged"):
            bob.get_key_by_id(KeyId.random(), peer="alice")
        with pytest.raises(KeysExhaustedError):
            alice.start(peer="bob", size=60_000)


def test_a_modem_says_where_applications_reach_it(pair: ModemPair) -> None:
    assert f"ready: {pair.alice_url};" in pair.log("alice")


def test_files_are_private_and_the_secret_is_gone(pair: ModemPair) -> None:
    root = pair._directory
    assert not list(root.glob("*.secret"))
    for path in (root / "alice").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_eavesdropper_is_found_at_both_ends() -> None:
    with ModemPair(eve_fraction=1.0) as pair, opened(pair) as devices:
        for device in devices:
            eventually(lambda d=device: d.status().qber is not None)  # type: ignore[misc]
            status = device.status()
            assert status.qber == pytest.approx(0.25, abs=0.03)
            assert Alarm.QBER_HIGH in status.alarms
            assert status.details["last_abort"] == "qber"
            assert status.stored_bytes == 0


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_killed_modem_comes_back_with_its_keys(name: str) -> None:
    with ModemPair() as pair:
        with opened(pair) as devices:
            wait_for_keys(*devices)
            lost = devices[name == "bob"]
            held = devices[0].start(peer="bob", size=32)
            pair.kill(name)
            with pytest.raises(DeviceLostError):
                lost.status()
            eventually(lambda: devices[name == "alice"].status().link_up is False)
        pair.restart(name)
        with opened(pair) as (alice, bob):
            kept = [device.status().stored_keys or 0 for device in (alice, bob)]
            assert all(kept)
            agreed(alice, bob)
            if name == "bob":
                assert len(bob.get_key_by_id(held.key_id, peer="alice")) == 32
            eventually(lambda: (bob.status().stored_keys or 0) > kept[1] + 4)
            agreed(bob, alice)


def test_keys_stay_equal_while_modems_are_killed_at_random_moments() -> None:
    moments = random.Random(20)
    seen: set[str] = set()
    with ModemPair() as pair:
        for name in ("bob", "alice"):
            time.sleep(moments.uniform(0.05, 0.6))
            pair.kill(name)
            pair.restart(name)
            with opened(pair) as (alice, bob):
                wait_for_keys(alice, bob)
                fresh = {agreed(alice, bob), agreed(bob, alice)}
                assert not fresh & seen
                seen |= fresh


def test_the_emitter_can_be_the_end_that_connects() -> None:
    with ModemPair() as pair:
        roles = {"alice": "--detect", "bob": "--emit"}
        for name in roles:  # a store keeps its role while a block is open
            pair.kill(name)
            shutil.rmtree(pair._directory / name)
        create_initial_secret([pair._directory / f"{name}.secret" for name in roles], 4096)
        for name, role in roles.items():
            pair._lines[name] = (*pair._lines[name], role)
            pair.restart(name)
        with opened(pair) as (alice, bob):
            wait_for_keys(alice, bob)
            agreed(alice, bob)
            assert int(bob.status().details["blocks"]) > 0


def test_two_emitters_are_told_so() -> None:
    with ModemPair() as pair:
        pair.kill("bob")
        pair._lines["bob"] = (*pair._lines["bob"], "--emit")
        pair.restart("bob")
        with open_device(pair.bob_url) as bob:
            eventually(lambda: "exactly one end" in str(bob.status().details.get("last_abort")))


def test_a_modem_stops_distilling_at_high_water() -> None:
    with (
        ModemPair(options=("--high-water", "600")) as pair,
        opened(pair) as (alice, _),
    ):

        def blocks() -> int:
            return int(alice.status().details["blocks"])

        def at_rest() -> bool:
            before = blocks()
            time.sleep(1.0)  # twenty blocks' time
            return blocks() == before

        eventually(lambda: (alice.status().stored_bytes or 0) >= 600)
        eventually(at_rest)


def modem_children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_closing_leaves_no_process_and_no_file() -> None:
    before = modem_children()
    pair = ModemPair(eve_fraction=0.0)
    root = pair._directory
    assert set(pair.processes) == {"alice", "bob", "eve"}
    pair.close()
    pair.close()
    assert modem_children() == before
    assert not root.exists()


def test_a_pair_that_cannot_start_leaves_nothing_and_says_why() -> None:
    before = modem_children()
    with pytest.raises(DeviceError, match="no-such-option"):
        ModemPair(options=("--no-such-option",))
    assert modem_children() == before


def start_alice(directory: Path, *options: str) -> subprocess.Popen[bytes]:
    secret = directory / "secret"
    run = [sys.executable, "-m", "qkd_hal", "modem"]
    subprocess.run([*run, "secret", "--out", str(secret)], check=True)
    line = ("--bind", "127.0.0.1:0", "--dir", str(directory / "alice"), "--secret", str(secret))
    ready = ("--ready-file", str(directory / "ready"))
    return subprocess.Popen([*run, "alice", *line, *ready, *options], stdin=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_modem_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with start_alice(tmp_path) as alice:
        eventually((tmp_path / "ready").exists)
        url = json.loads((tmp_path / "ready").read_bytes())["url"]
        assert list((tmp_path / "qkd-hal" / "modems").iterdir())
        alice.send_signal(number)
        assert alice.wait(10) == 0
    assert not list((tmp_path / "qkd-hal" / "modems").iterdir())
    assert not list((tmp_path / "alice").glob("store.sqlite3-*"))
    assert not list((tmp_path / "alice").glob(".*"))
    with pytest.raises(DeviceError), open_device(url):
        pytest.fail("nobody should listen")


def test_a_modem_dies_with_its_parent(tmp_path: Path) -> None:
    with start_alice(tmp_path, "--die-with-parent") as alice:
        eventually((tmp_path / "ready").exists)
        assert alice.stdin is not None
        alice.stdin.close()
        assert alice.wait(10) == 0


def test_two_modems_cannot_share_a_store(tmp_path: Path) -> None:
    with start_alice(tmp_path) as alice:
        eventually((tmp_path / "ready").exists)
        (tmp_path / "ready").unlink()
        with start_alice(tmp_path) as second:
            assert second.wait(20) == 4
        os.kill(alice.pid, signal.SIGTERM)
        assert alice.wait(10) == 0
