"""`qkd-hal-mock token --control`: orders by lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.control import Control

KNOWN = ("stall", "cut-after")


class Recorder:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def unplug(self) -> None:
        self.seen.append("unplug")

    def plug(self) -> None:
        self.seen.append("plug")


def test_orders_reach_the_socket_and_the_plan() -> None:
    socket, plan = Recorder(), FaultPlan()
    control = Control(socket, plan, KNOWN)
    for line in ('{"do": "unplug"}', '{"do": "plug"}', '{"do": "fault", "name": "stall"}'):
        assert "done" in json.loads(control.obey(line.encode()))
    assert socket.seen == ["unplug", "plug"]
    assert plan.draw("STATUS") == "stall"
    control.obey(b'{"do": "fault", "name": null}')
    control.obey(b'{"do": "once", "name": "cut-after@CONFIRM"}')
    assert [plan.draw(name) for name in ("FETCH", "CONFIRM", "CONFIRM")] == [
        None,
        "cut-after",
        None,
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"do": "dance"}',
        b'{"do": "fault", "name": "nap"}',
        b'{"do": "once"}',
        b'{"do": "once", "name": 7}',
        b'"plug"',
        b"\xff",
    ],
)
def test_nonsense_is_answered_too(line: bytes) -> None:
    plan = FaultPlan()
    assert "error" in json.loads(Control(Recorder(), plan, KNOWN).obey(line))
    assert plan.draw("STATUS") is None


def test_a_process_obeys() -> None:
    command = [sys.executable, "-m", "qkd_hal_firmware_mocks", "token", "--usbip", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--control", "--die-with-parent"], stdin=pipe, stdout=pipe
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        ready = json.loads(child.stdout.readline())
        assert ready["usbip"].startswith("127.0.0.1:")
        for order in ({"do": "unplug"}, {"do": "plug"}, {"do": "once", "name": "drop"}):
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(child.stdout.readline())
            assert answer == {"done": order["do"]}
        child.stdin.close()
        assert child.wait(30) == 0
