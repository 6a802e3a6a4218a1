"""What the command line says to test."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from qkd_hal.emulators import Disturbable, start_emulator
from qkd_hal.errors import QKDError
from qkd_hal.registry import open_device

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Hand", "Target", "opened_target"]


@dataclass(frozen=True)
class Target:
    """One device or two, the boxes that these may be, and what can disturb them."""

    urls: tuple[str, ...]
    serial_numbers: frozenset[str]
    disturb: Disturbable | None


@contextmanager
def opened_target(config: pytest.Config) -> Iterator[Target]:
    """Give what the options name; end the run where that cannot or may not be tested."""
    with ExitStack() as stack:
        try:
            target = _target(config, stack)
        except QKDError as error:
            _end(str(error))
        yield target


def _target(config: pytest.Config, stack: ExitStack) -> Target:
    emulator = config.getoption("qkd_emulator")
    if emulator:
        pair = start_emulator(emulator)
        stack.callback(pair.close)
        urls = pair.alice_url, pair.bob_url
        disturb = pair if isinstance(pair, Disturbable) else None
        return Target(urls, frozenset(map(_serial_number, urls)), disturb)
    ends = config.getoption("qkd_device"), config.getoption("qkd_peer")
    given = frozenset(config.getoption("qkd_serial_number"))
    urls = tuple(url for url in ends if url)
    for url in urls:
        _require_given(url, given)
    return Target(urls, given, Hand(urls) if config.getoption("qkd_interactive") else None)


def _require_given(url: str, given: frozenset[str]) -> None:
    number = _serial_number(url)
    if number not in given:
        _end(
            f"the device at {url} has the serial number {number!r}, which was not given. "
            "The checks use up its keys: if they may, add --serial-number " + number
        )


def _serial_number(url: str) -> str:
    with open_device(url) as device:
        return device.info.serial_number


def _end(why: str) -> NoReturn:
    pytest.exit(why, returncode=pytest.ExitCode.USAGE_ERROR)


class Hand:
    """A :class:`~qkd_hal.emulators.Disturbable` made of a person at the terminal."""

    faults: frozenset[str] = frozenset()

    def __init__(self, urls: tuple[str, ...], terminal: Path = Path("/dev/tty")) -> None:
        self._urls = dict(zip(("alice", "bob"), urls, strict=False))
        self._terminal = terminal
        self._away: set[str] = set()

    def unplug(self, end: str) -> None:
        """Ask for the device to be unplugged, unless it is."""
        if end not in self._away:
            self._ask(f"Unplug {self._urls[end]}")
            self._away.add(end)

    def plug(self, end: str) -> None:
        """Ask for it to be plugged in again, unless it is."""
        if end in self._away:
            self._ask(f"Plug {self._urls[end]} in again")
            self._away.discard(end)

    def fault(self, end: str, name: str | None) -> None:
        """Do nothing: a person offers no faults."""

    def _ask(self, what: str) -> None:
        # Not standard input, which pytest keeps from tests.
        with self._terminal.open("w") as screen, self._terminal.open() as keyboard:
            screen.write(f"\n>>> {what}, then press Enter: ")
            screen.flush()
            keyboard.readline()
