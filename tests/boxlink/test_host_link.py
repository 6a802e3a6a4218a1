"""The host's state machine, against the golden box and against strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import DeviceLostError, DevicePermissionError, ProtocolError, StateError
from qkd_hal_drivers.boxlink.frame import SEALED, FrameType, encode_frame, header
from qkd_hal_drivers.boxlink.link import Answer, BoxLink, Chunk, Notice, Refusal
from qkd_hal_drivers.boxlink.messages import Operation
from qkd_hal_drivers.boxlink.seal import Sealer, SessionKeys
from qkd_hal_drivers.boxlink.strict_cbor import encode_map

if TYPE_CHECKING:
    from tests.boxlink.conftest import Golden

NOTHING = encode_map({})


def greeted(golden: Golden) -> BoxLink:
    """Return a link that has the golden box's HELLO."""
    link = BoxLink(max_frame=8192, window=1, random=golden.random)
    assert link.hello(repeat=False) == golden["HELLO request"].frame
    answer = link.received(golden["HELLO response"].frame)
    assert isinstance(answer, Answer)
    assert link.greeted(answer.body, bytearray(golden.psk)) == "GOLDEN-1"
    return link


def opened(golden: Golden) -> BoxLink:
    """Return a link with the golden session."""
    link = greeted(golden)
    assert link.auth(repeat=False) == golden["AUTH request"].frame
    answer = link.received(golden["AUTH response"].frame)
    assert isinstance(answer, Answer)
    link.proved(answer.body)
    return link


class Box:
    """Makes sealed frames of the golden box, with any counter."""

    def __init__(self, golden: Golden) -> None:
        self._cipher = AESGCM(golden.keys["box key"])
        self._iv = golden.keys["box iv"]

    def frame(self, kind: int, sequence: int, operation: int, body: bytes, counter: int) -> bytes:
        head = header(FrameType(kind), SEALED, sequence, operation)
        number = counter.to_bytes(8, "big")
        return encode_frame(head, number + self._cipher.encrypt(self._iv + number, body, head))


def test_the_key_schedule_is_the_golden_one(golden: Golden) -> None:
    hellos = golden["HELLO request"].body, golden["HELLO response"].body
    keys = SessionKeys.derive(bytearray(golden.psk), *hellos)
    named = ("host proof", "box proof", "host key", "host iv", "box key", "box iv")
    fields = ("host_proof", "box_proof", "host_key", "host_iv", "box_key", "box_iv")
    assert [getattr(keys, field) for field in fields] == [golden.keys[name] for name in named]
    assert golden.psk.hex() not in repr(keys)
    assert repr(keys) == "SessionKeys()"


def test_the_golden_conversation(golden: Golden) -> None:
    """All golden frames of the host come out byte for byte, all of the box are understood."""
    link = opened(golden)
    codes = {operation.name: operation for operation in Operation}
    for one in golden.frames[4:]:
        if one.name == "CREDIT":
            assert link.credit(7, 1) == one.frame
        elif one.sender == "host":
            operation = codes[one.name.removesuffix(" request").split()[-1]]
            assert link.request(operation, one.body, repeat=False) == one.frame, one.name
        else:
            event = link.received(one.frame)
            assert event is not None, one.name
            if isinstance(event, Chunk):
                assert (event.transfer, bytes(event.data)) == (7, one.body[8:])
            elif isinstance(event, Refusal):
                assert event.failure.code == (17 if one.name == "ERR" else 4)
            else:
                assert bytes(event.body) == one.body, one.name


