"""A pair of emulated devices, started as processes, and opened at both ends."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from qkd_hal.emulators import Disturbable, start_emulator
from qkd_hal.errors import UnsupportedError
from qkd_hal.registry import open_device
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["QKDLink"]

_POLL = 0.05  # seconds between two looks at the stores


class QKDLink:
    """Two open devices that share keys, ``alice`` and ``bob``, at ``alice_url`` and ``bob_url``.

    *emulator* names an entry point of the group ``qkd_hal.emulators``; *options* are its own.
    """

    def __init__(self, emulator: str, **options: Any) -> None:
        with ExitStack() as stack:
            self._pair = pair = start_emulator(emulator, **options)
            stack.callback(pair.close)
            self.alice_url, self.bob_url = pair.alice_url, pair.bob_url
            self.alice, self.bob = open_device(self.alice_url), open_device(self.bob_url)
            stack.callback(self._close_devices)
            self._init_devices()
            self._stack = stack.pop_all()

    def wait_for_keys(self, size: int, timeout: float = 30.0) -> None:
        """Wait until both ends have *size* bytes of key in store.

        Raises:
            DeadlineError: they have not after *timeout* seconds.
        """
        deadline = Deadline(timeout)
        while any((end.status().stored_bytes or 0) < size for end in (self.alice, self.bob)):
            deadline.check(f"waiting for {size} bytes of key", device=self.alice_url)
            time.sleep(_POLL)

    @property
    def faults(self) -> frozenset[str]:
        """The faults that :meth:`fault` can begin."""
        return self._disturbable().faults

    def unplug(self, end: str) -> None:
        """Take ``"alice"`` or ``"bob"`` away, in the middle of whatever it does.

        Raises:
            UnsupportedError: this emulator cannot be unplugged.
        """
        self._disturbable().unplug(end)

    def plug(self, end: str) -> None:
        """Bring it back; ``init()`` on its device opens it again."""
        self._disturbable().plug(end)

    def fault(self, end: str, name: str | None) -> None:
        """Begin the fault *name* at ``"alice"`` or ``"bob"``; ``None`` ends it."""
        self._disturbable().fault(end, name)

    def heal(self) -> None:
        """End all faults, plug both in, and open both anew."""
        for end in ("alice", "bob"):
            if isinstance(self._pair, Disturbable):
                self._pair.fault(end, None)
                self._pair.plug(end)
        self._close_devices()
        self.alice, self.bob = open_device(self.alice_url), open_device(self.bob_url)
        self._init_devices()

    def _disturbable(self) -> Disturbable:
        if not isinstance(self._pair, Disturbable):
            raise UnsupportedError("this emulator cannot be disturbed", device=self.alice_url)
        return self._pair

    def _init_devices(self) -> None:
        for device in (self.alice, self.bob):
            device.init()

    def _close_devices(self) -> None:
        for device in (self.alice, self.bob):
            device.close()

    def close(self) -> None:
        """Close both devices and stop their processes; idempotent."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
