"""A recorded session is run again, and gives the same messages, events and keys."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qkd_hal.distillation.session import Role
from qkd_hal.distillation.stages import Cascade, Stages
from qkd_hal.distillation.transcript import WARNING, Header, Step, Transcript
from qkd_hal.distillation.transcript_file import TranscriptReader, TranscriptWriter
from qkd_hal.distillation.transcript_replay import replay
from qkd_hal.errors import ProtocolError

Recorded = Any  # of conftest.py
Make = Callable[..., Any]


def opened(raw: bytes) -> Transcript:
    return Transcript(io.BytesIO(raw).read)


def edited(raw: bytes, edit: Callable[[dict[str, Any]], None], *, call: str) -> bytes:
    """The file with *edit* applied to the first record of *call* that it changes."""
    out = io.BytesIO()
    writer, done = TranscriptWriter(out.write), False
    for fields in TranscriptReader(io.BytesIO(raw).read):
        if not done and fields.get("call") == call:
            before = repr(fields)
            edit(fields)
            done = repr(fields) != before
        writer.add(fields)
    assert done
    writer.close()
    return out.getvalue()


@pytest.mark.parametrize("source", ["single-photon", "wcp"])
def test_both_keys_are_derived_again(recorded: Recorded, source: str) -> None:
    decoy = {
        "source": "wcp",
        "intensities": (0.5, 0.23, 0.0002),
        "intensity_probabilities": (0.5, 0.4, 0.1),
        "block_size": 60_000,
    }
    pair = recorded.make(**(decoy if source == "wcp" else {}))
    pair.run()
    for _ in range(2):
        pair.photons(4.5 if source == "wcp" else 1.1)
        pair.run()
    recorded.end()
    emitter, detector = recorded.replay(Role.EMITTER), recorded.replay(Role.DETECTOR)
    assert not emitter.differences + detector.differences
    assert emitter.complete
    assert emitter.keys
    assert emitter.keys.keys() == detector.keys.keys() == pair.emitter.active.keys()
    for number, (key, refill) in emitter.keys.items():
        assert key == pair.emitter.active[number]
        assert refill == pair.emitter.refills[number]
        assert emitter.same_key(number, detector)
    assert emitter.confirmed == detector.confirmed == pair.emitter.active.keys()


def test_several_blocks_in_flight(recorded: Recorded) -> None:
    pair = recorded.make(in_flight=3)
    pair.run()
    pair.photons(3.4)
    pair.run()
    recorded.end()
    for host, role in ((pair.emitter, Role.EMITTER), (pair.detector, Role.DETECTOR)):
        again = recorded.replay(role)
        assert not again.differences
        assert {number: bytes(key) for number, (key, _) in again.keys.items()} == host.active
        assert len(again.keys) == 3


def test_a_troubled_session(recorded: Recorded) -> None:
    """Lost messages, time-outs, pauses, changed bytes, too many errors: all of it replays."""
    pair = recorded.make(qber=0.02)
    pair.run()
    pair.detector.engine.paused = True
    pair.photons(1.2)
    pair.run()
    pair.detector.engine.paused = False
    pair.lose_queues()
    pair.time_out()
    pair.run()
    pair.tamper = lambda to_emitter, message: [message[:-1] + bytes([message[-1] ^ 1])]
    pair.photons(1.5)
    pair.run()
    pair.tamper = lambda to_emitter, message: [message]
    pair.time_out()
    pair.run()
    pair.channel._qber = 0.3
    pair.photons(1.5)
    pair.run()
    pair.channel._qber = 0.01
    pair.photons(2.5)
    pair.run()
    recorded.end()
    assert {abort.error.code for abort in pair.emitter.aborts} >= {"qber"}
    assert pair.emitter.active
    for role in Role:
        assert not recorded.replay(role).differences


@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_restart_begins_another_opened(recorded: Recorded, crash: str) -> None:
    pair = recorded.make()
    pair.run()
    pair.photons(1.1)
    pair.emitter.crash = crash
    pair.run()
    pair.time_out()
    pair.run()
    pair.photons(1.5)
    pair.run()
    assert len(recorded.files[Role.EMITTER]) == 2
    assert pair.emitter.active
    for role in Role:
        for which in range(len(recorded.files[role])):
            again = recorded.replay(role, which)
            assert not again.differences
            assert not again.complete


def test_the_file_says_that_it_is_secret(one_block: Recorded) -> None:
    assert WARNING.encode() in one_block.file(Role.EMITTER)[:2000]


def test_nothing_secret_is_shown(one_block: Recorded) -> None:
    again = one_block.replay(Role.DETECTOR)
    ((key, refill),) = again.keys.values()
    steps = list(opened(one_block.file(Role.DETECTOR)))
    shown = repr(again) + repr(steps)
    assert "key_digest" not in repr(Step("stored", drawn={"take": [b"mask"]}))
    for secret in (key, refill):
        assert secret.hex() not in shown
        assert repr(bytes(secret[:8]))[2:-1] not in shown


def test_keys_are_wiped(one_block: Recorded) -> None:
    again = one_block.replay(Role.EMITTER)
    again.wipe()
    assert not any(any(secret) for pair in again.keys.values() for secret in pair)


def test_other_keys_are_told(one_block: Recorded) -> None:
    emitter, detector = one_block.replay(Role.EMITTER), one_block.replay(Role.DETECTOR)
    assert emitter.same_key(7, detector) is None
    detector.keys[0][1][0] ^= 1
    assert emitter.same_key(0, detector) is False


def flip(values: list[Any], at: int, of: int | None = None) -> None:
    """Change the first byte of an answer: eight bits, some of which are sifted."""
    if of is None:
        values[at] = bytes([values[at][0] ^ 0xFF]) + values[at][1:]
    else:
        flip(values[at], of)


@pytest.mark.parametrize(
    ("role", "call", "edit"),
    [
        pytest.param(
            Role.EMITTER,
            "receive",
            lambda r: flip(r["drawn"]["states"], 0, 3) if "states" in r.get("drawn", {}) else None,
            id="an emitted bit",
        ),
        pytest.param(
            Role.DETECTOR, "add-detections", lambda r: flip(r["argument"], 5), id="a detected bit"
        ),
        pytest.param(
            Role.DETECTOR,
            "receive",
            lambda r: flip(r["drawn"]["take"], 0, 2) if "take" in r.get("drawn", {}) else None,
            id="a mask",
        ),
        pytest.param(Role.EMITTER, "start", lambda r: flip(r["drawn"]["entropy"], 0), id="a nonce"),
        pytest.param(Role.EMITTER, "outgoing", lambda r: flip(r["said"], 0), id="a message sent"),
        pytest.param(Role.EMITTER, "outgoing", lambda r: r["said"].pop(), id="one sent less"),
        pytest.param(
            Role.EMITTER,
            "receive",
            lambda r: _change_event(r, "key_digest", bytes(32)),
            id="another key",
        ),
        pytest.param(
            Role.DETECTOR, "receive", lambda r: _change_event(r, "block", 9), id="another block"
        ),
        pytest.param(Role.DETECTOR, "receive", lambda r: r.pop("events", 0), id="events less"),
        pytest.param(
            Role.EMITTER,
            "receive",
            lambda r: r["drawn"]["states"].append(0) if "states" in r.get("drawn", {}) else None,
            id="more states than were asked for",
        ),
        pytest.param(
            Role.EMITTER,
            "start",
            lambda r: r["drawn"]["entropy"].append(b"x"),
            id="more randomness than was asked for",
        ),
        pytest.param(Role.EMITTER, "start", lambda r: r["drawn"].pop("entropy"), id="no entropy"),
        pytest.param(Role.EMITTER, "start", lambda r: r["drawn"].pop("marks"), id="no marks"),
        pytest.param(
            Role.EMITTER,
            "receive",
            lambda r: r["drawn"].update(expect=[[0, 1]]) if "expect" in r.get("drawn", {}) else 0,
            id="a malformed mask",
        ),
        pytest.param(
            Role.EMITTER,
            "receive",
            lambda r: (
                r["drawn"].update(expect=["authentication"])
                if "expect" in r.get("drawn", {})
                else 0
            ),
            id="a mask refused",
        ),
        pytest.param(
            Role.EMITTER, "start", lambda r: r.update(raised="OSError"), id="no exception"
        ),
    ],
)
def test_any_change_is_a_difference(
    one_block: Recorded, role: Role, call: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    again = replay(opened(edited(one_block.file(role), edit, call=call)))
    assert len(again.differences) == 1


def _change_event(record: dict[str, Any], name: str, value: object) -> None:
    for event in record.get("events", ()):
        if name in event:
            event[name] = value


def test_a_difference_tells_no_secret(one_block: Recorded) -> None:
    raw = edited(
        one_block.file(Role.EMITTER),
        lambda r: _change_event(r, "key_digest", bytes(32)),
        call="receive",
    )
    (difference,) = replay(opened(raw)).differences
    assert difference.endswith("receive: BlockDistilled differs in key_digest")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("receive", "text"),
        ("add-detections", b""),
        ("add-detections", []),
        ("add-detections", [0, 4, 1, b"\0\0", b"\0", b"\0"]),
        ("add-detections", [0, 4, 1, b"\5", b"\0", b"\0"]),
        ("add-detections", [0, 4, 3, b"\0\0\0", b"\0", b"\0"]),
        ("add-detections", [0, 4, 1, b"\1", b"\0\0", b"\0"]),
        ("add-detections", [4, 0, 1, b"", b"", b""]),
        ("add-detections", [0, 1 << 62, 8, b"\xff" * 16, b"\0", b"\0"]),
        ("stored", True),
        ("abort", b"x"),
        ("pause", 1),
        ("start", 1),
        ("outgoing", 1),
        ("jump", None),
    ],
)
def test_malformed_arguments(one_block: Recorded, call: str, argument: object) -> None:
    def edit(record: dict[str, Any]) -> None:
        record.update(call=call, argument=argument)

    raw = edited(one_block.file(Role.DETECTOR), edit, call="start")
    with pytest.raises(ProtocolError):
        replay(opened(raw))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("qkd_hal_session", 2),
        ("role", "EVE"),
        ("role", 1),
        ("stages", ["a"]),
        ("stages", [1]),
        ("first_block", -1),
        ("unconfirmed", [1 << 80]),
        ("options", {"pad": 1}),
        ("options", {"no_such": 1}),
        ("options", {"x": "y"}),
        ("parameters", {"no_such": 1}),
        ("parameters", {"block_size": 1}),
        ("parameters", {"block_size": "many"}),
        ("parameters", {"block_size": float("inf")}),
        ("secret", False),
        ("secret", 1),
        ("about", {"site": 1}),
    ],
)
def test_malformed_headers(one_block: Recorded, field: str, value: object) -> None:
    header = opened(one_block.file(Role.DETECTOR)).header.to_fields()
    out = io.BytesIO()
    TranscriptWriter(out.write).add({**header, field: value})
    with pytest.raises(ProtocolError):
        replay(opened(out.getvalue()))


@pytest.mark.parametrize("raw", [b"", b"\x82"])
def test_no_header(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        opened(raw)


def test_other_methods_are_refused_unless_they_are_given(
    recorded: Recorded, make_pair: Make
) -> None:
    class Mine(Cascade):
        name = "mine"

    stages = Stages(reconciliation=Mine())
    pair = recorded.make()
    for host in (pair.emitter, pair.detector):
        host.stages = stages
        host.restart()
    pair.run()
    pair.photons(1.1)
    pair.run()
    raw = recorded.file(Role.EMITTER)
    with pytest.raises(ProtocolError, match="mine"):
        replay(opened(raw))
    assert not replay(opened(raw), stages=stages).differences


def test_the_header_survives(one_block: Recorded) -> None:
    header = opened(one_block.file(Role.EMITTER)).header
    other = replace(header, unconfirmed=(3, 4), first_block=9, about={"site": "alice"})
    assert Header.from_fields(other.to_fields()) == other


def test_a_record_that_does_not_fit_ends_the_transcript_only(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkd_hal.distillation.transcript_file.MAX_RECORD_BYTES", 4000)
    pair = recorded.make()
    pair.run()
    pair.photons(1.1)
    pair.run()
    recorded.end()
    assert pair.emitter.active
    again = recorded.replay(Role.DETECTOR)
    assert not again.complete
    assert not again.differences


def test_nothing_is_recorded_behind_the_end(one_block: Recorded) -> None:
    before = one_block.file(Role.DETECTOR)
    one_block.engines[-1].abort("after the end")
    one_block.end()
    assert one_block.file(Role.DETECTOR) == before
