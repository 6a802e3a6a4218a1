"""`qkd-hal-mock token` as a process: USB/IP, a virtual reader, its state file, its faults."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal_firmware_mocks._cli import main
from qkd_hal_firmware_mocks.token.applet import ATR, KeyApplet
from qkd_hal_firmware_mocks.token.faults import PowerCut
from qkd_hal_firmware_mocks.token.medium import FileMedium, MemoryMedium
from qkd_hal_firmware_mocks.token.vpcd import VpcdCard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SELECT = bytes.fromhex("00A40400 08 F0514B4448414C01 00")
GET_STATUS = bytes.fromhex("80020000 00")
VERIFY = bytes.fromhex("00200081")
SECONDS = 30
PIN = b"123456".ljust(16, b"\xff")
SECRETS = b"\x80\x10" + PIN + b"\x81\x10" + b"98765432".ljust(16, b"\xff")
INITIALISE = SECRETS + b"\x82\x05alice\x83\x03bob"


@contextmanager
def running(*arguments: str) -> Iterator[dict[str, Any]]:
    """Run the mock, and give what it announces; it ends when we close its standard input."""
    command = [sys.executable, "-m", "qkd_hal_firmware_mocks", "token", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "--die-with-parent"], stdin=pipe, stdout=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())
        child.stdin.close()
        assert child.wait(SECONDS) == 0


class VirtualReader:
    """The reader's side of vpcd's wire."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._card: socket.socket | None = None

    def accept(self) -> None:
        self.eject()
        self._listener.settimeout(SECONDS)
        self._card, _ = self._listener.accept()
        self._card.settimeout(SECONDS)

    def ask(self, message: bytes) -> bytes:
        """Return the answer; nothing at all once the card is gone."""
        assert self._card is not None
        self._card.sendall(struct.pack(">H", len(message)) + message)
        head = self._card.recv(2, socket.MSG_WAITALL)
        return self._card.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""

    def tell(self, order: int) -> None:
        assert self._card is not None
        self._card.sendall(bytes([0, 1, order]))

    def eject(self) -> None:
        if self._card is not None:
            self._card.close()

    def close(self) -> None:
        self.eject()
        self._listener.close()


@pytest.fixture
def reader() -> Iterator[VirtualReader]:
    reader = VirtualReader()
    yield reader
    reader.close()


def test_a_token_in_a_virtual_reader(reader: VirtualReader, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with running("--vpcd", str(reader.port), "--ready-file", str(ready)) as announced:
        assert announced["vpcd"] == f"127.0.0.1:{reader.port}"
        assert json.loads(ready.read_text()) == announced
        reader.accept()
        assert reader.ask(b"\x04") == ATR
        assert announced["serial_number"].encode() in reader.ask(SELECT)
        reader.tell(2)
        assert reader.ask(GET_STATUS) == b"\x69\x99"


def test_the_state_file_outlives_the_process(reader: VirtualReader, tmp_path: Path) -> None:
    path = tmp_path / "token"
    in_reader = ("--vpcd", str(reader.port), "--state", str(path))
    with running(*in_reader, "--serial", "T-1"):
        reader.accept()
        reader.ask(SELECT)
        command = bytes.fromhex("80100000") + bytes([len(INITIALISE)]) + INITIALISE
        assert reader.ask(command) == b"\x90\x00"
        reader.ask(VERIFY + b"\x10" + b"000000".ljust(16, b"\xff"))
    with running(*in_reader, "--serial", "T-1"):
        reader.accept()
        assert b"T-1" in reader.ask(SELECT)
        assert reader.ask(VERIFY) == b"\x63\xc2", "one try is burned"


def test_a_fault_by_its_name(reader: VirtualReader) -> None:
    with running("--vpcd", str(reader.port), "--faults", "cut-after@STATUS") as announced:
        assert announced["device"] == "token"
        reader.accept()
        assert reader.ask(SELECT).endswith(b"\x90\x00")
        assert reader.ask(GET_STATUS) == b""
        reader.accept()
        assert reader.ask(GET_STATUS) == b"\x69\x99", "the power came back"


def test_faults_by_chance(reader: VirtualReader) -> None:
    with running("--vpcd", str(reader.port), "--faults", "seed=5,rate=1"):
        reader.accept()
        assert reader.ask(SELECT) != KeyApplet(MemoryMedium()).transmit(SELECT)


def test_a_token_on_usbip() -> None:
    with running("--usbip", "0", "--serial", "T-9") as announced:
        host, _, port = announced["usbip"].partition(":")
        with socket.create_connection((host, int(port)), SECONDS) as line:
            line.sendall(bytes.fromhex("0111 8005 00000000"))  # OP_REQ_DEVLIST
            found = line.recv(12 + 0x138 + 4, socket.MSG_WAITALL)
        assert found[8:12] == b"\0\0\0\1"
        assert found[-4:-1] == b"\x0b\0\0", "one interface, CCID"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say --usbip PORT or --vpcd PORT"),
        (["--usbip", "0", "--vpcd", "1"], "say --usbip PORT or --vpcd PORT"),
        (["--usbip", "0", "--faults", "no-such"], "no such fault: no-such; known are"),
        (["--vpcd", "1", "--faults", "halt"], "no such fault: halt"),
    ],
)
def test_wrong_use(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["token", *arguments])
    assert result.exit_code == 2
    assert says in result.output


def test_no_reader_listens(reader: VirtualReader) -> None:
    reader.close()
    result = CliRunner().invoke(main, ["token", "--vpcd", str(reader.port)])
    assert result.exit_code == 1
    assert "no virtual reader listens" in result.output


def test_a_state_file_in_use(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with FileMedium(path):
        result = CliRunner().invoke(main, ["token", "--usbip", "0", "--state", str(path)])
    assert result.exit_code == 1
    assert "another process" in result.output


class _CutOnce:
    """A card whose power fails in its first command."""

    atr = ATR

    def __init__(self) -> None:
        self.applet = KeyApplet(MemoryMedium())
        self.cut = True

    def reset(self) -> None:
        self.applet.reset()

    def transmit(self, apdu: bytes) -> bytes:
        if self.cut:
            self.cut = False
            raise PowerCut
        return self.applet.transmit(apdu)


def test_a_card_leaves_its_reader_and_comes_back(reader: VirtualReader) -> None:
    with VpcdCard(_CutOnce(), reader.port):
        reader.accept()
        assert reader.ask(SELECT) == b""
        reader.accept()
        assert reader.ask(SELECT).endswith(b"\x90\x00")


def test_a_reader_that_closes_ends_the_card(reader: VirtualReader) -> None:
    card = VpcdCard(KeyApplet(MemoryMedium()), reader.port)
    reader.accept()
    reader.eject()
    card._thread.join(SECONDS)
    assert not card._thread.is_alive()
    card.close()
    card.close()
