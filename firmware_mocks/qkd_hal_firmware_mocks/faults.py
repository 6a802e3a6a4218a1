"""Which fault befalls which answer of a mock: by a script, by a seed, or by hand.

A plan is asked once for every request, and draws all its chances from one generator: the same
requests meet the same faults again. What a fault does is the mock's (`boxlink.mischief`) or
the wire's (`outlet`).
"""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FaultPlan", "FaultSpecError"]

_ALWAYS = frozenset({"stall", "dribble", "unplug"})
_SOMETIMES = 0.5  # how often any other fault strikes that goes on
_NOTHING = "-"
_LOGGED = 1 << 16  # requests


class FaultSpecError(ValueError):
    """A plan's text says nothing that this mock can do."""


class FaultPlan:
    """Without arguments no fault comes but those that `begin` or `once` ask for.

    ``log`` has what was drawn while the plan was active, the latest last.

    *script*: a name or ``-`` for each request, ``drop@FETCH`` waits for that operation;
    *seed* and *rate*: how likely each request meets one of *names*.
    """

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        seed: int = 0,
        rate: float = 0.0,
        names: Sequence[str] = (),
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to be replayed
        self.log: deque[str] = deque(maxlen=_LOGGED)
        self._script = deque(script)
        self._rate = rate
        self._names = list(names)
        self._standing: str | None = None
        self._lock = threading.Lock()

    @classmethod
    def script(cls, entries: Iterable[str]) -> FaultPlan:
        """Return the plan that *entries* spell out."""
        return cls(entries)

    @classmethod
    def seeded(cls, seed: int, rate: float, names: Iterable[str]) -> FaultPlan:
        """Return a plan by chance, which *seed* repeats."""
        return cls(seed=seed, rate=rate, names=sorted(names))

    @classmethod
    def parse(cls, text: str, known: Iterable[str]) -> FaultPlan:
        """Read ``seed=7,rate=0.05,only=drop+corrupt`` or ``drop,-,brown-out@FETCH``.

        Raises:
            FaultSpecError: anything else, or a fault that is not *known*.
        """
        known = frozenset(known)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise FaultSpecError("a plan of faults is not empty")
        if "=" not in parts[0]:
            _check((entry.partition("@")[0] for entry in parts), known | {_NOTHING})
            return cls.script(parts)
        seed, rate, names = _read_chances(parts, known)
        _check(names, known)
        return cls.seeded(seed, rate, names)

    @property
    def active(self) -> bool:
        """Whether any request may meet a fault."""
        return bool(self._script or self._standing or self._rate)

    def begin(self, name: str | None) -> None:
        """Let the fault *name* go on, in place of any other; ``None`` ends it."""
        with self._lock:
            self._standing = name

    def once(self, name: str) -> None:
        """Let the next request meet *name*."""
        with self._lock:
            self._script.appendleft(name)

    def draw(self, operation: str) -> str | None:
        """Return the fault that the next request, for *operation*, meets."""
        with self._lock:
            fault = self._scripted(operation) if self._script else self._by_chance()
        self.log.append(fault or _NOTHING)
        return fault

    def _scripted(self, operation: str) -> str | None:
        name, _, only = self._script[0].partition("@")
        if only and only != operation:
            return None
        self._script.popleft()
        return None if name == _NOTHING else name

    def _by_chance(self) -> str | None:
        if self._standing is not None:
            strikes = self._standing in _ALWAYS or self.random.random() < _SOMETIMES
            return self._standing if strikes else None
        if self._names and self.random.random() < self._rate:
            return self.random.choice(self._names)
        return None


def _read_chances(parts: list[str], known: frozenset[str]) -> tuple[int, float, list[str]]:
    values = dict(part.partition("=")[::2] for part in parts)
    names = values.pop("only", "+".join(known)).split("+")
    try:
        seed, rate = int(values.pop("seed")), float(values.pop("rate"))
    except (KeyError, ValueError):
        seed, rate = 0, -1.0
    if values or not 0 <= rate <= 1:
        raise FaultSpecError("give seed=NUMBER,rate=SHARE[,only=NAME+NAME]; SHARE is 0 to 1")
    return seed, rate, names


def _check(names: Iterable[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            raise FaultSpecError(f"no such fault: {name}; known are {', '.join(sorted(known))}")
