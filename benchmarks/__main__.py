"""Run every benchmark of this directory, each in a process of its own.

Prints one table, and writes ``results/NAME.json`` beside this file; with ``--json`` one object
with all rows on stdout instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._report import Row, lines

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def names() -> list[str]:
    """Return the benchmarks: modules without a leading underscore."""
    return sorted(path.stem for path in HERE.glob("[!_]*.py"))


def main() -> int:
    """Run them in turn; fail if any failed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds each")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    arguments = parser.parse_args()
    every: list[dict[str, Any]] = []
    failed = []
    for name in names():
        rows = run(name, quick=arguments.quick)
        failed += [] if rows else [name]
        every += rows
        if not arguments.json:
            print(*lines(Row(**row) for row in rows), sep="\n", flush=True)
    if arguments.json:
        print(json.dumps({"rows": every}))
    if failed:
        print("failed:", *failed, file=sys.stderr)
    return len(failed)


def run(name: str, *, quick: bool) -> list[dict[str, Any]]:
    """Run one benchmark and keep its rows; its errors go where ours go. None if it fails."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *["--quick"][: int(quick)]]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return []
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(done.stdout)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


if __name__ == "__main__":
    sys.exit(main())
