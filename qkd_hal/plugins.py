"""Entry points: names at import, code on use.

Drivers, discovery functions, commands and emulators arrive from other packages. Only their
names are read until one is used; a missing dependency then names the extra to install.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["found", "load", "owner"]


def found(group: str) -> list[EntryPoint]:
    """Return the entry points of *group*, sorted by name; loads nothing."""
    return sorted(entry_points(group=group), key=lambda point: (point.name, owner(point)))


def owner(point: EntryPoint) -> str:
    """Return the name of the distribution that declares *point*."""
    return point.dist.name if point.dist else "unknown"


def load(point: EntryPoint) -> object:
    """Import what *point* names.

    Raises:
        MissingExtraError: a dependency is missing; the message holds the ``pip`` command.
        ConfigurationError: the package that declares it is broken.
    """
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise _missing(point, error.name or "?") from None
    except Exception as error:  # noqa: BLE001 - a foreign module may raise anything
        raise _broken(point, f"{type(error).__name__} on import: {error}") from None


def _missing(point: EntryPoint, module: str) -> ConfigurationError:
    top = module.partition(".")[0]
    if not point.extras or top in ("qkd_hal", point.module.partition(".")[0]):
        return _broken(point, f"it does not find the module {module}")
    wanted = f"{owner(point)}[{','.join(point.extras)}]"
    what = f"{point.name} needs the module {module}, which is not installed"
    return MissingExtraError(what, cure=f"Run: pip install '{wanted}'")


def _broken(point: EntryPoint, why: str) -> ConfigurationError:
    what = f"the package {owner(point)}, which offers {point.name}, is broken: {why}"
    return ConfigurationError(what, cure=f"Install {owner(point)} again")
