"""The client: repeats, busy boxes, long keys, and everything a box may do wrong."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import (
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    KeysExhaustedError,
    ProtocolError,
)
from qkd_hal.sources import Agreement, Deadline
from qkd_hal_drivers.boxlink.client import BoxClient
from qkd_hal_drivers.boxlink.frame import FrameType
from qkd_hal_drivers.boxlink.round_trips import RoundTrips
from tests.boxlink.scripted_box import (
    INFO,
    KEY,
    PSK,
    Answer,
    ScriptedBox,
    announced,
    chunk,
    err,
    rsp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_drivers.boxlink.transport import FrameTransport
    from tests.boxlink.conftest import Golden

HELLO, AUTH, BYE, INFO_OP, STATUS, RESERVE, BIND, AGREE, FETCH, CONFIRM = (
    *(1, 2, 3, 0x10, 0x11, 0x20),
    *(0x21, 0x22, 0x23, 0x24),
)
ID = bytes(range(16))
LONG = 5.0


def opened(*answers: list[Answer], window: int = 8) -> tuple[ScriptedBox, BoxClient]:
    """Return a client whose box gives these *answers*, one by one, and then the last for ever."""
    left = list(answers)

    def script(operation: int, _: dict[str, Any]) -> list[Answer]:
        if operation == INFO_OP:
            return [rsp(**INFO)]
        return left.pop(0) if len(left) > 1 else left[0] if left else []

    box = ScriptedBox(script)
    client = BoxClient(box, window=window)
    client.open(bytearray(PSK), Deadline(LONG))
    box.requests.clear()
    return box, client


def fetch(client: BoxClient, size: int, offset: int = 0, seconds: float = LONG) -> bytes:
    out = bytearray(size)
    client.fetch("bob", ID, offset, memoryview(out), Deadline(seconds))
    return bytes(out)


class Replayer:
    """Plays the golden box, and checks each frame of the host."""

    max_chunk = 4096
    heard = 0

    def __init__(self, golden: Golden) -> None:
        left_out = ("EVT", "clear ERR no-session")
        self.script = [one for one in golden.frames if one.name not in left_out]

    def open(self, deadline: Deadline) -> None:
        pass

    def reset(self, deadline: Deadline) -> None:
        pass

    def send(self, frame: bytes, deadline: Deadline) -> None:
        expected = self.script.pop(0)
        assert frame == expected.frame, expected.name

    def receive(self, deadline: Deadline) -> bytes:
        assert self.script[0].sender == "box"
        return self.script.pop(0).frame

    def close(self) -> None:
        pass

    def why_silent(self) -> str:
        return ""


def test_the_golden_conversation(golden: Golden) -> None:
    """Every frame that the client sends is the golden one, and it understands every answer."""
    wire = Replayer(golden)
    client = BoxClient(wire, window=1, random=golden.random)
    info = client.open(bytearray(golden.psk), Deadline(LONG))
    assert info.serial_number == "GOLDEN-1"
    assert client.status(Deadline(LONG)).stored_keys == 12
    (key_id,) = client.reserve("bob", 32, 1, Deadline(LONG))
    assert client.bind("bob", key_id, Deadline(LONG)) == 32
    assert client.agree("bob", key_id, Deadline(LONG)) is Agreement.CONFIRMED
    came: list[bytes] = []
    for size in (
        client.bind("bob", key_id, Deadline(LONG), 256, lambda key: came.append(bytes(key))),
        client.agree("bob", key_id, Deadline(LONG), 32, lambda key: came.append(bytes(key))),
    ):
        assert size in (32, Agreement.CONFIRMED)
    out = bytearray(5120)
    client.fetch("bob", key_id, 0, memoryview(out)[:32], Deadline(LONG))
    assert out[:32] == golden["FETCH response"].body[-32:]
    assert came == [out[:32]] * 2
    client.confirm("bob", key_id, 32, Deadline(LONG))
    client.fetch("bob", key_id, 0, memoryview(out), Deadline(LONG))
    assert out == golden["first CHUNK"].body[8:] + golden["second CHUNK"].body[8:]
    with pytest.raises(KeysExhaustedError, match="no key for bob"):
        client.reserve("bob", 32, 1, Deadline(LONG))
    client.say_goodbye()
    assert wire.script == []


def test_a_lost_answer_is_asked_for_again_with_the_same_token() -> None:
    box, client = opened([], [], [rsp(ids=[ID])])
    assert client.reserve("bob", 32, 1, Deadline(LONG)) == [ID]
    tokens = [fields["token"] for _, fields in box.requests]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    client.reserve("bob", 32, 1, Deadline(LONG))
    assert box.requests[-1][1]["token"] != tokens[0]


def timed(box: ScriptedBox, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list to which each wait of the client adds its length."""
    waits: list[float] = []
    receive = box.receive

    def receive_timed(deadline: Deadline) -> bytes | None:
        waits.append(deadline.remaining() or 0)
        return receive(deadline)

    monkeypatch.setattr(box, "receive", receive_timed)
    return waits


