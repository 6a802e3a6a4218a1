"""For each rule of the suite a driver, or a base, that breaks it and little else."""

from __future__ import annotations

import itertools
import logging
import math
import os
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pytest

from qkd_hal.device import DeviceState, QKDDevice, QKDSession, SessionState
from qkd_hal.device._hooks import HookRunner
from qkd_hal.device._material import Material
from qkd_hal.device._state import DEVICE, SESSION, Row
from qkd_hal.errors import (
    DeadlineError,
    DeviceBusyError,
    DeviceLostError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
)
from qkd_hal.sources import Agreement, Capability, Slot
from tests.testing.memory_pair import (
    EVERYTHING,
    PLAIN,
    TOKEN,
    Box,
    DerivingDriver,
    MemoryDriver,
    hkdf_expand,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.keys import KeyId
    from qkd_hal.sources import Deadline, DeviceInfo, DeviceStatus

__all__ = ["BROKEN", "LEFT_OPEN", "Broken"]

T = TypeVar("T")

_SLOW = 0.4  # seconds: longer than the suite's patience with a broken driver
LEFT_OPEN: list[int] = []
"""Files that leaky drivers leave; the tests close them."""


@dataclass(frozen=True)
class Broken:
    """*driver*, with *patches* to the base, fails *rule* with *says* in the report."""

    rule: str
    says: str
    driver: type[MemoryDriver] = DerivingDriver
    patches: Callable[[pytest.MonkeyPatch], None] = field(default=lambda _: None)
    claims: frozenset[Capability] = EVERYTHING

    def __str__(self) -> str:
        return f"{self.rule.removeprefix('test_')}-{self.driver.__name__}"


# --- identity and status ---------------------------------------------------------------------


class Nameless(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), vendor=" ")


class Colourful(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), model="Memory\x1b[31m")


class Twin(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), serial_number="SN")


class Namesake(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), site="here")


class Stranger(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), peers=("carol",))


class ShapeShifter(DerivingDriver):
    numbers = itertools.count()

    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), firmware=str(next(self.numbers)))


class Tiny(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), max_key_size=16)


class Anonymous(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), site="")


class NotANumber(DerivingDriver):
    def status(self, deadline: Deadline) -> DeviceStatus:
        return replace(super().status(deadline), qber=math.nan)


class InDebt(DerivingDriver):
    def status(self, deadline: Deadline) -> DeviceStatus:
        return replace(super().status(deadline), stored_keys=-1)


class Alarmist(DerivingDriver):
    def status(self, deadline: Deadline) -> DeviceStatus:
        return replace(super().status(deadline), alarms=frozenset({"meltdown"}))  # type: ignore[arg-type]


class Verbose(DerivingDriver):
    def status(self, deadline: Deadline) -> DeviceStatus:
        return replace(super().status(deadline), details={"log": "one\ntwo"})


# --- life cycle ------------------------------------------------------------------------------


class Lawless(DerivingDriver):
    """Answers in any state; its base lets the call through."""

    def status(self, deadline: Deadline) -> DeviceStatus:
        self._closed.clear()
        self._plugging = self.box.plugging
        return super().status(deadline)


class Hoarder(DerivingDriver):
    """Takes the port for itself, and keeps it."""

    taken: ClassVar[set[str]] = set()

    def open(self, deadline: Deadline) -> DeviceInfo:
        if self.line in self.taken:
            raise DeviceBusyError("the port is in use")
        self.taken.add(self.line)
        return super().open(deadline)


class Hasty(DerivingDriver):
    """Believes that it was opened before it is closed."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        self.port = object()
        return super().open(deadline)

    def close(self) -> None:
        super().close()
        del self.port


def _legal(state: DeviceState, call: str) -> Callable[[pytest.MonkeyPatch], None]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        row = DEVICE.rows[state]
        monkeypatch.setitem(
            DEVICE.rows,
            state,
            replace(row, calls={**row.calls, call: state}),
        )

    return patch


def _get_key_before_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    row: Row[SessionState] = SESSION.rows[SessionState.STARTED]
    calls = {**row.calls, "get_key": SessionState.READING}
    monkeypatch.setitem(SESSION.rows, SessionState.STARTED, replace(row, calls=calls))


# --- sessions and keys -----------------------------------------------------------------------


class Liar(DerivingDriver):
    """Bob's receiver has its bits the wrong way round."""

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        super().fetch(slot, out, deadline)
        if self.box.site == "bob":
            out[:] = bytes(byte ^ 0xFF for byte in out)


