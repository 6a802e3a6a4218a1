"""The unit's command interpreter and its stream of time stamps, behind any serial line."""

from __future__ import annotations

import struct
import threading
import time
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.tdc1.clicks import TICKS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Clicks = Callable[[], Iterator[tuple[int, int]]]

__all__ = ["COUNTER_TICKS", "DUMMY", "Tdc1Firmware", "word"]

COUNTER_TICKS = 1 << 27  # the counter in a time stamp starts anew after 268 ms
DUMMY = 0x10  # a word that only says that time passes
_DUMMY_TICKS = COUNTER_TICKS // 2
_SINGLES, _PAIRS, _TIMESTAMP = 0, 1, 3
_MODES = {"singles": _SINGLES, "pairs": _PAIRS, "timestamp": _TIMESTAMP}
_LEVELS = {"nim": -0.5, "ttl": 1.0}  # volts
_PAIRED_INPUTS = ((0, 2), (0, 3), (1, 2), (1, 3))
_MAX_LINE = 256  # characters; the longest command has 12
_SLICE_SECONDS = 0.004
_FREE_RUN_MS = 0
_HELP = "*IDN? *RST HELP SINGLES PAIRS TIMESTAMP MODE? TIME TIME? COUNTS? INPKT ABORT NIM TTL"


def word(tick: int, pattern: int) -> bytes:
    """Return one time stamp as it crosses the wire: 27 bits of time, 5 of pattern."""
    return struct.pack("<I", tick % COUNTER_TICKS << 5 | pattern)


class Tdc1Firmware:
    """A :class:`~qkd_hal_firmware_mocks.stream.ByteStream`.

    *clicks* makes what the inputs see from the start of an acquisition on; *counter*: where
    the counter then stands; *tamper* changes what is streamed, for faults; *identity* answers
    ``*IDN?``.
    """

    def __init__(
        self,
        clicks: Clicks,
        *,
        counter: int = 0,
        tamper: Callable[[bytes], bytes] = bytes,
        identity: str = "TDC1 simulated time-stamp unit, S/N MOCK0001",
    ) -> None:
        self._clicks = clicks
        self._counter = counter
        self._tamper = tamper
        self._identity = identity
        self._send: Callable[[bytes], None] = lambda _: None
        self._line = bytearray()
        self._acquisition: _Acquisition | None = None
        self._reset()

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the line to the host."""
        self._send = send

    def feed(self, data: bytes) -> None:
        """Run the commands in *data*; each ends with a semicolon, CR or LF."""
        for byte in data:
            if byte in b";\r\n":
                self._run(self._line.decode("ascii", "replace").strip().lower())
                self._line.clear()
            elif len(self._line) < _MAX_LINE:
                self._line.append(byte)

    def hang_up(self) -> None:
        """Stop streaming; the settings stay."""
        self._stop()
        self._line.clear()

    def _reset(self) -> None:
        self._mode, self._milliseconds = _SINGLES, 1000
        self._level, self._reference = _LEVELS["nim"], 0

    def _run(self, command: str) -> None:
        name, _, argument = command.partition(" ")
        if name in _MODES:
            self._mode = _MODES[name]
        elif name in _LEVELS:
            self._level = _LEVELS[name]
        elif name in ("neg", "pos", "time", "refclk"):
            self._set(name, argument)
        elif name.endswith("?"):
            self._answer(name)
        elif name in ("abort", "*rst"):
            self._stop()
            if name == "*rst":
                self._reset()
        elif name == "help":
            self._say(_HELP)

    def _set(self, name: str, argument: str) -> None:
        try:
            value = float(argument)
        except ValueError:
            return
        if name == "time":
            self._milliseconds = int(value) & 0xFFFF
        elif name == "refclk":
            self._reference = int(value)
        else:
            self._level = value

    def _answer(self, query: str) -> None:
        # The unit prints its 16-bit time as if it had a sign; its host library knows.
        signed = (self._milliseconds ^ 0x8000) - 0x8000
        answers = {
            "*idn?": self._identity,
            "mode?": str(self._mode),
            "time?": str(signed),
            "level?": f"{self._level:.3f} V",
            "refclk?": str(self._reference),
            "eclock?": "0",
        }
        if query in answers:
            self._say(answers[query])
        elif query == "counts?":
            self._start()

    def _say(self, text: str) -> None:
        self._send(text.encode() + b"\r\n")

    def _start(self) -> None:
        self._stop()
        run = self._stream if self._mode == _TIMESTAMP else self._count
        self._acquisition = _Acquisition(run)

    def _stop(self) -> None:
        if self._acquisition is not None:
            self._acquisition.stop()
            self._acquisition = None

    def _count(self, stopped: threading.Event) -> None:
        if stopped.wait(self._milliseconds / 1000):
            return
        counts = [0] * (8 if self._mode == _PAIRS else 4)
        for tick, pattern in self._clicks():
            if tick >= self._milliseconds * (TICKS_PER_SECOND // 1000):
                break
            for place in _counted(pattern, len(counts)):
                counts[place] += 1
        self._say(" ".join(map(str, counts)))

    def _stream(self, stopped: threading.Event) -> None:
        began = time.monotonic()
        events = _with_dummies(self._clicks())
        tick, pattern = next(events)
        ended = False
        while not ended:
            ended = stopped.wait(_SLICE_SECONDS)
            now = int((time.monotonic() - began) * TICKS_PER_SECOND)
            if self._milliseconds != _FREE_RUN_MS:
                last = self._milliseconds * (TICKS_PER_SECOND // 1000)
                ended, now = ended or now >= last, min(now, last)
            words = bytearray()
            while tick < now:
                words += word(self._counter + tick, pattern)
                tick, pattern = next(events)
            if words:
                self._send(self._tamper(bytes(words)))


class _Acquisition:
    """One running measurement, in a thread."""

    def __init__(self, run: Callable[[threading.Event], None]) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=run, args=(self._stopped,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def _counted(pattern: int, places: int) -> list[int]:
    singles = [place for place in range(4) if pattern >> place & 1]
    pairs = [4 + n for n, pair in enumerate(_PAIRED_INPUTS) if set(pair) <= set(singles)]
    return singles + pairs[: places - 4]


def _with_dummies(clicks: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    due = _DUMMY_TICKS
    for tick, pattern in clicks:
        while tick >= due:
            yield due, DUMMY
            due += _DUMMY_TICKS
        yield tick, pattern
    while True:  # a dark set-up
        yield due, DUMMY
        due += _DUMMY_TICKS
