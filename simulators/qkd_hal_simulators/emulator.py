"""A pair of simulated modems in processes of their own, for fixtures and demonstrations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qkd_hal.errors import DeadlineError, DeviceError
from qkd_hal_simulators.eve_settings import place_of
from qkd_hal_simulators.modem.initial_secret import create_initial_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["ModemPair"]

_START_SECONDS = 30.0
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_SECRET_BYTES = 4096


class ModemPair:
    """Two modems, and Eve if *eve* names her attack: ``NAME[:OPTION=VALUE,…]``.

    *preset* is one of ``qkd-hal modem``; *options* are further options of both
    ``qkd-hal modem alice`` and ``bob``. *eve_report* is a file that Eve keeps up to date;
    *eve_fraction* is short for intercept and resend. *classical_tap* is given the address of
    the classical channel and returns another, behind which it sits in the middle. Making a
    pair starts the processes and waits until applications can open them; distilling goes on
    behind.

    Raises:
        UsageError: *eve* names no attack, or an option that it does not have.
        DeviceError: a process ended at once; the message holds its last words.
        DeadlineError: a process did not get ready in time.
    """

    def __init__(
        self,
        *,
        preset: str = "short",
        eve: str | None = None,
        eve_fraction: float | None = None,
        eve_report: Path | None = None,
        options: tuple[str, ...] = (),
        classical_tap: Callable[[str], str] = str,
    ) -> None:
        if eve_fraction is not None:
            eve = f"intercept-resend:fraction={eve_fraction}"
        if eve is not None:
            place_of(eve)  # refuses what is none before anything starts
        # Eve finds light on the line only where it is simulated pulse by pulse.
        tappable = () if eve is None else ("--sampler", "per-pulse")
        self._shared = ("--preset", preset, *tappable, *options)
        self._lines: dict[str, tuple[str, ...]] = {}
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="qkd-hal-")
            self._directory = Path(stack.enter_context(temporary))
            self._children = _Children(self._directory)
            stack.callback(self._children.close)
            self._start(eve, eve_report, classical_tap)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Stop the processes and remove their files; safe to call again."""
        self._stack.close()

    @property
    def processes(self) -> dict[str, int]:
        """Process numbers by name: ``alice``, ``bob`` and perhaps ``eve``."""
        return self._children.numbers

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return self._children.log(name)

    def kill(self, name: str) -> None:
        """Kill ``alice`` or ``bob`` as a power cut would."""
        self._children.kill(name)

    def restart(self, name: str) -> None:
        """Start ``alice`` or ``bob`` again, on its store and at its old addresses."""
        self._children.start(name, *self._lines[name])

    @property
    def faults(self) -> frozenset[str]:
        """A modem can ``stall``: its process stands still until the fault ends."""
        return frozenset({"stall"})

    def unplug(self, end: str) -> None:
        """Kill ``alice`` or ``bob``, if it runs."""
        if end in self.processes:
            self.kill(end)

    def plug(self, end: str) -> None:
        """Start it again, if it does not run."""
        if end not in self.processes:
            self.restart(end)

    def fault(self, end: str, name: str | None) -> None:
        """Let the process of ``alice`` or ``bob`` stall, or go on."""
        number = self.processes.get(end)
        if number is not None and name:
            os.kill(number, signal.SIGSTOP)
            # The signal needs a moment, in which the modem still answers.
            os.waitid(os.P_PID, number, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        elif number is not None:
            os.kill(number, signal.SIGCONT)

    def _start(
        self, eve: str | None, eve_report: Path | None, classical_tap: Callable[[str], str]
    ) -> None:
        secrets = [self._directory / f"{site}.secret" for site in ("alice", "bob")]
        create_initial_secret(secrets, _SECRET_BYTES)
        alice = self._start_modem("alice", "bind", "127.0.0.1:0", "127.0.0.1:0")
        quantum, classical = alice["quantum"], classical_tap(alice["classical"])
        fibre: tuple[str, ...] = ()
        if eve is not None:
            fibre = ("--fibre-elsewhere",) if place_of(eve).replaces_line else ()
            quantum, classical = self._start_eve(eve, eve_report, quantum, classical)
        bob = self._start_modem("bob", "connect", quantum, classical, *fibre)
        self.alice_url, self.bob_url = alice["url"], bob["url"]

    def _start_eve(
        self, attack: str, report: Path | None, quantum: str, classical: str
    ) -> tuple[str, str]:
        """Put Eve into both channels; return the addresses where bob will find her."""
        here = "127.0.0.1:0"
        light = ("--listen", here, "--forward", quantum)
        words = ("--listen-classical", here, "--forward-classical", classical)
        reporting = ("--report", str(report)) if report else ()
        line = ("--attack", attack, *light, *words, *reporting, *self._shared)
        ready = self._children.start("eve", *line)
        return ready["quantum"], ready["classical"]

    def _start_modem(
        self, site: str, verb: str, quantum: str, classical: str, *own: str
    ) -> dict[str, str]:
        secret = ("--secret", str(self._directory / f"{site}.secret"))
        home = ("--dir", str(self._directory / site), *secret, *self._shared, *own)
        addresses = (f"--{verb}-quantum", quantum, f"--{verb}-classical", classical)
        ready = self._children.start(site, *addresses, *home)
        if verb == "bind":
            addresses = ("--bind-quantum", ready["quantum"], "--bind-classical", ready["classical"])
        self._lines[site] = (*addresses, *home, "--app", ready["app"])
        return ready

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Children:
    """Processes of ``qkd-hal modem`` that end with this one, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def numbers(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._running.items()}

    def start(self, role: str, *arguments: str) -> dict[str, str]:
        """Start ``qkd-hal modem ROLE`` and return what it announces."""
        ready = self._directory / f"{role}.ready"
        ready.unlink(missing_ok=True)
        life = ("--ready-file", str(ready), "--die-with-parent")
        with self._log_path(role).open("ab") as output:
            self._running[role] = _spawn(("modem", role, *arguments, *life), output)
        return self._wait_ready(role, ready)

    def log(self, role: str) -> str:
        """Return what the process wrote."""
        return self._log_path(role).read_text(errors="replace")

    def kill(self, role: str) -> None:
        """End a process without a word."""
        child = self._running.pop(role)
        child.kill()
        _reap(child)

    def close(self) -> None:
        """End all: politely, then by force."""
        for child in self._running.values():
            child.terminate()
        for child in self._running.values():
            _reap(child)

    def _log_path(self, role: str) -> Path:
        return self._directory / f"{role}.log"

    def _wait_ready(self, role: str, ready: Path) -> dict[str, str]:
        end = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if self._running[role].poll() is not None:
                words = self.log(role).strip().splitlines() or ["no reason given"]
                raise DeviceError(f"the simulated modem {role} ended at once: {words[-1]}")
            if time.monotonic() > end:
                raise DeadlineError(f"the simulated modem {role} did not get ready in time")
            time.sleep(_LOOK_SECONDS)
        fields: dict[str, str] = json.loads(ready.read_bytes())
        return fields


def _spawn(arguments: tuple[str, ...], output: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own keeps the terminal's Ctrl-C from the modems: we end them in order.
    return subprocess.Popen(
        [sys.executable, "-m", "qkd_hal", *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _reap(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    with suppress(BrokenPipeError):
        if child.stdin is not None:
            child.stdin.close()