def test_patience_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    box, client = opened([], [], [], [rsp(size=32)])
    waits = timed(box, monkeypatch)
    client.bind("bob", ID, Deadline(LONG))
    assert waits == [pytest.approx(0.02 * 2**n, rel=0.3) for n in range(4)]


def test_patience_with_a_transfer_that_stalls_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [announced(1, KEY[:9])]
    box, client = opened(begun, begun, begun, [*begun, chunk(1, 0, KEY[:9])])
    waits = timed(box, monkeypatch)
    assert fetch(client, 9) == KEY[:9]
    assert waits[1:6:2] == [pytest.approx(0.02 * 2**n, rel=0.3) for n in range(3)]


def test_a_box_has_time_to_ask_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    box, client = opened([rsp(agreement=1)])
    waits = timed(box, monkeypatch)
    client.agree("bob", ID, Deadline(LONG))
    assert waits == [pytest.approx(0.1, rel=0.3)]


def test_the_line_is_cleared_before_hello() -> None:
    box = ScriptedBox(lambda *_: [rsp(**INFO)])
    box.frames.append(b"what was left over")
    seen: list[int] = []
    send = box.send

    def watched(frame: bytes, deadline: Deadline) -> None:
        seen.append(len(box.frames))
        send(frame, deadline)

    box.send = watched  # type: ignore[method-assign]
    BoxClient(box).open(bytearray(PSK), Deadline(LONG))
    assert seen[0] == 0


def test_an_answer_to_an_earlier_repeat_will_do() -> None:
    box, client = opened([], [rsp(size=64)])
    held: list[bytes] = []
    send = box.send

    def late(frame: bytes, deadline: Deadline) -> None:
        send(frame, deadline)
        if box.frames and not held:  # the box answers the first only when the second comes
            held.append(box.frames[-1])

    box.send = late  # type: ignore[method-assign]
    assert client.bind("bob", ID, Deadline(LONG)) == 64
    assert box.count(BIND) == 2


def test_answers_to_other_requests_are_passed_over() -> None:
    box, client = opened([rsp(size=32), rsp(size=48)], [rsp(size=64)])
    assert client.bind("bob", ID, Deadline(LONG)) == 32
    assert client.bind("bob", ID, Deadline(LONG)) == 64
    assert box.frames == type(box.frames)()


def test_events_in_between_do_no_harm() -> None:
    event = Answer(FrameType.EVT, rsp(event="keys", stored_keys=3).body)
    _, client = opened([event, event, rsp(size=32), event])
    assert client.bind("bob", ID, Deadline(LONG)) == 32


def test_silence_ends_at_the_deadline() -> None:
    box, client = opened([])
    begin = time.monotonic()
    with pytest.raises(DeadlineError, match="BIND"):
        client.bind("bob", ID, Deadline(0.1))
    assert 0.1 <= time.monotonic() - begin < 1
    assert box.count(BIND) > 1


def test_a_deadline_of_nothing_is_no_loop() -> None:
    _, client = opened([])
    with pytest.raises(DeadlineError):
        client.bind("bob", ID, Deadline(0))