def test_a_replayed_or_overtaken_frame_is_dropped(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    answer = box.frame(FrameType.RSP, 1, Operation.INFO, NOTHING, 5)
    assert isinstance(link.received(answer), Answer)
    assert link.received(answer) is None
    assert link.received(box.frame(FrameType.RSP, 1, Operation.INFO, NOTHING, 4)) is None


def test_a_gap_in_the_counter_does_no_harm(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    late = box.frame(FrameType.RSP, 1, Operation.INFO, NOTHING, 1 << 40)
    assert isinstance(link.received(late), Answer)


@given(place=st.integers(7, 40), bit=st.integers(0, 7))
def test_a_forged_frame_is_dropped_and_moves_nothing(golden: Golden, place: int, bit: int) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    good = box.frame(FrameType.RSP, 1, Operation.INFO, NOTHING, 1)
    raw = bytearray(good[:-4])
    raw[place % len(raw)] ^= 1 << bit
    forged = encode_frame(bytes(raw[:7]), bytes(raw[7:]))
    assert link.received(forged) is None
    assert isinstance(link.received(good), Answer)


def test_a_frame_with_a_wrong_seal_leaves_no_key_behind(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.FETCH, NOTHING, repeat=False)
    raw = bytearray(box.frame(FrameType.RSP, 1, Operation.FETCH, b"\xa0secret key", 1)[:-4])
    raw[-1] ^= 1
    assert link.received(encode_frame(bytes(raw[:7]), bytes(raw[7:]))) is None
    assert not any(link._scratch)


@given(st.binary(max_size=80))
def test_noise_is_dropped(golden: Golden, raw: bytes) -> None:
    link = opened(golden)
    assert link.received(raw) is None
    clear = encode_frame(header(FrameType.RSP, 0, 0, 2), raw)
    sealed = encode_frame(header(FrameType.RSP, SEALED, 0, 2), raw)
    assert link.received(clear) is None
    assert link.received(sealed) is None


def test_the_header_is_under_the_seal(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    good = box.frame(FrameType.ERR, 1, Operation.INFO, NOTHING, 1)
    other = header(FrameType.RSP, SEALED, 1, Operation.INFO)
    assert link.received(encode_frame(other, good[7:-4])) is None


def test_the_hosts_own_frames_come_back_in_vain(golden: Golden) -> None:
    link = opened(golden)
    mine = link.request(Operation.INFO, NOTHING, repeat=False)
    assert link.received(mine) is None


@pytest.mark.parametrize(
    ("kind", "sequence", "operation"),
    [
        (FrameType.RSP, 0, Operation.INFO),  # an earlier request
        (FrameType.RSP, 3, Operation.INFO),  # one that was never made
        (FrameType.RSP, 1, Operation.STATUS),  # another operation
        (FrameType.REQ, 1, Operation.INFO),
        (FrameType.CREDIT, 1, Operation.INFO),
    ],
)
def test_what_is_no_answer_is_dropped(
    golden: Golden, kind: FrameType, sequence: int, operation: int
) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    link.request(Operation.INFO, NOTHING, repeat=True)
    assert link.received(box.frame(kind, sequence, operation, NOTHING, 1)) is None


def test_an_answer_to_any_repeat_counts(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    link.request(Operation.INFO, NOTHING, repeat=True)
    for attempt in (1, 0):
        raw = box.frame(FrameType.RSP, 1 + attempt, Operation.INFO, NOTHING, 2 - attempt)
        event = link.received(raw)
        assert isinstance(event, Answer)
        assert event.attempt == attempt


def test_hello_counts_by_its_last_repeat(golden: Golden) -> None:
    link = BoxLink(max_frame=8192, window=1, random=golden.random)
    first = link.hello(repeat=False)
    assert link.hello(repeat=True) != first
    body = golden["HELLO response"].body
    assert link.received(encode_frame(header(FrameType.RSP, 0, 0xFFFF, 1), body)) is None
    assert link.received(encode_frame(header(FrameType.RSP, 0, 0, 1), body)) is not None


def test_a_chunk_must_belong_to_the_last_answer(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.FETCH, NOTHING, repeat=False)
    link.request(Operation.FETCH, NOTHING, repeat=True)
    piece = bytes(8) + b"key"
    assert link.received(box.frame(FrameType.CHUNK, 1, Operation.FETCH, piece, 1)) is None
    assert link.received(box.frame(FrameType.RSP, 1, Operation.FETCH, NOTHING, 2)) is not None
    assert link.received(box.frame(FrameType.CHUNK, 2, Operation.FETCH, piece, 3)) is None
    assert link.received(box.frame(FrameType.CHUNK, 1, Operation.FETCH, bytes(8), 4)) is None
    event = link.received(box.frame(FrameType.CHUNK, 1, Operation.FETCH, piece, 5))
    assert isinstance(event, Chunk)
    assert bytes(event.data) == b"key"


def test_a_clear_event_is_nobodys(golden: Golden) -> None:
    link = opened(golden)
    body = golden["EVT"].body
    assert link.received(encode_frame(header(FrameType.EVT, 0, 0, 0), body)) is None
    sealed = Box(golden).frame(FrameType.EVT, 0, 0, body, 1)
    assert isinstance(link.received(sealed), Notice)


@pytest.mark.parametrize("code", [1, 5, 16, 34])
def test_of_clear_errors_only_no_session_is_heeded(golden: Golden, code: int) -> None:
    link = opened(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    head = header(FrameType.ERR, 0, 1, Operation.INFO)
    assert link.received(encode_frame(head, encode_map({"code": code, "text": ""}))) is None
    assert link.received(encode_frame(head, b"no CBOR")) is None
    hint = link.received(encode_frame(head, encode_map({"code": 4, "text": ""})))
    assert isinstance(hint, Refusal)


def test_a_malformed_error_of_the_box_itself_is_told(golden: Golden) -> None:
    link = opened(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    with pytest.raises(ProtocolError):
        link.received(Box(golden).frame(FrameType.ERR, 1, Operation.INFO, b"no CBOR", 1))


def test_a_box_without_the_psk_is_refused(golden: Golden) -> None:
    link = greeted(golden)
    link.auth(repeat=False)
    proof = bytearray(golden["AUTH response"].body)
    proof[-1] ^= 1
    with pytest.raises(DevicePermissionError, match="prove"):
        link.proved(memoryview(bytes(proof)))
    assert not link.is_open
    with pytest.raises(StateError):
        link.request(Operation.INFO, NOTHING, repeat=False)


def test_one_proof_makes_one_session(golden: Golden) -> None:
    link = opened(golden)
    with pytest.raises(StateError):  # a second one would count from 1 under the same keys
        link.proved(memoryview(golden["AUTH response"].body))


def test_a_changed_hello_gives_other_proofs(golden: Golden) -> None:
    hellos = golden["HELLO request"].body, golden["HELLO response"].body
    psk = bytearray(golden.psk)
    right = SessionKeys.derive(psk, *hellos)
    for wrong in ((hellos[0] + b"\0", hellos[1]), (hellos[0], hellos[1][:-1]), hellos[::-1]):
        assert SessionKeys.derive(psk, *wrong).box_proof != right.box_proof


def test_auth_comes_after_hello(golden: Golden) -> None:
    link = BoxLink(max_frame=8192, window=1, random=golden.random)
    with pytest.raises(StateError, match="HELLO"):
        link.auth(repeat=False)


def test_a_new_hello_ends_the_session(golden: Golden) -> None:
    link = opened(golden)
    assert link.is_open
    link.hello(repeat=False)
    assert not link.is_open


def test_what_an_event_showed_is_overwritten(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.FETCH, NOTHING, repeat=False)
    event = link.received(box.frame(FrameType.RSP, 1, Operation.FETCH, b"\xa0secret key", 1))
    assert isinstance(event, Answer)
    assert bytes(event.body) == b"\xa0secret key"
    link.wipe()
    assert bytes(event.body) == bytes(len(b"\xa0secret key"))


def test_what_two_events_showed_is_overwritten(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.FETCH, NOTHING, repeat=False)
    for counter, body in enumerate([b"\xa0a long secret key", b"\xa0short"], 1):
        link.received(box.frame(FrameType.RSP, 1, Operation.FETCH, body, counter))
    link.wipe()
    assert not any(link._scratch)


def test_a_sealed_frame_longer_than_our_limit_is_dropped(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link.request(Operation.INFO, NOTHING, repeat=False)
    assert link.received(box.frame(FrameType.RSP, 1, Operation.INFO, bytes(8193), 1)) is None


def test_counters_end_before_they_repeat() -> None:
    sealer = Sealer(bytes(32), bytes(4))
    sealer._counter = (1 << 32) - 2
    sealer.seal(b"", b"")
    with pytest.raises(DeviceLostError, match="used up"):
        sealer.seal(b"", b"")


def test_a_session_without_answers_ends_before_a_sequence_comes_round(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    for _ in range(1 << 15):
        link.request(Operation.INFO, NOTHING, repeat=False)
    with pytest.raises(DeviceLostError, match="none of 32768"):
        link.request(Operation.INFO, NOTHING, repeat=False)
    late = box.frame(FrameType.RSP, link._sequence - 1, Operation.INFO, NOTHING, 1)
    assert isinstance(link.received(late), Answer)
    link.request(Operation.INFO, NOTHING, repeat=False)


def test_sequences_go_around(golden: Golden) -> None:
    link, box = opened(golden), Box(golden)
    link._sequence = 0xFFFF
    link.request(Operation.INFO, NOTHING, repeat=False)
    link.request(Operation.INFO, NOTHING, repeat=True)
    event = link.received(box.frame(FrameType.RSP, 0, Operation.INFO, NOTHING, 1))
    assert isinstance(event, Answer)
    assert event.attempt == 1
