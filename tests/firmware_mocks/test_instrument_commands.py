"""``qkd-hal-mock tdc1`` and ``quantis``: processes that any language can talk to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal_firmware_mocks._cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = str(Path(sys.executable).with_name("qkd-hal-mock"))
LIST_DEVICES = bytes.fromhex("0111800500000000")  # USB/IP 1.1.1: OP_REQ_DEVLIST


@contextmanager
def running(*arguments: str) -> Iterator[dict[str, Any]]:
    """A mock that ends with its parent; it has, when this returns."""
    with subprocess.Popen(
        [COMMAND, *arguments, "--die-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as mock:
        assert mock.stdin is not None
        assert mock.stdout is not None
        try:
            announced: dict[str, Any] = json.loads(mock.stdout.readline())
            assert announced["pid"] == mock.pid
            yield announced
        finally:
            mock.stdin.close()
            assert mock.wait(10) == 0


def test_the_generator_is_exported_over_usbip() -> None:
    with running("quantis", "--usbip", "0", "--seed", "1") as fields:
        assert fields["url"] == "quantis://1209:0007/MOCK0001"
        with socket.create_connection(("127.0.0.1", fields["usbip_port"]), 10) as line:
            line.sendall(LIST_DEVICES)
            reply = b""
            while len(reply) < 12 + 312 + 4:
                reply += line.recv(4096)
        assert b"1-1" in reply
        assert bytes.fromhex("12090007") in reply


def test_the_time_stamp_unit_is_where_it_says() -> None:
    with running("tdc1", "--rates", "0,0,0,0") as fields:
        assert fields["url"] == f"tdc1://{fields['port']}"
        assert Path(fields["port"]).is_char_device()
    assert not Path(fields["port"]).exists()


@pytest.mark.parametrize("rates", ["1,2,3", "1,2,3,-4", "1,2,3,nan", "a,b,c,d", "1e9,0,0,0"])
def test_impossible_rates_are_wrong_use(rates: str) -> None:
    done = CliRunner().invoke(main, ["tdc1", "--rates", rates])
    assert done.exit_code == 2
    assert "--rates has four numbers" in done.output


def test_the_table_lists_them_unloaded() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert "quantis" in done.output
    assert "tdc1" in done.output
