"""What keeps a device that is plugged in from being used, and the cure; opens nothing."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal_drivers.buses.sysfs import UsbInterface

__all__ = ["NONE", "Obstacle", "claimed", "first", "locked", "missing_extra", "no_access"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a device cannot be used, and what to do; :data:`NONE` where it can."""

    reason: str = ""
    cure: str = ""


NONE = Obstacle()


def first(*obstacles: Obstacle) -> Obstacle:
    """Return the first real obstacle: one is removed after the other."""
    return next((one for one in obstacles if one != NONE), NONE)


def missing_extra(extra: str, *modules: str) -> Obstacle:
    """Tell whether the driver's libraries are installed, without importing them."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            reason = f"its driver needs the module {module}, which is not installed"
            return Obstacle(reason, f"Run: pip install 'qkd-hal[{extra}]'")
    return NONE


def no_access(node: Path | None) -> Obstacle:
    """Tell whether this user may read and write the device node, if there is one."""
    if node is None:
        return NONE
    if not node.exists():
        return Obstacle(f"{node} is missing", "In a container, pass the device node through")
    if os.access(node, os.R_OK | os.W_OK):
        return NONE
    cure = "Run as root: qkd-hal udev install; then plug it in again"
    return Obstacle(f"this user has no right to open {node}", cure)


def claimed(interface: UsbInterface) -> Obstacle:
    """Tell whether a program has claimed the interface. A kernel driver is no obstacle: ours
    detach it."""
    if interface.claimed_by_program:
        return Obstacle("another program has it open", "Close that program, such as pcscd")
    return NONE


def locked(node: Path, root: Path) -> Obstacle:
    """Tell whether another process holds the lock that serial programs take on a port."""
    with suppress(OSError):
        status = node.stat()
        major, minor = os.major(status.st_dev), os.minor(status.st_dev)
        inode = f"{major:02x}:{minor:02x}:{status.st_ino}"
        for line in (root / "proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[5:6] == [inode]:
                cure = f"Close that program: kill {fields[4]}"
                return Obstacle(f"the process {fields[4]} has it open", cure)
    return NONE
