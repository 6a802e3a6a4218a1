"""Emulated device pairs, which other packages offer by entry point: for tests and the demo.

An emulator runs in processes of its own; nothing of it is imported before it is started.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from qkd_hal import plugins
from qkd_hal.errors import ConfigurationError, DeviceError, QKDError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Disturbable", "EmulatedPair", "start_emulator"]

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


@runtime_checkable
class Disturbable(Protocol):
    """Devices that can be cut off and made to misbehave; *end* is ``"alice"`` or ``"bob"``.

    An :class:`EmulatedPair` may be one as well: the conformance suite then checks what a
    driver makes of it. The keys in the device survive all of this, unless a fault says
    otherwise.
    """

    @property
    def faults(self) -> frozenset[str]:
        """The faults on offer.

        ``stall``: requests are taken and never answered; ``drop``: some answers are lost;
        ``corrupt``: some bytes are flipped; ``duplicate``: answers come twice; ``reorder``;
        ``delay``: answers come late; ``dribble``: they come byte by byte; ``reset``: the device
        restarts in the middle of an answer; ``brown-out``: it does after a key was read and
        before it was confirmed; ``lie``: lengths and counts are wrong. Others may have names
        of their own. Each goes on, by a fixed seed, until another or none is asked for.
        """
        ...

    def unplug(self, end: str) -> None:
        """Take the device away, in the middle of whatever it does; harmless if it is away."""
        ...

    def plug(self, end: str) -> None:
        """Bring it back at the same URL; returns when it can be opened, harmless if it can."""
        ...

    def fault(self, end: str, name: str | None) -> None:
        """Begin the fault *name*, one of :attr:`faults`, in place of any other; ``None`` ends it.

        In effect when it returns, for a connection that is open as well as for later ones.
        """
        ...


def start_emulator(name: str, **options: Any) -> EmulatedPair:
    """Start the pair that an installed package offers as *name*; *options* are the package's.

    Raises:
        ConfigurationError: no installed package offers it.
        MissingExtraError: the package needs an extra.
        DeviceError: it did not start.
    """
    for point in plugins.found(_GROUP):
        if point.name == name:
            start = cast("Callable[..., EmulatedPair]", plugins.load(point))
            return _started(name, partial(start, **options))
    known = ", ".join(sorted({point.name for point in plugins.found(_GROUP)})) or "none"
    raise ConfigurationError(
        f"no emulator is called {name!r}; known are {known}",
        cure="Install the package that offers it",
    )


def _started(name: str, start: Callable[[], EmulatedPair]) -> EmulatedPair:
    try:
        return start()
    except QKDError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign package may raise anything
        raise DeviceError(f"the emulator {name} did not start: {error}") from None
