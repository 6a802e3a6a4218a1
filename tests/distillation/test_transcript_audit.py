"""The public messages of a transcript, worked out once more; and the form that can be sent."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from qkd_hal.distillation.messages import Sift, decode
from qkd_hal.distillation.session import Role
from qkd_hal.distillation.transcript import Transcript
from qkd_hal.distillation.transcript_audit import PublicAudit, audit_public
from qkd_hal.distillation.transcript_file import TranscriptReader, TranscriptWriter
from qkd_hal.distillation.transcript_redaction import redact
from qkd_hal.errors import ProtocolError

Recorded = Any  # of conftest.py
Edit = Callable[[dict[str, Any]], None]


def opened(raw: bytes) -> Transcript:
    return Transcript(io.BytesIO(raw).read)


def redacted(raw: bytes) -> bytes:
    out = io.BytesIO()
    redact(opened(raw), out.write)
    return out.getvalue()


def records(raw: bytes) -> list[dict[str, Any]]:
    return list(TranscriptReader(io.BytesIO(raw).read))


def rewritten(content: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    writer = TranscriptWriter(out.write)
    for fields in content:
        writer.add(fields)
    writer.close()
    return out.getvalue()


def audited(raw: bytes) -> PublicAudit:
    return audit_public(opened(raw))


TWO_DECOYS = {
    "source": "wcp",
    "intensities": (0.5, 0.23, 0.0002),
    "intensity_probabilities": (0.5, 0.4, 0.1),
    "block_size": 60_000,
}
ONE_DECOY = {
    "source": "wcp-1-decoy",
    "intensities": (0.5, 0.16),
    "intensity_probabilities": (0.63, 0.37),
    "block_size": 60_000,
}


@pytest.mark.parametrize(
    ("settings", "in_flight"), [({}, 1), ({}, 3), (TWO_DECOYS, 1), (TWO_DECOYS, 3), (ONE_DECOY, 1)]
)
def test_good_blocks_have_no_findings(
    recorded: Recorded, settings: dict[str, Any], in_flight: int
) -> None:
    pair = recorded.make(in_flight=in_flight, **settings)
    pair.run()
    pair.photons(9.0 if settings else 3.4)
    pair.run()
    recorded.end()
    for role, host in ((Role.EMITTER, pair.emitter), (Role.DETECTOR, pair.detector)):
        for raw in (recorded.file(role), redacted(recorded.file(role))):
            audit = audited(raw)
            assert audit.good
            assert audit.complete
            assert len(audit.blocks) == len(host.distilled) >= 2
            reports = {event.number: event.report for event in host.distilled}
            for block in audit.blocks:
                assert block.leak_bits == reports[block.block].leak_bits
                assert block.secret_bits == reports[block.block].secret_bits
                assert block.epsilon <= reports[block.block].epsilon


def test_aborts_are_listed(recorded: Recorded) -> None:
    pair = recorded.make(qber=0.2)
    pair.run()
    pair.photons(1.1)
    pair.run()
    recorded.end()
    audit = audited(recorded.file(Role.EMITTER))
    assert audit.aborted == {0: "qber"}
    assert not audit.blocks


def report_says(name: str, value: object) -> Edit:
    def edit(fields: dict[str, Any]) -> None:
        for event in fields.get("events", ()):
            if event["event"] == "BlockDistilled":
                event["report"][name] = value

    return edit


@pytest.mark.parametrize("name", ["leak_bits", "secret_bits", "net_bits", "sifted_bits"])
def test_a_report_that_says_otherwise_is_found(one_block: Recorded, name: str) -> None:
    content = records(one_block.file(Role.EMITTER))
    for fields in content:
        report_says(name, 7)(fields)
    audit = audited(rewritten(content))
    assert not audit.good
    (finding,) = audit.blocks[0].findings
    assert finding.startswith(f"{name} is ")
    assert finding.endswith("the report says 7")


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("epsilon", 1e-12, "epsilon is 1.001e-06 at least; the report says less"),
        ("epsilon", 1e-3, "the terms of its epsilon do not add up to it"),
        ("epsilon_budget", None, "the terms of its epsilon do not add up to it"),
    ],
)
def test_an_epsilon_that_does_not_add_up_is_found(
    one_block: Recorded, name: str, value: object, finding: str
) -> None:
    content = records(one_block.file(Role.EMITTER))
    for fields in content:
        report_says(name, value)(fields)
    assert finding in audited(rewritten(content)).blocks[0].findings


@pytest.mark.parametrize("value", [None, "7", 1e300, 10**40, float("nan")])
def test_a_malformed_report_is_found(one_block: Recorded, value: object) -> None:
    content = records(one_block.file(Role.EMITTER))
    for fields in content:
        report_says("leak_bits", value)(fields)
    audit = audited(rewritten(content))
    assert audit.findings == ["block 0: its report has no leak_bits"]


def test_messages_that_are_missing_are_found(one_block: Recorded) -> None:
    """Without one message of the emitter, none that follows counts."""
    content = records(one_block.file(Role.DETECTOR))
    (sift,) = (
        fields
        for fields in content
        if fields.get("call") == "receive" and type(decode(fields["argument"]).message) is Sift
    )
    del sift["argument"]
    assert audited(rewritten(content)).findings == ["block 0: there was no Sift message"]


def test_a_hello_of_other_parameters_is_found(one_block: Recorded) -> None:
    content = records(one_block.file(Role.EMITTER))
    content[0]["parameters_digest"] = bytes(32)
    assert "a HELLO names other parameters than the header" in audited(rewritten(content)).findings


def test_foreign_messages_are_counted(recorded: Recorded) -> None:
    pair = recorded.make()
    pair.run()
    pair.photons(1.1)
    pair.run()
    ends = [audited(recorded.file(role)) for role in (Role.EMITTER, Role.DETECTOR)]
    assert ends[0].foreign(ends[1]) == ends[1].foreign(ends[0]) == 0
    pair.emitter.receive(b"forged")
    again = audited(recorded.file(Role.EMITTER))
    assert again.foreign(ends[1]) == 1


def test_the_redacted_form_holds_only_what_crossed_the_wire(recorded: Recorded) -> None:
    pair = recorded.make(extra={"site": "Wonderland"})
    pair.run()
    pair.photons(1.1)
    pair.run()
    recorded.end()
    for role in Role:
        raw = redacted(recorded.file(role))
        header, *steps = records(raw)
        assert header["secret"] is False
        assert "warning" not in header
        assert b"Wonderland" not in raw
        allowed = {"call", "argument", "said", "events", "raised"}
        for step in steps:
            assert step.keys() <= allowed
            if step["call"] == "add-detections":
                assert type(step["argument"]) is int
            for event in step.get("events", ()):
                assert event.keys() <= {"event", "block", "report", "error", "session", "before"}


def test_no_drawn_secret_is_in_the_redacted_form(one_block: Recorded) -> None:
    secrets = []
    for step in records(one_block.file(Role.EMITTER))[1:]:
        drawn = step.get("drawn", {})
        secrets += [answer[2] for answer in drawn.get("take", []) + drawn.get("expect", [])]
        secrets += drawn.get("hash-key-sent", []) + drawn.get("hash-key-received", [])
        secrets += [bytes(states[3]) for states in drawn.get("states", [])]
    assert len(secrets) > 5
    raw = redacted(one_block.file(Role.EMITTER))
    assert not any(secret in raw for secret in secrets)


def test_a_cut_transcript_stays_cut(one_block: Recorded) -> None:
    raw = one_block.file(Role.EMITTER)
    assert not audited(redacted(raw[:-10])).complete


@pytest.mark.parametrize(
    "event",
    [
        {"event": "Synchronised", "session": "no hexadecimal"},
        {"event": "Synchronised", "session": 1},
        {"event": "BlockDistilled", "block": "0"},
        {"event": "BlockAborted", "block": 0, "error": 1},
    ],
)
def test_malformed_events(one_block: Recorded, event: dict[str, object]) -> None:
    content = records(one_block.file(Role.EMITTER))
    content[1]["events"] = [event]
    with pytest.raises(ProtocolError):
        audited(rewritten(content))
