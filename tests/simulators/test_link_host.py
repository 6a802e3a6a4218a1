"""The small parts around the engine: what is reported, wanted, believed and remembered."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from qkd_hal.distillation.report import BlockReport
from qkd_hal.distillation.session import BlockDropped, DistillationSession, Role, Waiting
from qkd_hal.entropy import SystemEntropy
from qkd_hal.errors import (
    AuthenticationError,
    ConfigurationError,
    DistillationError,
    PadExhaustedError,
    QBERError,
)
from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators._cli import modem
from qkd_hal_simulators.modem.appetite import Appetite
from qkd_hal_simulators.modem.classical import ClassicalChannel
from qkd_hal_simulators.modem.distiller import Distiller
from qkd_hal_simulators.modem.light import EmittingEnd, ReceivingEnd, shared_parameters
from qkd_hal_simulators.modem.quantum import Receiver
from qkd_hal_simulators.modem.record import LinkRecord
from qkd_hal_simulators.modem.sampling import PulseReception
from qkd_hal_simulators.modem.sockets import Waker, attach
from qkd_hal_simulators.modem.workers import Workers
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.settings import ChannelSettings
from tests.simulators.conftest import some_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_mock import MockerFixture

    from qkd_hal.distillation.session import Event
    from tests.simulators.conftest import OpenStore

GOOD = BlockReport(
    block=0,
    pulses=1000,
    detections=500,
    sifted_bits=300,
    test_bits=100,
    qber=0.02,
    key_qber=0.02,
    leak_bits=50,
    secret_bits=120,
    net_bits=100,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_rate_counts_net_bits_from_the_first_photon_to_the_last_secret_bit(
    clock: Clock,
) -> None:
    record = LinkRecord(clock=clock)
    assert record.snapshot()["secret_key_rate_bps"] is None
    record.light()
    clock.now += 2
    record.light()
    record.distilled(GOOD)
    clock.now += 2
    record.distilled(GOOD)
    clock.now += 100
    assert record.snapshot()["secret_key_rate_bps"] == pytest.approx(200 / 4)


def test_light_is_counted_while_a_block_still_grows(clock: Clock) -> None:
    record = LinkRecord(clock=clock)
    record.light(1000)
    record.light(24)
    details = record.snapshot()["details"]
    assert isinstance(details, dict)
    assert (details["light_pulses"], details["pulses"]) == (1024, 0)


def test_totals_count_bad_blocks_too_but_their_bits_are_no_key(clock: Clock) -> None:
    record = LinkRecord(clock=clock)
    record.distilled(GOOD)
    record.aborted(QBERError("too many"), replace(GOOD, qber=0.25, net_bits=0, secret_bits=0))
    details = record.snapshot()["details"]
    assert isinstance(details, dict)
    assert (details["pulses"], details["secret_bits"], details["net_bits"]) == (2000, 120, 100)
    assert (details["blocks"], details["aborted_blocks"]) == (1, 1)
    assert details["last_abort"] == "qber"
    assert details["reconciliation_efficiency"] == pytest.approx(GOOD.efficiency)
    assert record.snapshot()["qber"] == 0.25


@pytest.mark.parametrize(
    ("error", "alarm"),
    [
        (QBERError("x"), "qber-high"),
        (AuthenticationError("x"), "authentication"),
        (PadExhaustedError("x"), "pad-low"),
    ],
)
def test_bad_blocks_raise_alarms_and_a_good_one_ends_them(
    clock: Clock, error: DistillationError, alarm: str
) -> None:
    record = LinkRecord(clock=clock)
    record.heard()
    record.aborted(error, GOOD)
    assert record.snapshot()["alarms"] == [alarm]
    record.distilled(GOOD)
    assert record.snapshot()["alarms"] == []


def test_a_silent_peer_means_that_the_link_is_down(clock: Clock) -> None:
    record = LinkRecord(clock=clock)
    assert (record.link_up, record.snapshot()["alarms"]) == (False, ["link-down"])
    record.heard()
    clock.now += 2.9
    assert record.link_up
    clock.now += 0.2
    assert not record.link_up


def test_appetite_ends_at_high_water_and_returns_below_low_water(store: OpenStore) -> None:
    appetite = Appetite(store.keys, high_water=200)
    store.add(0, bytes(398))
    assert appetite.update()
    store.add(1, bytes(4))
    assert not appetite.update()
    store.keys.reserve(50, 1)
    assert not appetite.update()
    store.keys.reserve(2, 1)
    assert appetite.update()


def test_the_emptier_space_decides(store: OpenStore) -> None:
    store.blocks.add(0, bytearray(400), bytearray(128))  # the own half is not confirmed yet
    assert store.keys.remaining(own=False) == 200
    assert Appetite(store.keys, high_water=100).update()


@pytest.fixture
def line(clock: Clock) -> Iterator[tuple[ClassicalChannel, zmq.Socket[bytes]]]:
    with (
        zmq.Context() as context,
        context.socket(zmq.PAIR) as far,
        context.socket(zmq.PAIR) as near,
    ):
        far.bind("inproc://line")
        near.connect("inproc://line")
        yield ClassicalChannel(near, clock=clock), far


def test_engine_messages_cross_and_foreign_ones_do_not(
    line: tuple[ClassicalChannel, zmq.Socket[bytes]],
) -> None:
    channel, far = line
    for raw in (b"Eone", b"", b"Xtwo", b"H\1", b"Ethree"):
        far.send(raw)
    assert [message for message in channel.received() if message] == [b"one", b"three"]
    assert channel.send(b"four")
    assert far.recv() == b"Efour"


def test_hunger_is_believed_for_a_while_or_until_it_is_taken_back(
    line: tuple[ClassicalChannel, zmq.Socket[bytes]], clock: Clock
) -> None:
    channel, far = line
    far.send(b"H\1")
    assert list(channel.received()) == [b""]
    assert channel.peer_hungry
    clock.now += 3.1
    assert not channel.peer_hungry
    for raw, believed in ((b"H\1", True), (b"H\0", False)):
        far.send(raw)
        assert list(channel.received()) == [b""]
        assert channel.peer_hungry is believed


def test_words_of_the_host_are_few(
    line: tuple[ClassicalChannel, zmq.Socket[bytes]], clock: Clock
) -> None:
    channel, far = line
    for _ in range(10):
        channel.say(hungry=True)
        clock.now += 0.1
    assert far.recv() == b"H\1"
    assert far.recv() == b"H\1"
    assert not far.poll(0)


def test_a_flood_is_handled_in_portions(
    line: tuple[ClassicalChannel, zmq.Socket[bytes]],
) -> None:
    channel, far = line
    for _ in range(100):
        far.send(b"")
    assert len(list(channel.received())) == 16


def test_a_failing_thread_ends_the_others_and_its_failure_is_raised() -> None:
    stop = threading.Event()

    def wait(stop: threading.Event) -> None:
        stop.wait(30)

    def fail(_: threading.Event) -> None:
        raise LookupError("broken")

    def work() -> None:
        with Workers(stop) as workers:
            workers.start("waits", wait)
            workers.start("fails", fail)
            stop.wait(30)

    with pytest.raises(LookupError, match="broken"):
        work()


def test_settings_that_both_ends_share_are_in_the_parameters(tmp_path: Path) -> None:
    alice = some_settings(tmp_path)
    bob = some_settings(tmp_path, site="bob", peer="alice", first=False, emits=False)
    assert shared_parameters(alice).digest() == shared_parameters(bob).digest()
    longer = replace(bob, channel=ChannelSettings(length_km=6))
    renamed = replace(bob, site="carol")
    smaller = replace(bob, high_water=1000)
    for other in (longer, renamed, smaller):
        assert shared_parameters(other).digest() != shared_parameters(alice).digest()


@pytest.mark.parametrize("changes", [{"peer": "alice"}, {"high_water": 0}, {"site": "no spaces"}])
def test_senseless_settings_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"name|high-water"):
        some_settings(tmp_path, **changes)


@pytest.mark.parametrize("channel", [{"efficiency": 1.1}, {"length_km": -1}, {"misalignment": -1}])
def test_impossible_channels_are_refused(channel: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="impossible"):
        ChannelSettings(**channel)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sampler", "most"), [("per-pulse", 40), ("per-detection", 6)])
def test_an_emitter_stops_ahead_of_the_detector_and_begins_anew_when_light_was_lost(
    tmp_path: Path,
    mocker: MockerFixture,
    clock: Clock,
    sampler: Literal["per-pulse", "per-detection"],
    most: int,
) -> None:
    settings = some_settings(tmp_path, channel=ChannelSettings(sampler=sampler))
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        end = EmittingEnd(
            settings,
            SystemEntropy(),
            socket,
            LinkRecord(),
            lambda: True,
            clock=clock,
        )
        session = mocker.create_autospec(DistillationSession, instance=True, role=Role.EMITTER)
        session.waiting_for = Waiting.DETECTIONS
        while end.thread._wanted():
            end._emission.emit()
        blocks = shared_parameters(settings).detections_per_block
        assert 4 * blocks <= end._emission.log.held < most * blocks
        for seconds in (0, 9):
            clock.now += seconds
            assert end.work(session) == []
        clock.now += 2
        end.work(session)
        session.abort.assert_called_once()


@pytest.mark.parametrize(
    "line",
    [
        ["alice", "--dir", "x"],
        ["alice", "--dir", "x", "--bind", "7100"],
        ["alice", "--dir", "x", "--bind", "localhost:port"],
        ["bob", "--connect", "127.0.0.1:1"],
        ["alice", "--dir", "x", "--bind", "h:1", "--efficiency", "2"],
        ["secret"],
        ["eve", "--listen", "127.0.0.1:0"],
    ],
)
def test_wrong_command_lines_exit_with_2(line: list[str]) -> None:
    assert CliRunner().invoke(modem, line).exit_code == 2


def test_what_is_no_light_is_dropped_and_the_receiver_goes_on(waker: Waker) -> None:
    stop = threading.Event()
    with (
        zmq.Context() as context,
        context.socket(zmq.PAIR) as far,
        context.socket(zmq.PAIR) as near,
    ):
        far.bind("inproc://fibre")
        near.connect("inproc://fibre")
        receiver = Receiver(
            near,
            PulseReception(Fibre(0.0), Detector(1.0, 0.0, 0.0, 0.5), physical_generator(1)),
            waker,
            LinkRecord(),
        )
        far.send(b"noise")
        far.send(PhotonFrame(7, 10, np.arange(10), np.full(10, 4, np.uint8)).to_bytes())
        with Workers(stop) as workers:
            workers.start("receiver", receiver.run)
            batch = receiver.batches.get(timeout=10)
        assert (batch.first_pulse, batch.pulses.size) == (7, 10)


def test_the_waker_wakes_a_poller_until_it_is_cleared(waker: Waker) -> None:
    poller = zmq.Poller()
    poller.register(waker.fileno(), zmq.POLLIN)
    waker.clear()
    assert not poller.poll(0)
    for _ in range(100_000):  # far more than the pipe holds
        waker.set()
    assert poller.poll(0)
    while poller.poll(0):
        waker.clear()


def test_an_address_that_cannot_be_bound_is_a_configuration_error() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        taken = attach(socket, "127.0.0.1:0", bind=True)
        with (
            context.socket(zmq.PULL) as second,
            pytest.raises(ConfigurationError, match="cannot bind"),
        ):
            attach(second, taken, bind=True)


def test_a_dropped_block_is_erased(store: OpenStore, mocker: MockerFixture) -> None:
    store.add(3, bytes(40), confirm=False)
    session = mocker.create_autospec(DistillationSession, instance=True)
    session.start.return_value = [BlockDropped(3)]
    session.outgoing.return_value = []
    session.waiting_for = Waiting.DETECTIONS
    stop = threading.Event()
    stop.set()
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        Distiller(
            session,
            ClassicalChannel(socket),
            store.blocks,
            LinkRecord(),
            Appetite(store.keys, high_water=1),
            lambda _: [],
            mocker.MagicMock(),
            answer_seconds=1.0,
        ).run(stop)
    assert store.keys.unconfirmed() == []


def test_what_the_peer_said_comes_before_new_light(
    store: OpenStore,
    mocker: MockerFixture,
    line: tuple[ClassicalChannel, zmq.Socket[bytes]],
    waker: Waker,
) -> None:
    """A block more, while others have work to do, would only take memory."""
    channel, far = line
    session = mocker.create_autospec(DistillationSession, instance=True)
    session.start.return_value = session.outgoing.return_value = []
    session.receive.return_value = []
    session.waiting_for = Waiting.DETECTIONS
    stop = threading.Event()
    taken: list[int] = []

    def light(_: DistillationSession) -> list[Event]:
        taken.append(session.receive.call_count)
        stop.set()
        return []

    for _ in range(40):
        far.send(b"Emessage")
    Distiller(
        session,
        channel,
        store.blocks,
        LinkRecord(),
        Appetite(store.keys, high_water=1),
        light,
        waker,
        answer_seconds=1.0,
    ).run(stop)
    assert taken == [40]


def test_a_receiver_hands_over_a_batch_at_a_time_and_calls_for_the_next(
    tmp_path: Path, mocker: MockerFixture, waker: Waker
) -> None:
    none = np.zeros(0, np.uint8)
    batch = DetectionBatch(np.zeros(0, np.int64), none, none, 0, 1)
    session = mocker.create_autospec(DistillationSession, instance=True)
    poller = zmq.Poller()
    poller.register(waker.fileno(), zmq.POLLIN)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        settings = some_settings(tmp_path, emits=False)
        end = ReceivingEnd(settings, SystemEntropy(), socket, LinkRecord(), waker)
        for _ in range(2):
            end.thread.batches.put(batch)
        session.wants_detections = False
        end.work(session)
        assert not session.add_detections.called
        assert not poller.poll(0)
        session.wants_detections = True
        end.work(session)
        assert session.add_detections.call_count == 1
        assert poller.poll(0)


@pytest.fixture
def waker() -> Iterator[Waker]:
    made = Waker()
    yield made
    made.close()
