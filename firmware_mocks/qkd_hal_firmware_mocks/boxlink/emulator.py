"""Two serial boxes in a process of their own, for fixtures and demonstrations."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["SerialBoxPair"]

_SECONDS = 30.0  # for a start, or for an order to be obeyed
_GRACE_SECONDS = 5.0
_COMMAND = (sys.executable, "-m", "qkd_hal_firmware_mocks", "serial")


class SerialBoxPair:
    """Boxes ``alice`` and ``bob`` on pseudo-terminals, which can be unplugged and disturbed.

    *options* are further ones of ``qkd-hal-mock serial``; with *state* the boxes keep their
    keys there, else in a directory that goes with them.

    Raises:
        RuntimeError: the process ended at once, or is slow; the message has its last words.
    """

    faults = BOX_FAULTS

    def __init__(self, *, options: tuple[str, ...] = (), state: Path | None = None) -> None:
        with ExitStack() as stack:
            if state is None:
                temporary = tempfile.TemporaryDirectory(prefix="qkd-hal-")
                state = Path(stack.enter_context(temporary))
            self._log = stack.enter_context(tempfile.TemporaryFile())
            self._process = self._start(("--state", str(state), *options))
            stack.callback(self._stop)
            self.ready = self._hear()
            self._stack = stack.pop_all()
        ends = self.ready["ends"]
        self.alice_url: str = ends["alice"]["url"]
        self.bob_url: str = ends["bob"]["url"]
        self.serial_numbers = tuple(end["serial_number"] for end in ends.values())

    @property
    def _input(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def _output(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    @property
    def pid(self) -> int:
        """The number of the process that is both boxes."""
        return self._process.pid

    def close(self) -> None:
        """Stop the process and remove its files; idempotent."""
        self._stack.close()

    def unplug(self, end: str) -> None:
        """Take a box away; its pseudo-terminal hangs up."""
        self.order(do="unplug", end=end)

    def plug(self, end: str) -> None:
        """Bring it back at the same URL."""
        self.order(do="plug", end=end)

    def fault(self, end: str, name: str | None) -> None:
        """Begin the fault *name*, in place of any other; ``None`` ends it."""
        self.order(do="fault", end=end, name=name)

    def order(self, **fields: Any) -> None:
        """Have the process do what `boxlink.control` offers, and wait until it is done.

        Raises:
            RuntimeError: it was not.
        """
        with suppress(BrokenPipeError):  # it is dead, and has left its last words
            self._input.write(json.dumps(fields).encode() + b"\n")
            self._input.flush()
        answer = self._hear()
        if "error" in answer:
            raise RuntimeError(f"the emulated boxes refuse {fields['do']}: {answer['error']}")

    def _hear(self) -> dict[str, Any]:
        heard, _, _ = select.select([self._output], [], [], _SECONDS)
        line = self._output.readline() if heard else b""
        if not line:
            self._process.kill()
            self._log.seek(0)
            words = self._log.read().decode(errors="replace").strip() or "no reason given"
            raise RuntimeError(f"the emulated boxes ended, or hang: {words}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        # A session of its own keeps the terminal's Ctrl-C from the boxes: they end with us.
        return subprocess.Popen(
            [*_COMMAND, "--pair", "--control", "--die-with-parent", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(BrokenPipeError):
            self._input.close()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
