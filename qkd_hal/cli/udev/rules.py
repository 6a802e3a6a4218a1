"""The file of udev rules: what is in it, and how it gets where udev reads it."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError, DevicePermissionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES_FILE", "install_rules", "read_rules", "remove_rules"]

_NAME = "70-qkd-hal.rules"
RULES_FILE = Path("etc/udev/rules.d", _NAME)  # below the root of a file system


def read_rules() -> str:
    """Return the text of the rules."""
    return files("qkd_hal.cli.udev").joinpath(_NAME).read_text("utf-8")


def install_rules(root: Path) -> Path:
    """Write the rules below *root*, whole or not at all, and return where.

    Raises:
        DevicePermissionError: this user may not write there.
        ConfigurationError: it cannot be written for another reason.
    """
    target = root / RULES_FILE
    umask = os.umask(0o022)  # ours is private, and what udev reads is not
    try:
        with _faults(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, read_rules().encode())
    finally:
        os.umask(umask)
    return target


def remove_rules(root: Path) -> bool:
    """Remove the rules below *root*; false where there are none.

    Raises:
        DevicePermissionError, ConfigurationError: as for :func:`install_rules`.
    """
    target = root / RULES_FILE
    with _faults(target):
        try:
            target.unlink()
        except FileNotFoundError:
            return False
    return True


def _write(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{_NAME}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, 0o644)  # mkstemp made it 0600
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _faults(target: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise DevicePermissionError(
            f"no right to change {target}", cure="Run the same command as root, with sudo"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot change {target}: {error.strerror}") from None
