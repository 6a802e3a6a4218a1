"""What can go wrong with a token, on request: by a script, or by chance from a seed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from qkd_hal_firmware_mocks.token.apdu import Status

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable

    from qkd_hal_firmware_mocks.token.applet import KeyApplet

__all__ = ["CARD_FAULTS", "LINK_FAULTS", "Card", "Fault", "FaultPlan", "FaultyCard", "PowerCut"]


class Fault(Enum):
    """One misbehaviour; the text is its name on the command line."""

    CUT_BEFORE = "cut-before"  # the power goes before the command is done
    CUT_AFTER = "cut-after"  # it is done, the power goes before its answer
    SHORT_DATA = "short-data"  # the answer's last byte of data is missing, status "done"
    LONG_DATA = "long-data"  # a byte too many
    NO_DATA = "no-data"  # "done", and not a byte
    NO_STATUS = "no-status"  # an answer of one byte
    UNKNOWN_STATUS = "unknown-status"  # a status word of the future
    FALSE_SUCCESS = "false-success"  # "done" without doing it
    FALSE_NEEDS_PIN = "false-needs-pin"  # although verified
    WRONG_PIN = "wrong-pin"  # two tries are left, says the token, although the PIN was right
    BLOCKED = "blocked"  # the PIN is blocked, says the token
    STORE_FULL = "store-full"
    MEDIUM_FAILED = "medium-failed"
    ENDLESS = "endless"  # "more of the answer waits", and nothing comes
    RESET = "reset"  # the card resets in silence: selection and PIN are lost

    SLOW = "slow"  # asks for more time, three times
    TIME_STORM = "time-storm"  # asks for more time until aborted
    SILENT = "silent"  # never answers
    LATE = "late"  # the answer comes before that of the next command
    WRONG_SEQUENCE = "wrong-sequence"  # an answer to another command
    WRONG_TYPE = "wrong-type"  # a message of another type
    LYING_LENGTH = "lying-length"  # dwLength says more than comes
    HUGE_LENGTH = "huge-length"  # dwLength says four gigabytes
    HARDWARE_ERROR = "hardware-error"  # the reader failed to reach the card
    CARD_GONE = "card-gone"  # the card is pulled out
    STALL = "stall"  # the bulk endpoints halt


CARD_FAULTS = frozenset(list(Fault)[: list(Fault).index(Fault.SLOW)])
LINK_FAULTS = frozenset(Fault) - CARD_FAULTS


class PowerCut(Exception):  # noqa: N818 - not an error of ours: the test asked for it
    """The power of the token is gone in this moment."""


class Card(Protocol):
    """What a reader needs of a card."""

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
            PowerCut: a fault asked for it.
        """
        ...


@dataclass(slots=True)
class _Scripted:
    fault: Fault
    instruction: int | None


class FaultPlan:
    """Says which fault comes next, each at most once.

    ``script`` entries are a fault and the instruction byte it waits for, or ``None`` for the
    next command. With *rng*, a command that no entry waits for draws one of *kinds* with
    the chance *rate*.
    """

    def __init__(
        self,
        script: Iterable[tuple[Fault, int | None]] = (),
        *,
        rng: random.Random | None = None,
        rate: float = 0.0,
        kinds: Iterable[Fault] = Fault,
    ) -> None:
        self._script = deque(_Scripted(*entry) for entry in script)
        self._rng, self._rate, self._kinds = rng, rate, sorted(kinds, key=lambda kind: kind.value)

    def add(self, fault: Fault, instruction: int | None = None) -> None:
        """Append to the script."""
        self._script.append(_Scripted(fault, instruction))

    def take(self, apdu: bytes, among: Collection[Fault]) -> Fault | None:
        """Return the fault that befalls *apdu*, if it is one of *among*."""
        for entry in self._script:
            if entry.fault in among and entry.instruction in (None, *apdu[1:2]):
                self._script.remove(entry)
                return entry.fault
        return self._drawn(among)

    def _drawn(self, among: Collection[Fault]) -> Fault | None:
        kinds = [kind for kind in self._kinds if kind in among]
        if self._rng is None or not kinds or self._rng.random() >= self._rate:
            return None
        return self._rng.choice(kinds)


_LIES = {
    Fault.NO_DATA: Status.DONE,
    Fault.FALSE_SUCCESS: Status.DONE,
    Fault.FALSE_NEEDS_PIN: Status.NEEDS_PIN,
    Fault.WRONG_PIN: Status.TRIES_LEFT + 2,
    Fault.BLOCKED: Status.BLOCKED,
    Fault.STORE_FULL: Status.FULL,
    Fault.MEDIUM_FAILED: Status.MEDIUM_FAILED,
    Fault.UNKNOWN_STATUS: 0x6FED,
}
_DONE_ALL_THE_SAME = (Fault.NO_DATA, Fault.UNKNOWN_STATUS, Fault.WRONG_PIN)
_ENDLESS = (Status.MORE + 1).to_bytes(2, "big")


class FaultyCard:
    """A card whose answers pass through a :class:`FaultPlan`."""

    def __init__(self, applet: KeyApplet, plan: FaultPlan) -> None:
        self._applet = applet
        self._plan = plan
        self._endless = False

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return self._applet.atr

    def reset(self) -> None:
        """Power up."""
        self._endless = False
        self._applet.reset()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer, or misbehave.

        Raises:
            PowerCut: the plan says so.
        """
        if self._endless and apdu[1:2] == b"\xc0":
            return _ENDLESS
        fault = self._plan.take(apdu, CARD_FAULTS)
        self._endless = fault is Fault.ENDLESS
        return self._applet.transmit(apdu) if fault is None else self._spoilt(fault, apdu)

    def _spoilt(self, fault: Fault, apdu: bytes) -> bytes:
        if fault is Fault.CUT_BEFORE:
            raise PowerCut
        if fault is Fault.RESET:
            self._applet.reset()
            return self._applet.transmit(apdu)
        if fault in _LIES and fault not in _DONE_ALL_THE_SAME:
            return _LIES[fault].to_bytes(2, "big")
        return self._misreported(fault, self._applet.transmit(apdu))

    def _misreported(self, fault: Fault, answer: bytes) -> bytes:
        if fault is Fault.CUT_AFTER:
            raise PowerCut
        if fault in _LIES:
            return _LIES[fault].to_bytes(2, "big")
        data, status = answer[:-2], answer[-2:]
        return {
            Fault.SHORT_DATA: data[:-1] + status,
            Fault.LONG_DATA: data + b"\0" + status,
            Fault.NO_STATUS: status[:1],
            Fault.ENDLESS: _ENDLESS,
        }[fault]
