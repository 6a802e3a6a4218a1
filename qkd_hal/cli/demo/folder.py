"""The demo's temporary folder: private, and gone with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.cli._process import uninterrupted

if TYPE_CHECKING:
    from contextlib import ExitStack

__all__ = ["temporary_folder"]


def temporary_folder(stack: ExitStack) -> Path:
    """Make a folder of mode 0700 that is removed when *stack* ends."""
    with uninterrupted():
        folder = tempfile.TemporaryDirectory(prefix="qkd-hal-demo-")
        return Path(stack.enter_context(folder))
