"""What a bad wire does to the messages of a mock on their way to the host."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.pacer import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

__all__ = ["WIRE_FAULTS", "Outlet"]

_DELAY = (0.02, 0.3)  # seconds: some answers come before their request is repeated, some after
_BYTE_SECONDS = 0.0002  # between two dribbled bytes, about 50 kbit/s
_GARBAGE = 1 << 16  # bytes
_PLUGGED_OUT = 0.3  # seconds


class Outlet:
    """Sends messages, perhaps with a fault. *divisible*: the wire is a stream of bytes, so
    that a message may come in pieces; else each message is one transfer."""

    def __init__(self, chance: Random, *, divisible: bool) -> None:
        self.pacer = Pacer()
        self.unplug: Callable[[], None] = _nothing
        self.plug: Callable[[], None] = _nothing
        self._chance = chance
        self._divisible = divisible
        self._held: list[bytes] = []
        self._send: Callable[[bytes], None] = lambda _: None
        self._faults: dict[str, Callable[[list[bytes]], None]] = {
            "drop": self._drop,
            "corrupt": self._corrupt,
            "duplicate": lambda messages: self.pass_on([each for each in messages for _ in "12"]),
            "reorder": self._reorder,
            "delay": self._delay,
            "dribble": self._dribble,
            "garbage": self._garbage,
            "unplug": self._unplug,
        }

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the function that sends to the host; it may be called from any thread."""
        self._send = send

    def close(self) -> None:
        """Forget what was to be sent later."""
        self.pacer.close()

    def deliver(self, messages: Sequence[bytes], fault: str | None) -> None:
        """Send *messages* as the wire fault *fault* lets them through."""
        held, self._held = self._held, []
        if fault is None:
            self.pass_on(messages)
        else:
            self._faults[fault](list(messages))
        self.pass_on(held)

    def pass_on(self, messages: Sequence[bytes]) -> None:
        """Send *messages* unharmed."""
        for message in messages:
            self._send(message)

    def _drop(self, messages: list[bytes]) -> None:
        if messages:
            del messages[self._chance.randrange(len(messages))]
        self.pass_on(messages)

    def _corrupt(self, messages: list[bytes]) -> None:
        if messages:
            place = self._chance.randrange(len(messages))
            spoilt = bytearray(messages[place])
            spoilt[self._chance.randrange(len(spoilt))] ^= 1 << self._chance.randrange(8)
            messages[place] = bytes(spoilt)
        self.pass_on(messages)

    def _reorder(self, messages: list[bytes]) -> None:
        if len(messages) > 1:
            self._chance.shuffle(messages)
            self.pass_on(messages)
        else:
            self._held = messages  # until after the next answer

    def _delay(self, messages: list[bytes]) -> None:
        self.pacer.later(self._chance.uniform(*_DELAY), lambda: self.pass_on(messages))

    def _dribble(self, messages: list[bytes]) -> None:
        if not self._divisible:
            self._delay(messages)
            return
        for number, byte in enumerate(b"".join(messages)):
            self.pacer.later(number * _BYTE_SECONDS, partial(self._send, bytes([byte])))

    def _garbage(self, messages: list[bytes]) -> None:
        noise = self._chance.randbytes(_GARBAGE)
        self.pass_on([noise[start : start + 4096] for start in range(0, _GARBAGE, 4096)])
        self.pass_on(messages)

    def _unplug(self, _: list[bytes]) -> None:
        # Not from here: the thread that serves the wire cannot wait for its own end.
        self.pacer.later(0, self.unplug)
        self.pacer.later(_PLUGGED_OUT, self.plug)


WIRE_FAULTS = frozenset(
    {"drop", "corrupt", "duplicate", "reorder", "delay", "dribble", "garbage", "unplug"}
)


def _nothing() -> None:
    """Where there is no plug to pull."""
