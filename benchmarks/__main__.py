"""Run every benchmark of this directory, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the benchmarks: modules without a leading underscore."""
    return sorted(path.stem for path in HERE.glob("[!_]*.py"))


def main() -> int:
    """Run them in turn; fail if any failed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds each")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    arguments = parser.parse_args()
    options = ["--quick"] if arguments.quick else []
    if arguments.json:
        return run_as_json(options)
    codes = [run(name, options, capture=False).returncode for name in names()]
    return max(codes, key=abs)


def run_as_json(options: list[str]) -> int:
    """Print all rows as one object."""
    runs = [run(name, [*options, "--json"], capture=True) for name in names()]
    good = [each.stdout for each in runs if each.returncode == 0]
    rows: list[Any] = [row for output in good for row in json.loads(output)["rows"]]
    print(json.dumps({"rows": rows}))
    return int(len(good) < len(runs))


def run(name: str, options: list[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    """Run one benchmark; its errors go where ours go."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    output = subprocess.PIPE if capture else None
    return subprocess.run(command, cwd=HERE.parent, stdout=output, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
