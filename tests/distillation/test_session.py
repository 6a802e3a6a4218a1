"""Two engines over a perfect wire: keys, accounts, aborts, and who is told what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qkd_hal.distillation.finite_key import single_photon_secret_bits
from qkd_hal.distillation.messages import Hello, ParityReply, Sift, Tag, Verify, decode
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.session import (
    BlockConfirmed,
    BlockDistilled,
    DistillationSession,
    FramesReleased,
    PeerRefused,
    Role,
    Synchronised,
    Waiting,
)
from qkd_hal.errors import NoSecretKeyError, PadExhaustedError, QBERError, StateError, UsageError
from qkd_hal.sources import DetectionBatch

if TYPE_CHECKING:
    from tests.distillation.conftest import Host, Pair, SeededEntropy

MakePair = Callable[..., "Pair"]


def both(pair: Pair) -> tuple[Host, Host]:
    return pair.emitter, pair.detector


def test_both_ends_get_the_same_key(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons(3.3)
    pair.run()
    assert pair.emitter.active == pair.detector.active
    assert list(pair.emitter.active) == [0, 1, 2]
    assert len(set(pair.emitter.active.values())) == 3
    assert not pair.emitter.pending


def test_decoy_pulses_give_a_key(make_pair: MakePair) -> None:
    standard = DistillationParameters()
    pair = make_pair(
        source="wcp",
        intensities=standard.intensities,
        intensity_probabilities=standard.intensity_probabilities,
        key_basis_probability=0.7,
        block_size=60_000,
    )
    for _ in range(8):
        pair.detector.engine.add_detections(pair.channel.emit(1 << 18))
    pair.run()
    report = pair.detector.distilled[0].report
    assert pair.emitter.active == pair.detector.active
    assert 0.1 < report.net_bits / report.sifted_bits < 0.6


def test_ideal_photons_of_the_short_preset_give_a_key(make_pair: MakePair) -> None:
    short = DistillationParameters.short()
    pair = make_pair(**{name: getattr(short, name) for name in short.__slots__})
    pair.photons()
    pair.run()
    assert pair.detector.distilled[0].report.net_bits > 3000


def test_the_order_of_events(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    kinds = [[type(event) for event in host.events] for host in both(pair)]
    assert kinds[0] == [Synchronised, FramesReleased, BlockDistilled, BlockConfirmed]
    assert kinds[1] == [Synchronised, BlockDistilled, BlockConfirmed]


def test_the_emitter_stores_before_its_tag_leaves(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    stored_when_tagged = []

    def watch(to_emitter: bool, message: bytes) -> list[bytes]:
        if not to_emitter and isinstance(decode(message).message, Tag):
            stored_when_tagged.append(0 in pair.emitter.ever)
        return [message]

    pair.tamper = watch
    pair.run()
    assert stored_when_tagged == [True]


def test_the_leak_is_what_was_sent(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    messages = [decode(raw).message for raw in pair.emitter.sent]
    leak = sum(m.count for m in messages if isinstance(m, ParityReply))
    verify = next(m for m in messages if isinstance(m, Verify))
    for host in both(pair):
        report = host.distilled[0].report
        assert report.leak_bits == leak > 0
        assert report.verification_bits == 8 * len(verify.hash)
        pad = pair.parameters.pad_refill_bytes
        assert report.net_bits == report.secret_bits - 8 * pad == 8 * len(host.active[0])
        assert report.epsilon >= pair.parameters.eps_sec + pair.parameters.eps_cor


def test_the_length_books_all_that_was_revealed(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    report = pair.emitter.distilled[0].report
    # 30 of the 128 hash bits are log2(2 / eps_cor) for eps_cor = 1e-9: the formula's own.
    revealed = report.leak_bits + 128 - 30
    counts = report.sifted_bits, report.test_bits, report.qber or 0.0
    expected = single_photon_secret_bits(*counts, revealed, 1e-6, 1e-9)
    assert report.secret_bits == expected // 8 * 8


def test_a_key_that_does_not_refill_the_pads_is_an_abort(make_pair: MakePair) -> None:
    pair = make_pair(pad_refill_bytes=1024)
    pair.photons()
    pair.run()
    for host in both(pair):
        assert isinstance(host.aborts[0].error, NoSecretKeyError)
    assert pair.emitter.aborts[0].report.secret_bits > 0


def test_each_tag_costs_a_mask_and_each_block_brings_more(make_pair: MakePair) -> None:
    pair = make_pair()
    before = [host.pad.remaining for host in both(pair)]
    pair.photons()
    pair.run()
    gain = pair.parameters.pad_refill_bytes // 2 // 16
    after = [host.pad.remaining for host in both(pair)]
    assert after == [before[0] - 1 + gain, before[1] - 2 + gain]
    assert pair.emitter.distilled[0].report.authentication_bits == 3 * 128


def test_refills_are_cut_from_the_key_and_equal_at_both_ends(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    assert pair.emitter.refills == pair.detector.refills
    assert len(pair.emitter.refills[0]) == pair.parameters.pad_refill_bytes
    assert pair.emitter.refills[0][:16] not in pair.emitter.active[0]


def test_pads_last_for_ever_on_their_refills(make_pair: MakePair) -> None:
    pair = make_pair()
    while pair.detector.pad.remaining > 2:
        pair.detector.pad.take()
    for _ in range(6):
        pair.photons()
        pair.run()
    assert len(pair.detector.active) == 6
    assert pair.emitter.active == pair.detector.active


@pytest.mark.parametrize("seed", [1, 2])
def test_an_intercepted_channel_aborts_both_ends(make_pair: MakePair, seed: int) -> None:
    pair = make_pair(qber=0.25, seed=seed)
    pair.photons()
    pair.run()
    for host in both(pair):
        assert isinstance(host.aborts[0].error, QBERError)
        assert host.aborts[0].report.aborted == "qber"
        assert host.aborts[0].report.qber == pytest.approx(0.25, abs=0.03)
        assert not host.distilled
    assert not any(isinstance(decode(raw).message, ParityReply) for raw in pair.emitter.sent)


def test_after_an_abort_a_clean_channel_gives_a_key(make_pair: MakePair) -> None:
    pair = make_pair(qber=0.25)
    pair.photons()
    pair.run()
    pair.channel._qber = 0.01
    pair.photons()
    pair.run()
    assert pair.emitter.active == pair.detector.active
    assert list(pair.emitter.active) == [1]


def test_a_block_without_secret_bits_aborts(make_pair: MakePair) -> None:
    pair = make_pair(qber=0.06)
    pair.photons()
    pair.run()
    for host in both(pair):
        assert isinstance(host.aborts[0].error, NoSecretKeyError)
        assert not host.ever
    assert not any(isinstance(decode(raw).message, Verify) for raw in pair.emitter.sent)


@pytest.mark.parametrize("empty", ["emitter", "detector"])
def test_an_empty_pad_aborts_and_leaves_no_key_behind(make_pair: MakePair, empty: str) -> None:
    pair = make_pair()
    host: Host = getattr(pair, empty)
    while host.pad.remaining:
        host.pad.take()
    pair.photons()
    pair.run()
    assert isinstance(host.aborts[0].error, PadExhaustedError)
    for end in both(pair):
        assert not end.active
        assert not end.pending


def test_no_pulse_is_used_twice(make_pair: MakePair) -> None:
    pair = make_pair(qber=0.25)
    for _ in range(2):
        pair.photons()
        pair.run()
    ends = [e.before for e in pair.emitter.events if isinstance(e, FramesReleased)]
    assert len(ends) == 2
    assert ends == sorted(set(ends))
    assert pair.channel.discarded >= ends[-1]


def test_light_from_before_a_new_session_is_given_up_at_both_ends(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run()
    pair.photons(0.5)
    pair.detector.restart()
    pair.run()
    assert pair.channel.discarded == pair.channel.end
    none = np.zeros(1, np.uint8)
    late = DetectionBatch(np.zeros(1, np.int64), none, none, first_pulse=0, end_pulse=1)
    pair.detector.engine.add_detections(late)
    assert pair.detector.engine.lost_detections == 1
    pair.photons()
    pair.run()
    assert list(pair.detector.active) == [0]


def test_a_paused_detector_starts_nothing_until_told(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.detector.engine.paused = True
    pair.photons()
    pair.run()
    assert not pair.detector.engine.busy
    pair.detector.engine.paused = False
    pair.run()
    assert list(pair.emitter.active) == [0]


def test_what_the_engine_waits_for(make_pair: MakePair) -> None:
    pair = make_pair()
    engine = pair.detector.engine
    assert engine.waiting_for is Waiting.HELLO
    pair.run()
    assert engine.waiting_for is pair.emitter.engine.waiting_for is Waiting.DETECTIONS
    pair.photons()
    assert engine.waiting_for is Waiting.PEER
    assert engine.busy
    states: list[Waiting] = []
    store = pair.emitter.store

    def note(event: BlockDistilled) -> None:
        states.append(pair.emitter.engine.waiting_for)
        store(event)
        states.append(pair.emitter.engine.waiting_for)

    pair.emitter.store = note
    pair.run()
    assert states == [Waiting.STORAGE, Waiting.PEER]
    assert engine.waiting_for is Waiting.DETECTIONS


def test_detections_beyond_the_buffer_are_counted_as_lost(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.detector.engine.paused = True
    for _ in range(5):
        pair.photons()
    lost = pair.detector.engine.lost_detections
    assert lost > 0
    assert pair.detector.engine._detections._count + lost == pytest.approx(
        5 * 1.025 * pair.parameters.detections_per_block, rel=0.02
    )


def test_ends_with_other_parameters_refuse_each_other(make_pair: MakePair) -> None:
    pair, other = make_pair(), make_pair(extra={"high_water": 1})
    pair.emitter = other.emitter
    pair.run()
    for host in both(pair):
        refusals = [event for event in host.events if isinstance(event, PeerRefused)]
        assert "parameters" in str(refusals[0].error)
        assert not any(isinstance(event, Synchronised) for event in host.events)


def test_two_emitters_refuse_each_other(make_pair: MakePair) -> None:
    pair, other = make_pair(), make_pair()
    pair.detector = other.emitter
    pair.run()
    assert "both ends want to be the emitter" in str(
        next(e.error for e in pair.emitter.events if isinstance(e, PeerRefused))
    )


def test_a_peer_that_comes_back_unfit_is_told_so_by_an_idle_end(make_pair: MakePair) -> None:
    pair, other = make_pair(), make_pair()
    pair.run()
    assert pair.emitter.engine.waiting_for is Waiting.DETECTIONS
    pair.detector = other.emitter
    pair.run()
    assert any(isinstance(event, PeerRefused) for event in pair.detector.events)
    assert pair.emitter.engine.waiting_for.value == "hello"


def test_block_numbers_start_above_both_ends_stores(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.detector.ever = {41}
    pair.detector.restart()
    pair.photons()
    pair.run()
    assert list(pair.emitter.active) == list(pair.detector.active) == [42]


def test_an_emitter_needs_its_log(make_pair: MakePair, entropy: SeededEntropy) -> None:
    pair = make_pair()
    engine = DistillationSession(
        Role.EMITTER, pair.parameters, pad=pair.emitter.pad, entropy=entropy
    )
    assert engine.waiting_for is Waiting.START
    with pytest.raises(StateError, match="attach_emissions"):
        engine.start()


def test_a_block_number_out_of_range_is_refused(make_pair: MakePair) -> None:
    pair = make_pair()
    with pytest.raises(UsageError):
        DistillationSession(
            Role.DETECTOR,
            pair.parameters,
            pad=pair.detector.pad,
            entropy=pair.detector.engine._entropy,
            first_block=1 << 40,
        )


def test_reports_are_plain_numbers_and_events_hide_keys(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    event = pair.detector.distilled[0]
    assert str(bytes(event.key)) not in repr(event)
    assert "key=" not in repr(event)
    assert "refill=" not in repr(event)
    fields = json.loads(json.dumps(event.report.to_json()))
    assert fields["efficiency"] == pytest.approx(event.report.efficiency)
    assert 1.0 < fields["efficiency"] < 1.6
    assert fields["key_qber"] == pytest.approx(0.01, abs=0.006)


def test_raw_keys_are_wiped(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    raw: list[Any] = []
    block: Any = None

    def watch(_: bool, message: bytes) -> list[bytes]:
        nonlocal block
        block = pair.detector.block or block
        if isinstance(decode(message).message, ParityReply) and not raw:
            for host in both(pair):
                sifted = host.block._sifted
                raw.append(sifted.key_bits)
        return [message]

    pair.tamper = watch
    pair.run()
    assert len(raw) == 2
    assert not any(np.any(key) for key in raw)
    assert not np.any(block._batch.bits)


def test_messages_stay_below_the_announced_bound(make_pair: MakePair) -> None:
    pair = make_pair(qber=0.02)
    pair.photons()
    pair.run()
    longest = max(len(message) for host in both(pair) for message in host.sent)
    assert longest < pair.parameters.max_message_bytes
    too_long = bytes(pair.parameters.max_message_bytes + 1)
    assert pair.emitter.engine.receive(too_long) == []


def test_every_session_has_fresh_nonces_and_every_block_fresh_seeds(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons(2.2)
    pair.run()
    pair.detector.act(pair.detector.engine.abort("test"))
    pair.run()
    messages = [decode(raw).message for raw in pair.detector.sent + pair.emitter.sent]
    nonces = {m.nonce for m in messages if isinstance(m, Hello)}
    assert len(nonces) == 4
    seeds = [m.seed for m in messages if isinstance(m, Sift)]
    assert len(set(seeds)) == 2
    matrices = [m.toeplitz_seed for m in messages if isinstance(m, Verify)]
    assert matrices[0][:100] != matrices[1][:100]


def test_a_host_may_replace_its_report(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    report = replace(pair.detector.distilled[0].report, seconds=1.5)
    assert report.to_json()["seconds"] == 1.5
