"""What the driver writes and reads: the page's vectors, and any bytes at all."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError, QKDError, UsageError
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal_drivers.usb_token import applet, status_words, tlv
from qkd_hal_drivers.usb_token.apdu import Command, get_response
from qkd_hal_drivers.usb_token.ccid_message import MessageCollector, message_limit
from qkd_hal_drivers.usb_token.pin import pin_block, puk_block

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "docs" / "key-token-vectors.json").read_text()
)
STEPS = {
    (scene["name"], step["why"]): step for scene in VECTORS["scenes"] for step in scene["steps"]
}
RELAYED = Provenance(Origin.SIMULATED, ("relay1", "relay2"))
FIRST, SECOND = (bytes(range(start, start + 16)) for start in (0, 0x20))
CLAIM = bytes([0x11]) * 16
NEW = bytearray(pin_block("tangerine-42"))


def parts_of(apdu: bytes | bytearray) -> tuple[bytes, bytes]:
    """Header and data of ISO/IEC 7816-4, 5.1; Le is the host's to choose."""
    header, body = bytes(apdu[:4]), bytes(apdu[4:])
    if len(body) > 3 and body[0] == 0:
        return header, body[3 : 3 + int.from_bytes(body[1:3], "big")]
    return header, body[1 : 1 + body[0]] if len(body) > 1 and body[0] else b""


def key_id(raw: bytes) -> KeyId:
    return KeyId.from_bytes(raw)


@pytest.mark.parametrize(
    ("scene", "why", "command"),
    [
        ("a blank token", "SELECT", applet.SELECT),
        ("a blank token", "GET STATUS", applet.get_status()),
        ("a blank token", "GET STATUS, with own keys of 32 bytes", applet.get_status(32)),
        ("the PIN", "ask", applet.ASK_PIN),
        ("the PIN", "VERIFY", applet.verify(pin_block("123456"))),
        ("the PIN", "log out", applet.LOG_OUT),
        ("the PIN", "CHANGE PIN", applet.change_pin(pin_block("123456"), NEW)),
        (
            "the PIN",
            "RESET RETRY COUNTER",
            applet.reset_retry_counter(puk_block("98765432"), pin_block("123456")),
        ),
        (
            "filling",
            "LOAD KEY, own, from a simulator behind two relays",
            applet.load_key(
                key_id(FIRST), memoryview(bytes(range(0xA0, 0xB0)) * 2), RELAYED, own=True
            ),
        ),
        ("an own key", "RESERVE gives the oldest", applet.reserve(CLAIM, 32)),
        ("an own key", "CONFIRM", applet.confirm(key_id(FIRST), CLAIM, own=True)),
        ("erasing", "ERASE the reserved", applet.ERASE_CLAIMED),
        ("erasing", "ERASE all", applet.ERASE_ALL),
    ],
)
def test_commands_are_those_of_the_page(scene: str, why: str, command: Command) -> None:
    (apdu,) = command.apdus(300)
    assert parts_of(apdu) == parts_of(bytes.fromhex(STEPS[scene, why]["send"]))


@pytest.mark.parametrize(
    ("scene", "why", "command", "longest"),
    [
        ("filling", "FIND", applet.find(key_id(SECOND)), 300),
        (
            "a peer key",
            "FETCH 400 bytes, extended length",
            applet.fetch(key_id(SECOND), b"\x22" * 16, 0, 400, own=False),
            300,
        ),
        (
            "a peer key",
            "FETCH 400 bytes, short length",
            applet.fetch(key_id(SECOND), b"\x22" * 16, 0, 400, own=False),
            255,
        ),
    ],
)
def test_commands_with_long_answers(scene: str, why: str, command: Command, longest: int) -> None:
    """All but Le, which is ours to choose."""
    (apdu,) = command.apdus(longest)
    assert parts_of(apdu) == parts_of(bytes.fromhex(STEPS[scene, why]["send"]))


def test_a_long_command_is_chained_as_on_the_page() -> None:
    first, rest = (
        STEPS["filling", why]["send"] for why in ("a peer key of 400 bytes, first part", "the rest")
    )
    data = bytes.fromhex(first[10:] + rest[10:])
    command = Command("LOAD KEY", (0x80, 0x12, 0x02, 0x00), data)
    assert [apdu.hex() for apdu in command.apdus(255)] == [first, rest]


def test_get_response_asks_for_what_is_left() -> None:
    assert get_response(0x0C).hex() == STEPS["an own key", "GET RESPONSE"]["send"]
    assert get_response(0)[4] == 0


def answer(scene: str, why: str) -> bytearray:
    return bytearray.fromhex(STEPS[scene, why]["answer"][:-4])


def test_select_is_read() -> None:
    identity = applet.parse_selected(answer("a blank token", "SELECT"))
    token = dict(VECTORS["token"])
    del token["store_bytes"]
    assert {name: getattr(identity, name) for name in token} == token


def test_another_major_version_is_refused_and_a_higher_minor_one_is_not() -> None:
    raw = answer("a blank token", "SELECT")
    at = raw.index(bytes.fromhex("80020100")) + 2
    raw[at + 1] = 7
    applet.parse_selected(raw)
    raw[at] = 2
    with pytest.raises(ProtocolError, match=r"version 2\.7"):
        applet.parse_selected(raw)


def test_status_and_entries_are_read() -> None:
    status = applet.parse_status(answer("filling", "GET STATUS"))
    assert (status.life, status.own_keys, status.peer_keys) == (applet.Life.OPERATIONAL, 2, 2)
    assert (status.site, status.peer, status.provenance) == ("alice", "bob", RELAYED)
    assert status.own_of_size == 2
    entries = applet.parse_entries(answer("filling", "LIST KEYS"))
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert [entry.own for entry in entries] == [True, True, False, False]
    found, provenance = applet.parse_found(answer("filling", "FIND"))
    assert (found, provenance) == (entries[2], RELAYED)


