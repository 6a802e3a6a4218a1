"""Random halves of the key: errors show in half of them, each independently of the others."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from numpy.typing import NDArray

from qkd_hal.distillation.cascade_masks import CONFIRMING_PARITIES, Confirmation
from qkd_hal.distillation.cascade_pass import pack_words

Bits = NDArray[np.uint8]

LENGTH = 1000


@pytest.mark.parametrize("errors", [[0], [999], [3, 67], [3, 67, 131, 195], [10, 11], [0, 999]])
def test_halves_show_errors_independently(errors: list[int]) -> None:
    """Neighbouring words matter: the halves are one stream, shifted by words."""
    shown = np.array([changed(number, errors) for number in range(1500)]) - 0.5
    assert np.abs(shown.mean(axis=0)).max() < 0.06
    together = shown.T @ shown / len(shown)
    assert np.abs(together - np.eye(CONFIRMING_PARITIES) / 4).max() < 0.035


def changed(number: int, errors: list[int]) -> Bits:
    confirmation = Confirmation(LENGTH, bytes(16), number)
    confirmation.change(np.array(errors, np.int32))
    return confirmation.odd


@pytest.mark.parametrize("errors", [[0], [999], [10, 11], [63, 64, 500]])
def test_parities_change_as_told(errors: list[int]) -> None:
    key = np.random.default_rng(1).integers(0, 2, LENGTH, dtype=np.uint8)
    confirmation = Confirmation(LENGTH, bytes(16), 5)
    before = confirmation.parities(pack_words(key))
    key[errors] ^= 1
    confirmation.change(np.array(errors, np.int32))
    assert (before ^ confirmation.parities(pack_words(key)) == confirmation.odd).all()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("place", [0, 31, 62, 999])
def test_a_search_ends_at_an_error(length: int, place: int) -> None:
    place = min(place, length - 1)
    errors = np.zeros(length, np.uint8)
    errors[place] = 1  # the other end's key is all zeros, so own parities are the differences
    words = pack_words(errors)
    confirmation = Confirmation(length, bytes(16), 3)
    confirmation.odd = confirmation.parities(words)
    assert confirmation.odd.any()
    assert found(confirmation.search(words)) == place


def found(search: Generator[Bits, Bits, int]) -> int:
    try:
        marks = next(search)
        while True:
            marks = search.send(marks)
    except StopIteration as end:
        return int(end.value)