@pytest.mark.parametrize("answer", [rsp(size=-1), rsp(), Answer(FrameType.RSP, b"\xff")])
def test_a_sealed_answer_that_breaks_the_page_is_told(answer: Answer) -> None:
    _, client = opened([answer], [rsp(size=32)])
    with pytest.raises(ProtocolError):
        client.bind("bob", ID, Deadline(LONG))
    assert client.bind("bob", ID, Deadline(LONG)) == 32


def test_a_busy_box_is_asked_again_after_its_time() -> None:
    box, client = opened([err(6, retry_ms=30)], [rsp(size=32)])
    waits: list[float | None] = []
    receive = box.receive

    def timed(deadline: Deadline) -> bytes | None:
        waits.append(deadline.remaining())
        return receive(deadline)

    box.receive = timed  # type: ignore[method-assign]
    assert client.bind("bob", ID, Deadline(LONG)) == 32
    assert waits[1] == pytest.approx(0.03, abs=0.01)
    assert box.count(BIND) == 2


def test_a_box_that_stays_busy_is_busy() -> None:
    _, client = opened([err(6)])
    with pytest.raises(DeviceBusyError):
        client.bind("bob", ID, Deadline(0.05))


def test_the_hint_of_a_lost_session_is_a_loss() -> None:
    _, client = opened([err(4, clear=True)])
    with pytest.raises(DeviceLostError, match="restarted"):
        client.bind("bob", ID, Deadline(LONG))


def test_nobody_there_is_told_with_the_lines_cure() -> None:
    box = ScriptedBox(lambda *_: [])
    box.opening = {HELLO: []}
    box._hello = lambda frame: []  # type: ignore[method-assign]
    with pytest.raises(DeviceNotFoundError, match="Look at the scripted box"):
        BoxClient(box).open(bytearray(PSK), Deadline(0.05))


def test_another_psk_is_refused_by_this_end() -> None:
    box = ScriptedBox(lambda *_: [])
    with pytest.raises(DevicePermissionError):
        BoxClient(box).open(bytearray(32), Deadline(LONG))
    assert box.count(INFO_OP) == 0


def test_another_psk_is_refused_by_the_box() -> None:
    box = ScriptedBox(lambda *_: [])
    box.opening = {AUTH: [err(5, clear=True)]}
    with pytest.raises(DevicePermissionError, match="refuses"):
        BoxClient(box).open(bytearray(PSK), Deadline(LONG))


@pytest.mark.parametrize(
    "answer", [err(3, major=2), rsp(major=2, minor=0, nonce=bytes(32), max_frame=256)]
)
def test_another_version_is_told_at_once(answer: Answer) -> None:
    box = ScriptedBox(lambda *_: [])
    box.opening = {HELLO: [answer]}
    with pytest.raises(ProtocolError, match="version"):
        BoxClient(box).open(bytearray(PSK), Deadline(LONG))


def test_a_box_that_forgot_hello_gets_another() -> None:
    box = ScriptedBox(lambda *_: [rsp(**INFO)])
    box.opening = {AUTH: [err(4, clear=True), err(4, clear=True)]}
    BoxClient(box).open(bytearray(PSK), Deadline(LONG))
    assert box.count(HELLO) == 3


def test_a_box_that_forgets_every_hello_ends_at_the_deadline() -> None:
    box = ScriptedBox(lambda *_: [rsp(**INFO)])
    box.opening = {AUTH: [err(4, clear=True)] * 100_000}
    with pytest.raises(DeviceNotFoundError):
        BoxClient(box).open(bytearray(PSK), Deadline(0.05))


def test_agree_asks_until_the_deadline() -> None:
    box, client = opened([err(23)], [err(23)], [rsp(agreement=1)])
    assert client.agree("bob", ID, Deadline(LONG)) is Agreement.CONFIRMED
    assert [fields["wait_ms"] for _, fields in box.requests] == [1000] * 3


