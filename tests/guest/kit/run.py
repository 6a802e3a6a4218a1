"""Run a command in a throw-away machine that sees this one's files: ``run.py 'lsusb -t'``.

The guest's console goes to stdout; the exit code is the command's, 124 if the time was up,
and 3, with the reason on stderr, if this machine cannot build the guest's kernel.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

_BUILD = Path(__file__).with_name("build.py")
_LATE = 124
_QEMU = [
    "qemu-system-x86_64",
    *("-accel", "tcg"),  # a /dev/kvm that hangs is worse than none
    *("-cpu", "Nehalem", "-smp", "1", "-m", "768"),
    *("-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio"),
    *("-nic", "none", "-device", "virtio-rng-pci"),
]
_KERNEL_OPTIONS = "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off"
_EXIT = re.compile(rb"^\[guest\] exit (\d+) ", re.MULTILINE)


def main() -> int:
    """Parse the command line, boot, and pass the exit code on."""
    options = _parser().parse_args()
    built = subprocess.run(
        [sys.executable, str(_BUILD)], stdout=subprocess.PIPE, text=True, check=False
    )
    if built.returncode:
        return built.returncode
    kernel = Path(built.stdout.strip())
    if options.results:
        return _boot(kernel, options.command, Path(options.results), options.seconds)
    with tempfile.TemporaryDirectory() as results:
        return _boot(kernel, options.command, Path(results), options.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", help="a directory; the guest has it as /run/results")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("command")
    return parser


def _boot(kernel: Path, command: str, results: Path, seconds: float) -> int:
    script = f"{_environment()}cd {shlex.quote(os.getcwd())}\n{command}\n"  # noqa: PTH109
    (results / "command").write_text(script, encoding="utf-8")
    machine = [
        *_QEMU,
        *_share("root", "/", ",readonly=on,multidevs=remap"),
        *_share("results", str(results), ""),
        *("-kernel", str(kernel / "vmlinux"), "-initrd", str(kernel / "initrd")),
        *("-append", _KERNEL_OPTIONS),
    ]
    with (results / "console").open("wb") as console:
        try:
            subprocess.run(
                machine,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            console.write(b"[guest] the time is up\n")
    said = (results / "console").read_bytes()
    sys.stdout.buffer.write(said)
    ended = _EXIT.search(said)
    return int(ended[1]) if ended else _LATE


def _share(tag: str, path: str, options: str) -> list[str]:
    backing = f"local,id={tag},path={path.replace(',', ',,')},security_model=none{options}"
    return ["-fsdev", backing, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _environment() -> str:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("QKD_HAL_") or name in ("CI", "HOME", "LANG", "PATH")
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in passed.items())


if __name__ == "__main__":
    sys.exit(main())
