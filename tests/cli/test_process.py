"""No core dumps, no files for others, and no process without its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from qkd_hal.cli._process import EXIT_TERMINATED, orderly_stack, uninterrupted

LOOK = """
import ctypes, os, resource, stat, sys, tempfile
from qkd_hal.cli import main
try: main(["--version"])
except SystemExit: pass
handle, path = tempfile.mkstemp(); os.close(handle); os.unlink(path)
os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
mode = stat.S_IMODE(os.stat(path).st_mode); os.unlink(path)
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == "linux" else 0
print(resource.getrlimit(resource.RLIMIT_CORE), dumpable, oct(mode))
"""

WAIT = """
import sys, time
from qkd_hal.cli._process import die_with_parent, stop_on_sigterm
stop_on_sigterm()
die_with_parent()
try:
    print("up", flush=True)
    time.sleep(60)
finally:
    print("cleaned up", flush=True)
"""


def test_the_command_leaves_no_core_and_no_public_file() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(0, 0) 0 0o600"


@pytest.mark.parametrize("end", ["sigterm", "parent's pipe closes"])
def test_a_child_unwinds_when_told_or_orphaned(end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        if end == "sigterm":
            child.terminate()
        else:
            child.stdin.close()
        assert child.stdout.read() == "cleaned up\n"
        assert child.wait(10) == EXIT_TERMINATED


def test_ctrl_c_waits_for_the_end_of_a_step() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        step_with_ctrl_c_inside(done)
    assert done == ["the whole step"]


def step_with_ctrl_c_inside(done: list[str]) -> None:
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("the whole step")


def test_a_step_without_ctrl_c_gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_ctrl_c_does_not_cut_the_end_short() -> None:
    closed: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        end_with_two_ctrl_cs(closed)
    assert closed == ["one", "two"]


def end_with_two_ctrl_cs(closed: list[str]) -> None:
    with orderly_stack() as stack:
        stack.callback(closed.append, "two")
        stack.callback(closed.append, "one")
        stack.callback(os.kill, os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
