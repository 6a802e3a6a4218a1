"""Sessions with a box: who gets one, what ends it, what strangers on the line can do."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from qkd_hal_firmware_mocks.boxlink import BoxFirmware, BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from tests.firmware_mocks.box_host import (
    CHUNK,
    CODES,
    ERR,
    REQ,
    RSP,
    Host,
    RefusedError,
    clear,
    finish,
    hello,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PSK = bytes(range(32))


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def box(clock: Clock) -> Iterator[BoxFirmware]:
    with BoxPair(make_settings((PSK, PSK)), stored=1 << 20, seed=1, clock=clock) as pair:
        yield pair.alice


@pytest.fixture
def host(box: BoxFirmware) -> Host:
    opened = Host(box.feed, PSK, "bob")
    opened.open()
    return opened


def token() -> bytes:
    return os.urandom(16)


def reserve(host: Host, size: int = 32, count: int = 1) -> list[bytes]:
    ids: list[bytes] = host.do("RESERVE", size=size, count=count, token=token())["ids"]
    return ids


def refusal(host: Host, operation: str, **fields: Any) -> int:
    with pytest.raises(RefusedError) as error:
        host.do(operation, **fields)
    code: int = error.value.code
    return code


def stored(box: BoxFirmware, key_id: bytes, key: bytes) -> bytes:
    box.keys.store([(key_id, len(key), key)])
    return key_id


def test_info_and_status_have_the_schema(host: Host) -> None:
    info, status = host.do("INFO"), host.do("STATUS")
    assert info["origin"] == "simulated"
    assert (info["site"], info["peers"], info["max_key"]) == ("alice", ["bob"], 65536)
    assert set(info["capabilities"]) == {"look-up", "stream", "reserve-ahead", "confirm-peer"}
    assert (status["stored_bytes"], status["stored_keys"]) == (1 << 20, 1 << 15)
    assert (status["alarms"], status["link_up"]) == ([], True)


def test_the_psk_is_in_no_repr(box: BoxFirmware) -> None:
    assert repr(PSK) not in repr(box.settings)


def test_another_major_is_told_this_one(box: BoxFirmware) -> None:
    for changes in ({"major": 2}, {"suites": [2, 3]}):
        with pytest.raises(RefusedError) as error:
            Host(box.feed, PSK, "bob").open(**changes)
        assert (error.value.code, error.value.body["major"]) == (3, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": bytes(31)},
        {"max_frame": 255},
        {"max_frame": 65537},
        {"credits": 0},
        {"credits": True},
        {"suites": []},
        {"suites": [1] * 9},
        {"features": ["x" * 65]},
        {"minor": -1},
        {"major": "1"},
    ],
)
def test_a_hello_out_of_the_schema_is_malformed(box: BoxFirmware, changes: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as error:
        Host(box.feed, PSK, "bob").open(**changes)
    assert error.value.code == 1


def test_a_wrong_proof_is_refused_and_the_old_session_stays(box: BoxFirmware, host: Host) -> None:
    stranger = Host(box.feed, os.urandom(32), "bob")
    _, proof = stranger.greet()
    (answer,) = box.feed(clear(REQ, 9, "AUTH", {"proof": proof}))
    assert host.read_clear(answer) == (ERR, {"code": 5, "text": "the proof is wrong"})
    host.do("INFO")


def test_the_half_open_session_is_gone_after_a_wrong_proof(box: BoxFirmware) -> None:
    guesser = Host(box.feed, PSK, "bob")
    _, proof = guesser.greet()
    box.feed(clear(REQ, 9, "AUTH", {"proof": bytes(32)}))
    (answer,) = box.feed(clear(REQ, 9, "AUTH", {"proof": proof}))
    assert guesser.read_clear(answer)[1]["code"] == 4


def test_a_hello_that_came_twice_gets_the_same_answer_and_another_a_new_one(
    box: BoxFirmware,
) -> None:
    frame = clear(REQ, 1, "HELLO", hello())
    host = Host(lambda _: box.feed(frame), PSK, "bob")
    first, _ = host.greet()
    assert host.greet()[0] == first
    newer = Host(box.feed, PSK, "bob")
    assert newer.greet()[0]["nonce"] != first["nonce"]
    assert host.greet()[0]["nonce"] != first["nonce"], "that session is no longer half open"


def test_the_hello_of_an_open_session_is_answered_anew(box: BoxFirmware) -> None:
    sent: list[bytes] = []

    def exchange(frame: bytes) -> list[bytes]:
        sent.append(frame)
        return box.feed(frame)

    host = Host(exchange, PSK, "bob")
    first = host.open()
    (again,) = box.feed(sent[0])
    assert host.read_clear(again)[1]["nonce"] != first["nonce"], "or its keys would come twice"


def test_an_answer_that_the_host_cannot_take_is_not_sent(box: BoxFirmware) -> None:
    small = Host(box.feed, PSK, "bob")
    small.open(max_frame=256)
    asked = {"size": 1, "token": token()}
    assert refusal(small, "RESERVE", count=16, **asked) == 21
    assert len(small.do("RESERVE", count=11, size=1, token=token())["ids"]) == 11


def test_no_event_comes_before_the_first_sealed_frame(box: BoxFirmware) -> None:
    sent: list[bytes] = []
    box.attach(sent.append)
    host = Host(box.feed, PSK, "bob")
    host.open()
    box.set_link(up=False)
    assert sent == []
    host.do("INFO")
    assert host.events == [{"event": "link", "up": False}]


def test_a_half_open_session_is_forgotten(box: BoxFirmware, clock: Clock) -> None:
    slow = Host(box.feed, PSK, "bob")
    _, proof = slow.greet()
    clock.now += 10.1
    (answer,) = box.feed(clear(REQ, 9, "AUTH", {"proof": proof}))
    assert slow.read_clear(answer)[1]["code"] == 4


def test_a_lost_auth_answer_is_given_again(box: BoxFirmware) -> None:
    host = Host(box.feed, PSK, "bob")
    _, proof = host.greet()
    frames = [box.feed(clear(REQ, number, "AUTH", {"proof": proof})) for number in (7, 8)]
    assert [frame[0][1] for frame in frames] == [RSP, RSP]
    assert frames[0][0][7:-4] == frames[1][0][7:-4]
    host.become_current()
    key_id = reserve(host)[0]
    (late,) = box.feed(clear(REQ, 9, "AUTH", {"proof": proof}))
    assert host.read_clear(late)[1]["code"] == 4, "in use, AUTH cannot start it over"
    assert host.do("FETCH", id=key_id, offset=0, size=32)["data"]


def test_a_new_session_ends_the_old_one_and_its_reserved_keys(box: BoxFirmware, host: Host) -> None:
    kept = stored(box, token(), b"peer's key")
    gone = reserve(host)[0]
    old = host.request("INFO")
    newer = Host(box.feed, PSK, "bob")
    newer.open()
    assert host.read_clear(box.feed(old)[0])[1]["code"] == 4
    assert refusal(newer, "FETCH", id=gone, offset=0, size=32) == 16
    assert newer.do("BIND", id=kept) == {"size": 10}


def test_a_replay_and_an_overtaken_frame_are_dropped_in_silence(
    box: BoxFirmware, host: Host
) -> None:
    first, second = host.request("INFO"), host.request("INFO")
    assert box.feed(second)
    assert box.feed(second) == []
    assert box.feed(first) == []
    assert host.counter == 2


def test_a_forged_frame_does_not_move_the_counter(box: BoxFirmware, host: Host) -> None:
    good = host.request("INFO")
    forged = struct.pack(">Q", 1 << 40) + good[15:-4]
    box.feed(finish(good[:7], forged))
    assert box.feed(good)


def test_a_sealed_frame_too_short_for_a_seal_is_not_opened(
    box: BoxFirmware, host: Host, clock: Clock
) -> None:
    head = host.request("INFO")[:7]
    for size in range(25):
        clock.now += 1
        (hint,) = box.feed(finish(head, bytes(size)))
        assert host.read_clear(hint)[1]["code"] == 4
    host.do("INFO")


def test_every_bit_of_a_sealed_frame_is_guarded(box: BoxFirmware, host: Host, clock: Clock) -> None:
    good = host.request("INFO")
    for bit in range(8, 8 * (len(good) - 4)):
        spoilt = bytearray(good[:-4])
        spoilt[bit // 8] ^= 1 << bit % 8
        clock.now += 1
        for frame in box.feed(finish(bytes(spoilt), b"")):
            assert host.read_clear(frame)[1]["code"] in (1, 4)
    assert host.read_all(box.feed(good))[0][0] == RSP


def test_the_hint_that_there_is_no_session_is_rare(box: BoxFirmware, clock: Clock) -> None:
    host = Host(box.feed, PSK, "bob")
    host.open()
    box.power_cycle()
    asked = host.request("INFO")
    assert [len(box.feed(asked)) for _ in range(3)] == [1, 0, 0]
    clock.now += 0.11
    assert len(box.feed(asked)) == 1


def test_a_sealed_credit_without_a_session_gets_no_hint(box: BoxFirmware) -> None:
    host = Host(box.feed, PSK, "bob")
    host.open()
    box.power_cycle()
    assert box.feed(host.seal(6, 1, CODES["FETCH"], b"\xa0")) == []


def test_clear_frames_other_than_the_opening_are_ignored(box: BoxFirmware, host: Host) -> None:
    for operation in set(CODES) - {"HELLO", "AUTH"}:
        assert box.feed(clear(REQ, 1, operation, {})) == []
    for kind in range(2, 7):
        assert box.feed(clear(kind, 1, "HELLO", hello())) == []
    host.do("INFO")


def test_bye_ends_the_session(box: BoxFirmware, host: Host) -> None:
    key_id = reserve(host)[0]
    assert host.do("BYE") == {}
    (hint,) = box.feed(host.request("INFO"))
    assert host.read_clear(hint)[1]["code"] == 4
    again = Host(box.feed, PSK, "bob")
    again.open()
    assert refusal(again, "FETCH", id=key_id, offset=0, size=32) == 16


def test_the_last_counter_ends_the_session(box: BoxFirmware, host: Host) -> None:
    assert box._session is not None
    box._session._sent = (1 << 32) - 2
    assert len(box.feed(host.request("INFO"))) == 1
    assert box.feed(host.request("INFO")) == []
    assert box._session is None


def test_a_token_reserves_once(host: Host) -> None:
    one = token()
    asked = {"size": 32, "count": 3, "token": one}
    assert host.do("RESERVE", **asked) == host.do("RESERVE", **asked)
    assert host.do("STATUS")["stored_bytes"] == (1 << 20) - 96
    for _ in range(15):
        reserve(host)
    before = host.do("STATUS")["stored_bytes"]
    host.do("RESERVE", **asked)
    assert host.do("STATUS")["stored_bytes"] == before


def test_a_token_belongs_to_its_session(box: BoxFirmware, host: Host) -> None:
    asked = {"size": 32, "count": 1, "token": token()}
    first = host.do("RESERVE", **asked)
    host.open()
    assert host.do("RESERVE", **asked) != first, "that key went with its session"


def test_what_a_box_remembers_is_bounded(box: BoxFirmware, host: Host) -> None:
    for _ in range(5000):
        (key_id,) = box.keys.reserve(1, 1)
        box.keys.confirm(key_id, 1)
    assert len(box.keys._used_up._ids) == len(box.keys._used_up._order) == 4096
    for _ in range(100):
        reserve(host)
    assert len(box.operations._tokens) == 64


def test_keys_are_overwritten_where_they_lay(box: BoxFirmware, host: Host) -> None:
    used, forgotten = reserve(host, count=2)
    buffers = [held.material for held in box.keys._own.values()]
    assert all(map(any, buffers))
    host.do("CONFIRM", id=used, end=32)
    assert not any(buffers[0])
    host.do("BYE")
    assert not any(buffers[1]), forgotten


def test_what_a_box_cannot_do_has_its_code(box: BoxFirmware, host: Host) -> None:
    (key_id,) = reserve(host)
    fetch = {"offset": 0, "size": 32}
    assert refusal(host, "FETCH", id=token(), **fetch) == 16
    assert refusal(host, "BIND", id=key_id) == 16, "an end does not bind its own key"
    assert refusal(host, "BIND", id=key_id, peer="eve") == 20
    assert refusal(host, "RESERVE", size=65537, count=1, token=token()) == 21
    assert refusal(host, "FETCH", id=key_id, offset=0, size=65537) == 21
    assert refusal(host, "FETCH", id=key_id, offset=1, size=32) == 1
    assert refusal(host, "CONFIRM", id=key_id, end=33) == 1
    assert host.do("CONFIRM", id=token(), end=33) == {"end": 33}, "nothing left to erase"
    box.set_link(up=False)
    assert refusal(host, "RESERVE", size=32, count=1, token=token()) == 33
    assert refusal(host, "AGREE", id=key_id, wait_ms=0) == 33
    assert host.do("STATUS")["alarms"] == ["link-down"]
    box.set_link(up=True)
    box.set_stored(31)
    assert refusal(host, "RESERVE", size=32, count=1, token=token()) == 17
    assert host.do("STATUS")["alarms"] == ["keys-low"]
    (unknown,) = host.read_all(box.feed(host.seal(REQ, 1, 0x99, b"\xa0")))
    assert unknown[1]["code"] == 2
    (malformed,) = host.read_all(box.feed(host.seal(REQ, 1, 0x10, b"\xa1")))
    assert malformed[1]["code"] == 1


def test_a_host_that_never_confirms_fills_the_store(host: Host) -> None:
    for _ in range(4096 // 16):
        reserve(host, 1, 16)
    assert refusal(host, "RESERVE", size=1, count=1, token=token()) == 22


def test_a_broken_store_is_a_fault_and_no_crash(box: BoxFirmware, host: Host) -> None:
    box.keys._memory.close()
    assert refusal(host, "BIND", id=token()) == 32


def test_unknown_keys_in_a_request_are_ignored(host: Host) -> None:
    host.do("RESERVE", size=32, count=1, token=token(), later={"version": [1]})


def test_prefixes_are_erased_and_the_rest_stays(box: BoxFirmware, host: Host) -> None:
    for key_id in (reserve(host, 40)[0], stored(box, token(), bytes(range(40)))):
        whole = host.do("FETCH", id=key_id, offset=0, size=40)["data"]
        assert host.do("CONFIRM", id=key_id, end=16) == {"end": 16}
        assert refusal(host, "FETCH", id=key_id, offset=15, size=2) == 18
        assert host.do("FETCH", id=key_id, offset=16, size=24)["data"] == whole[16:]
        host.do("CONFIRM", id=key_id, end=8)
        host.do("CONFIRM", id=key_id, end=40)
        assert refusal(host, "FETCH", id=key_id, offset=0, size=1) == 18
        assert host.do("CONFIRM", id=key_id, end=40) == {"end": 40}


def test_a_small_key_comes_along_for_a_host_that_likes_it(box: BoxFirmware, host: Host) -> None:
    key = bytes(range(40))
    key_id = stored(box, token(), key)
    for _ in range(2):
        assert host.do("BIND", id=key_id, inline=40) == {"data": key}
    assert host.do("BIND", id=key_id, inline=39) == {"size": 40}
    assert host.do("BIND", id=key_id) == {"size": 40}
    assert host.do("FETCH", id=key_id, offset=0, size=40) == {"data": key}, "nothing is used up"
    host.do("CONFIRM", id=key_id, end=1)
    assert host.do("BIND", id=key_id, inline=40) == {"size": 40}, "not when a part is gone"
    stream = stored(box, token(), b"")
    assert host.do("BIND", id=stream, inline=40) == {"size": 0}


@pytest.mark.parametrize(("size", "along"), [(212, True), (213, False)])
def test_a_key_comes_along_where_it_fits_the_hosts_frame(
    box: BoxFirmware, size: int, along: bool
) -> None:
    lengths: list[int] = []

    def exchange(frame: bytes) -> list[bytes]:
        lengths.extend(map(len, answer := box.feed(frame)))
        return answer

    host = Host(exchange, PSK, "bob")
    host.open(max_frame=256)
    answer = host.do("BIND", id=stored(box, token(), bytes(size)), inline=4096)
    assert answer == ({"data": bytes(size)} if along else {"size": size})
    assert max(lengths) <= 256


@pytest.mark.parametrize("inline", [0, -1, 4097, True, "1", None])
def test_a_wish_for_a_key_out_of_the_schema_is_malformed(host: Host, inline: object) -> None:
    assert refusal(host, "BIND", id=token(), inline=inline) == 1
    assert refusal(host, "AGREE", id=token(), wait_ms=0, inline=inline) == 1


@pytest.mark.parametrize("name", ["peer", "id", "wait_ms"])
def test_other_fields_may_not_be_left_out(host: Host, name: str) -> None:
    fields: dict[str, Any] = {"peer": "bob", "id": token(), "wait_ms": 0, "inline": 1}
    del fields[name]
    body = cbor2.dumps(fields)
    ((kind, answer),) = host.read_all(host._exchange(host.seal(REQ, 1, CODES["AGREE"], body)))
    assert (kind, answer["code"]) == (ERR, 1)


def test_a_used_up_key_is_told_from_an_unknown_one(box: BoxFirmware, host: Host) -> None:
    key_id = stored(box, token(), b"0123")
    host.do("CONFIRM", id=key_id, end=4)
    assert refusal(host, "BIND", id=key_id) == 18


def test_a_long_key_waits_for_credit(box: BoxFirmware, host: Host) -> None:
    key = os.urandom(30000)
    key_id = stored(box, token(), key)
    (kind, said), *chunks = host.ask("FETCH", id=key_id, offset=0, size=30000)
    assert (kind, said["total"]) == (RSP, 30000)
    assert said["sha256"] == hashlib.sha256(key).digest()
    assert len(chunks) == 4, "as many as HELLO allowed"
    assert host.credit(said["transfer"] + 1, 1, 1) == [], "another transfer's"
    assert host.credit(said["transfer"], 1, 99) == [], "another request's"
    while sum(len(part) - 8 for _, part in chunks) < 30000:
        more = host.credit(said["transfer"], 2, 1)
        assert 1 <= len(more) <= 2
        chunks += more
    assert all(kind == CHUNK for kind, _ in chunks)
    parts = [(*struct.unpack(">II", part[:8]), part[8:]) for _, part in chunks]
    assert [offset for _, offset, _ in parts] == list(range(0, 30000, 4096))
    assert b"".join(part for *_, part in parts) == key
    assert host.credit(said["transfer"], 1, 1) == [], "it is complete"


def test_the_next_request_ends_a_transfer(box: BoxFirmware, host: Host) -> None:
    key_id = stored(box, token(), bytes(30000))
    (_, said), *_ = host.ask("FETCH", id=key_id, offset=0, size=30000)
    host.do("INFO")
    assert host.credit(said["transfer"], 1, 1) == []


def test_no_frame_is_longer_than_the_host_takes(box: BoxFirmware) -> None:
    lengths: list[int] = []

    def exchange(frame: bytes) -> list[bytes]:
        frames = box.feed(frame)
        lengths.extend(map(len, frames))
        return frames

    host = Host(exchange, PSK, "bob")
    host.open(max_frame=256, credits=64)
    key_id = stored(box, token(), bytes(4096))
    for size in range(200, 230):
        answers = host.ask("FETCH", id=key_id, offset=0, size=size)
        received = answers[0][1].get("data") or b"".join(part[8:] for _, part in answers[1:])
        assert len(received) == size
    assert max(lengths) <= 256


def test_events_wait_for_a_host_that_listens(box: BoxFirmware) -> None:
    unasked: list[bytes] = []
    box.attach(unasked.append)
    for number in range(20):
        box.notify(event="keys", stored_keys=number)
    host = Host(box.feed, PSK, "bob")
    host.open()
    assert unasked == []
    host.do("INFO")
    assert host.events[0] == {"event": "lost", "count": 4}
    assert [event["stored_keys"] for event in host.events[1:]] == list(range(4, 20))
    box.set_link(up=False)
    assert host.read_all(unasked) == []
    assert host.events[-1] == {"event": "link", "up": False}


def test_the_box_of_the_peer_confirms_a_key() -> None:
    with BoxPair(make_settings((PSK, PSK[::-1])), seed=1) as pair:
        alice, bob = Host(pair.alice.feed, PSK, "bob"), Host(pair.bob.feed, PSK[::-1], "alice")
        alice.open()
        bob.open()
        (key_id,) = reserve(alice)
        for end in (alice, bob):
            assert end.do("AGREE", id=key_id, wait_ms=100) == {"agreement": 1}
            assert end.do("AGREE", id=key_id, wait_ms=100, inline=31) == {"agreement": 1}
        along = alice.do("AGREE", id=key_id, wait_ms=100, inline=32)
        assert along == bob.do("AGREE", id=key_id, wait_ms=100, inline=32)
        assert along == alice.do("FETCH", id=key_id, offset=0, size=32)
        ours = alice.do("FETCH", id=key_id, offset=0, size=32)
        bob.do("CONFIRM", id=key_id, end=16)
        assert alice.do("AGREE", id=key_id, wait_ms=100) == {"agreement": 1}, "the common part"
        assert bob.do("FETCH", id=key_id, offset=16, size=16)["data"] == ours["data"][16:]
        bob.do("CONFIRM", id=key_id, end=32)
        assert alice.do("AGREE", id=key_id, wait_ms=100) == {"agreement": 1}, "it had it"


def test_a_key_that_the_peer_lacks_or_holds_otherwise_is_told() -> None:
    with BoxPair(make_settings((PSK, PSK)), seed=1) as pair:
        alice, bob = Host(pair.alice.feed, PSK, "bob"), Host(pair.bob.feed, PSK, "alice")
        alice.open()
        bob.open()
        one, other, third = reserve(alice, count=3)
        pair.bob.keys._memory.remove(one)
        assert refusal(alice, "AGREE", id=one, wait_ms=100) == 16
        pair.bob.keys._memory.remove(other)
        pair.bob.keys.store([(other, 32, bytes(32))])
        assert refusal(alice, "AGREE", id=other, wait_ms=100, inline=32) == 19
        alice.do("BYE")
        unsure = bob.do("AGREE", id=third, wait_ms=100, inline=32)
        assert unsure == {"agreement": 0}, "it may have been used, and so no key comes along"


def test_a_stream_grows_at_both_ends_until_its_starter_leaves() -> None:
    with BoxPair(make_settings((PSK, PSK)), stored=70_000, seed=1) as pair:
        alice, bob = Host(pair.alice.feed, PSK, "bob"), Host(pair.bob.feed, PSK, "alice")
        alice.open()
        bob.open()
        (key_id,) = reserve(alice, 0)
        assert bob.do("BIND", id=key_id) == {"size": 0}
        theirs = bob.do("FETCH", id=key_id, offset=0, size=100)["data"]
        bob.do("CONFIRM", id=key_id, end=50)
        ours = alice.do("FETCH", id=key_id, offset=0, size=200)["data"]
        assert ours[:100] == theirs
        assert bob.do("FETCH", id=key_id, offset=50, size=150)["data"] == ours[50:]
        assert refusal(bob, "FETCH", id=key_id, offset=65536, size=51) == 21, "too far ahead"
        assert refusal(bob, "CONFIRM", id=key_id, end=201) == 1
        alice.do("CONFIRM", id=key_id, end=200)
        pair.alice.set_stored(0)
        assert refusal(alice, "FETCH", id=key_id, offset=200, size=1) == 17
        pair.alice.set_stored(100)
        alice.do("BYE")
        assert bob.do("FETCH", id=key_id, offset=50, size=150)["data"] == ours[50:]
        assert refusal(bob, "FETCH", id=key_id, offset=200, size=1) == 17


def test_a_body_that_is_cbor_and_no_map_is_malformed(box: BoxFirmware) -> None:
    head = struct.pack(">BBBHH", 1, REQ, 0, 1, CODES["HELLO"])
    (answer,) = box.feed(finish(head, cbor2.dumps([1])))
    assert cbor2.loads(answer[7:-4])["code"] == 1
