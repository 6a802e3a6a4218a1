"""Boxes as processes: pseudo-terminals and TCP, plugs, and what survives a kill."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal_firmware_mocks.boxlink.byte_line import PieceReader, to_line
from qkd_hal_firmware_mocks.boxlink.emulator import SerialBoxPair
from tests.firmware_mocks.box_host import Host, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0
COMMAND = (sys.executable, "-m", "qkd_hal_firmware_mocks")


class Wire:
    """A descriptor to a box: sends a frame, and gives what comes back."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._reader = PieceReader(8192)

    def exchange(self, frame: bytes) -> list[bytes]:
        os.write(self.descriptor, to_line(frame))
        frames: list[bytes] = []
        while not frames:
            ready, _, _ = select.select([self.descriptor], [], [], SECONDS)
            assert ready, "the box does not answer"
            frames += self._reader.feed(os.read(self.descriptor, 65536))
        return frames


@contextlib.contextmanager
def host_at(end: dict[str, str], peer: str) -> Iterator[Host]:
    """Open the pseudo-terminal of *end*."""
    path = end["url"].removeprefix("serial://").partition("?")[0]
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(descriptor)
        host = Host(Wire(descriptor).exchange, psk(end), peer)
        host.open()
        yield host
    finally:
        os.close(descriptor)


def psk(end: dict[str, str]) -> bytes:
    return bytes.fromhex(Path(end["credential"]).read_text())


