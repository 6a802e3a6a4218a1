"""A card that misbehaves as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.apdu import Status
from qkd_hal_firmware_mocks.token.faults import Fault, PowerCut, operation_of

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.applet import KeyApplet

__all__ = ["Card", "FaultyCard", "Mischief"]

_LIES = {
    Fault.NO_DATA: Status.DONE,
    Fault.FALSE_SUCCESS: Status.DONE,
    Fault.FALSE_NEEDS_PIN: Status.NEEDS_PIN,
    Fault.WRONG_PIN: Status.TRIES_LEFT + 2,
    Fault.BLOCKED: Status.BLOCKED,
    Fault.NONE_LEFT: Status.NONE_LEFT,
    Fault.STORE_FULL: Status.FULL,
    Fault.MEDIUM_FAILED: Status.MEDIUM_FAILED,
    Fault.UNKNOWN_STATUS: 0x6FED,
}
_DONE_ALL_THE_SAME = (Fault.NO_DATA, Fault.UNKNOWN_STATUS, Fault.WRONG_PIN)
_ENDLESS = (Status.MORE + 1).to_bytes(2, "big")
_GET_RESPONSE = b"\xc0"


class Card(Protocol):
    """What a reader without faults of its own needs of a card."""

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        ...

    def reset(self) -> None:
        """Power up."""
        ...

    def transmit(self, apdu: bytes) -> bytes:
        """Answer a command APDU.

        Raises:
            PowerCut: a plan asked for it.
        """
        ...


class Mischief:
    """*applet* behind a fault that may befall each command; one of ``CARD_FAULTS``."""

    def __init__(self, applet: KeyApplet) -> None:
        self._applet = applet
        self._endless = False

    def reset(self) -> None:
        """Power up."""
        self._endless = False
        self._applet.reset()

    def transmit(self, apdu: bytes, fault: Fault | None) -> bytes:
        """Answer, or misbehave.

        Raises:
            PowerCut: that is the fault.
        """
        if self._endless and apdu[1:2] == _GET_RESPONSE:
            return _ENDLESS
        self._endless = fault is Fault.ENDLESS
        if fault is Fault.CUT_BEFORE or _browns_out(fault, apdu):
            raise PowerCut
        if fault is Fault.RESET:
            self._applet.reset()
        if fault in _LIES and fault not in _DONE_ALL_THE_SAME:
            return _LIES[fault].to_bytes(2, "big")
        return _misreported(fault, self._applet.transmit(apdu))


class FaultyCard:
    """A card for a reader without faults of its own; *plan* names ``CARD_FAULTS``."""

    def __init__(self, applet: KeyApplet, plan: FaultPlan | None = None) -> None:
        self._mischief = Mischief(applet)
        self._plan = plan or FaultPlan()
        self.atr = applet.atr

    def reset(self) -> None:
        """Power up."""
        self._mischief.reset()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer, or misbehave.

        Raises:
            PowerCut: the plan says so.
        """
        name = self._plan.draw(operation_of(apdu))
        return self._mischief.transmit(apdu, Fault(name) if name else None)


def _browns_out(fault: Fault | None, apdu: bytes) -> bool:
    return fault is Fault.BROWN_OUT and operation_of(apdu) == "CONFIRM"


def _misreported(fault: Fault | None, answer: bytes) -> bytes:
    if fault is Fault.CUT_AFTER:
        raise PowerCut
    if fault in _LIES:
        return _LIES[fault].to_bytes(2, "big")
    data, status = answer[:-2], answer[-2:]
    spoilt = {
        Fault.SHORT_DATA: data[:-1] + status,
        Fault.LONG_DATA: data + b"\0" + status,
        Fault.NO_STATUS: status[:1],
        Fault.ENDLESS: _ENDLESS,
    }
    return answer if fault is None else spoilt.get(fault, answer)
