"""Build the guest's kernel and initrd from Debian's stock kernel, and print their directory.

``python tests/guest/kit/build.py`` needs apt's lists, ``busybox`` (static) and ``kmod``; it
downloads one package and installs nothing. What is built once for a version stays in the
user's cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CANNOT = 3
"""The exit code where this machine cannot build one; the last line on stderr says why."""

_INIT = Path(__file__).with_name("init")
_META = "linux-image-amd64"
_EARLY = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]
_FOR_TESTS = ["vhci_hcd", "cdc_acm", "usbtmc", "virtio_rng"]
_DIRECTORIES = [
    "drivers/usb",
    "drivers/virtio",
    "drivers/char/hw_random",
    "net/9p",
    "fs/9p",
    "fs/netfs",
    "fs/fscache",
    "fs/overlayfs",
]
_LISTS = ["builtin*", "order"]
_PAUSES = (5, 20, 60)  # seconds between attempts at a mirror that fails


class CannotBuildError(Exception):
    """A part of the system is missing."""


def main() -> int:
    """Build, unless it was built before."""
    try:
        print(kernel_directory())
    except CannotBuildError as error:
        print(error, file=sys.stderr)
        return CANNOT
    return 0


def kernel_directory() -> Path:
    """Give the directory with ``vmlinux`` and ``initrd``, built if need be."""
    for program in ("apt-cache", "apt-get", "dpkg-deb", "busybox", "depmod"):
        if shutil.which(program, path=_search_path()) is None:
            raise CannotBuildError(f"{program} is not installed")
    package, version = _stock_kernel()
    source = Path(__file__).read_bytes() + _INIT.read_bytes()
    kit = hashlib.sha256(source).hexdigest()[:8]
    built = _cache() / f"{package}_{version.replace(':', '.')}_{kit}"
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(package, built)
    return built


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # depmod, for those who are not root


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(base) / "qkd-hal" / "guest"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _stock_kernel() -> tuple[str, str]:
    found = re.search(r"Depends: (linux-image-\S+)", _output("apt-cache", "depends", _META))
    if found is None:
        raise CannotBuildError(f"apt knows no {_META}: run `apt-get update`, on Debian amd64")
    version = re.search(r"Candidate: (\S+)", _output("apt-cache", "policy", found[1]))
    if version is None or version[1] == "(none)":
        raise CannotBuildError(f"apt has no candidate for {found[1]}")
    return found[1], version[1]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _build(package: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        _unpack(_download(package, work), work)
        modules = next((work / "lib/modules").iterdir())
        _run("depmod", "-b", str(work), modules.name)
        built = work / "built"
        built.mkdir()
        _write_vmlinux(work / f"boot/vmlinuz-{modules.name}", built / "vmlinux")
        _write_initrd(modules, work / "stage", built / "initrd")
        built.rename(target)


def _download(package: str, work: Path) -> Path:
    for pause in (*_PAUSES, None):
        command = ["apt-get", "download", "-qq", package]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return next(work.glob("*.deb"))
        if pause is not None:
            time.sleep(pause)
    raise CannotBuildError(f"`apt-get download {package}` failed: {done.stderr.strip()}")


def _unpack(archive: Path, work: Path) -> None:
    wanted = [f"./lib/modules/*/kernel/{each}/*" for each in _DIRECTORIES]
    wanted += [
        "./boot/vmlinuz*",
        "./lib/modules/*/modules.builtin*",
        "./lib/modules/*/modules.order",
    ]
    command = ["tar", "-x", "-C", str(work), "--wildcards", *wanted]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as source:
        subprocess.run(command, stdin=source.stdout, check=True)
    archive.unlink()


def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": _search_path()}
    subprocess.run(command, check=True, env=environment)


def _write_vmlinux(image: Path, target: Path) -> None:
    """Unpack the kernel: an emulated processor takes longer for that than for the boot."""
    data = image.read_bytes()
    start = data.index(b"\xfd7zXZ\0")
    target.write_bytes(lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(data[start:]))


def _write_initrd(modules: Path, stage: Path, target: Path) -> None:
    for name in ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "root"):
        (stage / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, stage / "bin/busybox")
    shutil.copy(_INIT, stage / "init")
    (stage / "init").chmod(0o755)
    everything = _loading_order(modules, [*_EARLY, *_FOR_TESTS])
    early = _loading_order(modules, _EARLY)
    late = [file for file in everything if file not in early]
    for name, files in (("early", early), ("late", late)):
        for file in files:
            shutil.copy(file, stage / "modules")
        lines = "".join(f"{file.name}\n" for file in files)
        (stage / "modules" / name).write_text(lines, encoding="ascii")
    with target.open("wb") as archive:
        names = sorted(str(path.relative_to(stage)) for path in stage.rglob("*"))
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            cwd=stage,
            input="\n".join(names).encode(),
            stdout=archive,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def _loading_order(modules: Path, wanted: list[str]) -> list[Path]:
    """The files of *wanted* and of what they need, each behind its needs."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text(encoding="ascii").splitlines():
        file, _, rest = line.partition(":")
        name = Path(file).name.partition(".")[0].replace("-", "_")
        needs[name] = [*reversed(rest.split()), file]
    ordered = [file for name in wanted for file in needs.get(name, [])]
    return [modules / file for file in dict.fromkeys(ordered)]


if __name__ == "__main__":
    sys.exit(main())
