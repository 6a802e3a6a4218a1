"""One thing that doctor looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING

from qkd_hal.errors import QKDError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Check", "Outcome", "attempt", "failed", "passed", "skipped"]


class Outcome(Enum):
    """How a check ended. ``SKIPPED``: nothing that is configured needs it."""

    PASSED = "passed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it ended, and what to do about it."""

    name: str
    outcome: Outcome
    detail: str
    cure: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return the object that ``doctor --json`` prints."""
        return asdict(self) | {"outcome": self.outcome.value}


def passed(name: str, detail: str) -> Check:
    """Report that *name* is as it should be."""
    return Check(name, Outcome.PASSED, detail)


def skipped(name: str, detail: str, cure: str | None = None) -> Check:
    """Report that *name* is not there and not needed."""
    return Check(name, Outcome.SKIPPED, detail, cure)


def failed(name: str, detail: str, cure: str) -> Check:
    """Report that *name* is wrong."""
    return Check(name, Outcome.FAILED, detail, cure)


def attempt(name: str, look: Callable[[], str]) -> Check:
    """Run *look*, which says what it found; an error of ours is a failed check."""
    try:
        return passed(name, look())
    except QKDError as error:
        return failed(name, error.what, error.cure or "See docs/cli.md, section doctor")
