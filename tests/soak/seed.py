"""The seed of a soak: another one each time, unless the environment names it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SEED", "replayable"]

SEED = "QKD_HAL_SOAK_SEED"
"""The environment variable with the seed of a soak to be repeated."""


@contextmanager
def replayable() -> Iterator[int]:
    """Give the seed, and name it when what is done with it fails."""
    seed = int(os.environ.get(SEED) or secrets.randbelow(1 << 32))
    try:
        yield seed
    except BaseException as failure:
        failure.add_note(f"Repeat it with {SEED}={seed}")
        raise
