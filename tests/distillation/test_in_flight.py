"""Several blocks under way at once: order, bounds, neighbours of bad blocks, pads, faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qkd_hal.distillation.authentication import MemoryPad
from qkd_hal.distillation.messages import (
    WHOLE_SESSION,
    Abort,
    Corrected,
    Detections,
    Frame,
    Message,
    ParityReply,
    Sift,
    Stored,
    Tag,
    Verify,
    decode,
    encode,
)
from qkd_hal.distillation.session import (
    MAX_IN_FLIGHT,
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    DistillationSession,
    FramesReleased,
    Synchronised,
    Waiting,
)
from qkd_hal.errors import NoSecretKeyError, ProtocolError, QBERError, UsageError, VerificationError
from tests.distillation.conftest import SECRET, Host, Pair

if TYPE_CHECKING:
    from tests.distillation.conftest import Tamper

MakePair = Callable[..., Pair]
IN_FLIGHT = 4


def sessions(host: Host) -> int:
    return sum(isinstance(event, Synchronised) for event in host.events)


def kinds_on_the_wire(pair: Pair) -> list[tuple[type[Message], int]]:
    """Note kind and block of every message in the order in which they are sent."""
    seen: list[tuple[type[Message], int]] = []

    def note(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        seen.append((type(frame.message), frame.block))
        return [raw]

    pair.tamper = note
    return seen


def spoil(pair: Pair, bad: int) -> None:
    """Let the detector's key of block *bad* differ when it is verified."""

    def change(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if isinstance(frame.message, Verify) and frame.block == bad:
            detector: Any = pair.detector.engine._window.find(bad)
            detector._sifted.key_bits[5] ^= 1
        return [raw]

    pair.tamper = change


def test_blocks_overlap_and_keep_their_order(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    seen = kinds_on_the_wire(pair)
    pair.run()
    for _ in range(2):
        pair.photons(3.2)
    pair.run()
    assert pair.emitter.active == pair.detector.active
    assert list(pair.emitter.active) == list(range(6))
    assert [block for kind, block in seen if kind is Detections] == list(range(6))
    first_tag = next(i for i, (kind, _) in enumerate(seen) if kind is Tag)
    started = [block for kind, block in seen[:first_tag] if kind is Detections]
    assert started == list(range(IN_FLIGHT))
    for host in (pair.emitter, pair.detector):
        for kind in (BlockDistilled, BlockConfirmed):
            numbers = [e.number for e in host.events if isinstance(e, kind)]
            assert numbers == list(range(6))


def test_one_block_at_a_time_is_a_window_too(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=1)
    seen = kinds_on_the_wire(pair)
    pair.photons(3.3)
    pair.run()
    blocks = [block for _, block in seen if block != WHOLE_SESSION]
    assert blocks == sorted(blocks)
    assert max(blocks) == 2


def test_the_smaller_window_of_both_ends_counts(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    pair.emitter.in_flight = 2
    pair.emitter.restart()
    pair.run()
    seen = kinds_on_the_wire(pair)
    pair.photons(4.3)
    pair.run()
    kinds = [kind for kind, _ in seen]
    assert kinds[: kinds.index(Tag)].count(Detections) == 2
    assert len(pair.emitter.active) == 4


@pytest.mark.parametrize("count", [0, MAX_IN_FLIGHT + 1])
def test_impossible_windows_are_refused(make_pair: MakePair, count: int) -> None:
    pair = make_pair()
    with pytest.raises(UsageError, match="in flight"):
        DistillationSession(
            pair.detector.role,
            pair.parameters,
            pad=pair.detector.pad,
            entropy=pair.detector.engine._entropy,
            max_in_flight=count,
        )


def test_no_peer_opens_more_blocks_than_agreed(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)
    pair.run()
    pair.detector.engine._window._limit = 3
    pair.photons(3.2)
    pair.run()
    assert [abort.number for abort in pair.emitter.aborts] == [0, 1]
    assert isinstance(pair.emitter.aborts[0].error, ProtocolError)


def test_pulses_are_spent_once_and_in_rising_order(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    spans: list[tuple[int, int]] = []

    def note(_: bool, raw: bytes) -> list[bytes]:
        message = decode(raw).message
        if isinstance(message, Detections):
            spans.append((message.first_pulse, message.end_pulse))
        return [raw]

    pair.tamper = note
    pair.photons(5.2)
    pair.run()
    released = [event.before for event in pair.emitter.events if isinstance(event, FramesReleased)]
    assert [end for _, end in spans] == released
    assert all(end == first for (_, end), (first, _) in pairwise(spans))


def test_a_detector_that_names_pulses_of_a_running_block_again_is_refused(
    make_pair: MakePair,
) -> None:
    pair = make_pair(in_flight=2)
    first: list[Detections] = []

    def again(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, Detections):
            return [raw]
        first.append(frame.message)
        return [encode(replace(frame, message=first[0]))]

    pair.tamper = again
    pair.photons(2.2)
    pair.run()
    released = [event for event in pair.emitter.events if isinstance(event, FramesReleased)]
    assert len(released) == 1
    assert isinstance(pair.emitter.aborts[0].error, ProtocolError)


def noisy(pair: Pair, bad: int) -> None:
    """Send light for four blocks, of which block *bad* is noise."""
    pair.run()
    light = pair.channel.emit(int(2.05 * 4.2 * pair.parameters.detections_per_block))
    size = pair.parameters.detections_per_block
    light.bits[bad * size : (bad + 1) * size] = np.random.default_rng(1).integers(0, 2, size)
    pair.detector.engine.add_detections(light)


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_a_noisy_block_ends_alone(make_pair: MakePair, bad: int) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    noisy(pair, bad)
    pair.run()
    good = [number for number in range(4) if number != bad]
    for host in (pair.emitter, pair.detector):
        assert [(a.number, type(a.error)) for a in host.aborts] == [(bad, QBERError)]
        assert list(host.active) == good
        assert sessions(host) == 1
        assert not host.engine.busy
    assert pair.emitter.active == pair.detector.active


def test_a_block_that_fails_verification_ends_alone(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    spoil(pair, 1)
    pair.photons(4.2)
    pair.run()
    for host in (pair.emitter, pair.detector):
        assert [(a.number, type(a.error)) for a in host.aborts] == [(1, VerificationError)]
        assert list(host.active) == [0, 2, 3]
        assert sessions(host) == 1


def test_a_block_without_secret_bits_ends_alone_while_its_neighbours_go_on(
    make_pair: MakePair,
) -> None:
    pair = make_pair(in_flight=IN_FLIGHT, qber=0.06)
    pair.photons(4.2)
    pair.run()
    for host in (pair.emitter, pair.detector):
        assert {type(abort.error) for abort in host.aborts} == {NoSecretKeyError}
        assert len(host.aborts) == 4
        assert sessions(host) == 1


def test_each_end_says_once_that_a_block_is_over(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    seen = kinds_on_the_wire(pair)
    noisy(pair, 1)
    pair.run()
    assert [block for kind, block in seen if kind is Abort] == [1, 1]


def test_a_block_given_up_keeps_its_place_until_the_peer_agrees(make_pair: MakePair) -> None:
    """Else a detector could have the emitter remember blocks without end."""
    pair = make_pair(in_flight=1)
    spoil(pair, 0)
    verdict = pair.tamper

    def hold(to_emitter: bool, raw: bytes) -> list[bytes]:
        lost = not to_emitter and isinstance(decode(raw).message, Abort)
        return [] if lost else verdict(to_emitter, raw)

    pair.tamper = hold
    pair.photons(2.2)
    pair.run()
    assert [abort.number for abort in pair.detector.aborts] == [0]
    assert pair.detector.engine.waiting_for is Waiting.PEER
    assert not any(isinstance(event, BlockDistilled) for event in pair.emitter.events)


@pytest.mark.parametrize("kind", [Tag, Stored])
def test_an_abort_for_a_block_that_was_tagged_ends_the_session(
    make_pair: MakePair, kind: type[Message]
) -> None:
    pair = make_pair(in_flight=2)

    def forge(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        late = isinstance(frame.message, kind) and frame.block == 0
        return [encode(replace(frame, message=Abort(b"qber")))] if late else [raw]

    pair.tamper = forge
    pair.photons(2.2)
    pair.run()
    assert sessions(pair.emitter) > 1
    pair.tamper = lambda _, raw: [raw]
    pair.time_out()
    pair.run()
    pair.photons(1.1)
    pair.run()
    pair.check_keys()
    assert not pair.emitter.pending
    assert pair.emitter.active == pair.detector.active


def test_messages_about_blocks_that_never_were_end_the_session(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)
    pair.run()
    session = pair.emitter.engine._handshake.session
    pair.emitter.receive(encode(Frame(session, 0, 7, Corrected())))
    sent = [decode(raw) for raw in pair.emitter.engine.outgoing()]
    assert (type(sent[0].message), sent[0].block) == (Abort, WHOLE_SESSION)


def test_a_message_moved_to_another_block_gives_no_key(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)
    replies: list[Frame] = []

    def swap(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if not isinstance(frame.message, ParityReply) or len(replies) == 2:
            return [raw]
        replies.append(frame)
        if len(replies) < 2:
            return []
        one, two = replies
        return [encode(replace(one, block=two.block)), encode(replace(two, block=one.block))]

    pair.tamper = swap
    pair.photons(2.2)
    pair.run()
    assert len(pair.detector.aborts) == 2
    pair.check_keys()


def test_an_emitter_refuses_tags_out_of_order(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)

    def turn(_: bool, raw: bytes) -> list[bytes]:
        frame = decode(raw)
        if isinstance(frame.message, Verify) and frame.block == 0:
            window = pair.detector.engine._window
            window._blocks = dict(reversed(window._blocks.items()))
        return [raw]

    pair.tamper = turn
    pair.photons(2.2)
    pair.run()
    tags = [decode(raw) for raw in pair.detector.sent]
    assert next(f.block for f in tags if isinstance(f.message, Tag)) == 1
    assert "order" in str(pair.emitter.aborts[0].error)
    assert not pair.emitter.distilled


def cut_after_storing() -> Tamper:
    """Lose all that the detector says from its first STORED on."""
    lost: list[bool] = []

    def tamper(to_emitter: bool, raw: bytes) -> list[bytes]:
        if isinstance(decode(raw).message, Stored):
            lost.append(True)
        return [] if lost and to_emitter else [raw]

    return tamper


def test_every_stored_that_was_lost_is_settled_by_the_next_session(make_pair: MakePair) -> None:
    """Blocks whose STORED is merely on its way are not asked after."""
    pair = make_pair(in_flight=IN_FLIGHT)
    asked: list[int] = []
    wire = [cut_after_storing()]

    def tamper(to_emitter: bool, raw: bytes) -> list[bytes]:
        message = decode(raw).message
        if isinstance(message, Sift):
            asked.append(len(message.unconfirmed) // 8)
        return wire[-1](to_emitter, raw)

    pair.tamper = tamper
    pair.photons(4.2)
    pair.run()
    stored = list(pair.detector.active)
    assert stored == list(pair.emitter.pending)
    assert len(stored) > 1
    assert asked == [0] * 4
    pair.time_out()
    wire.append(lambda _, raw: [raw])
    pair.run()
    pair.photons(4.2)
    pair.run()
    assert asked[4:] == [len(stored)] * 4
    assert not pair.emitter.pending
    assert pair.emitter.active == pair.detector.active
    settled = [e.number for e in pair.emitter.events if isinstance(e, BlockConfirmed)]
    assert settled[: len(stored)] == stored
    assert len(settled) == len(set(settled)) == len(stored) + 4


def test_a_detector_remembers_a_window_of_blocks_without_its_store(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=IN_FLIGHT)
    pair.detector.engine._holds = lambda _: False
    pair.tamper = cut_after_storing()
    pair.photons(4.2)
    pair.run()
    pair.time_out()
    pair.tamper = lambda _, raw: [raw]
    pair.run()
    pair.photons(1.1)
    pair.run()
    assert not pair.emitter.pending
    assert set(pair.emitter.active) == set(pair.detector.active)
    assert len(pair.emitter.active) > 2
    assert not any(isinstance(event, BlockDropped) for event in pair.emitter.events)


def test_a_window_runs_on_the_smallest_secret(make_pair: MakePair) -> None:
    """Tags wait for the masks that older blocks bring, rather than empty the pad."""
    pair = make_pair(in_flight=IN_FLIGHT)
    for host, first in ((pair.emitter, True), (pair.detector, False)):
        host.pad = MemoryPad(SECRET[:160], first=first)
        host.restart()
    for _ in range(3):
        pair.photons(2.8)
        pair.run()
    assert list(pair.emitter.active) == list(range(8))
    assert not pair.detector.aborts


def test_a_host_must_store_in_order(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)
    kept: list[BlockDistilled] = []
    pair.emitter.store = kept.append  # type: ignore[method-assign,assignment]
    pair.photons(2.2)
    pair.run()
    assert [event.number for event in kept] == [0, 1]
    assert pair.emitter.engine.waiting_for is Waiting.STORAGE
    with pytest.raises(UsageError, match="block 0"):
        pair.emitter.engine.stored(1)
    for event in kept:
        Host.store(pair.emitter, event)
    pair.run()
    assert list(pair.emitter.active) == [0, 1]


def test_a_session_that_ends_drops_what_is_being_stored_and_asks_after_the_rest(
    make_pair: MakePair,
) -> None:
    pair = make_pair(in_flight=3)
    kept: list[BlockDistilled] = []
    store = pair.emitter.store

    def first_only(event: BlockDistilled) -> None:
        if event.number:
            kept.append(event)
        else:
            store(event)

    pair.emitter.store = first_only  # type: ignore[method-assign]
    pair.tamper = cut_after_storing()
    pair.photons(3.2)
    pair.run()
    pair.emitter.act(pair.emitter.engine.abort("the host was slow"))
    dropped = [event.number for event in pair.emitter.events if isinstance(event, BlockDropped)]
    assert dropped == [event.number for event in kept]
    assert dropped
    assert pair.emitter.engine._unconfirmed == [0]
    pair.tamper = lambda _, raw: [raw]
    pair.emitter.store = store  # type: ignore[method-assign]
    pair.run()
    pair.photons(1.1)
    pair.run()
    assert list(pair.emitter.active) == list(pair.detector.active)
    assert next(iter(pair.emitter.active)) == 0
    assert not set(dropped) & set(pair.emitter.active)


def test_a_detector_that_still_stores_starts_nothing_in_a_new_session(
    make_pair: MakePair,
) -> None:
    """It could not say yet that it holds the block, and the emitter would drop it."""
    pair = make_pair(in_flight=2)
    kept: list[BlockDistilled] = []
    pair.detector.store = kept.append  # type: ignore[method-assign,assignment]
    pair.photons(2.2)
    pair.run()
    assert [event.number for event in kept] == [0, 1]
    pair.detector.act(pair.detector.engine.abort("test"))
    pair.run()
    pair.photons(1.1)
    pair.run()
    assert not pair.detector.engine.busy
    for event in kept:
        Host.store(pair.detector, event)
    del pair.detector.store
    pair.run()
    assert pair.emitter.active == pair.detector.active
    assert list(pair.emitter.active) == [0, 1, 2]


def test_what_a_detector_wants(make_pair: MakePair) -> None:
    pair = make_pair(in_flight=2)
    engine = pair.detector.engine
    assert not engine.wants_detections
    pair.run()
    assert engine.wants_detections
    assert not pair.emitter.engine.wants_detections
    pair.photons(1.01)
    assert (engine.busy, engine.wants_detections) == (True, True)
    engine.paused = True
    assert not engine.wants_detections
    engine.paused = False
    pair.photons(1.01)
    assert not engine.wants_detections
