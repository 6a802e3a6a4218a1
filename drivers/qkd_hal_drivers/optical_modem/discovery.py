"""Finds the modems that run on this machine by the files they announce themselves with.

Nothing is opened. A file whose process is gone stays in the list, with its reason.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.keys import Origin, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["discover"]

_MAX_BYTES = 65536  # an announcement is a few hundred
_SIMULATED = Provenance(Origin.SIMULATED)


def discover() -> Iterable[DiscoveredDevice]:
    """List the simulated modems that this user runs."""
    directory = _directory()
    if not _is_ours(directory.parent) or not _is_ours(directory):
        return []
    return [_described(path) for path in sorted(directory.glob("*.json"))]


def _directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "qkd-hal" / "modems"
    return Path(tempfile.gettempdir()) / f"qkd-hal-{os.getuid()}" / "modems"


def _is_ours(directory: Path) -> bool:
    """In a shared /tmp another user may have laid out announcements of modems of his own."""
    with suppress(OSError):
        return directory.stat().st_uid == os.getuid()
    return False


def _described(path: Path) -> DiscoveredDevice:
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        url, site, pid = fields["url"], fields["site"], int(fields["pid"])
    except (OSError, ValueError, TypeError, KeyError):
        return _entry("", path.stem, reason="this is no modem's announcement", stale=path)
    if not _runs(pid):
        return _entry(str(url), str(site), reason=f"its process {pid} is gone", stale=path)
    return _entry(str(url), str(site), token=f"{pid}-{path.stat().st_mtime_ns}")


def _entry(
    url: str, site: str, *, token: str = "", reason: str = "", stale: Path | None = None
) -> DiscoveredDevice:
    return DiscoveredDevice(
        url=url,
        vendor="qkd-hal",
        model="simulated BB84 optical modem",
        serial_number=f"sim-{site}",
        provenance=_SIMULATED,
        usable=not reason,
        reason=reason,
        cure=f"Remove {stale}" if stale else "",
        change_token=token,
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