def test_agree_leaves_time_for_the_answer() -> None:
    box, client = opened([err(23)])
    with pytest.raises(DeadlineError, match="peer"):
        client.agree("bob", ID, Deadline(0.1))
    assert box.requests[0][1]["wait_ms"] <= 50


def test_a_confirm_that_erased_less_is_told() -> None:
    _, client = opened([rsp(end=31)])
    with pytest.raises(ProtocolError, match="erased less"):
        client.confirm("bob", ID, 32, Deadline(LONG))


def test_a_call_wakes_when_the_line_is_closed() -> None:
    _, client = opened([])
    client.close()
    with pytest.raises(DeviceClosedError):
        client.bind("bob", ID, Deadline(LONG))


# Long keys


def honest(key: bytes, window: int, lost: Callable[[int], bool] = lambda _: False) -> Any:
    """Return the script of a box that sends *key* in chunks, some of which are lost."""
    state: dict[str, Any] = {"transfer": 0, "credit": 0}
    sent = [0]

    def pour() -> list[Answer]:
        out = []
        while state["credit"] and state["at"] < state["end"]:
            at, end = state["at"], min(state["at"] + 4096, state["end"])
            sent[0] += 1
            if not lost(sent[0]):
                out.append(chunk(state["transfer"], at - state["start"], key[at:end]))
            state.update(at=end, credit=state["credit"] - 1)
        return out

    def script(operation: int, fields: dict[str, Any]) -> list[Answer]:
        if operation == INFO_OP:
            return [rsp(**INFO)]
        if operation == 0x23 and "credits" in fields:
            if fields["transfer"] != state["transfer"]:
                return []
            state["credit"] += fields["credits"]
            return pour()
        start, end = fields["offset"], fields["offset"] + fields["size"]
        number = state["transfer"] + 1
        state.update(transfer=number, start=start, at=start, end=end, credit=window)
        return [announced(number, key[start:end]), *pour()]

    return script


def client_of(script: Any, window: int) -> tuple[ScriptedBox, BoxClient]:
    box = ScriptedBox(script)
    client = BoxClient(box, window=window)
    client.open(bytearray(PSK), Deadline(LONG))
    box.requests.clear()
    return box, client


