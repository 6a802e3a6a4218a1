"""The classical channel is the adversary's, and hosts crash: never two different keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qkd_hal.distillation.bits import pack_bits
from qkd_hal.distillation.detection_codec import pack_pattern, pack_pulses, unpack_pattern
from qkd_hal.distillation.messages import (
    WHOLE_SESSION,
    Abort,
    Corrected,
    Detections,
    Estimate,
    Frame,
    Hello,
    Message,
    ParityReply,
    ParityRequest,
    Sift,
    Stored,
    Tag,
    Verify,
    decode,
    encode,
)
from qkd_hal.distillation.session import (
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    FramesReleased,
    PeerRefused,
    Synchronised,
)
from qkd_hal.distillation.sifting import KEY_BASIS
from qkd_hal.errors import (
    AuthenticationError,
    DistillationError,
    NoSecretKeyError,
    ProtocolError,
    QBERError,
    VerificationError,
)

if TYPE_CHECKING:
    from tests.distillation.conftest import Pair, Tamper

MakePair = Callable[..., "Pair"]

FAULTS = [
    *("drop", "repeat", "cut", "flip", "inject", "replay", "reorder", "reflect"),
    *("restart emitter", "restart detector", "time out"),
    *("crash before emitter", "crash after emitter"),
    *("crash before detector", "crash after detector"),
]


class Script:
    """Does each fault once, at the given message; *seed* settles the details."""

    def __init__(self, pair: Pair, faults: dict[int, str], seed: int) -> None:
        self._pair = pair
        self._faults = faults
        self._random = np.random.default_rng(seed)
        self._count = 0
        self._held: dict[bool, list[bytes]] = {True: [], False: []}
        self._seen: list[bytes] = []

    def __call__(self, to_emitter: bool, message: bytes) -> list[bytes]:
        fault = self._faults.pop(self._count, "")
        self._count += 1
        self._seen.append(message)
        held, self._held[to_emitter] = self._held[to_emitter], []
        return self._apply(fault, to_emitter, message) + held

    def _apply(self, fault: str, to_emitter: bool, message: bytes) -> list[bytes]:
        if fault == "reorder":
            self._held[to_emitter] = [message]
            return []
        wire: dict[str, Callable[[], list[bytes]]] = {
            "drop": list,
            "repeat": lambda: [message, message],
            "cut": lambda: [message[: int(self._random.integers(len(message)))]],
            "flip": lambda: [self._flip(message)],
            "inject": lambda: [self._random.bytes(30), message],
            "replay": lambda: [self._seen[int(self._random.integers(len(self._seen)))], message],
            "reflect": lambda: [message, *self._reflect(to_emitter, message)],
        }
        if fault in wire:
            return wire[fault]()
        self._strike(fault)
        return [message]

    def _flip(self, message: bytes) -> bytes:
        raw = bytearray(message)
        raw[int(self._random.integers(len(raw)))] ^= 1 << int(self._random.integers(8))
        return bytes(raw)

    def _reflect(self, to_emitter: bool, message: bytes) -> list[bytes]:
        self._held[not to_emitter].append(message)
        return []

    def _strike(self, fault: str) -> None:
        verb, _, rest = fault.partition(" ")
        if verb == "restart":
            getattr(self._pair, rest).restart()
        elif verb == "crash":
            when, _, whom = rest.partition(" ")
            getattr(self._pair, whom).crash = when
        elif verb == "time":
            self._pair.time_out()


MANY_FAULTS = st.dictionaries(st.integers(0, 90), st.sampled_from(FAULTS), max_size=6)
CHECKS_OFF = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=30, deadline=None, suppress_health_check=CHECKS_OFF)
@given(MANY_FAULTS, st.integers(0, 2**16))
def test_no_fault_makes_different_keys_and_both_get_back_to_work(
    make_pair: MakePair, faults: dict[int, str], seed: int
) -> None:
    survive(make_pair, faults, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=1000, deadline=None, suppress_health_check=CHECKS_OFF)
@given(MANY_FAULTS, st.integers(0, 2**16))
def test_no_fault_makes_different_keys_in_a_long_search(
    make_pair: MakePair, faults: dict[int, str], seed: int
) -> None:
    survive(make_pair, faults, seed)


def survive(make_pair: MakePair, faults: dict[int, str], seed: int) -> None:
    """Put *faults* on the wire for some blocks, one or three at once; see the pair recover."""
    in_flight = 1 + 2 * (seed & 1)
    pair = make_pair(seed=seed, in_flight=in_flight)
    pair.tamper = Script(pair, faults, seed)
    for _ in range(3):
        pair.photons(1.1 * in_flight)
        pair.run()
        pair.check_keys()
        pair.time_out()
    pair.tamper = lambda _, message: [message]
    pair.lose_queues()
    for host in (pair.emitter, pair.detector):
        host.crash = ""
    recover(pair)
    check_masks(pair)


def recover(pair: Pair) -> None:
    """On a clean wire, two time-outs later, a new block reaches both ends' stores."""
    before = set(pair.emitter.active)
    for _ in range(3):
        pair.time_out()
        pair.run()
        pair.photons(1.1)
        pair.run()
        pair.check_keys()
    fresh = set(pair.emitter.active) - before
    assert fresh
    assert not pair.emitter.pending
    assert set(pair.emitter.active) == set(pair.detector.active)


