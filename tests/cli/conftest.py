"""Run the command as users do, and install throw-away packages beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture
def qkd_hal() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``qkd-hal`` in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "qkd_hal", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | environment,
        )

    return run


@pytest.fixture
def package(tmp_path: Path) -> Callable[[str, dict[str, str], str], Path]:
    """Lay down a package that ``importlib.metadata`` finds, and return its folder."""

    def lay(name: str, commands: dict[str, str], source: str) -> Path:
        folder = tmp_path / "site"
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        rows = "".join(f"{command} = {target}\n" for command, target in commands.items())
        (info / "entry_points.txt").write_text(f"[qkd_hal.commands]\n{rows}")
        (folder / f"{name}.py").write_text(source)
        return folder

    return lay