@contextlib.contextmanager
def mock(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Run ``qkd-hal-mock`` and give what it announces."""
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


@pytest.fixture
def boxes() -> Iterator[SerialBoxPair]:
    with SerialBoxPair(options=("--seed", "1")) as pair:
        yield pair


def give(boxes: SerialBoxPair) -> tuple[bytes, bytes]:
    """Reserve a key at alice, use it there, and return its ID and value."""
    with host_at(boxes.ready["ends"]["alice"], "bob") as alice:
        (key_id,) = alice.do("RESERVE", size=32, count=1, token=os.urandom(16))["ids"]
        key = alice.do("FETCH", id=key_id, offset=0, size=32)["data"]
        alice.do("CONFIRM", id=key_id, end=32)
    return key_id, key


def test_both_ends_read_the_same_key(boxes: SerialBoxPair) -> None:
    key_id, key = give(boxes)
    with host_at(boxes.ready["ends"]["bob"], "alice") as bob:
        assert bob.do("FETCH", id=key_id, offset=0, size=32)["data"] == key
    assert boxes.serial_numbers == ("MOCK-ALICE", "MOCK-BOB")
    assert boxes.alice_url.startswith("serial:///")


def test_credentials_and_keys_are_the_owners_alone(boxes: SerialBoxPair) -> None:
    home = Path(boxes.ready["ends"]["alice"]["credential"]).parent
    assert home.stat().st_mode & 0o077 == 0
    files = [path for path in home.iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert psk(boxes.ready["ends"]["alice"]) != psk(boxes.ready["ends"]["bob"])


def test_an_unplugged_box_is_gone_and_comes_back(boxes: SerialBoxPair) -> None:
    end = boxes.ready["ends"]["alice"]
    with host_at(end, "bob") as alice:
        boxes.unplug("alice")
        boxes.unplug("alice")
        with pytest.raises((OSError, AssertionError)):
            alice.do("INFO")
    with pytest.raises(FileNotFoundError), host_at(end, "bob"):
        pass
    boxes.plug("alice")
    boxes.plug("alice")
    give(boxes)


def test_a_session_survives_its_line(boxes: SerialBoxPair) -> None:
    end = boxes.ready["ends"]["alice"]
    path = end["url"].removeprefix("serial://").partition("?")[0]
    with host_at(end, "bob") as alice:
        boxes.unplug("alice")
        boxes.plug("alice")
        again = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(again)
        alice._exchange = Wire(again).exchange
        assert alice.do("INFO")["site"] == "alice"
        os.close(again)


def test_faults_come_and_go(boxes: SerialBoxPair) -> None:
    boxes.fault("alice", "keys-exhausted")
    with host_at(boxes.ready["ends"]["alice"], "bob") as alice:
        codes = set()
        for _ in range(20):
            with contextlib.suppress(RefusedError):
                alice.do("INFO")
                codes.add(0)
                continue
            codes.add(17)
        assert codes == {0, 17}
        boxes.fault("alice", None)
        for _ in range(20):
            alice.do("INFO")
    with pytest.raises(RuntimeError, match="no such fault: fire"):
        boxes.fault("bob", "fire")


def test_a_killed_process_hands_nothing_out_again(tmp_path: Path) -> None:
    with SerialBoxPair(state=tmp_path / "state") as boxes:
        used_id, _ = give(boxes)
        kept_id, kept = give(boxes)
        with host_at(boxes.ready["ends"]["bob"], "alice") as bob:
            bob.do("FETCH", id=used_id, offset=0, size=32)
            bob.do("CONFIRM", id=used_id, end=32)
            bob.do("CONFIRM", id=kept_id, end=16)
        os.kill(boxes.pid, signal.SIGKILL)
    with SerialBoxPair(state=tmp_path / "state") as boxes:  # noqa: SIM117
        with host_at(boxes.ready["ends"]["bob"], "alice") as bob:
            with pytest.raises(RefusedError) as error:
                bob.do("FETCH", id=used_id, offset=0, size=32)
            assert error.value.code == 16
            with pytest.raises(RefusedError) as error:
                bob.do("FETCH", id=kept_id, offset=15, size=17)
            assert error.value.code == 18
            assert bob.do("FETCH", id=kept_id, offset=16, size=16)["data"] == kept[16:]


def test_a_box_behind_tcp_takes_one_host_after_another(tmp_path: Path) -> None:
    with mock("serial", "--tcp", "127.0.0.1:0", "--state", str(tmp_path / "s")) as (_, ready):
        end = ready["ends"]["alice"]
        assert set(ready["ends"]) == {"alice"}
        address = end["url"].removeprefix("serial+socket://").partition("?")[0]
        host, _, port = address.partition(":")
        for _ in range(2):
            with socket.create_connection((host, int(port)), SECONDS) as line:
                alice = Host(Wire(line.fileno()).exchange, psk(end), "bob")
                alice.open()
                alice.do("INFO")


def test_a_tcp_box_is_unplugged_and_comes_back_at_its_port() -> None:
    line = ("serial", "--pair", "--tcp", "127.0.0.1:0", "--control")
    with mock(*line) as (process, ready):
        assert process.stdin is not None
        assert process.stdout is not None
        host, _, port = (
            ready["ends"]["bob"]["url"][len("serial+socket://") :].partition("?")[0].partition(":")
        )

        def order(what: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"do": what, "end": "bob"}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"done": what}

        with socket.create_connection((host, int(port)), SECONDS) as open_line:
            Host(Wire(open_line.fileno()).exchange, psk(ready["ends"]["bob"]), "alice").open()
            order("unplug")
            assert open_line.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), SECONDS)
        order("plug")
        socket.create_connection((host, int(port)), SECONDS).close()


def test_the_usb_command_exports_both_boxes() -> None:
    with mock("usb", "--pair", "--faults", "seed=1,rate=0.1,only=nak+halt") as (_, ready):
        ends = ready["ends"]
        assert ends["bob"]["url"].startswith("usb://1209:0002/MOCK-BOB?credential=/")
        for end in ends.values():
            host, _, port = end["usbip"].partition(":")
            with socket.create_connection((host, int(port)), SECONDS) as line:
                line.sendall(bytes.fromhex("0111800500000000"))  # OP_REQ_DEVLIST
                assert line.recv(4096)[:4] == bytes.fromhex("01110005")


def test_the_link_and_the_ready_file_are_where_they_were_asked(tmp_path: Path) -> None:
    link, ready_file = tmp_path / "ttyBOX", tmp_path / "ready"
    with mock("serial", "--link", str(link), "--ready-file", str(ready_file)) as (process, ready):
        assert json.loads(ready_file.read_text()) == ready
        assert ready["pid"] == process.pid
        assert link.is_symlink()
        home = Path(ready["ends"]["alice"]["credential"]).parent
    process.wait(SECONDS)
    assert not link.is_symlink()
    assert not home.exists()


def test_boxes_without_orders_go_on() -> None:
    with mock("serial", "--control") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)


@pytest.mark.parametrize("control", [(), ("--control",)])
def test_boxes_end_with_their_parent(control: tuple[str, ...]) -> None:
    with mock("serial", "--die-with-parent", *control) as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--faults", "fire"), "no such fault: fire"),
        (("--faults", "nak"), "no such fault: nak"),
        (("--tcp", "nowhere"), "not HOST:PORT"),
        (("--tcp", "127.0.0.1:65535"), "not HOST:PORT"),
    ],
)
def test_wrong_use_is_told(arguments: tuple[str, ...], words: str) -> None:
    ended = subprocess.run([*COMMAND, "serial", *arguments], capture_output=True, timeout=SECONDS)
    assert ended.returncode != 0
    assert words in ended.stderr.decode()


def test_a_state_that_others_can_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ended = subprocess.run(
        [*COMMAND, "serial", "--state", str(tmp_path)], capture_output=True, timeout=SECONDS
    )
    assert b"is open to other users" in ended.stderr
    home = tmp_path / "mine"
    home.mkdir(mode=0o700)
    (home / "alice.psk").write_text("not hex")
    ended = subprocess.run(
        [*COMMAND, "serial", "--state", str(home)], capture_output=True, timeout=SECONDS
    )
    assert b"64 hexadecimal digits" in ended.stderr


def test_a_state_serves_one_process(tmp_path: Path) -> None:
    home = tmp_path / "state"
    with SerialBoxPair(state=home), pytest.raises(RuntimeError, match="other boxes run on"):
        SerialBoxPair(state=home)
    SerialBoxPair(state=home).close()


def test_an_emulator_that_cannot_start_says_why() -> None:
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="no such fault: fire"):
        SerialBoxPair(options=("--faults", "fire"))
    assert time.monotonic() - begin < SECONDS
