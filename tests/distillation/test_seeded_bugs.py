"""Known ways to get it wrong, planted on purpose: each is caught by a check that passes without.

What the bugs of amplification would tell Eve is computed in `test_eve_information.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.distillation import block, emitter, finite_key, finite_key_decoy
from qkd_hal.distillation.authentication import PadPosition
from qkd_hal.distillation.finite_key import binary_entropy, tomamichel_leverrier_secret_bits
from qkd_hal.distillation.finite_key_decoy import exact_phase_error
from qkd_hal.distillation.messages import ParityReply, Stored, Tag, Verify, decode
from qkd_hal_simulators.modem import pad_store
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.pad_store import PadStore
from tests.distillation.conftest import SECRET, SMALL, Host, Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.distillation.events import BlockDistilled
    from qkd_hal.sources import EntropySource

Check = Callable[[Path], None]
Bug = Callable[[pytest.MonkeyPatch], None]


def the_length_pays_for_all_that_was_said(_: Path) -> None:
    pair = Pair(SMALL, 0.01)
    pair.photons()
    pair.run()
    messages = [decode(raw).message for raw in pair.emitter.sent]
    parities = sum(m.count for m in messages if isinstance(m, ParityReply))
    hashes = sum(8 * len(m.hash) for m in messages if isinstance(m, Verify))
    booked_by_formula = math.floor(math.log2(2 / SMALL.eps_cor))
    report = pair.emitter.distilled[0].report
    length = finite_key.single_photon_secret_bits(
        *(report.sifted_bits, report.test_bits, report.qber or 0.0),
        *(parities + hashes - booked_by_formula, SMALL.eps_sec, SMALL.eps_cor),
    )
    assert report.leak_bits == parities
    assert report.secret_bits == length // 8 * 8


def half_the_leak_is_booked(patch: pytest.MonkeyPatch) -> None:
    real = block.Block.key_length
    patch.setattr(block.Block, "key_length", lambda self, seen, leak: real(self, seen, leak // 2))


def the_hash_is_not_booked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(block, "excess_leak", lambda _: 0)


SPLITS = 1500
KEY_BITS, TEST_BITS, ERRORS = 2000, 500, 60
EPS_PE = 0.1  # the key's errors may exceed their bound in EPS_PE^2 of all splits: visible


def errors_of_random_splits() -> NDArray[np.int64]:
    """Return how many of the errors fell into the test, the rest being in the key."""
    random = np.random.default_rng(11)
    return random.hypergeometric(ERRORS, KEY_BITS + TEST_BITS - ERRORS, TEST_BITS, SPLITS)


def seldom_enough(failures: int) -> bool:
    """Six standard deviations of a binomial around the promise: once in 10^9 by chance."""
    expected = SPLITS * EPS_PE**2
    return failures <= expected + 6 * math.sqrt(expected)


def the_length_covers_the_phase_errors(_: Path) -> None:
    failures = 0
    for seen in errors_of_random_splits().tolist():
        # Epsilons that make all costs but that of the phase errors vanish.
        counts = KEY_BITS, TEST_BITS, seen / TEST_BITS
        length = tomamichel_leverrier_secret_bits(*counts, 0, EPS_PE, 0.5, 2)
        entropy = KEY_BITS * (1 - binary_entropy((ERRORS - seen) / KEY_BITS))
        failures += length > entropy
    assert seldom_enough(failures)


def the_decoy_bound_covers_the_phase_errors(_: Path) -> None:
    failures = 0
    for seen in errors_of_random_splits().tolist():
        phi = exact_phase_error(seen, TEST_BITS, KEY_BITS, 21 * EPS_PE)
        failures += phi < (ERRORS - seen) / KEY_BITS
    assert seldom_enough(failures)


def as_in_the_test(key_bits: int, test_bits: int, test_errors: int, _: float) -> int:
    """Take the key for no worse than the sample: no statistics at all."""
    return round(test_errors / test_bits * key_bits)


def phi_is_the_rate_of_the_test(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(finite_key, "most_key_errors", as_in_the_test)


def decoy_phi_is_the_rate_of_the_test(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(finite_key_decoy, "most_key_errors", as_in_the_test)


def no_seed_comes_twice(_: Path) -> None:
    pair = Pair(SMALL, 0.01)
    pair.photons(2.2)
    pair.run()
    messages = [decode(raw).message for raw in pair.emitter.sent]
    seeds = [m.toeplitz_seed for m in messages if isinstance(m, Verify)]
    assert len(seeds) == 2
    assert seeds[0][:100] != seeds[1][:100]


def one_seed_serves_all_blocks(patch: pytest.MonkeyPatch) -> None:
    kept = np.random.default_rng(3).integers(0, 2, 1 << 16, dtype=np.uint8)

    def reused(_: EntropySource, count: int) -> NDArray[np.uint8]:
        return kept[:count]

    patch.setattr(emitter, "random_bits", reused)


def a_mask_is_spent_on_disk_before_it_is_used(directory: Path) -> None:
    """The modem dies right after a mask was given out, and starts again."""
    path = directory / "pad.sqlite3"
    taken = []
    for start in range(2):
        database = Database(path)
        pad = PadStore(database, first=True)
        if start == 0:
            pad.install(memoryview(SECRET))
        taken.append(pad.take())
        database.close()
    places, masks = zip(*taken, strict=True)
    assert places[0] != places[1]
    assert masks[0] != masks[1]


def the_pads_mark_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pad_store, "_set_mark", lambda *_, **__: None)
    patch.setattr(pad_store, "_spend", lambda *_, **__: None)


def after_a_crash_both_go_on_with_fresh_masks(_: Path) -> None:
    pair = Pair(SMALL, 0.01)
    pair.detector.crash = "before"  # its tag is out, and the block is not stored
    pair.photons()
    pair.run()
    pair.time_out()
    pair.photons(2)
    pair.run()
    for host in (pair.emitter, pair.detector):
        tags = [decode(raw).message for raw in host.sent]
        places = [(m.segment, m.offset) for m in tags if isinstance(m, Tag | Stored)]
        assert len(places) == len(set(places))
    assert pair.emitter.active
    assert pair.detector.active


def the_mark_is_stored_with_the_block(patch: pytest.MonkeyPatch) -> None:
    """The host writes down how far its pad is used when it stores a block, not before a tag."""
    restart, store = Host.restart, Host.store
    durable: dict[int, PadPosition] = {}

    def crashed(host: Host) -> None:
        host.pad.next_sent = durable.get(id(host), host.pad.next_sent)
        restart(host)
        durable[id(host)] = host.pad.next_sent

    def late(host: Host, event: BlockDistilled) -> None:
        store(host, event)
        durable[id(host)] = host.pad.next_sent

    patch.setattr(Host, "restart", crashed)
    patch.setattr(Host, "store", late)


CAUGHT: list[tuple[Bug, Check]] = [
    (half_the_leak_is_booked, the_length_pays_for_all_that_was_said),
    (the_hash_is_not_booked, the_length_pays_for_all_that_was_said),
    (phi_is_the_rate_of_the_test, the_length_covers_the_phase_errors),
    (decoy_phi_is_the_rate_of_the_test, the_decoy_bound_covers_the_phase_errors),
    (one_seed_serves_all_blocks, no_seed_comes_twice),
    (the_pads_mark_is_not_stored, a_mask_is_spent_on_disk_before_it_is_used),
    (the_mark_is_stored_with_the_block, after_a_crash_both_go_on_with_fresh_masks),
]


@pytest.mark.parametrize("check", dict.fromkeys(check for _, check in CAUGHT))
def test_the_check_passes_as_things_are(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(("bug", "check"), CAUGHT)
def test_the_bug_is_caught(
    bug: Bug, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        check(tmp_path)