class OneWay(DerivingDriver):
    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        if self.box.site == "bob":
            raise KeysExhaustedError("bob only receives")
        return super().reserve(peer, size, count, deadline)


class OneSlot(DerivingDriver):
    """Knows only the key that was reserved last."""

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        slots = super().reserve(peer, size, count, deadline)
        self.last = slots[-1].key_id
        return slots

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        super().fetch(slot, out, deadline)
        if self.box.site == "alice":
            out[:] = self.box.keys[self.last].material


class RoundsUp(DerivingDriver):
    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        whole = None if size is None else -(-size // 32) * 32
        return super().reserve(peer, whole, count, deadline)


class Repeater(DerivingDriver):
    """Every key is the same one."""

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        slots = super().reserve(peer, size, count, deadline)
        for slot in slots:
            key = self.box.keys[slot.key_id]
            key.material = bytes(range(len(key.material)))
        return slots


class Holes(DerivingDriver):
    """A stuck detector: a quarter of all bytes is zero."""

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        slots = super().reserve(peer, size, count, deadline)
        for slot in slots:
            key = self.box.keys[slot.key_id]
            key.material = bytes(byte if at % 4 else 0 for at, byte in enumerate(key.material))
        return slots


class Peeks(DerivingDriver):
    """Takes a key off its list when it is fetched, not when it is reserved."""

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        for key_id, key in self.box.keys.items():
            if key.owner == self.box.site and self.box.site not in key.position:
                return [Slot(key_id, peer, size)] * count
        return super().reserve(peer, size, 1, deadline) * count


def _pieces_from_the_end(self: Material, size: int) -> bytearray:
    self._begin += size
    return self._buffer[len(self._buffer) - self._begin :][:size]


def _same_piece_again(self: Material, size: int) -> bytearray:
    return self._buffer[:size]


def _as_much_as_there_is(self: QKDSession, size: int | None) -> int:
    left = self._left() or 0
    return min(left, size or left)


# --- look-up and one delivery ----------------------------------------------------------------


class Gullible(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        return Slot(key_id, peer, 32)


class BindsOnce(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        bound = vars(self).setdefault("bound", set())
        if key_id in bound:
            raise KeyNotFoundError("it was bound before", key_id=key_id)
        bound.add(key_id)
        return super().bind(peer, key_id, deadline)


class Indifferent(DerivingDriver):
    """Asks not who a key is shared with."""

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        return replace(super().bind(self.box.peer, key_id, deadline), peer=peer)


class Mirror(DerivingDriver):
    """Serves its own keys as if they were the peer's."""

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        key = self.ask(lambda box: box.find(key_id), deadline)
        return Slot(key_id, peer, key.size)


class Halves(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        return replace(super().bind(peer, key_id, deadline), size=16)


class NeverErases(DerivingDriver):
    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        self._offsets.pop(slot.key_id, None)


class ForgetsErasing(DerivingDriver):
    """Keeps what was erased in memory only, and starts anew when it is opened."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        for key in self.box.keys.values():
            key.position.pop(self.box.site, None)
        return super().open(deadline)


class LosesSome(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        if list(self.box.keys).index(key_id) % 2:
            raise KeyNotFoundError("the frame was lost on the way", key_id=key_id)
        return super().bind(peer, key_id, deadline)


class OneAtATime(DerivingDriver):
    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        return super().reserve(peer, size, 1, deadline)


class ConfirmsOnce(DerivingDriver):
    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        self.ask(lambda box: box.find(slot.key_id), deadline)
        super().confirm(slot, deadline)


class ReadsErased(DerivingDriver):
    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        out[:] = self.ask(lambda box: box.keys[slot.key_id].material, deadline)


# --- capabilities ----------------------------------------------------------------------------


class StreamRepeats(DerivingDriver):
    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        out[:] = self.box.keys[slot.key_id].material[: len(out)]


class Streams(DerivingDriver):
    """Has streams and does not say so; its base does not ask."""

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        return [Slot(self.box.reserve(size), peer, size)]


class OneLabel(DerivingDriver):
    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        return super().derive(slot, b"", size, deadline)


class OwnKDF(DerivingDriver):
    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        key = self.ask(lambda box: box.find(slot.key_id), deadline)
        return bytearray(hkdf_expand(key.material, b"vendor " + label, size))


class Unsure(DerivingDriver):
    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        return Agreement.UNCHECKED


class Boastful(MemoryDriver):
    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        return Agreement.CONFIRMED


class CountsFirst(DerivingDriver):
    """Moves on before the bytes have come."""

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        begin = self._offsets.get(slot.key_id, 0)
        self._offsets[slot.key_id] = begin + len(out)
        out[:] = self.ask(lambda box: box.read(slot.key_id, begin, len(out)), deadline)


class FillsUp(DerivingDriver):
    """After a time-out it repeats with what lies in its buffer."""

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        if deadline.expired:
            vars(self)["late"] = True
            raise DeadlineError("too late")
        super().fetch(slot, out, deadline)
        if vars(self).pop("late", False):
            out[:4] = bytes(4)


# --- deadlines and closing -------------------------------------------------------------------


class Slow(DerivingDriver):
    def status(self, deadline: Deadline) -> DeviceStatus:
        time.sleep(_SLOW)
        return super().status(deadline)


class SlowToStart(DerivingDriver):
    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        time.sleep(_SLOW)
        return super().reserve(peer, size, count, deadline)


class SlowToFetch(DerivingDriver):
    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        time.sleep(_SLOW)
        super().fetch(slot, out, deadline)


class GivesUp(DerivingDriver):
    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        if deadline.expired:
            raise DeviceLostError("no time left")
        return super().ask(work, deadline)


class OneBehind(DerivingDriver):
    """Takes a late answer for the answer to the next question."""

    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        late = vars(self).setdefault("late", [])
        if deadline.expired:
            late.append(work(self.box))
        answer = super().ask(work, deadline)
        late.append(answer)
        first: T = late.pop(0)
        return first


class ClosesSlowly(DerivingDriver):
    def close(self) -> None:
        super().close()
        time.sleep(_SLOW)


class Deaf(DerivingDriver):
    """Does not hear close()."""

    def close(self) -> None:
        return


def _outlive_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QKDDevice, "_abandon_sessions", lambda *_: None)
    monkeypatch.setattr(HookRunner, "require", lambda *_: None)


# --- errors and leaks ------------------------------------------------------------------------


class Garbled(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        raise KeyNotFoundError("no such key\r\n\x07")


class Rude(DerivingDriver):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        raise DeadlineError("try again some time")


class Nosy(DerivingDriver):
    """Remembers the last key that went through."""

    last = b""

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        super().fetch(slot, out, deadline)
        self.last = bytes(out)


class Logs(Nosy):
    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        logging.getLogger("vendor").debug("rx %s", self.last.hex(" "))
        super().confirm(slot, deadline)


class Prints(Nosy):
    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        for at in range(0, len(self.last), 16):
            print([*self.last[at : at + 16]], file=sys.stderr)
        super().confirm(slot, deadline)


class Shows(Nosy):
    def __repr__(self) -> str:
        return f"<Shows {self.last!r}>"


class Quotes(Nosy):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        try:
            return super().bind(peer, key_id, deadline)
        except KeyNotFoundError:
            raise KeyNotFoundError(f"unexpected after {self.last.hex()}") from None


class Explains(Nosy):
    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        try:
            return super().bind(peer, key_id, deadline)
        except KeyNotFoundError as error:
            raise KeyNotFoundError("unexpected") from ValueError(self.last, error)


def _let_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HookRunner, "_guarded", lambda _, hook: hook())


# --- resources, fork, threads ----------------------------------------------------------------


class LeavesFiles(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        LEFT_OPEN.append(os.open(os.devnull, os.O_RDONLY))
        return super().open(deadline)


class LeavesThreads(DerivingDriver):
    def open(self, deadline: Deadline) -> DeviceInfo:
        threading.Timer(_SLOW, lambda: None).start()
        return super().open(deadline)


class Eager(DerivingDriver):
    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.port = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        super().close()
        if self.port >= 0:
            os.close(self.port)
        self.port = -1


class Polite(DerivingDriver):
    """Says good-bye on the line when it is dropped, in whatever process."""

    line_in, line_out = -1, -1

    def open(self, deadline: Deadline) -> DeviceInfo:
        self.line_in, self.line_out = os.pipe()
        os.set_blocking(self.line_in, False)
        LEFT_OPEN.extend([self.line_in, self.line_out])
        return super().open(deadline)

    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        try:
            os.read(self.line_in, 1)
        except BlockingIOError:
            return super().ask(work, deadline)
        raise DeviceLostError("the box was told good-bye")

    def __del__(self) -> None:
        if self.line_out in LEFT_OPEN:
            os.write(self.line_out, b"!")


class OneThread(DerivingDriver):
    """Like a database connection that wants to be used where it was made."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        self.thread = threading.get_ident()
        return super().open(deadline)

    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        if self.thread != threading.get_ident():
            raise ProtocolError("made in another thread")
        return super().ask(work, deadline)


# --- stalls, loss, faults --------------------------------------------------------------------


class Hopeful(DerivingDriver):
    """Takes a pulled plug for a slow device."""

    def _wait(self, deadline: Deadline) -> None:
        try:
            super()._wait(deadline)
        except DeviceLostError:
            raise DeadlineError("no answer") from None


class KeepsHandle(DerivingDriver):
    """Opens its port once, and holds on to it."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        handle = self._plugging
        info = super().open(deadline)
        self._plugging = max(handle, 0)
        return info


class Sleeper(DerivingDriver):
    """Sleeps while the box stalls, and looks around later."""

    def _wait(self, deadline: Deadline) -> None:
        while self.box.fault == "stall":
            time.sleep(0.01)
        super()._wait(deadline)


class Trusting(DerivingDriver):
    """Knows no checksum."""

    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        fault, self.box.fault = self.box.fault, None
        try:
            answer = super().ask(work, deadline)
        finally:
            self.box.fault = fault
        if fault == "corrupt" and isinstance(answer, bytes):
            return bytes([answer[0] ^ 1, *answer[1:]])  # type: ignore[return-value]
        return answer


class Wordy(DerivingDriver):
    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        if self.box.fault == "corrupt":
            raise ProtocolError("bytes \x00\x01 came")
        return super().ask(work, deadline)


_GET_BY_ID_SIZE = ("_whole", lambda _, slot, size: slot.size)


def _set(target: type, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(target, name, value)


_NOTHING = _set(QKDDevice, "_abandon_sessions", lambda *_: None)

BROKEN = [
    Broken("test_says_what_it_is", "does not tell its vendor", Nameless),
    Broken("test_says_what_it_is", "is no plain text", Colourful),
    Broken("test_two_boxes_can_be_told_apart", "have one serial number", Twin),
    Broken("test_two_boxes_can_be_told_apart", "claim to be one site", Namesake),
    Broken("test_names_the_other_end", "is not among the peers", Stranger),
    Broken("test_is_the_same_when_opened_again", "says something else", ShapeShifter),
    Broken("test_claims_are_of_use", "has no derive()", MemoryDriver),
    Broken("test_claims_are_of_use", "neither lets keys out", claims=frozenset()),
    Broken("test_claims_are_of_use", "has no key of 32 bytes", Tiny),
    Broken("test_reports_plausible_figures", "a QBER of nan", NotANumber),
    Broken("test_reports_plausible_figures", "stored_keys is -1", InDebt),
    Broken("test_reports_known_alarms_and_plain_details", "an unknown alarm", Alarmist),
    Broken("test_reports_known_alarms_and_plain_details", "is no plain value", Verbose),
    Broken(
        "test_a_new_device_says_to_call_init",
        "status() works on a device that was not initialised",
        Lawless,
        _legal(DeviceState.NEW, "status"),
    ),
    Broken(
        "test_a_closed_device_says_to_open_it_anew",
        "status() works on a closed device",
        Lawless,
        _legal(DeviceState.CLOSED, "status"),
    ),
    Broken(
        "test_calls_out_of_order_say_what_to_call",
        "get_key() works before connect()",
        patches=_get_key_before_connect,
    ),
    Broken("test_opens_again_after_closing", "the port is in use", Hoarder),
    Broken("test_a_driver_may_be_closed_at_any_time", "AttributeError", Hasty),
    Broken("test_both_ends_hold_the_same_bytes", "got different bytes", Liar),
    Broken("test_either_end_may_begin", "bob only receives", OneWay),
    Broken(
        "test_a_session_is_one_sequence",
        "are not the bytes of the whole",
        patches=_set(Material, "take", _pieces_from_the_end),
    ),
    Broken(
        "test_asking_for_more_than_is_left_consumes_nothing",
        "gave more than its size",
        patches=_set(QKDSession, "_asked", _as_much_as_there_is),
    ),
    Broken(
        "test_threads_share_a_session_without_sharing_bytes",
        "two threads got the same bytes",
        patches=_set(Material, "take", _same_piece_again),
    ),
    Broken("test_sessions_may_be_used_in_any_order", "the bytes of another one", OneSlot),
    Broken("test_other_sizes_are_exact_or_refused", "something else than asked", RoundsUp),
    Broken("test_keys_differ", "two key IDs have one key", Repeater),
    Broken("test_keys_are_no_pattern", "key bits are one", Holes),
    Broken(
        "test_callers_at_the_same_time_get_different_keys", "callers started the same key", Peeks
    ),
    Broken("test_an_unknown_key_id_is_refused", "a guessed key ID was accepted", Gullible),
    Broken("test_binding_consumes_nothing", "it was bound before", BindsOnce),
    Broken(
        "test_a_key_of_another_size_is_refused_and_kept",
        "a key had another size",
        patches=_set(QKDDevice, *_GET_BY_ID_SIZE),
    ),
    Broken("test_a_key_of_another_peer_is_refused", "in the name of a stranger", Indifferent),
    Broken("test_a_key_is_not_given_to_its_owner_by_id", "took its own key", Mirror),
    Broken("test_look_up_as_claimed", "has 16 when it is looked up", Halves),
    Broken(
        "test_look_up_as_claimed",
        "look-up works, and is not claimed",
        MemoryDriver,
        _set(QKDDevice, "_require_capability", lambda *_: None),
        PLAIN,
    ),
    Broken("test_a_key_is_given_once", "a key was handed out twice", NeverErases),
    Broken("test_a_key_is_given_once_over_reopening", "again after opening", ForgetsErasing),
    Broken("test_what_one_end_got_the_other_can_get", "does not have the key", LosesSome),
    Broken("test_several_keys_are_reserved_at_once", "the driver reserved 1", OneAtATime),
    Broken("test_several_keys_are_reserved_at_once", "two slots are one key", Peeks),
    Broken("test_confirm_may_be_repeated", "raised KeyNotFoundError", ConfirmsOnce),
    Broken("test_a_confirmed_key_cannot_be_fetched", "was fetched again", ReadsErased),
    Broken(
        "test_extract_as_claimed",
        "does not claim extract, and gave key bytes",
        patches=_set(QKDSession, "_require_extraction", lambda _: None),
        claims=TOKEN,
    ),
    Broken("test_stream_as_claimed", "a stream gives bytes twice", StreamRepeats),
    Broken(
        "test_stream_as_claimed",
        "a stream opens, and is not claimed",
        Streams,
        _set(QKDDevice, "_check_size", lambda *_: None),
        PLAIN,
    ),
    Broken("test_derive_as_claimed", "two labels derive one key", OneLabel),
    Broken("test_derives_what_rfc_5869_says", "is not HKDF-Expand-SHA256", OwnKDF),
    Broken("test_reserve_ahead_as_claimed", "does not say which site", Anonymous),
    Broken("test_reserve_ahead_as_claimed", "a reserved key was taken twice", NeverErases),
    Broken("test_confirm_peer_as_claimed", "confirm-peer is claimed", Unsure),
    Broken("test_confirm_peer_as_claimed", "is not claimed", Boastful, claims=PLAIN),
    Broken("test_repeatable_fetch_as_claimed", "repeatable-fetch is claimed", CountsFirst),
    Broken("test_repeatable_fetch_as_claimed", "a repeated fetch gave other bytes", FillsUp),
    Broken("test_a_deadline_is_kept_and_harms_nothing", "a call without time took", Slow),
    Broken("test_a_deadline_is_kept_and_harms_nothing", "a call without time took", SlowToStart),
    Broken("test_a_session_keeps_its_deadline", "a call without time took", SlowToFetch),
    Broken("test_hooks_without_time_say_so", "no time left", GivesUp),
    Broken("test_a_late_answer_is_not_taken_for_the_next", "a bug in the driver", OneBehind),
    Broken("test_close_ends_the_calls_of_other_threads", "a call still waits", ClosesSlowly),
    Broken(
        "test_sessions_end_with_their_device",
        "after its device was closed",
        Deaf,
        _outlive_the_device,
    ),
    Broken(
        "test_errors_are_of_the_tree_and_name_the_device",
        "names no device",
        patches=_let_errors_pass,
    ),
    Broken("test_errors_are_of_the_tree_and_name_the_device", "odd text", Garbled),
    Broken("test_errors_are_of_the_tree_and_name_the_device", "raised DeadlineError", Rude),
    Broken("test_errors_are_of_the_tree_and_name_the_device", "was accepted", Gullible),
    Broken("test_keys_stay_out_of_logs", "logged or printed", Logs),
    Broken("test_keys_stay_out_of_logs", "logged or printed", Prints),
    Broken("test_keys_stay_out_of_repr", "a repr shows key bytes", Shows),
    Broken("test_keys_stay_out_of_errors", "an error shows key bytes", Quotes),
    Broken("test_keys_stay_out_of_errors", "an error shows key bytes", Explains),
    Broken("test_the_driver_keeps_no_copy", "still holds a key", Nosy),
    Broken("test_closing_gives_files_and_threads_back", "leaves files open", LeavesFiles),
    Broken("test_closing_gives_files_and_threads_back", "leaves threads", LeavesThreads),
    Broken("test_making_a_device_opens_nothing", "holds files or threads", Eager),
    Broken(
        "test_a_forked_child_gets_nothing",
        "could use the device",
        patches=_set(HookRunner, "forked", False),
    ),
    Broken("test_a_forked_child_leaves_the_device_alone", "told good-bye", Polite),
    Broken("test_both_ends_get_the_same_key_with_await", "made in another thread", OneThread),
    Broken("test_a_cancelled_call_harms_nothing", "hold up the next", SlowToStart),
    Broken("test_a_lost_device_says_so", "no call has noticed", Hopeful),
    Broken("test_sessions_are_lost_with_their_device", "outlived its device", patches=_NOTHING),
    Broken("test_a_lost_device_comes_back_by_init", "unplugged", KeepsHandle),
    Broken("test_a_loss_gives_no_key_twice", "again after a loss", ForgetsErasing),
    Broken("test_a_loss_wakes_a_blocked_call", "a call still waits", Sleeper),
    Broken("test_close_wakes_a_blocked_call", "a call still waits", Sleeper),
    Broken("test_a_stalled_device_keeps_the_deadline", "a call still waits", Sleeper),
    Broken("test_no_fault_gives_a_wrong_key", "the other cannot get", Trusting),
    Broken("test_no_fault_gives_a_wrong_key", "a key was given twice", NeverErases),
    Broken("test_no_fault_gives_a_wrong_key", "odd text", Wordy),
]
