"""A pair of emulated devices, started as processes, and opened at both ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, cast

from qkd_hal import plugins
from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import open_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from qkd_hal.device import QKDDevice

__all__ = ["EmulatedPair", "QKDLink"]


class EmulatedPair(Protocol):
    """What an entry point of the group ``qkd_hal.emulators`` makes: two running devices."""

    @property
    def alice_url(self) -> str:
        """Where the first end is opened."""
        ...

    @property
    def bob_url(self) -> str:
        """Where the second end is opened."""
        ...

    def close(self) -> None:
        """Stop both and remove what they wrote."""
        ...


class QKDLink:
    """Two open devices that share keys: ``alice`` and ``bob``."""

    def __init__(self, pair: EmulatedPair) -> None:
        self._stack = ExitStack()
        self._stack.callback(pair.close)
        self.alice_url = pair.alice_url
        self.bob_url = pair.bob_url
        with ExitStack() as undo:
            undo.push(self._stack)
            self.alice = self._opened(pair.alice_url)
            self.bob = self._opened(pair.bob_url)
            undo.pop_all()

    @classmethod
    def start(cls, emulator: str) -> Self:
        """Start the emulated pair that a package offers under the name *emulator*.

        Raises:
            ConfigurationError: no installed package offers it.
        """
        for point in plugins.found("qkd_hal.emulators"):
            if point.name == emulator:
                return cls(cast("Callable[[], EmulatedPair]", plugins.load(point))())
        raise ConfigurationError(
            f"no emulator is called {emulator!r}", cure="Run: pip install 'qkd-hal[sim]'"
        )

    def close(self) -> None:
        """Close both devices and stop their processes."""
        self._stack.close()

    def _opened(self, url: str) -> QKDDevice:
        return self._stack.enter_context(open_device(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
