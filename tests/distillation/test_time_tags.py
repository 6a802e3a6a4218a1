"""Time tags of a free-running receiver: offset, drift, jitter, background, and lost clocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation import time_tags
from qkd_hal.distillation.pulse_clock import PulseClock
from qkd_hal.distillation.sync_preamble import Alignment, Preamble, find_preamble
from qkd_hal.distillation.time_tags import TimeTagAligner, TimeTagReceiver, TimeTagSettings
from qkd_hal.errors import ConfigurationError, DeviceError, StateError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.sources import Deadline, DetectionBatch
from qkd_hal_drivers.tdc1 import Tdc1Settings, Tdc1Source
from qkd_hal_firmware_mocks.pty_line import PtyLine
from qkd_hal_firmware_mocks.tdc1.firmware import Tdc1Firmware


class Entropy:
    def __init__(self) -> None:
        self._generator = np.random.default_rng(9)

    def read_into(self, view: memoryview) -> None:
        view[:] = self._generator.bytes(len(view))


@dataclass(frozen=True)
class Link:
    """A pulsed source and a receiver on a clock of its own, as a plain model of physics."""

    settings: TimeTagSettings
    click: float  # probability per lit pulse
    seconds: float  # of light after the preamble
    offset: float = 0.3
    drift_ppm: float = 0.0
    wander_ppm: float = 0.0  # sinusoidal, 1 Hz
    jitter: float = 300e-12
    background: float = 0.0  # clicks per second
    seed: int = 1

    def arrivals(self, pulses: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return when *pulses* arrive, without jitter, in seconds of the receiver's clock."""
        time = (pulses - self.settings.preamble.first_pulse) / self.settings.rate_hz
        turns = 2 * math.pi
        wander = self.wander_ppm * 1e-6 * (1 - np.cos(turns * time)) / turns
        return np.asarray(self.offset + time * (1 + self.drift_ppm * 1e-6) + wander)

    def tags(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ticks, rising, and the pulse behind each; -1 for background."""
        random = np.random.default_rng(self.seed)
        pulses = self.lit(random)
        times = self.arrivals(pulses) + self.jitter * random.standard_normal(len(pulses))
        end = float(times[-1])
        noise = random.uniform(0, end, random.poisson(self.background * end))
        numbers = np.concatenate([pulses, np.full(len(noise), -1)])
        times = np.concatenate([times, noise])
        order = np.argsort(times)
        ticks = np.floor(times[order] / self.settings.tick_seconds).astype(np.int64)
        ticks, first = np.unique(ticks, return_index=True)
        return ticks, numbers[order][first]

    def lit(self, random: np.random.Generator) -> NDArray[np.int64]:
        preamble = self.settings.preamble
        count = int(preamble.pulses + self.seconds * self.settings.rate_hz)
        drawn = random.geometric(self.click, int(1.2 * count * self.click) + 100)
        pulses = np.cumsum(drawn) - 1
        pulses = pulses[pulses < count]
        places = preamble.places(pulses + preamble.first_pulse)
        lit = places >= preamble.pulses
        lit[~lit] = preamble.lit(places[~lit])
        return np.asarray(pulses[lit] + preamble.first_pulse)


def batch(ticks: NDArray[np.int64], first: int = 0, end: int | None = None) -> DetectionBatch:
    bases, bits = np.zeros((2, len(ticks)), np.uint8)
    return DetectionBatch(ticks, bases, bits, first, end or int(ticks[-1]) + 1)


def batches(ticks: NDArray[np.int64], size: int) -> Iterator[DetectionBatch]:
    first = 0
    for start in range(0, len(ticks), size):
        part = batch(ticks[start : start + size], first)
        yield part
        first = part.end_pulse


def aligned(
    link: Link, ticks: NDArray[np.int64], size: int = 20_000
) -> tuple[TimeTagAligner, list[DetectionBatch]]:
    aligner = TimeTagAligner(link.settings, Entropy())
    found = [aligner.add(part) for part in batches(ticks, size)]
    return aligner, [part for part in found if part is not None]


def pulses_of(found: list[DetectionBatch]) -> NDArray[np.int64]:
    return np.concatenate([part.pulses for part in found])


PS = 1e-12
GHZ = Link(
    TimeTagSettings(1e9, PS, preamble=Preamble(period=1 << 16, chips=256)),
    click=4e-3,
    seconds=0.05,
    wander_ppm=0.05,
    background=2e4,
)
MHZ = Link(
    TimeTagSettings(1e7, 4e-9, preamble=Preamble(period=1 << 12, chips=128)),
    click=0.04,
    seconds=0.4,
    wander_ppm=0.3,
    background=2e3,
)
LINKS = [
    replace(GHZ, offset=0.7, drift_ppm=20),
    replace(GHZ, offset=2.3, drift_ppm=-20, jitter=100e-12),
    replace(MHZ, offset=3.1, drift_ppm=19),
    replace(
        MHZ,
        offset=0.0,
        drift_ppm=-19,
        wander_ppm=1,
        settings=replace(MHZ.settings, preamble=replace(MHZ.settings.preamble, first_pulse=10**12)),
    ),
    replace(MHZ, settings=replace(MHZ.settings, rate_hz=1e8, tick_seconds=PS), seconds=0.1),
    replace(
        MHZ,
        click=0.3,
        seconds=0.1,
        settings=replace(MHZ.settings, preamble=Preamble(period=1 << 14, chips=64)),
    ),
]


@pytest.mark.parametrize("link", LINKS)
def test_every_click_gets_its_pulse(link: Link) -> None:
    ticks, numbers = link.tags()
    aligner, found = aligned(link, ticks, 5_000)
    pulses = pulses_of(found)
    true = numbers[(numbers >= found[0].first_pulse) & (numbers < found[-1].end_pulse)]
    sigmas = link.settings.gate / 2 / link.settings.rate_hz / link.jitter
    kept = max(0.59, math.erf(sigmas / 2**0.5)) - 0.01
    assert found[0].first_pulse == link.settings.preamble.end
    assert len(true) > 10_000
    assert np.isin(true, pulses).mean() > kept
    wrong = (~np.isin(pulses, true)).mean()
    next_gate = 0.5 * math.erfc(3 * sigmas / 2**0.5)  # of one neighbour, of two
    assert wrong < 1.3 * (2 * next_gate / kept + aligner.report.accidental_share) + 0.001
    check_order(found)


def check_order(found: list[DetectionBatch]) -> None:
    for before, after in pairwise(found):
        assert before.end_pulse == after.first_pulse
    for part in found:
        rising = np.concatenate([[part.first_pulse - 1], part.pulses, [part.end_pulse]])
        assert (np.diff(rising) > 0).all()


class Numbered:
    """Stands for a clock whose steps disagree by a pulse: ticks are pulse numbers."""

    piece = 1

    def follow(self, ticks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return ticks, np.zeros(len(ticks))


def test_pulses_rise_where_steps_of_the_clock_disagree() -> None:
    aligner = TimeTagAligner(MHZ.settings, Entropy())
    aligner._alignment = Alignment(cast("PulseClock", Numbered()), 0.0, 0, 0.0)
    first = MHZ.settings.preamble.end
    told: list[DetectionBatch] = []
    for places in ([-9, -5], [5, 7], [6, 9, 8, 12], [10], [11, 13, 14]):  # 6, 10, 11 are late
        raw = batch(np.array(places) + first)
        raw.bits[:] = raw.pulses & 1
        part = aligner.add(raw)
        told += [part] if part else []
    assert [(part.pulses - first).tolist() for part in told] == [[5], [7, 8, 9], [12, 13]]
    assert [part.end_pulse - first for part in told] == [7, 12, 14]
    assert all((part.bits == part.pulses & 1).all() for part in told)
    check_order(told)


def test_the_report_tells_the_truth() -> None:
    link = replace(GHZ, drift_ppm=12, wander_ppm=0.0, background=2e6, seconds=0.1)
    ticks, _ = link.tags()
    aligner, _ = aligned(link, ticks)
    report = aligner.report
    assert report.offset_seconds == pytest.approx(link.offset, abs=2e-10)
    assert report.drift_ppm == pytest.approx(12, abs=0.02)
    assert report.jitter_seconds == pytest.approx(300e-12, rel=0.05)
    assert report.gate_efficiency == pytest.approx(0.595 + 0.012, abs=0.02)  # own, neighbours'
    light = 0.607 * link.click * 1e9
    noise = link.settings.gate * link.background
    assert report.accidental_share == pytest.approx(noise / (light + noise), rel=0.15)
    assert 0.9 < report.clicks / (link.seconds * (link.click * 1e9 + link.background)) < 1.1
    assert report.gated / report.clicks == pytest.approx((light + noise) / 6e6, rel=0.03)


@pytest.mark.parametrize("size", [37, 5000, 10**7])
def test_the_size_of_batches_does_not_matter(size: int) -> None:
    ticks, numbers = MHZ.tags()
    _, found = aligned(MHZ, ticks, size)
    true = numbers[(numbers >= found[0].first_pulse) & (numbers < found[-1].end_pulse)]
    assert np.isin(true, pulses_of(found)).mean() > 0.999
    assert found[-1].end_pulse > 0.99 * numbers.max()


def test_clicks_of_one_pulse_become_one_random_detection() -> None:
    ticks, numbers = replace(MHZ, background=0.0, jitter=0.0, click=0.2).tags()
    early = ticks - 2  # 8 ns before
    both = np.sort(np.concatenate([ticks, early]))
    outcome = np.where(np.isin(both, ticks), 3, 0).astype(np.uint8)  # X0, then Z1
    aligner = TimeTagAligner(MHZ.settings, Entropy())
    found = []
    for start in range(0, len(both), 4999):  # odd: pairs are cut apart
        part = slice(start, start + 4999)
        raw = batch(both[part], int(both[part][0]))
        raw.bases[:], raw.bits[:] = outcome[part] >> 1, outcome[part] & 1
        found.append(aligner.add(raw))
    told = [part for part in found if part is not None]
    pulses, bases, bits = (
        np.concatenate([getattr(part, name) for part in told])
        for name in ("pulses", "bases", "bits")
    )
    true = numbers[(numbers >= told[0].first_pulse) & (numbers < told[-1].end_pulse)]
    assert pulses.tolist() == true.tolist()
    counts = np.bincount(2 * bases + bits, minlength=4) / len(bits)
    assert counts == pytest.approx([0.25] * 4, abs=0.02)


def lost(link: Link, ticks: NDArray[np.int64], what: str) -> None:
    with pytest.raises(DeviceError, match=what) as told:
        aligned(link, ticks)
    assert told.value.cure


def middle(link: Link) -> int:
    """Return a tick in the middle of the key's light."""
    light = link.settings.preamble.pulses / link.settings.rate_hz + link.seconds / 2
    return int((link.offset + light) / link.settings.tick_seconds)


@pytest.mark.parametrize("link", [GHZ, MHZ])
def test_a_clock_that_jumps_is_noticed(link: Link) -> None:
    ticks, _ = link.tags()
    jump = int(1000.4 * link.settings.period)
    lost(link, np.where(ticks < middle(link), ticks, ticks + jump), "jumped")


def test_darkness_is_noticed() -> None:
    ticks, _ = replace(MHZ, background=0.0).tags()
    dark = (ticks > middle(MHZ)) & (ticks < middle(MHZ) + 0.1 / 4e-9)
    lost(MHZ, ticks[~dark], "no light came")


@pytest.mark.parametrize("link", [GHZ, MHZ])
def test_background_alone_is_noticed(link: Link) -> None:
    """Light fades into so many dark counts that the clicks do not grow fewer."""
    ticks, _ = replace(link, background=0.0).tags()
    late = ticks > middle(link)
    noise = np.random.default_rng(4).integers(middle(link), ticks[-1], late.sum())
    lost(link, np.unique(np.concatenate([ticks[~late], noise])), "cluster no more")


def test_a_slip_by_whole_pulses_shows_in_the_next_preamble() -> None:
    settings = MHZ.settings
    preamble = replace(settings.preamble, interval=2 * settings.preamble.pulses)
    link = replace(MHZ, settings=replace(settings, preamble=preamble))
    ticks, numbers = link.tags()
    _, found = aligned(link, ticks)
    key = numbers[preamble.places(numbers) >= preamble.pulses]
    told = pulses_of(found)
    assert (preamble.places(told) >= preamble.pulses).all()
    assert np.isin(told, key).mean() > 0.98
    slip = int(3 * settings.period)
    lost(link, np.where(ticks < middle(link), ticks, ticks + slip), "other pulses")


def test_light_without_a_preamble_is_not_waited_for_without_end() -> None:
    settings = replace(MHZ.settings, search_seconds=0.3)
    ticks, numbers = MHZ.tags()
    ticks = ticks[numbers >= settings.preamble.end]
    lost(replace(MHZ, settings=settings), ticks - ticks[0], "no preamble was seen in 0.3 s")


def test_a_dark_receiver_waits_and_then_gives_up() -> None:
    aligner = TimeTagAligner(MHZ.settings, Entropy())
    none = np.zeros(0, np.int64)
    second = round(1 / MHZ.settings.tick_seconds)
    assert aligner.add(batch(none, 0, second)) is None
    assert not aligner.locked
    with pytest.raises(StateError):
        _ = aligner.report
    with pytest.raises(DeviceError, match="no preamble"):
        aligner.add(batch(none, second, 11 * second))


def test_the_search_forgets_old_clicks() -> None:
    """A receiver that is on for long before the emitter does not fill its memory."""
    link = replace(MHZ, offset=6.0, background=2e4)
    ticks, _ = link.tags()
    aligner = TimeTagAligner(link.settings, Entropy())
    most = 0
    for part in batches(ticks, 2000):
        aligner.add(part)
        most = max(most, len(aligner._waiting.times))
    assert aligner.locked
    length = link.settings.preamble.pulses / link.settings.rate_hz
    assert most < 2.5 * length * (2e4 + 0.04 * 1e7)


def test_a_preamble_after_the_search_is_too_late() -> None:
    settings = replace(MHZ.settings, search_seconds=0.3)
    link = replace(MHZ, settings=settings)
    with pytest.raises(DeviceError, match="no preamble"):
        TimeTagAligner(settings, Entropy()).add(batch(link.tags()[0]))


def test_small_batches_are_not_searched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []

    def find(ticks: NDArray[np.int64], end: int, *how: Any) -> Alignment | None:
        ends.append(end)
        return find_preamble(ticks, end, *how)

    monkeypatch.setattr(time_tags, "find_preamble", find)
    ticks, _ = MHZ.tags()
    aligned(MHZ, ticks, 10)
    length = MHZ.settings.preamble.pulses * MHZ.settings.period
    assert (np.diff(ends) > length / 5).all()
    assert len(ends) > 3


def test_light_in_all_pulses_of_lit_chips_is_no_preamble() -> None:
    pulses = np.arange(MHZ.settings.preamble.pulses)
    chips = MHZ.settings.preamble.coarse[pulses // MHZ.settings.preamble.period]
    random = np.random.default_rng(3)
    pulses = pulses[(chips == 1) & (random.random(len(pulses)) < 0.05)]
    ticks = np.floor(MHZ.arrivals(pulses) / MHZ.settings.tick_seconds).astype(np.int64)
    aligner = TimeTagAligner(MHZ.settings, Entropy())
    aligner.add(batch(ticks, 0, 2 * int(ticks[-1])))
    assert not aligner.locked


def test_another_pulse_rate_gives_no_lock() -> None:
    ticks, _ = MHZ.tags()
    settings = replace(MHZ.settings, rate_hz=1.0002e7, search_seconds=0.5)
    lost(replace(MHZ, settings=settings), ticks, "no preamble")


def test_noise_has_no_comb() -> None:
    ticks = np.cumsum(np.random.default_rng(1).integers(1, 10_000, 20_000))
    with pytest.raises(DeviceError, match="do not cluster"):
        PulseClock.acquire(ticks, 100.0, max_drift=25e-6)


@pytest.mark.parametrize(("hold", "bridged"), [(0, False), (50_000, True), (30_000, False)])
def test_darkness_is_bridged_as_long_as_agreed(hold: int, bridged: bool) -> None:
    pulses = np.arange(0, 10_000, 10)
    ticks = 100 * np.concatenate([pulses, pulses + 50_000])
    clock = PulseClock.acquire(ticks, 100.0, max_drift=25e-6, hold=hold)
    numbers = [clock.follow(part)[0] for part in np.split(ticks, 4)[:2]]
    if bridged:
        numbers += [clock.follow(part)[0] for part in np.split(ticks, 4)[2:]]
        assert (100 * np.concatenate(numbers) == ticks).all()
        return
    with pytest.raises(DeviceError, match="no light came for 4e"):
        clock.follow(ticks[1000:])


def test_too_sparse_clicks_are_refused_before_they_take_memory() -> None:
    ticks = np.arange(1000, dtype=np.int64) * 10**15
    with pytest.raises(DeviceError, match="do not cluster"):
        PulseClock.acquire(ticks, 1000.0, max_drift=25e-6)


@given(st.floats(-20, 20), st.floats(0, 1), st.integers(0, 2**40))
def test_the_clock_finds_any_drift_and_phase(ppm: float, phase: float, origin: int) -> None:
    random = np.random.default_rng(2)
    pulses = np.cumsum(random.geometric(0.01, 2000))
    times = 1000 * (1 + ppm * 1e-6) * (pulses + phase) + 30 * random.standard_normal(2000)
    ticks = np.rint(times).astype(np.int64) + origin
    clock = PulseClock.acquire(np.sort(ticks), 1000.0, max_drift=25e-6)
    turns = (clock.period / (1000 + ppm * 1e-3) - 1) * pulses[255]
    assert abs(turns) < 0.06  # of the pulse phase, over all that was looked at
    numbers, late = clock.follow(np.sort(ticks))
    assert np.diff(numbers).tolist() == np.diff(pulses).tolist()
    assert abs(late).max() < 0.5
    assert clock.period == pytest.approx(1000 * (1 + ppm * 1e-6), rel=1e-6)


def test_the_preambles_patterns() -> None:
    """SHAKE128 of the documented names; computed with OpenSSL's."""
    preamble = Preamble(first_pulse=7, period=1024, chips=64)
    assert np.packbits(preamble.coarse).tobytes() == bytes.fromhex(COARSE)
    assert np.packbits(preamble.fine).tobytes()[:8] == bytes.fromhex(FINE)
    assert preamble.end == 7 + 65536
    places = preamble.places(np.arange(7, preamble.end))
    expected = np.outer(preamble.coarse, preamble.fine).reshape(-1) == 1
    assert preamble.lit(places).tolist() == expected.tolist()
    again = replace(preamble, interval=200_000).places(np.array([7, 8, 200_007, 100_007]))
    assert again.tolist() == [0, 1, 0, 100_000]


COARSE = "c4ef6af8a9daec8b"
FINE = "bf27c3e5bd1eebef"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Preamble(period=1000),
        lambda: Preamble(period=512),
        lambda: Preamble(chips=1 << 20),
        lambda: Preamble(interval=1 << 24),
        lambda: TimeTagSettings(1e9, 4e-9),  # pulses shorter than ticks
        lambda: TimeTagSettings(0.0, 1e-9),
        lambda: TimeTagSettings(1e7, 4e-9, gate=0.0),
        lambda: TimeTagSettings(1e7, 4e-9, gate=math.nan),
        lambda: TimeTagSettings(1e7, 4e-9, max_drift_ppm=2000),
        lambda: TimeTagSettings(1e6, 4e-9, search_seconds=10),  # shorter than two preambles
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


class Tagger:
    """A :class:`DetectionSource` in ticks that plays the same tags at each start."""

    provenance = Provenance(Origin.SIMULATED)

    def __init__(self, ticks: NDArray[np.int64]) -> None:
        self._ticks = ticks

    def batches(self, deadline: Deadline) -> Iterator[DetectionBatch]:
        deadline.check("tags are played")
        return batches(self._ticks, 30_000)


def test_a_receiver_looks_for_the_preamble_at_each_start() -> None:
    ticks, _ = MHZ.tags()
    receiver = TimeTagReceiver(Tagger(ticks), MHZ.settings, Entropy())
    assert receiver.provenance == Provenance(Origin.SIMULATED)
    with pytest.raises(StateError):
        _ = receiver.report
    for _ in range(2):
        found = list(receiver.batches(Deadline(60)))
        assert found[0].first_pulse == MHZ.settings.preamble.end
    assert receiver.report.clicks > 10_000


def test_tags_of_a_tdc1_become_equal_keys(make_pair: Callable[..., Any]) -> None:
    """Emitter's log, free clocks, a tagger on a serial line, two engines."""
    pair = make_pair(qber=0.01)
    settings = TimeTagSettings(1e6, 4e-9, preamble=Preamble(period=1 << 10, chips=64))
    link = Link(settings, click=0.2, seconds=0.0, offset=0.05, drift_ppm=15, jitter=1e-9)
    pair.run()
    pair.channel.emit(
        settings.preamble.end
    )  # the log counts these pulses; their light is the preamble's
    seen = pair.channel.emit(int(2.3 * pair.parameters.detections_per_block))
    random = np.random.default_rng(5)
    pulses = np.concatenate([link.lit(random), seen.pulses])
    patterns = np.ones(len(pulses), np.int64)
    patterns[-len(seen.pulses) :] = 1 << (2 * seen.bases.astype(np.int64) + seen.bits)
    times = link.arrivals(pulses) + link.jitter * random.standard_normal(len(pulses))
    clicks = list(zip((times / 2e-9).astype(np.int64).tolist(), patterns.tolist(), strict=True))
    with (
        PtyLine(Tdc1Firmware(lambda: iter(clicks))) as line,
        Tdc1Source(Tdc1Settings(line.path, 250_000_000), Deadline(5)) as tagger,
    ):
        receiver = TimeTagReceiver(tagger, settings, Entropy())
        for part in receiver.batches(Deadline(20)):
            pair.detector.engine.add_detections(part)
            if part.end_pulse > seen.end_pulse - 2000:
                break
    pair.run()
    pair.check_keys()
    assert set(pair.emitter.active) == set(pair.detector.active) == {0}
    assert pair.emitter.active[0]
    assert pair.detector.distilled[0].report.qber < 0.02
    assert receiver.report.drift_ppm == pytest.approx(15, abs=1)
    assert receiver.provenance.origin is Origin.SIMULATED
