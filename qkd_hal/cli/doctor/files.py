"""Checks of files: nobody else may read a secret or change the configuration."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.cli.doctor._check import Check, failed, passed, skipped
from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import DeviceURL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.config import Configuration

__all__ = ["check_files"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_ANYTHING = stat.S_IRWXG | stat.S_IRWXO
_SQLITE = "pool+sqlite:"


def check_files(configuration: Configuration) -> Iterator[Check]:
    """Check owner and mode of every file that *configuration* is or names."""
    if configuration.path:
        yield _check("configuration", configuration.path, _OTHERS_WRITE, "go-w")
    for peer in configuration.peers.values():
        yield _secret(f"link secret of {peer.name}", peer.link_secret_file)
    for device in configuration.devices.values():
        credential = _credential(device.url)
        if credential:
            yield _secret(f"credential of {device.name}", credential)
    for pool in configuration.pools.values():
        if pool.url.startswith(_SQLITE):
            yield from _store(pool.name, Path(DeviceURL.parse(pool.url).path))


def _secret(name: str, path: Path) -> Check:
    return _check(name, path, _OTHERS_ANYTHING, "go=")


def _store(name: str, path: Path) -> Iterator[Check]:
    parts = ((f"folder of pool {name}", path.parent), (f"store of pool {name}", path))
    for what, part in parts:
        made = skipped(what, f"{part} is made when the pool first opens")
        yield _secret(what, part) if part.exists() else made


def _check(name: str, path: Path, forbidden: int, change: str) -> Check:
    try:
        status = path.stat()
    except OSError as error:
        return failed(name, f"{path}: {error.strerror}", "Create it, or correct qkd-hal.toml")
    if status.st_uid not in (os.geteuid(), 0) or not os.access(path, os.R_OK):
        return failed(name, f"{path} belongs to user {status.st_uid}", f"Run: chown $USER {path}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbidden:
        return failed(name, f"{path} has mode {mode:04o}", f"Run: chmod {change} {path}")
    return passed(name, f"{path}, mode {mode:04o}")


def _credential(url: str) -> Path | None:
    try:
        named = DeviceURL.parse(url).query.get("credential")
    except ConfigurationError:
        return None  # said by the check of the device itself
    return Path(named) if named else None
