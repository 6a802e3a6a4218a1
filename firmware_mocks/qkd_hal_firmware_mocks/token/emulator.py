"""Two filled tokens on a USB bus in this process, for fixtures and demonstrations.

No process of its own, and nothing of the system is needed: pyusb finds them like real ones.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.faults import Fault
from qkd_hal_firmware_mocks.token.filled import filled_pair
from qkd_hal_firmware_mocks.usb.beside_libusb import virtual_bus_beside_libusb

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qkd_hal_firmware_mocks.usb.virtual_bus import PluggedDevice

__all__ = ["TokenPair"]

_ENDS = ("alice", "bob")
_SERIALS = ("MOCK-TOKEN-ALICE", "MOCK-TOKEN-BOB")
_PIN, _PUK = b"emulated", b"emulated-puk"
# A token that says "erased" and keeps the key is one that no driver can tell from another.
_FAULTS = frozenset(fault.value for fault in Fault) - {Fault.FALSE_SUCCESS.value}


class TokenPair:
    """Tokens of ``alice`` and ``bob``, which can be unplugged and disturbed.

    *keys*: how many of 32 bytes each may start sessions with. The URLs name a private file
    with the PIN, which goes with the pair.
    """

    faults = _FAULTS

    def __init__(self, *, keys: int = 1024) -> None:
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="qkd-hal-"))
            self._bus = stack.enter_context(virtual_bus_beside_libusb())
            self._plans = {end: FaultPlan() for end in _ENDS}
            tokens = filled_pair(_SERIALS, _PIN, _PUK, keys=keys)
            self._tokens = {
                end: CcidToken(token, self._plans[end], power_cut=partial(self._power_cut, end))
                for end, token in zip(_ENDS, tokens, strict=True)
            }
            self._plugged: dict[str, PluggedDevice] = {}
            for end in _ENDS:
                self.plug(end)
            self._stack = stack.pop_all()
        pin_file = _private_file(Path(home, "pin"), _PIN)
        self.serial_numbers = _SERIALS
        self.alice_url, self.bob_url = (
            f"token://1209:0005/{serial}?pin-source={pin_file}" for serial in _SERIALS
        )

    def close(self) -> None:
        """Unplug both and remove the PIN; idempotent."""
        for end in _ENDS:
            self.unplug(end)
        self._stack.close()

    def unplug(self, end: str) -> None:
        """Pull a token out, in the middle of whatever it does; harmless if it is out."""
        plugged = self._plugged.pop(end, None)
        if plugged is not None:
            self._bus.unplug(plugged)

    def plug(self, end: str) -> None:
        """Put it back; harmless if it is in."""
        if end not in self._plugged:
            self._plugged[end] = self._bus.plug(self._tokens[end])

    def fault(self, end: str, name: str | None) -> None:
        """Begin the fault *name*, in place of any other; ``None`` ends it."""
        self._plans[end].begin(name)

    def _power_cut(self, end: str) -> None:
        self.unplug(end)
        self.plug(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _private_file(path: Path, content: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
