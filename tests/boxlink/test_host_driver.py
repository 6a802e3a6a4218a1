"""The hooks of a box, on two mock boxes in this process."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import (
    ConfigurationError,
    DeviceClosedError,
    KeyConsumedError,
    KeyMismatchError,
    KeyNotFoundError,
    ProtocolError,
    StateError,
)
from qkd_hal.keys import KeyId
from qkd_hal.sources import Agreement, Deadline, Slot
from qkd_hal_drivers.boxlink import driver as driver_module
from qkd_hal_drivers.boxlink.credential import ENVIRONMENT_VARIABLE, load_psk
from qkd_hal_drivers.boxlink.driver import BoxDriver
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware

PSK = bytes(range(32))
LONG = 5.0


class Wire:
    """A `FrameTransport` straight into a firmware. ``broken`` makes the next calls fail."""

    max_chunk = 4096

    def __init__(self, box: BoxFirmware) -> None:
        self.box = box
        self.heard = 0
        self.frames: deque[bytes] = deque()
        self.operations: list[int] = []
        self.closed = 0
        self.silent = threading.Event()

    def open(self, deadline: Deadline) -> None:
        self.box.attach(self.frames.append)

    def reset(self, deadline: Deadline) -> None:
        self.frames.clear()

    def send(self, frame: bytes, deadline: Deadline) -> None:
        self.operations.append(frame[6])
        self.frames.extend(self.box.feed(frame))

    def receive(self, deadline: Deadline) -> bytes | None:
        if self.closed:
            raise DeviceClosedError("closed")
        if self.silent.is_set() or not self.frames:
            return None
        return self.frames.popleft()

    def close(self) -> None:
        self.closed += 1

    def why_silent(self) -> str:
        return "none"


class Ends:
    """Alice's and Bob's drivers, and the lines that they opened."""

    def __init__(self, pair: BoxPair, credential: Path) -> None:
        self.wires: list[Wire] = []
        self.alice = BoxDriver(lambda: self._wire(pair.alice), str(credential))
        self.bob = BoxDriver(lambda: self._wire(pair.bob), str(credential))
        for end in (self.alice, self.bob):
            end.open(Deadline(LONG))

    def _wire(self, box: BoxFirmware) -> Wire:
        self.wires.append(Wire(box))
        return self.wires[-1]

    def close(self) -> None:
        self.alice.close()
        self.bob.close()


@pytest.fixture
def credential(tmp_path: Path) -> Path:
    path = tmp_path / "box.psk"
    path.touch(0o600)
    path.write_text(PSK.hex() + "\n")
    return path


@pytest.fixture
def pair() -> Iterator[BoxPair]:
    with BoxPair(make_settings((PSK, PSK)), seed=1) as both:
        yield both


@pytest.fixture
def ends(pair: BoxPair, credential: Path) -> Iterator[Ends]:
    both = Ends(pair, credential)
    yield both
    both.close()


def reserve(driver: BoxDriver, size: int | None = 32) -> Slot:
    (slot,) = driver.reserve("bob", size, 1, Deadline(LONG))
    return slot


def fetch(driver: BoxDriver, slot: Slot, size: int) -> bytes:
    out = bytearray(size)
    driver.fetch(slot, memoryview(out), Deadline(LONG))
    return bytes(out)


def test_a_life_without_faults(ends: Ends) -> None:
    slot = reserve(ends.alice)
    assert ends.alice.agree(slot, Deadline(LONG)) is Agreement.CONFIRMED
    ours = fetch(ends.alice, slot, 32)
    ends.alice.confirm(slot, Deadline(LONG))
    bound = ends.bob.bind("alice", slot.key_id, Deadline(LONG))
    assert bound.size == 32
    assert fetch(ends.bob, bound, 32) == ours
    ends.bob.confirm(bound, Deadline(LONG))
    with pytest.raises(KeyNotFoundError):
        ends.bob.bind("alice", slot.key_id, Deadline(LONG))
    assert ends.alice.status(Deadline(LONG)).link_up


# Keys that come along

BIND, AGREE, FETCH, CONFIRM = 0x21, 0x22, 0x23, 0x24


def bind(driver: BoxDriver, key_id: KeyId) -> Slot:
    return driver.bind("alice", key_id, Deadline(LONG))


def test_a_small_key_costs_no_fetch(ends: Ends) -> None:
    slot = reserve(ends.alice)
    ends.alice.agree(slot, Deadline(LONG))
    bound = bind(ends.bob, slot.key_id)
    assert fetch(ends.alice, slot, 32) == fetch(ends.bob, bound, 32)
    ends.alice.confirm(slot, Deadline(LONG))
    ends.bob.confirm(bound, Deadline(LONG))
    assert ends.wires[0].operations[-2:] == [AGREE, CONFIRM]
    assert ends.wires[1].operations[-2:] == [BIND, CONFIRM]


@pytest.mark.parametrize("size", [256, 257])
def test_only_small_keys_come_along(ends: Ends, size: int) -> None:
    slot = reserve(ends.alice, size)
    ends.alice.agree(slot, Deadline(LONG))
    bound = bind(ends.bob, slot.key_id)
    assert (len(ends.alice._held._keys), len(ends.bob._held._keys)) == ((1, 1), (0, 0))[size > 256]
    assert fetch(ends.alice, slot, size) == fetch(ends.bob, bound, size)


def test_a_stream_does_not_come_along(ends: Ends) -> None:
    slot = reserve(ends.alice, None)
    assert ends.alice.agree(slot, Deadline(LONG)) is Agreement.CONFIRMED
    bound = bind(ends.bob, slot.key_id)
    assert not ends.alice._held._keys
    assert fetch(ends.alice, slot, 32) == fetch(ends.bob, bound, 32)


def test_a_key_comes_along_once(ends: Ends) -> None:
    slot = bind(ends.bob, reserve(ends.alice).key_id)
    asked: list[object] = []
    agree = ends.bob._opened.agree
    ends.bob._opened.agree = lambda *arguments: (  # type: ignore[method-assign]
        asked.append(arguments[3]) or agree(*arguments)  # type: ignore[func-returns-value]
    )
    ends.bob.agree(slot, Deadline(LONG))
    fetch(ends.bob, slot, 32)
    ends.bob.agree(slot, Deadline(LONG))
    assert asked == [0, 0], "it was here already, and then it was fetched"
    assert not ends.bob._held._keys


def test_a_part_of_a_key_that_came_along_is_fetched(ends: Ends) -> None:
    slot = reserve(ends.alice)
    ends.alice.agree(slot, Deadline(LONG))
    pieces = fetch(ends.alice, slot, 12) + fetch(ends.alice, slot, 20)
    assert ends.wires[0].operations[-2:] == [FETCH, FETCH]
    assert fetch(ends.bob, bind(ends.bob, slot.key_id), 32) == pieces


def test_a_key_that_was_pushed_out_is_fetched(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkd_hal_drivers.boxlink.held._MAX_HELD", 1)
    slots = ends.alice.reserve("bob", 32, 2, Deadline(LONG))
    bound = [bind(ends.bob, slot.key_id) for slot in slots]
    for ours, theirs in zip(slots, bound, strict=True):
        assert fetch(ends.alice, ours, 32) == fetch(ends.bob, theirs, 32)
    assert ends.wires[1].operations[-1] == FETCH
    assert ends.wires[1].operations.count(FETCH) == 1


def test_when_the_ends_disagree_what_came_along_is_overwritten(ends: Ends, pair: BoxPair) -> None:
    slot = reserve(ends.alice)
    bound = bind(ends.bob, slot.key_id)
    (buffer,) = ends.bob._held._keys.values()
    pair.bob.keys._memory.remove(bytes(slot.key_id))
    pair.bob.keys.store([(bytes(slot.key_id), 32, bytes(32))])
    with pytest.raises(KeyMismatchError):
        ends.bob.agree(bound, Deadline(LONG))
    assert not any(buffer)
    assert not ends.bob._held._keys


def test_a_key_that_was_bound_twice_is_handed_out_once(ends: Ends) -> None:
    key_id = reserve(ends.alice).key_id
    first, second = bind(ends.bob, key_id), bind(ends.bob, key_id)
    assert any(fetch(ends.bob, second, 32))
    third = bind(ends.bob, key_id)  # between a fetch and its confirm the box gives it once more
    ends.bob.confirm(second, Deadline(LONG))
    for one in (first, third):
        with pytest.raises(KeyConsumedError):
            fetch(ends.bob, one, 32)


def test_a_key_that_came_along_for_another_slot_is_not_what_comes_next(ends: Ends) -> None:
    key_id = reserve(ends.alice).key_id
    first = bind(ends.bob, key_id)
    fetch(ends.bob, first, 12)
    second = bind(ends.bob, key_id)
    with pytest.raises(ProtocolError):  # beyond the end
        fetch(ends.bob, first, 32)
    assert any(fetch(ends.bob, second, 32))


def test_an_unfetched_key_that_came_along_is_overwritten_when_it_is_erased(ends: Ends) -> None:
    bound = bind(ends.bob, reserve(ends.alice).key_id)
    (buffer,) = ends.bob._held._keys.values()
    ends.wires[1].closed += 1  # the confirm is lost
    with pytest.raises(DeviceClosedError):
        ends.bob.confirm(bound, Deadline(LONG))
    assert not any(buffer)


@pytest.mark.parametrize("reopened", [False, True])
def test_keys_that_came_along_go_with_their_connection(ends: Ends, reopened: bool) -> None:
    slot = reserve(ends.alice)
    bound = bind(ends.bob, slot.key_id)
    (buffer,) = ends.bob._held._keys.values()
    ours = fetch(ends.alice, slot, 32)
    if not reopened:
        ends.bob.close()
        assert not any(buffer)
        with pytest.raises(StateError):
            fetch(ends.bob, bound, 32)
    ends.bob.open(Deadline(LONG))
    assert not any(buffer)
    again = bind(ends.bob, slot.key_id)
    assert len(ends.bob._held._keys) == 1, "the new connection keeps keys again"
    assert fetch(ends.bob, again, 32) == ours


def test_a_key_comes_in_pieces_each_fetched_from_where_the_last_ended(ends: Ends) -> None:
    slot = reserve(ends.alice, 48)
    pieces = fetch(ends.alice, slot, 16)
    ends.alice.confirm(slot, Deadline(LONG))
    pieces += fetch(ends.alice, slot, 32)
    ends.alice.confirm(slot, Deadline(LONG))
    bound = ends.bob.bind("alice", slot.key_id, Deadline(LONG))
    assert fetch(ends.bob, bound, 48) == pieces


def test_a_stream_is_one_sequence_at_both_ends(ends: Ends) -> None:
    slot = reserve(ends.alice, None)
    bound = ends.bob.bind("alice", slot.key_id, Deadline(LONG))
    assert (slot.size, bound.size) == (None, None)
    ours = b""
    for size in (100, 5000, 1):
        ours += fetch(ends.alice, slot, size)
        ends.alice.confirm(slot, Deadline(LONG))
    assert fetch(ends.bob, bound, 5101) == ours


def test_until_confirmed_the_next_bytes_are_not_the_same_again(ends: Ends) -> None:
    slot = reserve(ends.alice)
    assert fetch(ends.alice, slot, 16) != fetch(ends.alice, slot, 16)


def test_an_unfetched_key_is_erased_whole_and_a_stream_is_left(ends: Ends) -> None:
    slot, stream = reserve(ends.alice), reserve(ends.alice, None)
    for one in (slot, stream):
        ends.alice.confirm(one, Deadline(LONG))
    with pytest.raises(KeyConsumedError):
        fetch(ends.alice, slot, 32)
    assert len(fetch(ends.alice, stream, 8)) == 8


def test_confirm_may_be_repeated_and_forgets_the_slot(ends: Ends) -> None:
    slot = reserve(ends.alice)
    fetch(ends.alice, slot, 32)
    for _ in range(3):
        ends.alice.confirm(slot, Deadline(LONG))
    assert not ends.alice._offsets


def test_a_forgotten_offset_fails_closed(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_MAX_OFFSETS", 1)
    first, second = reserve(ends.alice, None), reserve(ends.alice, None)
    fetch(ends.alice, first, 8)
    ends.alice.confirm(first, Deadline(LONG))
    fetch(ends.alice, second, 8)
    with pytest.raises(KeyConsumedError):
        fetch(ends.alice, first, 8)


def test_many_keys_are_reserved_sixteen_at_a_time(ends: Ends) -> None:
    before = len(ends.wires[0].operations)
    slots = ends.alice.reserve("bob", 32, 40, Deadline(LONG))
    assert len({slot.key_id for slot in slots}) == len({slot.handle for slot in slots}) == 40
    assert ends.wires[0].operations[before:] == [0x20] * 3


def test_closing_says_goodbye_and_the_box_erases_what_was_reserved(ends: Ends) -> None:
    slot = reserve(ends.alice)
    ends.alice.close()
    assert ends.wires[0].operations[-1] == 3
    assert ends.wires[0].closed
    ends.alice.open(Deadline(LONG))
    with pytest.raises(KeyNotFoundError):
        fetch(ends.alice, slot, 32)


def test_closing_twice_or_unopened_does_nothing(ends: Ends, credential: Path) -> None:
    ends.alice.close()
    ends.alice.close()
    assert ends.wires[0].closed == 1
    BoxDriver(lambda: ends._wire(ends.wires[0].box), str(credential)).close()
    with pytest.raises(StateError, match="init"):
        ends.alice.status(Deadline(LONG))


def test_closing_wakes_a_hook_and_does_not_wait_for_it(ends: Ends) -> None:
    wire = ends.wires[0]
    wire.silent.set()
    seen: list[Exception] = []
    begun = threading.Event()

    def ask() -> None:
        begun.set()
        try:
            ends.alice.status(Deadline(30))
        except DeviceClosedError as error:
            seen.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait()
    while 0x11 not in wire.operations:
        pass
    ends.alice.close()
    thread.join(5)
    assert len(seen) == 1
    assert 3 not in wire.operations


def test_opening_again_starts_a_fresh_line(ends: Ends) -> None:
    ends.alice.open(Deadline(LONG))
    assert len(ends.wires) == 3
    assert ends.wires[0].closed
    assert ends.alice.status(Deadline(LONG)).link_up


def test_a_failed_opening_releases_the_line(ends: Ends) -> None:
    stranger = BoxDriver(lambda: ends._wire(ends.wires[0].box), None)
    with pytest.raises(ConfigurationError):
        stranger.open(Deadline(LONG))
    ends.wires[0].box.attach(lambda _: None)
    broken = BoxDriver(lambda: _deaf(ends), str(ends.alice._credential))
    with pytest.raises(LookupError):
        broken.open(Deadline(0.05))
    assert ends.wires[-1].closed


def _deaf(ends: Ends) -> Wire:
    wire = ends._wire(ends.wires[0].box)
    wire.silent.set()
    return wire


def test_an_unknown_key_is_not_found(ends: Ends) -> None:
    with pytest.raises(KeyNotFoundError):
        ends.bob.bind("alice", KeyId.random(), Deadline(LONG))


# The credential


def test_the_psk_is_overwritten(
    ends: Ends, credential: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, psk = bytearray(credential.read_bytes()), bytearray(PSK)
    monkeypatch.setattr("qkd_hal_drivers.boxlink.credential.read_private", lambda *_, **__: content)
    assert load_psk("file") == PSK
    assert not any(content)
    monkeypatch.setattr(driver_module, "load_psk", lambda _: psk)
    ends.alice.open(Deadline(LONG))
    assert not any(psk)


def test_a_credential_is_found_by_the_environment(
    credential: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(credential))
    assert load_psk(None) == PSK


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_credential_may_end_in_a_line(credential: Path, ending: str) -> None:
    credential.write_bytes((PSK.hex().upper() + ending).encode())
    assert load_psk(str(credential)) == PSK


@pytest.mark.parametrize(
    "content", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + " ", "00" * 32 + "\n\n", "é" * 32]
)
def test_what_is_no_psk_is_refused(credential: Path, content: str) -> None:
    credential.write_text(content)
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits") as caught:
        load_psk(str(credential))
    assert content[:4] not in str(caught.value) or not content


def test_no_credential_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=ENVIRONMENT_VARIABLE):
        load_psk(None)


def test_an_open_credential_is_refused(credential: Path) -> None:
    credential.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_psk(str(credential))
