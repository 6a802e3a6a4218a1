"""Key IDs, references, and the IDs that cannot be guessed."""

from __future__ import annotations

import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import KeyNotFoundError, UsageError
from qkd_hal.key_ids import MAX_BLOCK, MAX_LENGTH, MAX_OFFSET, KeyIdSealer, KeyPlace
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, check_name

places = st.builds(
    KeyPlace,
    block=st.integers(0, MAX_BLOCK),
    offset=st.integers(0, MAX_OFFSET),
    length=st.integers(1, MAX_LENGTH),
)
SECRET = bytes(range(32))
SEALER = KeyIdSealer(SECRET, b"alice>bob")


@given(places)
def test_a_sealed_place_opens_to_itself(place: KeyPlace) -> None:
    key_id = SEALER.seal(place)
    assert SEALER.open(key_id) == place
    assert KeyIdSealer(SECRET, b"alice>bob").seal(place) == key_id
    assert (key_id.uuid.version, key_id.uuid.variant) == (8, uuid.RFC_4122)


@given(places, st.integers(0, 127))
def test_any_flipped_bit_is_refused(place: KeyPlace, bit: int) -> None:
    forged = KeyId(uuid.UUID(int=SEALER.seal(place).uuid.int ^ 1 << bit))
    with pytest.raises(KeyNotFoundError):
        SEALER.open(forged)


@given(st.uuids())
def test_a_guessed_id_is_refused(guess: uuid.UUID) -> None:
    with pytest.raises(KeyNotFoundError):
        SEALER.open(KeyId(guess))


@given(st.integers(0, (1 << 122) - 1))
def test_a_guess_of_the_right_form_is_refused(bits: int) -> None:
    high, middle, low = bits >> 74, bits >> 62 & 0xFFF, bits & ((1 << 62) - 1)
    guess = uuid.UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low)
    with pytest.raises(KeyNotFoundError):
        SEALER.open(KeyId(guess))


@given(places)
def test_ids_of_another_direction_or_secret_are_refused(place: KeyPlace) -> None:
    key_id = SEALER.seal(place)
    for other in (KeyIdSealer(SECRET, b"bob>alice"), KeyIdSealer(bytes(32), b"alice>bob")):
        with pytest.raises(KeyNotFoundError):
            other.open(key_id)


@given(places, places)
def test_different_places_have_different_ids(one: KeyPlace, other: KeyPlace) -> None:
    assert (SEALER.seal(one) == SEALER.seal(other)) == (one == other)


def test_neighbouring_places_share_nothing_visible() -> None:
    seals = [SEALER.seal(KeyPlace(0, offset, 32)).uuid.int for offset in range(64)]
    distances = [(one ^ other).bit_count() for one, other in pairwise(seals)]
    # 122 bits that differ with chance one half: mean 61, 0.7 standard error over 63 pairs.
    assert 56 < sum(distances) / len(distances) < 66


@pytest.mark.parametrize(
    "place",
    [
        KeyPlace(-1, 0, 1),
        KeyPlace(MAX_BLOCK + 1, 0, 1),
        KeyPlace(0, -1, 1),
        KeyPlace(0, MAX_OFFSET + 1, 1),
        KeyPlace(0, 0, 0),
        KeyPlace(0, 0, MAX_LENGTH + 1),
    ],
)
def test_places_out_of_range_are_refused(place: KeyPlace) -> None:
    with pytest.raises(UsageError):
        SEALER.seal(place)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_secret_has_32_bytes(size: int) -> None:
    with pytest.raises(UsageError):
        KeyIdSealer(bytes(size), b"")


@given(st.uuids())
def test_key_ids_survive_text_and_bytes(value: uuid.UUID) -> None:
    key_id = KeyId(value)
    assert KeyId.parse(str(key_id)) == KeyId.parse(str(key_id).upper()) == key_id
    assert KeyId.from_bytes(bytes(key_id)) == key_id


ZERO = "00000000-0000-0000-0000-000000000000"


@given(st.text(max_size=50) | st.text("0123456789abcdef-{}", min_size=30, max_size=40))
def test_any_text_is_a_key_id_or_raises_one_exception(text: str) -> None:
    try:
        assert str(KeyId.parse(text)) == text.lower()
    except UsageError:
        return


@pytest.mark.parametrize("text", [f"{{{ZERO}}}", f"urn:uuid:{ZERO}", "0" * 32, ZERO + " ", ""])
def test_other_spellings_of_a_uuid_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        KeyId.parse(text)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_key_ids_have_16_bytes(size: int) -> None:
    with pytest.raises(UsageError):
        KeyId.from_bytes(bytes(size))


@pytest.mark.parametrize("name", ["alice", "KME-1.site_2", "x" * 64])
def test_names_that_every_wire_takes(name: str) -> None:
    assert check_name(name) == name
    assert str(KeyRef(name, KeyId.parse(ZERO))) == f"{name}/{ZERO}"


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "..", "-", "ä", "a\0", "a\n", "²"])
def test_names_that_some_wire_does_not_take(name: str) -> None:
    with pytest.raises(UsageError):
        KeyRef(name, KeyId.parse(ZERO))


origins = st.sampled_from(Origin)
provenances = st.builds(
    Provenance, origins, st.lists(st.sampled_from("abc"), unique=True).map(tuple)
)


@given(provenances, provenances)
def test_combined_provenance_is_never_better_than_either(
    one: Provenance, other: Provenance
) -> None:
    both = one.combined(other)
    assert both.simulated == (one.simulated or other.simulated)
    assert (both.origin is Origin.HARDWARE) == (
        one.origin is Origin.HARDWARE and other.origin is Origin.HARDWARE
    )
    assert set(both.trusted_nodes) == {*one.trusted_nodes, *other.trusted_nodes}
    assert len(both.trusted_nodes) == len(set(both.trusted_nodes))