def test_provenance_survives_the_way() -> None:
    for origin in Origin:
        for nodes in ((), ("one",), ("one", "two")):
            written = Provenance(origin, nodes)
            raw = struct.pack(">I16sBBI", 1, bytes(16), 1, 0, 32)
            entry = bytearray(raw + applet.encode_provenance(written))
            assert applet.parse_found(entry)[1] == written
    with pytest.raises(UsageError):
        applet.encode_provenance(Provenance(Origin.UNKNOWN, ("n" * 60,) * 5))


PARSERS = [
    tlv.decode,
    applet.parse_selected,
    applet.parse_status,
    applet.parse_entries,
    applet.parse_found,
    applet.parse_key_id,
]
ANSWERS = [bytes.fromhex(step["answer"][:-4]) for step in STEPS.values() if "answer" in step]


@pytest.mark.parametrize("parse", PARSERS)
@given(
    raw=st.binary(max_size=120) | st.sampled_from(ANSWERS),
    at=st.integers(0, 200),
    value=st.integers(0, 255),
    more=st.binary(max_size=3),
)
def test_parsers_raise_one_exception_only(
    parse: Callable[[bytearray], object], raw: bytes, at: int, value: int, more: bytes
) -> None:
    spoilt = bytearray(raw + more)
    if at < len(spoilt):
        spoilt[at] = value
    with suppress(ProtocolError):
        parse(spoilt)


def test_no_part_and_no_surplus_of_an_answer_is_read() -> None:
    for why, parse in (("SELECT", applet.parse_selected), ("GET STATUS", applet.parse_status)):
        whole = answer("a blank token", why)
        for size in range(len(whole)):
            with pytest.raises(ProtocolError):
                parse(whole[:size])
        with pytest.raises(ProtocolError):
            parse(whole + b"\0")


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), unique_by=lambda o: o[0]))
def test_data_objects_survive_the_way(objects: list[tuple[int, bytes]]) -> None:
    assert tlv.decode(tlv.encode(objects)) == dict(objects)


@pytest.mark.parametrize("broken", ["8000 8000", "80", "8081", "80 81 7F", "80 82 00FF", "80 01"])
def test_broken_data_objects(broken: str) -> None:
    raw = bytearray.fromhex(broken)
    if broken.startswith("80 8"):  # as long as it says, in a longer form than need be
        raw += bytes(raw[-1])
    with pytest.raises(ProtocolError, match="broken"):
        tlv.decode(raw)


@given(word=st.integers(0, 0xFFFF))
def test_every_status_word_but_one_is_a_failure(word: int) -> None:
    error = status_words.refusal(word, applet.get_status(), "token://x")
    assert isinstance(error, QKDError)
    assert error.device == "token://x"


@pytest.mark.parametrize("pin", ["12345", "1" * 17, "with blank", "ümlaut-pin", ""])
def test_what_is_no_pin_is_not_sent(pin: str) -> None:
    with pytest.raises(UsageError):
        pin_block(pin)


class TestMessages:
    LONGEST = 300

    def whole(self, size: int) -> bytes:
        return struct.pack("<BIBBBBB", 0x80, size, 0, 7, 0, 0, 0) + bytes(range(256))[:size]

    @pytest.mark.parametrize("size", [0, 1, 53, 54, 55, 118, 200])
    @pytest.mark.parametrize("step", [64, 128])
    def test_read_in_packets(self, size: int, step: int) -> None:
        raw, collector = self.whole(size), MessageCollector(64, self.LONGEST)
        parts = [raw[at : at + step] for at in range(0, len(raw), step)]
        *some, last = [collector.add(memoryview(part)) for part in parts]
        assert some == [None] * len(some)
        assert last is not None
        assert (last.kind, last.sequence, bytes(last.data)) == (0x80, 7, raw[10:])
        assert collector.add(memoryview(b"")) is None

    @pytest.mark.parametrize("length", [9, 11, 0xFFFFFFFF])
    def test_another_length_than_it_says(self, length: int) -> None:
        raw = bytearray(self.whole(10))
        raw[1:5] = length.to_bytes(4, "little")
        collector = MessageCollector(64, self.LONGEST)
        with pytest.raises(ProtocolError):
            collector.add(memoryview(raw))
        assert collector.add(memoryview(self.whole(10))) is not None

    def test_a_message_of_another_slot(self) -> None:
        raw = bytearray(self.whole(10))
        raw[5] = 1
        with pytest.raises(ProtocolError):
            MessageCollector(64, self.LONGEST).add(memoryview(raw))

    def test_a_message_without_end_is_bounded(self) -> None:
        collector = MessageCollector(64, self.LONGEST)
        huge = struct.pack("<BIBBBBB", 0x80, 0xFFFFFFFF, 0, 7, 0, 0, 0)
        for _ in range(self.LONGEST // 64):
            assert collector.add(memoryview(huge.ljust(64))) is None
        with pytest.raises(ProtocolError):
            collector.add(memoryview(huge.ljust(64)))

    @given(parts=st.lists(st.binary(max_size=64), max_size=12))
    def test_any_bytes(self, parts: list[bytes]) -> None:
        collector = MessageCollector(64, self.LONGEST)
        for part in parts:
            with suppress(ProtocolError):
                collector.add(memoryview(part))
            assert len(collector._parts) <= self.LONGEST + 64

    @given(st.binary(max_size=120))
    def test_any_class_descriptor(self, extra: bytes) -> None:
        with suppress(QKDError):
            message_limit(extra)
