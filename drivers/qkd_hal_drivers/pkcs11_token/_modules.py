"""Which PKCS#11 modules this machine has: by URI, by environment, or by p11-kit's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qkd_hal_drivers.pkcs11_token.uri import TokenUri

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "candidates",
    "modules_of_environment",
    "modules_of_p11_kit",
]

ENVIRONMENT_VARIABLE = "QKD_HAL_PKCS11_MODULE"
_CONFIGURED = (  # pkcs11.conf(5); a later directory overrides a file of the same name
    Path("/usr/share/p11-kit/modules"),
    Path("/etc/pkcs11/modules"),
    Path("~/.config/pkcs11/modules"),
)
_LIBRARIES = ("/usr/lib/pkcs11", "/usr/lib/*/pkcs11", "/usr/lib64/pkcs11", "/usr/local/lib/pkcs11")
_MAX_BYTES = 65536  # a module's file has a dozen lines


def candidates(uri: TokenUri) -> list[Path]:
    """Return the modules in which the token of *uri* may be.

    Raises:
        ConfigurationError: *uri* names none and none is configured, or it is not found.
    """
    if uri.module_path is not None and not uri.module_path.is_dir():
        return [uri.module_path]
    if uri.module_name is not None:
        return [_by_name(uri.module_name, uri.module_path)]
    if uri.module_path is not None:
        what = f"{uri.module_path} is a directory of modules"
        raise ConfigurationError(what, cure="Add &module-name=NAME")
    known = modules_of_environment() or modules_of_p11_kit()
    if not known:
        raise ConfigurationError(
            "no PKCS#11 module is known here",
            cure=f"Add ?module-path=/PATH/TO/MODULE.so to the URL, or set {ENVIRONMENT_VARIABLE}",
        )
    return known


def modules_of_environment() -> list[Path]:
    """Return the modules that ``QKD_HAL_PKCS11_MODULE`` lists, like a ``PATH``."""
    named = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [Path(path) for path in named.split(os.pathsep) if path]


def modules_of_p11_kit() -> list[Path]:
    """Return the modules that p11-kit's files name, but for those that only hold trust."""
    return list(dict.fromkeys(_configured().values()))


def _by_name(name: str, directory: Path | None) -> Path:
    named = {} if directory is not None else _configured()
    files = _in_library_directories() if directory is None else _files(directory)
    known = [*named.items(), *((_bare(file), file) for file in files)]
    for stem, path in known:
        if stem.lower() == name.lower():
            return path
    raise ConfigurationError(f"no PKCS#11 module is called {name}", cure="Name it by module-path")


def _bare(path: Path) -> str:
    """A file name without what systems add to it, as in RFC 7512 section 2.3."""
    return path.name.lower().removeprefix("lib").partition(".")[0]


def _files(directory: Path) -> Iterable[Path]:
    return sorted(directory.glob("*.so*"))


def _in_library_directories() -> Iterator[Path]:
    for pattern in _LIBRARIES:
        for directory in sorted(Path("/").glob(pattern.lstrip("/"))):
            yield from _files(directory)


def _configured() -> dict[str, Path]:
    files = {
        file.name: file
        for directory in _CONFIGURED
        for file in sorted(directory.expanduser().glob("*.module"))
    }
    modules = {file.stem: _module_of(file) for file in files.values()}
    return {name: path for name, path in modules.items() if path is not None}


def _module_of(file: Path) -> Path | None:
    """The library that a p11-kit file names; ``None`` for one that cannot hold keys."""
    try:
        with file.open(errors="replace") as opened:
            lines = opened.read(_MAX_BYTES).splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines if not line.lstrip().startswith("#"))
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    module = settings.get("module", "")
    if not module or settings.get("trust-policy") == "yes" or "remote" in settings:
        return None
    if module.startswith("/"):
        return Path(module)
    found = (path for path in _in_library_directories() if path.name == module)
    return next(found, None)
