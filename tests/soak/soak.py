"""Several players at once, each on a world of its own: while one waits, another plays."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

from tests.soak.ledger import Ledger
from tests.soak.overheard import Overheard
from tests.soak.player import Player
from tests.soak.pulse import Pulse
from tests.soak.seed import replayable

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from tests.soak.player import World

__all__ = ["CALLS", "check_variety", "soak"]

CALLS = frozenset(
    {"start", "join", "connect", "get", "look up", "derive", "status", "init", "close"}
)

_HANGS = 60.0  # seconds without the end of a call, far more than any may take


class _Run:
    """One player's part; ``failure`` says what went wrong."""

    def __init__(
        self,
        make: Callable[[int], World],
        seed: int,
        share: int,
        overheard: Overheard,
        pulse: Pulse,
    ) -> None:
        self._make = make
        self._seed = seed
        self._share = share
        self._overheard = overheard
        self._pulse = pulse
        self.ledger = Ledger()
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failure = ""
        self._player: Player | None = None
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        """Begin to play, in a thread."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until it has played, or hangs."""
        while self._thread.is_alive():
            self._thread.join(1.0)
            player = self._player
            if player is not None and time.monotonic() - player.last > _HANGS:
                self.failure = f"a call hangs {_told(player)}"
                return

    def _play(self) -> None:
        try:
            with closing(self._make(self._seed)) as world:
                self._play_on(world)
        except BaseException as failure:
            logging.getLogger("tests.soak").exception("the soak failed")
            self.failure = self.failure or repr(failure)

    def _play_on(self, world: World) -> None:
        self.ledger = world.ledger
        chance = random.Random(self._seed)
        player = self._player = Player(world, chance, self._overheard, self._pulse.lateness)
        try:
            while player.done < self._share:
                player.step()
            player.recover()
            world.ledger.check_order()
            world.ledger.check_erased(world.holds)
        except BaseException as failure:
            self.failure = f"{failure!r} {_told(player)}"
            raise
        finally:
            player.close()
            self.outcomes, self.faults = player.outcomes, Counter(world.faults())


def _told(player: Player) -> str:
    steps = "\n  ".join(tuple(player.trace))
    return f"after {player.done} calls, of which the last were\n  {steps}"


def soak(
    make: Callable[[int], World], operations: int, worlds: int = 1
) -> tuple[Counter[str], Counter[str]]:
    """Make *operations* calls on *worlds* worlds; return how they ended, and what struck.

    Fails on the first byte, error or moment that is not as promised, and names the seed. It
    repeats the choices, not the moments at which threads meet.
    """
    share = -(-operations // worlds)
    with replayable() as seed, Overheard() as overheard, Pulse() as pulse:
        runs = [_Run(make, seed + number, share, overheard, pulse) for number in range(worlds)]
        for run in runs:
            run.start()
        for run in runs:
            run.wait()
        failures = [run.failure for run in runs if run.failure]
        assert not failures, "\n".join(failures)
        overheard.check(chain.from_iterable(run.ledger.samples() for run in runs))
    outcomes: Counter[str] = sum((run.outcomes for run in runs), Counter())
    return outcomes, sum((run.faults for run in runs), Counter())


def check_variety(
    outcomes: Counter[str], faults: Counter[str], *, of_faults: int, calls: Set[str] = CALLS
) -> None:
    """Assert that all of *calls* went well now and then, and that most faults had their turn."""
    for call in sorted(calls):
        assert outcomes[f"{call}: ok"] >= outcomes.total() / 1000, (call, outcomes)
    assert len(faults) > 0.8 * of_faults, faults
