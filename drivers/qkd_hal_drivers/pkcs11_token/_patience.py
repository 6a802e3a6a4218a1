"""Answers of a module that mean only that another process writes at this moment."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["patiently"]

T = TypeVar("T")

_RETRIES = 6
_PAUSE_SECONDS = 0.02  # doubled each time: 1.3 s in all, for a disk that others keep busy


def patiently(action: Callable[[], T], passing: type[Exception]) -> T:
    """Return ``action()``, tried again a few times if it raises *passing*."""
    for retry in range(_RETRIES):
        with suppress(passing):
            return action()
        time.sleep(_PAUSE_SECONDS * 2**retry)
    return action()
