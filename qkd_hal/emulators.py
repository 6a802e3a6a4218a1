"""Emulated device pairs, which other packages offer by entry point: for tests and the demo.

An emulator runs in processes of its own; nothing of it is imported before it is started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from qkd_hal import plugins
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EmulatedPair", "start_emulator"]

_GROUP = "qkd_hal.emulators"


class EmulatedPair(Protocol):
    """Two running devices that share keys."""

    @property
    def alice_url(self) -> str:
        """Where the first end is opened."""
        ...

    @property
    def bob_url(self) -> str:
        """Where the second end is opened."""
        ...

    def close(self) -> None:
        """Stop both and remove what they wrote; idempotent."""
        ...


def start_emulator(name: str, **options: Any) -> EmulatedPair:
    """Start the pair that an installed package offers as *name*; *options* are the package's.

    Raises:
        ConfigurationError: no installed package offers it.
        MissingExtraError: the package needs an extra.
    """
    for point in plugins.found(_GROUP):
        if point.name == name:
            start = cast("Callable[..., EmulatedPair]", plugins.load(point))
            return start(**options)
    known = ", ".join(sorted({point.name for point in plugins.found(_GROUP)})) or "none"
    raise ConfigurationError(
        f"no emulator is called {name!r}; known are {known}",
        cure="Install the package that offers it",
    )
