"""Eve as a process between two real modems, and the report that she keeps."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from qkd_hal import open_device
from qkd_hal.distillation.estimation import Estimation
from qkd_hal.distillation.finite_key_decoy import DecoyCounts, decoy_bound
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.errors import UsageError
from qkd_hal_simulators._cli import modem
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.eavesdropping import target_of
from qkd_hal_simulators.emulator import ModemPair
from qkd_hal_simulators.eve_listener import Overheard
from qkd_hal_simulators.eve_process import run_eve
from qkd_hal_simulators.eve_report import cost_fields, single_photon_share
from qkd_hal_simulators.eve_settings import EveSettings, Tap
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.presets import PRESETS
from tests.simulators.conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Socket = zmq.Socket[bytes]

patiently = partial(eventually, seconds=30.0)


@contextmanager
def eve_on_the_light(
    attack: str, *, emitter_listens: bool, report: Path | None = None
) -> Iterator[tuple[Socket, Socket]]:
    """Run Eve in a thread; give the sockets of the emitter and the receiver."""
    stop, ready, where = threading.Event(), threading.Event(), []

    def announce(addresses: Mapping[str, str]) -> None:
        where.append(addresses["quantum"])
        ready.set()

    with zmq.Context() as context, ExitStack() as cleanup:
        emitter, receiver = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        for end in (emitter, receiver):
            end.linger, end.rcvtimeo = 0, 10_000
            cleanup.callback(end.close)
        binds, connects = (emitter, receiver) if emitter_listens else (receiver, emitter)
        port = binds.bind_to_random_port("tcp://127.0.0.1")
        settings = EveSettings(
            attack,
            quantum=Tap("127.0.0.1:0", f"127.0.0.1:{port}"),
            emitter_listens=emitter_listens,
            preset=PRESETS["short"],
            seed=1,
            report=report,
        )
        eve = threading.Thread(target=run_eve, args=(settings, stop), kwargs={"ready": announce})
        cleanup.callback(eve.join)
        cleanup.callback(stop.set)
        eve.start()
        assert ready.wait(10)
        connects.connect(f"tcp://{where[0]}")
        yield emitter, receiver


@pytest.mark.parametrize("emitter_listens", [True, False])
def test_light_passes_eve_whichever_end_binds(emitter_listens: bool) -> None:
    frame = PhotonFrame(0, 1000, np.arange(1000), np.full(1000, 1 << 2, np.uint8))
    with eve_on_the_light("noise", emitter_listens=emitter_listens) as (emitter, receiver):
        emitter.send(frame.to_bytes())
        passed = PhotonFrame.from_bytes(receiver.recv())
    assert np.array_equal(passed.lit, frame.lit)
    assert len(set(passed.states.tolist())) == 4


def test_her_last_report_is_complete(tmp_path: Path) -> None:
    diary = tmp_path / "eve.json"
    with eve_on_the_light("noise", emitter_listens=True, report=diary) as (emitter, receiver):
        emitter.send(PhotonFrame(0, 9, np.arange(9), np.full(9, 4, np.uint8)).to_bytes())
        receiver.recv()
    report = report_of(diary)
    assert (report["attack"], report["pulses_tapped"], report["blocks"]) == ("noise", 9, 0)


def test_what_is_no_light_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    dark = PhotonFrame(0, 10, np.zeros(0, np.int64), np.zeros(0, np.uint8)).to_bytes()
    with eve_on_the_light("noise", emitter_listens=True) as (emitter, receiver):
        emitter.send(b"QPC1 clicks that were sampled elsewhere")
        emitter.send(dark)
        assert receiver.recv() == dark
    assert "dropped a message on the quantum channel" in caplog.text


def test_what_no_block_has_shown_is_not_reported() -> None:
    parameters = DistillationParameters()
    fields = cost_fields(Overheard(), target_of(parameters, ChannelSettings()), parameters)
    assert set(fields.values()) == {None}


def test_a_source_of_single_photons_has_no_bound_on_them() -> None:
    counts = Estimation((1000,), (200,), (2,))
    assert single_photon_share(counts, DistillationParameters.short()) is None


def test_errors_that_eve_cannot_count_may_be_anywhere() -> None:
    parameters = PRESETS["rusca-2018"].parameters
    counts = Estimation((800_000, 200_000), (30_000, 8_000), (300, 80))
    levels = parameters.intensities, parameters.intensity_probabilities
    worst = DecoyCounts(counts.key, counts.test, counts.errors, counts.key)
    bound = decoy_bound(worst, *levels, parameters.eps_sec).single_key
    assert single_photon_share(counts, parameters) == bound / 1_000_000


def test_the_cost_is_what_the_two_announced() -> None:
    parameters = DistillationParameters.short()
    target = target_of(parameters, ChannelSettings())
    last = Estimation((1000,), (200,), (2,))
    heard = Overheard(1, pulses=10_000, detections=1000, last=last)
    fields = cost_fields(heard, target, parameters)
    assert (fields["qber"], fields["clicks_per_pulse"]) == (0.01, 0.1)
    assert fields["yield_change"] == pytest.approx(0.1 / target.honest_clicks - 1)


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return report


def test_a_limited_eve_taps_what_she_may_and_the_rest_makes_key(tmp_path: Path) -> None:
    diary = tmp_path / "eve.json"
    with (
        ModemPair(eve="intercept-resend:pulses=5000", eve_report=diary) as pair,
        open_device(pair.alice_url) as alice,
        open_device(pair.bob_url) as bob,
    ):
        patiently(lambda: (alice.status().stored_keys or 0) > 0)
        patiently(lambda: (bob.status().stored_keys or 0) > 0)
        session = alice.start(peer="bob", size=32)
        session.connect()
        theirs = bob.get_key_by_id(session.key_id, peer="alice")
        assert session.get_key(32).matches(theirs)
        patiently(lambda: report_of(diary).get("blocks", 0) > 0)
        report = report_of(diary)
        assert diary.stat().st_mode & 0o077 == 0
        assert "--fibre-elsewhere" not in pair._lines["bob"]
        assert pair.log("eve").startswith("ready: 127.0.0.1:")
    assert (report["attack"], report["fraction"]) == ("intercept-resend", 1.0)
    assert report["pulses_tapped"] == 5000
    assert report["pulses_seen"] == 5000 + report["pulses_beyond_budget"]
    assert report["budget"] == {"pulses": 5000, "per_second": None}
    # Of the pulses that she measured, 441 clicked in the key basis at all three, if all of
    # them came after the two ends had begun.
    assert report["known_bits"] < 600 < report["sifted_bits"]


def test_eve_takes_the_fibre_over_and_nobody_can_count_it(tmp_path: Path) -> None:
    diary = tmp_path / "eve.json"
    options = ("--source", "wcp", "--length-km", "20", "--block-size", "20000")
    with ModemPair(eve="beam-splitting", eve_report=diary, options=options) as pair:
        patiently(lambda: report_of(diary).get("qber") is not None)
        report = report_of(diary)
        assert "--fibre-elsewhere" in pair._lines["bob"]
        assert "--fibre-elsewhere" not in pair._lines["alice"]
    assert abs(report["yield_change"]) < 0.03  # through the fibre twice it would be -60 %
    assert report["qber"] == pytest.approx(0.01, abs=0.008)
    assert report["pulses_blocked"] == 0
    assert 0.1 < report["known_bits"] / report["sifted_bits"] < 0.4


def test_an_attack_that_is_none_starts_nothing() -> None:
    with pytest.raises(UsageError, match="no attack"):
        ModemPair(eve="nonsense")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "127.0.0.1:0"), "where Eve listens and where she forwards"),
        ((), "needs the quantum channel"),
        (("--attack", "man-in-the-middle"), "needs the classical channel"),
        (("--attack", "nonsense"), "no attack 'nonsense'"),
        (("--attack", "noise:fraction=0.1", "--fraction", "0.2"), "fraction is given twice"),
    ],
)
def test_wrong_use_is_named(arguments: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(modem, ["eve", *arguments])
    assert done.exit_code != 0
    assert words in done.output + str(done.exception)
