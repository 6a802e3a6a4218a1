"""Eve's budget, notebook and options, and what her knowledge is worth."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import UsageError
from qkd_hal_simulators.eve_settings import EveSettings, Tap, place_of
from qkd_hal_simulators.physics.eve import Budget, Knowledge, Notebook, Target, make_attack
from qkd_hal_simulators.physics.eve.intercept_resend import InterceptResend
from qkd_hal_simulators.physics.eve.notebook import BREIDBART_CERTAINTY, Holding
from qkd_hal_simulators.physics.eve.options import AttackOptions, with_option
from qkd_hal_simulators.physics.eve.photon_number_splitting import PhotonNumberSplitting
from qkd_hal_simulators.physics.fibre import Fibre


def target(length_km: float = 10.0, numbers: tuple[float, ...] = (0.8, 0.15, 0.05)) -> Target:
    fibre = Fibre(length_km)
    return Target(fibre, 0.5, np.array(numbers), honest_clicks=0.1, clock_hz=2e8)


TARGET = target()
SECOND = 1_000_000_000  # pulses of link time


def test_without_limits_eve_taps_what_she_wants() -> None:
    budget = Budget()
    assert budget.grant(10**9, 1) == 10**9
    assert budget.refused == 0


def test_a_total_is_spent_once() -> None:
    budget = Budget(total=10)
    assert [budget.grant(6, 100) for _ in range(3)] == [6, 4, 0]
    assert (budget.spent, budget.refused) == (10, 8)


def test_a_rate_allows_so_many_pulses_of_each_second_and_saves_none() -> None:
    budget = Budget(per_second=1000.0)
    assert budget.grant(0, 10 * SECOND) == 0
    assert budget.grant(5000, SECOND) <= 1001
    assert budget.grant(5000, SECOND // 2) == pytest.approx(500, abs=1)


@given(
    rate=st.floats(0, 1e9),
    frames=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 10**7)), min_size=1, max_size=30
    ),
)
def test_no_run_of_frames_exceeds_the_rate(rate: float, frames: list[tuple[int, int]]) -> None:
    budget = Budget(per_second=rate)
    granted = [(budget.grant(*frame), frame[1]) for frame in frames]
    for start in range(len(granted)):
        pulses = span = 0
        for given_now, length in granted[start:]:
            pulses, span = pulses + given_now, span + length
            assert pulses <= rate * span / SECOND + 1 + 1e-6


def test_a_slow_rate_adds_up_over_frames() -> None:
    budget = Budget(per_second=1.0)
    assert sum(budget.grant(1, SECOND // 8) for _ in range(80)) == 10


def test_a_second_has_as_many_pulses_as_the_clock_says() -> None:
    assert Budget(per_second=10.0, clock_hz=1e6).grant(100, 1_000_000) == 10


def test_both_limits_hold() -> None:
    budget = Budget(total=15, per_second=10.0)
    assert [budget.grant(100, SECOND) for _ in range(3)] == [10, 5, 0]


@pytest.mark.parametrize(("total", "rate"), [(-1, None), (None, -1.0), (None, math.nan)])
def test_a_budget_is_not_negative(total: int | None, rate: float | None) -> None:
    with pytest.raises(UsageError, match="negative"):
        Budget(total, rate)


def test_knowledge_adds_up_by_three_measures() -> None:
    known = Knowledge.of(np.array([1.0, 0.5, 0.75, 0.75]))
    assert (known.bits, known.known, known.guessed) == (4, 1, 2)
    assert known.guess_probability == 0.75
    assert known.shannon_bits == pytest.approx(1 + 2 * (1 - 0.8112781245))
    assert known.min_entropy_bits == pytest.approx(1 + 2 * (1 + math.log2(0.75)))
    both = known + Knowledge.of(np.array([1.0]))
    assert (both.bits, both.known, both.guessed, both.expected_right) == (5, 2, 2, 1.5)
    assert both.shannon_bits == pytest.approx(known.shannon_bits + 1)
    assert both.min_entropy_bits == pytest.approx(known.min_entropy_bits + 1)


def test_no_bits_are_no_knowledge() -> None:
    nothing = Knowledge.of(np.zeros(0))
    assert nothing == Knowledge()
    assert nothing.guess_probability is None
    assert nothing.to_json()["shannon_bits"] == 0


def noted(notebook: Notebook, first: int, positions: list[int], bits: list[int], kind: int) -> None:
    where, values = np.array(positions, np.int64), np.array(bits, np.uint8)
    notebook.write(first, 100, where, np.full(where.size, kind, np.uint8), values)


@pytest.mark.parametrize(
    ("kind", "in_x", "in_z"),
    [
        (Holding.MEASURED_X, 1.0, 0.5),
        (Holding.MEASURED_Z, 0.5, 1.0),
        (Holding.MEASURED_BREIDBART, BREIDBART_CERTAINTY, BREIDBART_CERTAINTY),
        (Holding.PHOTON, 1.0, 1.0),
    ],
)
def test_a_note_is_worth_what_its_basis_says(kind: Holding, in_x: float, in_z: float) -> None:
    notebook = Notebook()
    noted(notebook, 1000, [3, 7, 8], [1, 0, 1], kind)
    pulses, bases = np.array([1003, 1004, 1008, 1200]), np.array([0, 0, 1, 0], np.uint8)
    guesses = notebook.read(pulses, bases)
    assert guesses.bits.tolist() == [1, 0, 1, 0]
    assert guesses.certainties.tolist() == [in_x, 0.5, in_z, 0.5]


def test_notes_of_several_frames_are_found_by_pulse_number() -> None:
    notebook = Notebook()
    for first in (0, 100, 200):
        noted(notebook, first, [0, 99], [1, 1], Holding.PHOTON)
    pulses = np.array([0, 50, 99, 100, 199, 200, 299])
    sure = notebook.read(pulses, np.zeros(7, np.uint8)).certainties == 1
    assert sure.tolist() == [True, False, True, True, True, True, True]


def test_old_notes_are_overwritten_and_forgotten() -> None:
    notebook = Notebook()
    for first in (0, 100):
        noted(notebook, first, [1, 2], [1, 1], Holding.PHOTON)
    pages = list(notebook._pages)
    notebook.discard(150)
    assert notebook.held == 2
    assert not pages[0].notes.any()
    assert pages[1].notes.any()
    notebook.discard(200)
    assert notebook.held == 0


def test_a_new_emission_makes_older_notes_worthless() -> None:
    notebook = Notebook()
    noted(notebook, 500, [1], [1], Holding.PHOTON)
    noted(notebook, 0, [1], [0], Holding.PHOTON)
    read = notebook.read(np.array([1, 501]), np.zeros(2, np.uint8))
    assert read.certainties.tolist() == [1.0, 0.5]


def test_the_notebook_is_bounded_in_notes_and_in_pages() -> None:
    notebook = Notebook(capacity=1000)
    for first in range(0, 10_000, 100):
        noted(notebook, first, [5], [1], Holding.PHOTON)
    assert 1 <= notebook.held <= 10
    assert notebook.read(np.array([9905]), np.zeros(1, np.uint8)).certainties.tolist() == [1.0]


def test_frames_without_notes_take_no_page() -> None:
    notebook = Notebook(capacity=1000)
    noted(notebook, 0, [1], [1], Holding.PHOTON)
    for first in range(100, 10_000, 100):
        noted(notebook, first, [], [], Holding.PHOTON)
    assert notebook.held == 1


def test_notes_do_not_show_in_what_is_printed() -> None:
    notebook = Notebook()
    noted(notebook, 0, [1], [1], Holding.PHOTON)
    guesses = notebook.read(np.array([1]), np.zeros(1, np.uint8))
    assert "array" not in repr(guesses) + repr(notebook._pages)


def test_options_make_the_attack_that_they_name() -> None:
    attack = make_attack("intercept-resend:fraction=0.3,basis=breidbart,pulses=5", TARGET)
    assert isinstance(attack, InterceptResend)
    assert (attack.fraction, attack.basis, attack.hands.budget.total) == (0.3, "breidbart", 5)
    slow = make_attack("noise:per-second=1e6", TARGET)
    assert (slow.hands.budget.per_second, slow.hands.budget.clock_hz) == (1e6, 2e8)
    assert slow.fraction == 1.0


def test_blocking_takes_the_place_of_keeping_the_rate() -> None:
    told = make_attack("photon-number-splitting:blocked=0.25", TARGET)
    keeping = make_attack("photon-number-splitting", TARGET)
    assert isinstance(told, PhotonNumberSplitting)
    assert isinstance(keeping, PhotonNumberSplitting)
    assert (told.blocked, told.blocked_split) == (0.25, 0.0)
    assert keeping.blocked not in (0.0, 0.25, 1.0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "no attack ''"),
        ("nonsense", "no attack 'nonsense'"),
        ("noise:fraction", "no option of an attack"),
        ("noise:=1", "no option of an attack"),
        ("noise:fraction=", "no option of an attack"),
        ("noise:fraction=0.1,,", "no option of an attack"),
        ("noise:fraction=0.1,fraction=0.1", "given twice"),
        ("noise:fraction=2", "fraction is 2"),
        ("noise:fraction=-1", "fraction is '-1'"),
        ("noise:fraction=nan", "fraction is 'nan'"),
        ("noise:fraction=much", "fraction is 'much'"),
        ("noise:pulses=1.5", "pulses is 1.5"),
        ("noise:per-second=inf", "per-second is 'inf'"),
        ("noise:basis=x", "noise has no option basis"),
        ("intercept-resend:basis=y", "no basis 'y'"),
        ("photon-number-splitting:blocked=1.1", "blocked is 1.1"),
    ],
)
def test_what_is_no_attack_is_refused_with_a_cure(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make_attack(spec, TARGET)
    assert caught.value.cure
    with pytest.raises(UsageError):
        place_of(spec)


NAMES = st.sampled_from(["noise", "intercept-resend", "photon-number-splitting", "x"])
OPTIONS = st.sampled_from(["fraction", "basis", "pulses", "per-second", "blocked", ""])


@given(
    NAMES,
    st.lists(st.tuples(OPTIONS, st.text("0159.-+_=,:einfaxz \u00e9", max_size=6)), max_size=3),
)
def test_any_text_is_an_attack_or_wrong_use(name: str, options: list[tuple[str, str]]) -> None:
    spec = name + ":" + ",".join(f"{option}={value}" for option, value in options)
    try:
        assert 0 <= make_attack(spec, TARGET).fraction <= 1
    except UsageError:
        return


def test_an_option_more_goes_where_options_are() -> None:
    assert with_option("noise", "fraction", 0.5) == "noise:fraction=0.5"
    assert with_option("noise:pulses=3", "fraction", 0.5) == "noise:pulses=3,fraction=0.5"
    with pytest.raises(UsageError, match="given twice"):
        with_option("noise:fraction=1", "fraction", 0.5)


def test_options_tell_which_were_given() -> None:
    options = AttackOptions("intercept-resend:pulses=5,basis=x")
    make_attack(options, TARGET)
    assert options.taken == {"pulses": 5, "basis": "x"}


@pytest.mark.parametrize(
    ("spec", "messages", "line"),
    [
        ("intercept-resend", False, False),
        ("noise", False, False),
        ("beam-splitting", False, True),
        ("photon-number-splitting", False, True),
        ("man-in-the-middle:action=drop", True, False),
    ],
)
def test_each_attack_has_its_place(spec: str, messages: bool, line: bool) -> None:
    place = place_of(spec)
    assert (place.tampers_with_messages, place.replaces_line) == (messages, line)


def test_an_attack_needs_its_channel() -> None:
    tap = Tap("127.0.0.1:0", "127.0.0.1:1")
    with pytest.raises(UsageError, match="needs the quantum channel"):
        EveSettings("noise", classical=tap)
    with pytest.raises(UsageError, match="needs the classical channel"):
        EveSettings("man-in-the-middle", quantum=tap)


def test_farther_away_eve_blocks_more() -> None:
    blocked = []
    for length_km in (1.0, 5.0, 20.0, 40.0):
        splitter = PhotonNumberSplitting.keeping_rate(target(length_km))
        blocked.append(splitter.blocked + splitter.blocked_split)
    assert all(near < far for near, far in pairwise(blocked))


def test_a_source_without_single_photons_leaves_nothing_to_block() -> None:
    splitter = PhotonNumberSplitting.keeping_rate(target(numbers=(1.0, 0.0)))
    assert (splitter.blocked, splitter.blocked_split) == (0.0, 0.0)