@pytest.mark.parametrize("window", [1, 2, 8, 64])
@pytest.mark.parametrize("size", [1, 4096, 4097, 65536, 81920])
def test_a_long_key_comes_whole_in_one_fetch(window: int, size: int) -> None:
    box, client = client_of(honest(KEY, window), window)
    assert fetch(client, size) == KEY[:size]
    asked = [fields for _, fields in box.requests if "credits" not in fields]
    assert len(asked) == 1
    granted = sum(fields.get("credits", 0) for _, fields in box.requests)
    chunks = -(-size // 4096)
    assert window + granted >= chunks
    assert granted <= chunks


@given(st.integers(0, 2**32), st.floats(0.05, 0.6))
def test_a_long_key_survives_lost_chunks(seed: int, rate: float) -> None:
    chance = random.Random(seed)
    _, client = client_of(honest(KEY, 4, lambda _: chance.random() < rate), 4)
    assert fetch(client, 50_000) == KEY[:50_000]


def test_the_rest_is_asked_for_at_the_gap() -> None:
    box, client = client_of(honest(KEY, 8, lambda number: number == 3), 8)
    assert fetch(client, 40_000) == KEY[:40_000]
    asked = [fields for _, fields in box.requests if "credits" not in fields]
    assert [(one["offset"], one["size"]) for one in asked] == [(0, 40_000), (8192, 40_000 - 8192)]
    assert box.silences == 0


def test_an_offset_in_a_stream_is_kept() -> None:
    _, client = client_of(honest(KEY, 8), 8)
    assert fetch(client, 10_000, offset=5000) == KEY[5000:15_000]


def test_more_than_one_fetch_holds_is_asked_for_in_parts() -> None:
    key = KEY * 14
    _, client = client_of(honest(key, 8), 8)
    size = (1 << 20) + 5
    assert fetch(client, size) == key[:size]


def test_wrong_bytes_in_a_transfer_are_told() -> None:
    wrong = b"\0" + KEY[1:5000]
    parts = [chunk(1, 0, wrong[:4096]), chunk(1, 4096, wrong[4096:])]
    _, client = opened([announced(1, KEY[:5000]), *parts])
    with pytest.raises(ProtocolError, match="not those"):
        fetch(client, 5000)


def test_more_than_was_announced_is_told() -> None:
    _, client = opened([announced(1, KEY[:5]), chunk(1, 0, KEY[:6])])
    with pytest.raises(ProtocolError, match="more than"):
        fetch(client, 5)


@pytest.mark.parametrize("stray", [chunk(2, 0, KEY[:9]), chunk(1, 3, KEY[3:9])])
def test_chunks_out_of_place_are_not_taken(stray: Answer) -> None:
    good = [announced(1, KEY[:9]), chunk(1, 0, KEY[:9])]
    box, client = opened([announced(1, KEY[:9]), stray], good)
    assert fetch(client, 9) == KEY[:9]
    assert box.count(FETCH) == 2


def test_an_endless_transfer_ends_at_the_deadline() -> None:
    _, client = opened([announced(1, KEY[:9])])
    begin = time.monotonic()
    with pytest.raises(DeadlineError):
        fetch(client, 9, seconds=0.1)
    assert time.monotonic() - begin < 1


def test_a_box_that_never_falls_silent_is_heard_until_the_deadline() -> None:
    _, client = opened([announced(1, KEY[:9]), chunk(1, 3, KEY[3:9])])
    begin = time.monotonic()
    with pytest.raises(DeadlineError):
        fetch(client, 9, seconds=0.1)
    assert time.monotonic() - begin < 1


def test_an_error_in_the_middle_of_a_transfer_is_told() -> None:
    _, client = opened([announced(1, KEY[:9]), err(32)])
    with pytest.raises(OSError, match="fault"):
        fetch(client, 9)


def test_key_bytes_do_not_stay_in_the_client() -> None:
    _, client = opened([rsp(data=KEY[:64])])
    assert fetch(client, 64) == KEY[:64]
    assert KEY[:8] not in client._link._scratch
    _, client = client_of(honest(KEY, 8), 8)
    fetch(client, 9000)
    assert not any(client._link._scratch)


def test_a_key_that_comes_too_late_does_not_stay_in_the_client() -> None:
    _, client = opened([rsp(size=32), rsp(data=KEY[:64])], [rsp(size=32)])
    for _ in range(2):
        client.bind("bob", ID, Deadline(LONG))
    assert not any(client._link._scratch)


# Keys that come along


def asked_for(operation: int, client: BoxClient, size: int, kept: list[bytes]) -> object:
    ask = client.bind if operation == BIND else client.agree
    return ask("bob", ID, Deadline(LONG), size, lambda key: kept.append(bytes(key)))


@pytest.mark.parametrize("operation", [BIND, AGREE])
def test_a_key_comes_along_and_does_not_stay_in_the_client(operation: int) -> None:
    box, client = opened([rsp(data=KEY[:64])])
    kept: list[bytes] = []
    assert asked_for(operation, client, 64, kept) in (64, Agreement.CONFIRMED)
    assert kept == [KEY[:64]]
    assert box.requests[0][1]["inline"] == 64
    assert not any(client._link._scratch)


@pytest.mark.parametrize("operation", [BIND, AGREE])
def test_a_key_that_does_not_come_along_is_no_error(operation: int) -> None:
    answer = {BIND: rsp(size=64), AGREE: rsp(agreement=0)}[operation]
    _, client = opened([answer])
    kept: list[bytes] = []
    assert asked_for(operation, client, 64, kept) in (64, Agreement.UNCHECKED)
    assert kept == []


@pytest.mark.parametrize("operation", [BIND, AGREE])
@pytest.mark.parametrize(
    "lie",
    [
        rsp(data=KEY[:65]),
        rsp(data=b""),
        rsp(data="x" * 64),
        rsp(data=KEY[:64], size=64, agreement=1),
    ],
)
def test_a_lie_about_a_key_that_comes_along_is_told(operation: int, lie: Answer) -> None:
    _, client = opened([lie])
    kept: list[bytes] = []
    with pytest.raises(ProtocolError):
        asked_for(operation, client, 64, kept)
    assert kept == []
    assert not any(client._link._scratch)


@pytest.mark.parametrize("data", [b"", KEY[:1], KEY[:64]])
@pytest.mark.parametrize("operation", [BIND, AGREE])
def test_a_key_that_nobody_asked_for_is_refused(operation: int, data: bytes) -> None:
    box, client = opened([rsp(data=data)])
    kept: list[bytes] = []
    with pytest.raises(ProtocolError):
        asked_for(operation, client, 0, kept)
    assert kept == []
    assert "inline" not in box.requests[0][1]


def test_an_agreement_brings_the_whole_key_or_none() -> None:
    _, client = opened([rsp(data=KEY[:63])])
    with pytest.raises(ProtocolError):
        client.agree("bob", ID, Deadline(LONG), 64)


# A line that brings bytes, slowly or for ever


class Trickle(ScriptedBox):
    """Gives an answer only after *steps* receives that bring bytes and no frame."""

    steps = 0
    step_bytes = 10

    def receive(self, deadline: Deadline) -> bytes | None:
        if self.steps:
            self.steps -= 1
            self.heard += self.step_bytes
            return None
        return super().receive(deadline)


@pytest.mark.parametrize(("steps", "repeats"), [(0, 1), (50, 1), (2000, 2)])
def test_bytes_on_their_way_are_waited_for_but_not_noise(steps: int, repeats: int) -> None:
    box = Trickle(lambda code, _: [rsp(**INFO)] if code == INFO_OP else [rsp(size=32)])
    client = BoxClient(box)
    client.open(bytearray(PSK), Deadline(LONG))
    box.steps = steps
    assert client.bind("bob", ID, Deadline(LONG)) == 32
    assert (box.count(BIND) > 1) == (repeats > 1)


def test_a_flood_of_frames_ends_at_the_deadline() -> None:
    box, client = opened([])
    box.receive = lambda deadline: bytes(20)  # type: ignore[method-assign]
    begin = time.monotonic()
    with pytest.raises(DeadlineError):
        client.bind("bob", ID, Deadline(0.1))
    assert time.monotonic() - begin < 1


def test_every_request_fits_the_smallest_frame_that_a_box_may_ask_for() -> None:
    box, client = opened([])
    lengths: list[int] = []
    send = box.send

    def measured(frame: bytes, deadline: Deadline) -> None:
        lengths.append(len(frame))
        send(frame, deadline)

    box.send = measured  # type: ignore[method-assign]
    peer, out = "p" * 64, memoryview(bytearray(1 << 20))
    calls: list[Callable[[], object]] = [
        lambda: client.reserve(peer, 1 << 20, 16, Deadline(0)),
        lambda: client.bind(peer, ID, Deadline(0), 4096),
        lambda: client.agree(peer, ID, Deadline(0), 4096),
        lambda: client.fetch(peer, ID, 1 << 52, out, Deadline(0)),
        lambda: client.confirm(peer, ID, 1 << 52, Deadline(0)),
    ]
    for call in calls:
        with pytest.raises(DeadlineError):
            call()
    assert len(lengths) == len(calls)
    assert max(lengths) <= 256


def test_round_trips_are_learned() -> None:
    trips = RoundTrips()
    assert trips.patience == 0.25
    for _ in range(50):
        trips.observe(0.1)
    assert trips.patience == pytest.approx(0.1, rel=0.1)
    for _ in range(50):
        trips.observe(0.0001)
    assert trips.patience == 0.02
    trips.observe(30)
    assert trips.patience == 1.0


def test_the_transport_protocol_is_what_the_tests_play() -> None:
    line: FrameTransport = ScriptedBox(lambda *_: [])
    assert line.max_chunk == 4096
