"""What the public messages of a transcript say, worked out once more and held to its reports.

Whoever listens on the classical channel can do this: it needs no secret, so that a redacted
transcript serves. Keys are another matter: :mod:`~qkd_hal.distillation.transcript_replay`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qkd_hal.distillation.bits import unpack_bits
from qkd_hal.distillation.detection_codec import unpack_pattern, unpack_pulses
from qkd_hal.distillation.estimation import Estimation
from qkd_hal.distillation.messages import (
    Abort,
    Corrected,
    Detections,
    Estimate,
    Hello,
    ParityReply,
    ParityRequest,
    Sift,
    Stored,
    Tag,
    Verify,
    decode,
)
from qkd_hal.distillation.parameters import MASK_BYTES
from qkd_hal.distillation.sifting import KEY_BASIS
from qkd_hal.distillation.stages import Stages
from qkd_hal.distillation.verification import VERIFICATION_BITS, collision_bound, excess_leak
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qkd_hal.distillation.messages import Frame, Message
    from qkd_hal.distillation.transcript import Header, Step, Transcript

__all__ = ["BlockAudit", "PublicAudit", "audit_public"]

_LETTERS: dict[type[Message], str] = {
    Detections: "d",
    Sift: "s",
    Estimate: "e",
    ParityRequest: "q",
    ParityReply: "r",
    Corrected: "c",
    Verify: "v",
    Tag: "t",
    Stored: "k",
    Abort: "a",
}
_ORDER = re.compile(r"dse(qr)*cvtt?")  # up to where an end has its key
_TAGS = 3
_LARGE = 2.0**63  # of nothing that is counted here
_CLOSE = 1e-9  # relative: sums of floats are rounded, counts are exact


@dataclass(frozen=True, slots=True)
class BlockAudit:
    """One block's figures from its public messages; bits unless named otherwise.

    ``epsilon``: what the parameters and the length of the messages give. ``findings``: where
    the engine's report says otherwise; empty for a good block.
    """

    block: int
    detections: int
    pulses: int
    sifted_bits: int
    test_bits: int
    qber: float
    leak_bits: int
    round_trips: int
    message_bytes: int
    secret_bits: int
    net_bits: int
    seed_bits: int
    epsilon: float
    findings: tuple[str, ...] = ()


@dataclass(slots=True)
class PublicAudit:
    """What came of an audit. ``sent`` and ``received`` count the digests of whole messages."""

    blocks: list[BlockAudit] = field(default_factory=list)
    aborted: dict[int, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    sent: Counter[bytes] = field(default_factory=Counter)
    received: Counter[bytes] = field(default_factory=Counter)
    complete: bool = False

    @property
    def good(self) -> bool:
        """True when nothing was found."""
        return not self.findings and not any(block.findings for block in self.blocks)

    def foreign(self, peer: PublicAudit) -> int:
        """Count the messages that came in and that *peer* did not send: changed, or forged."""
        return (self.received - peer.sent).total()


def audit_public(transcript: Transcript) -> PublicAudit:
    """Check each block of *transcript*, redacted or not, against an own calculation.

    Raises:
        ProtocolError: the transcript is damaged.
    """
    audit = PublicAudit()
    listener = _Listener(transcript.header, audit)
    for step in transcript:
        listener.take(step)
    audit.complete = transcript.complete
    return audit


class _Talk:
    """What was said about one block so far."""

    def __init__(self) -> None:
        self.order = ""
        self.octets = self.leak = 0
        self._last: dict[type[Message], Any] = {}

    def add(self, message: Message, octets: int) -> None:
        self.order += _LETTERS[type(message)]
        self.octets += octets
        if isinstance(message, ParityReply):
            self.leak += message.count
        else:
            self._last[type(message)] = message

    def last(self, kind: type[Any]) -> Any:
        if kind not in self._last:
            raise ProtocolError(f"there was no {kind.__name__} message")
        return self._last[kind]


class _Listener:
    """Follows the sessions: which frames counted, and what they say about which block."""

    def __init__(self, header: Header, audit: PublicAudit) -> None:
        self._header = header
        self._audit = audit
        self._session = b""
        self._next = {True: 0, False: 0}
        self._talks: dict[int, _Talk] = {}

    def take(self, step: Step) -> None:
        for raw in step.said:
            self._audit.sent[hashlib.sha256(raw).digest()] += 1
            self._hear(raw, sent=True)
        if step.call == "receive" and type(step.argument) is bytes:
            self._audit.received[hashlib.sha256(step.argument).digest()] += 1
            self._hear(step.argument, sent=False)
        for event in step.events:
            self._event(event)

    def _hear(self, raw: bytes, *, sent: bool) -> None:
        try:
            frame = decode(raw)
        except ProtocolError:
            return  # the engine refused it, too
        if isinstance(frame.message, Hello):
            self._check_hello(frame.message, sent=sent)
        elif self._counts(frame, sent=sent):
            self._talks.setdefault(frame.block, _Talk()).add(frame.message, len(raw))

    def _check_hello(self, hello: Hello, *, sent: bool) -> None:
        if sent and hello.parameters != self._header.parameters_digest:
            self._audit.findings.append("a HELLO names other parameters than the header")

    def _counts(self, frame: Frame, *, sent: bool) -> bool:
        if frame.session != self._session or frame.sequence != self._next[sent]:
            return False
        self._next[sent] += 1
        return True

    def _event(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"event": "Synchronised", "session": str(session)}:
                self._session = _hexadecimal(session)
                self._next = {True: 0, False: 0}
                self._talks.clear()
            case {"event": "BlockDistilled", "block": int(block), "report": dict(report)}:
                self._distilled(block, report)
            case {"event": "BlockAborted", "block": int(block), "error": str(error)}:
                self._audit.aborted[block] = error
                self._talks.pop(block, None)
            case {"event": "BlockDistilled" | "BlockAborted" | "Synchronised"}:
                raise ProtocolError("an event of the session transcript is malformed")

    def _distilled(self, block: int, report: Mapping[str, Any]) -> None:
        talk = self._talks.get(block, _Talk())
        try:
            self._audit.blocks.append(_judge(block, talk, report, self._header))
        except ProtocolError as error:
            self._audit.findings.append(f"block {block}: {error.what}")


def _judge(block: int, talk: _Talk, report: Mapping[str, Any], header: Header) -> BlockAudit:
    parameters = header.parameters
    counts = _counts(talk, parameters.levels)
    counts = counts.with_key_errors(talk.last(Corrected).errors, parameters)
    detections, seed = talk.last(Detections), 8 * len(talk.last(Verify).toeplitz_seed)
    secret = counts.secret_bits(parameters, talk.leak + excess_leak(parameters.eps_cor))
    figures: dict[str, Any] = {
        "block": block,
        "detections": detections.count,
        "pulses": detections.end_pulse - detections.first_pulse,
        "sifted_bits": counts.key_bits,
        "test_bits": counts.test_bits,
        "qber": counts.qber,
        "leak_bits": talk.leak,
        "secret_bits": secret,
        "net_bits": secret - 8 * parameters.pad_refill_bytes,
    }
    booked = {"authentication_bits": _TAGS * 8 * MASK_BYTES, "verification_bits": VERIFICATION_BITS}
    epsilon = parameters.eps_sec + parameters.eps_cor + _TAGS * collision_bound(talk.octets)
    findings = _unlike(figures | booked, report)
    findings += _epsilon_findings(report, epsilon)
    if not _ORDER.fullmatch(talk.order):
        findings.append("its messages came in an order that is not the protocol's")
    if not 0 <= seed - _seed_bits(header, counts.key_bits, secret, seed) < 8:
        findings.append(f"{seed} bits of seed are not what its amplification takes")
    return BlockAudit(
        **figures,
        round_trips=talk.order.count("q"),
        message_bytes=talk.octets,
        seed_bits=seed,
        epsilon=epsilon,
        findings=tuple(findings),
    )


def _epsilon_findings(report: Mapping[str, Any], least: float) -> Iterator[str]:
    """Judge what the report claims; more than *least* is no fault, a claim of less is."""
    claimed, budget = _number(report, "epsilon"), report.get("epsilon_budget")
    if not claimed >= least * (1 - _CLOSE):
        yield f"epsilon is {least:g} at least; the report says less"
    terms = [_number(budget, name) for name in budget] if isinstance(budget, dict) else []
    if not math.isclose(sum(terms), claimed, rel_tol=_CLOSE):
        yield "the terms of its epsilon do not add up to it"


def _seed_bits(header: Header, key_bits: int, secret: int, said: int) -> int:
    """Return what the seed should have; *said* where the method is not of this package."""
    amplification = Stages().amplification
    known = amplification.name in header.stages
    return amplification.seed_bits(key_bits, secret) if known else said


def _counts(talk: _Talk, levels: int) -> Estimation:
    """Sift once more, from what both ends said about their bases, intensities and test bits."""
    detections, sift, estimate = (talk.last(kind) for kind in (Detections, Sift, Estimate))
    unpack_pulses(detections.gaps, detections.count, detections.first_pulse, detections.end_pulse)
    bases = unpack_pattern(detections.bases, detections.count)
    agreed = bases[bases == unpack_pattern(sift.bases, detections.count)]
    intensities = unpack_pattern(sift.intensities_low, len(agreed)) + 2 * unpack_pattern(
        sift.intensities_high, len(agreed)
    )
    if (intensities >= levels).any():
        raise ProtocolError("its messages name an intensity that the source does not have")
    tests = intensities[agreed != KEY_BASIS]
    sent = unpack_bits(sift.test_bits, len(tests))
    wrong = tests[sent != unpack_bits(estimate.test_bits, len(tests))]
    groups = (intensities[agreed == KEY_BASIS], tests, wrong)
    if not all(map(len, groups[:2])):
        raise ProtocolError("it has no key bits or no test bits")
    return Estimation(*(tuple(np.bincount(g, minlength=levels).tolist()) for g in groups))


def _unlike(figures: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {value:g}; the report says {_number(report, name):g}"
        for name, value in figures.items()
        if not math.isclose(_number(report, name), value, rel_tol=_CLOSE)
    ]


def _number(report: Mapping[str, Any], name: str) -> float:
    value = report.get(name)
    if not isinstance(value, int | float) or not abs(value) < _LARGE:
        raise ProtocolError(f"its report has no {name}")
    return float(value)


def _hexadecimal(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProtocolError("a session's name is malformed") from None
