"""Compiles the kernels of the distillation into the package, if there is a C compiler.

It also runs for `pip install -e .`; after a change in C, run `python hatch_build.py`.
Without a compiler the wheel is pure Python and the kernels' numpy twins do the work.
"""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "qkd_hal/distillation/native"
# No -march: a wheel serves any machine of its kind. Kernels pick instructions when they run.
FLAGS = ["-std=c11", "-O3", "-fPIC", "-shared"]
SECONDS = 120


def build() -> Path | None:
    """Compile, unless that was done before; return the library, or None where it cannot be."""
    naming = runpy.run_path(str(NATIVE / "naming.py"))
    library: Path = naming["library"]()
    if library.exists():
        return library
    # Renamed when it is whole: another process may be loading it.
    fresh = library.with_suffix(f".{os.getpid()}.tmp")
    sources = [str(source) for source in naming["sources"]()]
    compiler = shlex.split(os.environ.get("CC", "cc"))
    try:
        subprocess.run([*compiler, *FLAGS, *sources, "-o", fresh], check=True, timeout=SECONDS)
        fresh.replace(library)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no compiled kernels, numpy does the work: {error}", file=sys.stderr)
        fresh.unlink(missing_ok=True)
        return None
    _forget_others(library)
    return library


def _forget_others(library: Path) -> None:
    for other in library.parent.glob(f"_kernels.*{'.'.join(library.name.split('.')[2:])}"):
        if other != library:
            other.unlink(missing_ok=True)


class CustomBuildHook(BuildHookInterface[BuilderConfig]):
    """Adds the library to the wheel, which is then one for this kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files are gathered."""
        library = build()
        if library is not None and version != "editable":
            build_data["artifacts"].append(str(library.relative_to(self.root)))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


if __name__ == "__main__":
    sys.exit(build() is None)
