"""Eve on the classical channel: what becomes of each message. Decides only; sends nothing."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from typing import TYPE_CHECKING

from qkd_hal.errors import UsageError
from qkd_hal_simulators.physics.eve.options import AttackOptions

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ACTIONS", "MAN_IN_THE_MIDDLE", "ManInTheMiddle", "make_man_in_the_middle"]

MAN_IN_THE_MIDDLE = "man-in-the-middle"
ACTIONS = ("drop", "delay", "modify", "inject", "replay")
_REMEMBERED = 200  # messages to replay: some blocks' worth
_REMEMBERED_BYTES = 64 << 20  # in all, whatever the size of a block
_MAX_HELD = 64  # messages; with more in her hands she lets the next through
_FORGED_BYTES = 60  # of a random body: as long as the short messages of the protocol
_FRACTION = 0.05  # of the messages; a block takes some forty, so that some get through
_DELAY = 0.5  # seconds


class ManInTheMiddle:
    """Tampers with a *fraction* of the messages by one of *actions*, up to *limit* of them.

    ``drop``; ``delay`` by so many seconds, so that others overtake it; ``modify``: flip a bit;
    ``inject`` a forged message before the true one; ``replay`` an old one, from either end,
    after it. ``counts`` says how often she did what. A *way* is 0 or 1: which end a message
    came from.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        fraction: float = _FRACTION,
        actions: tuple[str, ...] = ACTIONS,
        delay: float = _DELAY,
        limit: int | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.heard = 0
        self._rng = rng
        self.fraction = fraction
        self._actions = actions
        self._delay = delay
        self._limit = limit
        self._memory = _Memory()
        self._held: list[tuple[float, int, int, bytes]] = []

    def tamper(self, raw: bytes, way: int, now: float) -> list[bytes]:
        """Return what goes on in place of *raw*; *now* is in seconds of any clock."""
        self.heard += 1
        self._memory.add(raw)
        spent = self._limit is not None and self.counts.total() >= self._limit
        if spent or self._rng.random() >= self.fraction:
            return [raw]
        action = self._actions[int(self._rng.integers(len(self._actions)))]
        if action == "delay" and len(self._held) >= _MAX_HELD:
            return [raw]
        self.counts[action] += 1
        return self._replaced(action, raw, way, now)

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return the messages that were held back long enough, each with its way."""
        ready = []
        while self._held and self._held[0][0] <= now:
            _, _, way, raw = heapq.heappop(self._held)
            ready.append((way, raw))
        return ready

    def to_json(self) -> dict[str, object]:
        """Return what she did, as plain numbers."""
        done = {action: self.counts[action] for action in self._actions}
        return {"messages_heard": self.heard, "messages_tampered": self.counts.total(), **done}

    def _replaced(self, action: str, raw: bytes, way: int, now: float) -> list[bytes]:
        match action:
            case "drop":
                return []
            case "delay":
                heapq.heappush(self._held, (now + self._delay, self.heard, way, raw))
                return []
            case "modify":
                return [self._flipped(raw)]
            case "inject":
                return [self._forged(raw), raw]
        return [raw, self._memory.pick(self._rng)]

    def _flipped(self, raw: bytes) -> bytes:
        changed = bytearray(raw or b"\0")
        changed[int(self._rng.integers(len(changed)))] ^= 1 << int(self._rng.integers(8))
        return bytes(changed)

    def _forged(self, raw: bytes) -> bytes:
        noise = self._rng.bytes(_FORGED_BYTES)
        forgeries = (b"", b"E", b"H\1", b"E" + noise, raw[: len(raw) // 2])
        return forgeries[int(self._rng.integers(len(forgeries)))]


class _Memory:
    """The latest messages, bounded in number and bytes."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._bytes = 0

    def add(self, raw: bytes) -> None:
        self._messages.append(raw)
        self._bytes += len(raw)
        while len(self._messages) > _REMEMBERED or self._bytes > _REMEMBERED_BYTES:
            self._bytes -= len(self._messages.popleft())

    def pick(self, rng: np.random.Generator) -> bytes:
        return self._messages[int(rng.integers(len(self._messages)))] if self._messages else b""


def make_man_in_the_middle(spec: str | AttackOptions, rng: np.random.Generator) -> ManInTheMiddle:
    """Return the adversary that *spec* names: ``man-in-the-middle[:OPTION=VALUE,…]``.

    Options: ``action`` (any, or one of :data:`ACTIONS`), ``fraction`` of the messages (default
    0.05), ``delay`` in seconds (0.5), and a budget, ``messages`` to tamper with in all.

    Raises:
        UsageError: it is no such attack, has no such option, or a value is out of range.
    """
    options = AttackOptions(spec) if isinstance(spec, str) else spec
    if options.name != MAN_IN_THE_MIDDLE:
        raise UsageError(
            f"no attack {options.name!r} on the classical channel",
            cure=f"Take {MAN_IN_THE_MIDDLE}",
        )
    action = options.choice("action", ("any", *ACTIONS))
    delay = options.number("delay")
    made = ManInTheMiddle(
        rng,
        fraction=options.share("fraction", _FRACTION),
        actions=ACTIONS if action == "any" else (action,),
        delay=_DELAY if delay is None else delay,
        limit=options.count("messages"),
    )
    options.finish()
    return made
