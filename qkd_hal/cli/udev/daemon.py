"""Have udevd read its rules again, and say what they cannot do."""

from __future__ import annotations

import grp
import shutil
import subprocess
from contextlib import suppress

__all__ = ["advice", "reload_rules"]

_GROUP = "plugdev"
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # not the user's: this runs as root
_SECONDS = 30.0  # udevd answers at once; a hung one must not hang us
_COMMANDS = (
    ("control", "--reload"),
    ("trigger", "--action=change", "--subsystem-match=usb", "--subsystem-match=tty"),
)


def reload_rules() -> list[str]:
    """Make the rules count for what is plugged in; return what to tell the user."""
    udevadm = shutil.which("udevadm", path=_PATH)
    if udevadm is None:
        return ["No udevadm on this machine: the rules count once udev runs."]
    for arguments in _COMMANDS:
        with suppress(subprocess.TimeoutExpired):
            command = [udevadm, *arguments]
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
            if done.returncode == 0:
                continue
        return ["udevd did not take note: plug the devices in again, or restart."]
    return ["udevd uses them now, for devices that are plugged in, too."]


def advice() -> list[str]:
    """Say who else needs what, beside the user at the screen."""
    with suppress(KeyError):
        grp.getgrnam(_GROUP)
        return [
            f"Services and remote users must be in the group {_GROUP}: usermod -aG {_GROUP} NAME"
        ]
    return [
        f"This machine has no group {_GROUP}, which services and remote users need: "
        f"groupadd --system {_GROUP}, then run this again."
    ]