def check_masks(pair: Pair) -> None:
    """No place of a pad ever masked two tags."""
    for host in (pair.emitter, pair.detector):
        tags = [decode(raw).message for raw in host.sent]
        places = [(m.segment, m.offset) for m in tags if isinstance(m, Tag | Stored)]
        assert len(places) == len(set(places))


def rewrite(pair: Pair, kind: type[Message], change: Callable[[Message], Message]) -> Tamper:
    """Change every message of *kind*, keeping its frame."""

    def tamper(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, kind):
            return [raw]
        return [encode(replace(frame, message=change(frame.message)))]

    return tamper


def flipped(blob: bytes, bit: int = 0) -> bytes:
    raw = bytearray(blob)
    raw[bit // 8] ^= 0x80 >> bit % 8
    return bytes(raw)


def rebased(message: Detections) -> Detections:
    bases = unpack_pattern(message.bases, message.count)
    bases[0] ^= 1
    return replace(message, bases=pack_pattern(bases))


CHANGES: list[tuple[type[Message], str]] = [
    (Detections, "bases"),
    (Sift, "seed"),
    (Sift, "intensities_low"),
    (Sift, "test_bits"),
    (Estimate, "test_bits"),
    (ParityReply, "parities"),
    (Verify, "hash"),
    (Verify, "hash_seed"),
    (Verify, "toeplitz_seed"),
    (Tag, "tag"),
]


@pytest.mark.parametrize(("kind", "field"), CHANGES)
def test_a_changed_bit_anywhere_gives_no_key(
    make_pair: MakePair, kind: type[Message], field: str
) -> None:
    pair = make_pair()

    def change(message: Message) -> Message:
        if isinstance(message, Detections):
            return rebased(message)
        changed: Any = {field: flipped(getattr(message, field))}
        return replace(message, **changed)

    pair.tamper = rewrite(pair, kind, change)
    pair.photons()
    pair.run()
    assert not pair.emitter.active
    assert not pair.detector.active
    assert pair.emitter.aborts or pair.detector.aborts
    pair.tamper = lambda _, message: [message]
    recover(pair)


def test_an_amplification_seed_changed_on_the_way_is_an_authentication_error(
    make_pair: MakePair,
) -> None:
    pair = make_pair()

    def change(message: Message) -> Message:
        assert isinstance(message, Verify)
        return replace(message, toeplitz_seed=flipped(message.toeplitz_seed))

    pair.tamper = rewrite(pair, Verify, change)
    pair.photons()
    pair.run()
    assert isinstance(pair.emitter.aborts[0].error, AuthenticationError)
    assert isinstance(pair.detector.aborts[0].error, AuthenticationError)


def test_a_lie_about_parities_is_found_at_the_latest_by_the_hash(make_pair: MakePair) -> None:
    pair = make_pair()
    lied: list[bool] = []

    def lie(message: Message) -> Message:
        assert isinstance(message, ParityReply)
        if lied:
            return message
        lied.append(True)
        return replace(message, parities=flipped(message.parities))

    pair.tamper = rewrite(pair, ParityReply, lie)
    pair.photons()
    pair.run()
    assert isinstance(
        pair.detector.aborts[0].error, VerificationError | AuthenticationError | ProtocolError
    )
    assert not pair.emitter.ever


def test_keys_that_differ_after_reconciliation_are_refused(make_pair: MakePair) -> None:
    pair = make_pair()

    def spoil(to_emitter: bool, raw: bytes) -> list[bytes]:
        if isinstance(decode(raw).message, Verify):
            pair.detector.block._sifted.key_bits[5] ^= 1
        return [raw]

    pair.tamper = spoil
    pair.photons()
    pair.run()
    assert isinstance(pair.detector.aborts[0].error, VerificationError)
    assert isinstance(pair.emitter.aborts[0].error, VerificationError)


def lose(kind: type[Message], *, from_emitter: bool, times: int = 1) -> Tamper:
    left = [times]

    def tamper(to_emitter: bool, raw: bytes) -> list[bytes]:
        hit = isinstance(decode(raw).message, kind) and to_emitter is not from_emitter
        if hit and left[0]:
            left[0] -= 1
            return []
        return [raw]

    return tamper


def test_a_lost_stored_is_settled_by_the_next_block(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = lose(Stored, from_emitter=False)
    pair.photons()
    pair.run()
    assert list(pair.detector.active) == [0]
    assert list(pair.emitter.pending) == [0]
    recover(pair)
    assert BlockConfirmed(0) in pair.emitter.events
    assert pair.emitter.active[0] == pair.detector.active[0]


@pytest.mark.parametrize("kind", [Stored, Tag])
def test_forged_closing_tags_confirm_nothing(make_pair: MakePair, kind: type[Message]) -> None:
    """The detector's STORED, and the emitter's TAG alone, with one bit changed."""
    pair = make_pair()

    def forge(to_emitter: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, kind) or to_emitter is not (kind is Stored):
            return [raw]
        assert isinstance(frame.message, Tag | Stored)
        changed = replace(frame.message, tag=flipped(frame.message.tag))
        return [encode(replace(frame, message=changed))]

    pair.tamper = forge
    pair.photons()
    pair.run()
    assert list(pair.emitter.pending) == [0]
    assert (0 in pair.detector.active) is (kind is Stored)
    pair.tamper = lambda _, message: [message]
    recover(pair)


def test_a_lost_final_tag_drops_the_block(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = lose(Tag, from_emitter=True)
    pair.photons()
    pair.run()
    assert list(pair.emitter.pending) == [0]
    assert not pair.detector.ever
    recover(pair)
    assert BlockDropped(0) in pair.emitter.events
    assert 0 not in pair.emitter.active


def test_a_forged_answer_does_not_settle_a_block(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = lose(Stored, from_emitter=False)
    pair.photons()
    pair.run()
    pair.tamper = rewrite(pair, Estimate, lambda m: replace(m, held=b"\0"))  # type: ignore[arg-type]
    pair.photons()
    pair.run()
    pair.time_out()
    pair.photons()
    pair.run()
    assert list(pair.emitter.pending) == [0]
    assert BlockDropped(0) not in pair.emitter.events


def test_a_number_that_was_stored_and_dropped_does_not_come_back(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.detector.ever = {41}
    pair.detector.restart()

    def slow(event: BlockDistilled) -> None:
        pair.emitter.act(pair.emitter.engine.abort("the host was slow"))

    pair.emitter.store = slow  # type: ignore[method-assign]
    pair.photons()
    pair.run()
    assert BlockDropped(42) in pair.emitter.events
    pair.detector.ever = set()
    pair.detector.restart()
    pair.run()
    assert pair.emitter.engine._window.next_number == 43


def test_a_detector_without_a_mask_for_stored_keeps_the_block(make_pair: MakePair) -> None:
    pair = make_pair()
    while pair.detector.pad.remaining > 1:
        pair.detector.pad.take()
    pair.photons()
    pair.run()
    assert list(pair.detector.active) == [0]
    assert not pair.detector.aborts
    assert list(pair.emitter.pending) == [0]
    recover(pair)
    assert pair.emitter.active[0] == pair.detector.active[0]


def test_a_block_message_to_an_idle_detector_begins_anew(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run()
    session = pair.detector.engine._handshake.session
    pair.detector.receive(encode(Frame(session, 0, 0, Corrected())))
    sent = [decode(raw).message for raw in pair.detector.engine.outgoing()]
    assert [type(message) for message in sent] == [Abort, Hello]
    assert not pair.detector.aborts


@pytest.mark.parametrize(
    ("whom", "when", "kept"),
    [
        ("emitter", "before", False),
        ("emitter", "after", False),
        ("detector", "before", False),
        ("detector", "after", True),
    ],
)
def test_a_crash_around_storing(make_pair: MakePair, whom: str, when: str, kept: bool) -> None:
    pair = make_pair()
    getattr(pair, whom).crash = when
    pair.photons()
    pair.run()
    recover(pair)
    assert (0 in pair.emitter.active) is kept
    assert (0 in pair.detector.active) is kept


def test_a_detector_that_stores_after_its_session_ended_keeps_the_block(
    make_pair: MakePair,
) -> None:
    pair = make_pair()
    store = pair.detector.store

    def slow(event: object) -> None:
        pair.detector.act(pair.detector.engine.abort("the host was slow"))
        store(event)  # type: ignore[arg-type]

    pair.detector.store = slow  # type: ignore[method-assign]
    pair.photons()
    pair.run()
    assert list(pair.detector.active) == [0]
    pair.detector.store = store  # type: ignore[method-assign]
    recover(pair)
    assert pair.emitter.active[0] == pair.detector.active[0]


def test_an_emitter_whose_session_ends_while_it_stores_drops_the_block(
    make_pair: MakePair,
) -> None:
    pair = make_pair()
    store = pair.emitter.store

    def slow(event: object) -> None:
        pair.emitter.act(pair.emitter.engine.abort("the host was slow"))
        pair.emitter.ever.add(0)
        assert pair.emitter.engine.stored(0) == []

    pair.emitter.store = slow  # type: ignore[method-assign]
    pair.photons()
    pair.run()
    assert BlockDropped(0) in pair.emitter.events
    assert not pair.detector.ever
    pair.emitter.store = store  # type: ignore[method-assign]
    recover(pair)


def test_a_hostile_detector_cannot_ask_without_end(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    asked = []

    def greedy(to_emitter: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, ParityRequest):
            return [raw]
        asked.append(1)
        count, block_size = (1 << 20).to_bytes(4, "big"), (1).to_bytes(4, "big")
        return [encode(replace(frame, message=ParityRequest(count + block_size)))]

    pair.tamper = greedy
    pair.run()
    assert isinstance(pair.emitter.aborts[0].error, ProtocolError)
    assert not any(isinstance(decode(raw).message, ParityReply) for raw in pair.emitter.sent)


def test_pulses_are_spent_by_an_aborted_block_too(make_pair: MakePair) -> None:
    """Naming the same pulses again, or pulses never sent, is refused."""
    pair = make_pair()
    pair.photons()
    detections: list[Detections] = []

    def again(to_emitter: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, Detections):
            return [raw]
        detections.append(frame.message)
        return [encode(replace(frame, message=detections[0]))]

    pair.tamper = again
    pair.run()
    pair.photons()
    pair.run()
    assert len(detections) == 2
    assert isinstance(pair.detector.aborts[0].error, ProtocolError)
    assert pair.emitter.ever == {0}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: replace(d, count=d.count - 1),
        lambda d: replace(d, end_pulse=d.end_pulse + 10**6),
        lambda d: replace(d, end_pulse=d.first_pulse),
        lambda d: replace(d, gaps=pack_pulses(np.arange(d.count) + d.end_pulse, 0)),
        lambda d: replace(d, count=800, gaps=bytes(800), bases=bytes(100)),
    ],
)
def test_impossible_detections_spend_nothing(
    make_pair: MakePair, change: Callable[[Message], Message]
) -> None:
    pair = make_pair()
    pair.tamper = rewrite(pair, Detections, change)
    pair.photons()
    pair.run()
    assert not any(isinstance(event, FramesReleased) for event in pair.emitter.events)
    assert isinstance(pair.detector.aborts[0].error, ProtocolError)
    pair.tamper = lambda _, message: [message]
    recover(pair)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Sift, lambda m: replace(m, intensities_high=flipped(m.intensities_high))),
        (Sift, lambda m: replace(m, unconfirmed=bytes(7))),
        (Sift, lambda m: replace(m, unconfirmed=bytes(8 * 17))),
        (Sift, lambda m: replace(m, bases=m.bases[:-1])),
        (ParityReply, lambda m: replace(m, count=m.count + 1)),
        (Verify, lambda m: replace(m, toeplitz_seed=m.toeplitz_seed + b"\0")),
    ],
)
def test_malformed_messages_end_the_block(
    make_pair: MakePair, kind: type[Message], change: Callable[[Message], Message]
) -> None:
    pair = make_pair()
    pair.tamper = rewrite(pair, kind, change)
    pair.photons()
    pair.run()
    errors = {type(abort.error) for abort in pair.detector.aborts + pair.emitter.aborts}
    assert ProtocolError in errors
    assert not pair.emitter.ever


@pytest.mark.parametrize("number", [1, WHOLE_SESSION])
def test_a_detector_opens_blocks_in_order_only(make_pair: MakePair, number: int) -> None:
    pair = make_pair(in_flight=3)

    def renumber(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        changed = number if isinstance(frame.message, Detections) else frame.block
        return [encode(replace(frame, block=changed))]

    pair.tamper = renumber
    pair.photons()
    pair.run()
    assert not any(isinstance(event, FramesReleased) for event in pair.emitter.events)
    assert isinstance(pair.detector.aborts[0].error, ProtocolError)


def test_an_abort_carries_its_reason(make_pair: MakePair) -> None:
    pair = make_pair()
    codes = {b"qber": QBERError, b"nonsense": DistillationError, b"\xff": DistillationError}
    for code, kind in codes.items():
        pair.tamper = rewrite(pair, Sift, lambda _, code=code: Abort(code))  # type: ignore[misc]
        pair.photons()
        pair.run()
        pair.time_out()
        assert type(pair.detector.aborts[-1].error) is kind


def test_repeated_frames_change_nothing(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = lambda _, message: [message, message]
    pair.photons(2.2)
    pair.run()
    assert list(pair.emitter.active) == [0, 1]
    assert not pair.emitter.aborts
    assert not pair.detector.aborts


def test_frames_of_an_old_session_are_ignored(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    old = [raw for raw in pair.detector.sent if not isinstance(decode(raw).message, Hello)]
    pair.detector.act(pair.detector.engine.abort("test"))
    pair.run()
    before = len(pair.emitter.events)
    for raw in old:
        pair.emitter.receive(raw)
    assert len(pair.emitter.events) == before
    assert pair.emitter.engine.outgoing() == []


def test_replayed_hellos_end_in_agreement(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    hellos = [raw for raw in pair.detector.sent if isinstance(decode(raw).message, Hello)]
    pair.detector.act(pair.detector.engine.abort("test"))
    pair.run()
    for raw in hellos:
        pair.emitter.receive(raw)
        pair.run()
    recover(pair)


def test_noise_before_the_handshake_begets_nothing(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.lose_queues()
    noise = np.random.default_rng(1)
    for size in (0, 1, 13, 14, 15, 100):
        pair.emitter.receive(noise.bytes(size))
        pair.emitter.receive(b"\x02\x04" + noise.bytes(size))
    assert pair.emitter.engine.outgoing() == []


def test_a_hello_with_absurd_numbers_is_refused(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = rewrite(pair, Hello, lambda m: replace(m, next_block=1 << 40))  # type: ignore[arg-type]
    pair.run()
    assert isinstance(pair.emitter.events[0], PeerRefused)
    pair.tamper = rewrite(pair, Hello, lambda m: replace(m, role=9))  # type: ignore[arg-type]
    pair.time_out()
    pair.run()
    assert not any(isinstance(event, Synchronised) for event in pair.emitter.events)


def test_forged_block_numbers_do_not_stick(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.tamper = rewrite(pair, Hello, lambda m: replace(m, next_block=(1 << 40) - 1))  # type: ignore[arg-type]
    pair.photons()
    pair.run()
    pair.time_out()
    pair.lose_queues()
    pair.tamper = lambda _, message: [message]
    recover(pair)
    assert max(pair.emitter.active) < 10


def test_a_message_lost_between_blocks_does_not_hang(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run()
    pair.tamper = lose(Detections, from_emitter=False)
    pair.photons()
    pair.run()
    pair.time_out()
    pair.tamper = lambda _, message: [message]
    recover(pair)


def test_frames_with_a_gap_are_refused_even_when_idle(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run()
    session = pair.emitter.engine._handshake.session
    pair.emitter.receive(encode(Frame(session, 5, 0, Corrected())))
    sent = [decode(raw).message for raw in pair.emitter.engine.outgoing()]
    assert [type(message) for message in sent] == [Abort, Hello]
    assert not pair.emitter.aborts


def test_a_key_cut_down_to_one_bit_ends_the_block(make_pair: MakePair) -> None:
    """One matching pulse in each basis: nothing that reconciliation could be asked to do."""
    pair = make_pair()
    bases: list[np.ndarray[Any, np.dtype[np.uint8]]] = []

    def cut(to_emitter: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        message = frame.message
        if isinstance(message, Detections):
            bases.append(unpack_pattern(message.bases, message.count))
        if not isinstance(message, Sift):
            return [] if isinstance(message, Estimate) else [raw]
        theirs = 1 - bases[0]
        pulses = [int(np.flatnonzero(bases[0] == basis)[0]) for basis in (0, 1)]
        theirs[pulses] = bases[0][pulses]
        none = pack_pattern(np.zeros(2, np.uint8))
        tested = pair.detector.block._batch.bits[pulses[1] :][:1]
        forged = Sift(
            message.seed, pack_pattern(theirs), none, none, pack_bits(tested), message.unconfirmed
        )
        return [encode(replace(frame, message=forged))]

    pair.tamper = cut
    pair.photons()
    pair.run()
    assert isinstance(pair.detector.aborts[0].error, NoSecretKeyError)


@pytest.mark.parametrize("rate", [0.08, 0.5])
def test_errors_in_the_basis_that_is_not_tested_end_the_block_too(
    make_pair: MakePair, rate: float
) -> None:
    pair = make_pair(qber_threshold=0.05)
    pair.run()
    light = pair.channel.emit(int(2.05 * pair.parameters.detections_per_block))
    noise = np.random.default_rng(3).random(len(light.bits)) < rate
    bits = light.bits ^ (noise & (light.bases == KEY_BASIS))
    pair.detector.engine.add_detections(replace(light, bits=bits.astype(np.uint8)))
    pair.run()
    for host in (pair.emitter, pair.detector):
        assert isinstance(host.aborts[0].error, QBERError)
    report = pair.detector.aborts[0].report
    assert report.qber is not None
    assert report.key_qber is not None
    assert report.qber < 0.05 < report.key_qber


@pytest.mark.parametrize("name", ["emitter", "detector"])
def test_a_store_that_was_set_back_masks_nothing_twice(make_pair: MakePair, name: str) -> None:
    pair = make_pair()
    pair.run()
    host = getattr(pair, name)
    backup = copy.deepcopy((host.pad, host.pending, host.active, host.ever))
    recover(pair)
    host.pad, host.pending, host.active, host.ever = backup
    host.restart()
    pair.run()
    pair.photons()
    pair.run()
    check_masks(pair)
    refusals = [event.error for event in host.events if isinstance(event, PeerRefused)]
    assert "more of our authentication pad" in str(refusals[0])


def test_an_emitter_that_was_set_back_needs_no_honest_hello(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run()
    backup = copy.deepcopy((pair.emitter.pad, pair.emitter.active, pair.emitter.ever))
    recover(pair)
    pair.emitter.pad, pair.emitter.active, pair.emitter.ever = backup

    def hide(to_emitter: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if isinstance(frame.message, Hello):
            low = replace(frame.message, segment=0, offset=0)
            return [encode(replace(frame, message=low))] if to_emitter else [raw]
        there = pair.emitter if to_emitter else pair.detector
        return [encode(replace(frame, session=there.engine._framing._session))]

    pair.tamper = hide
    pair.emitter.restart()
    pair.run()
    pair.photons()
    pair.run()
    assert isinstance(pair.emitter.aborts[-1].error, AuthenticationError)
    check_masks(pair)
