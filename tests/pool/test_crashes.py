"""Two real processes under load, either of which is killed at a random instant.

Each process writes a line per key *before* it uses it: the key's ID and a digest of its bytes.
Whatever the kills did, no ID and no digest may stand twice in one log, and both logs must
agree on every ID that is in both.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

SITE = Path(__file__).with_name("crash_site.py")


class Line(NamedTuple):
    """One key that a process got."""

    key_id: str
    digest: str


class Link:
    """The two processes and their files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for site in ("alice", "bob"):
            self.start(site)

    def start(self, site: str) -> None:
        self._processes[site] = subprocess.Popen(
            [sys.executable, SITE, site, self._directory], stdin=subprocess.PIPE
        )

    def kill(self, site: str) -> None:
        process = self._processes[site]
        assert process.poll() is None, f"{site} ended by itself"
        process.send_signal(signal.SIGKILL)
        self._reap(process)

    def stop(self) -> None:
        """Close both cleanly: the end of input asks for it."""
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes.values():
            assert process.wait(20) == 0

    def abort(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                self._reap(process)

    @staticmethod
    def _reap(process: subprocess.Popen[bytes]) -> None:
        process.wait(20)
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()

    def lines(self, site: str) -> list[Line]:
        file = self._directory / f"{site}.log"
        if not file.exists():
            return []
        return [Line(*line.split()) for line in file.read_text().splitlines()]

    def wait_for_progress(self) -> None:
        """Wait until bob took a key that did not exist before."""
        before, until = len(self.lines("bob")), time.monotonic() + 30
        while len(self.lines("bob")) == before:
            assert time.monotonic() < until, "no key passed in 30 seconds"
            time.sleep(0.01)


def _check(link: Link) -> tuple[int, int]:
    reserved, taken = link.lines("alice"), link.lines("bob")
    for lines in (reserved, taken):
        assert len({line.key_id for line in lines}) == len(lines), "a key ID was handed out twice"
        assert len({line.digest for line in lines}) == len(lines), "key bytes were handed out twice"
    known = dict(reserved)
    # alice logs before she names a key, so bob cannot know one that she does not.
    assert all(known[key_id] == digest for key_id, digest in taken), "the ends differ"
    return len(reserved), len(taken)


def _rounds(directory: Path, seed: int, rounds: int) -> None:
    choice = random.Random(seed)
    link = Link(directory)
    try:
        for _ in range(rounds):
            link.wait_for_progress()
            time.sleep(choice.uniform(0, 0.05))  # the instant is what is under test
            site = choice.choice(["alice", "bob"])
            link.kill(site)
            link.start(site)
        link.wait_for_progress()
        link.stop()
        reserved, taken = _check(link)
        assert taken > rounds
        assert reserved >= taken
    finally:
        link.abort()


@pytest.mark.timeout(110)
def test_twenty_kills_double_nothing(tmp_path: Path) -> None:
    _rounds(tmp_path, seed=1, rounds=20)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_double_nothing(tmp_path: Path, seed: int) -> None:
    _rounds(tmp_path, seed=100 + seed, rounds=50)
