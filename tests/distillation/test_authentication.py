"""Tags and the pads that they use up."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.authentication import (
    MIN_SECRET_BYTES,
    Direction,
    MemoryPad,
    PadPosition,
    SealedTag,
    Transcript,
    check_secret,
)
from qkd_hal.errors import AuthenticationError, ConfigurationError, PadExhaustedError

SECRET = bytes(range(160))


def pads() -> tuple[MemoryPad, MemoryPad]:
    return MemoryPad(SECRET, first=True), MemoryPad(SECRET, first=False)


class FixedPad(MemoryPad):
    """A pad with the key of RFC 8439, section 2.5.2, cut into r and s."""

    R = bytes.fromhex("85d6be7857556d337f4452fe42d506a8")
    S = bytes.fromhex("0103808afb0db2fd4abff6af4149f51b")

    def hash_key(self, direction: Direction) -> bytes:
        return self.R

    def take(self) -> tuple[PadPosition, bytes]:
        return PadPosition(0, 1), self.S


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_a_tag_is_poly1305_of_the_framed_messages(messages: list[bytes]) -> None:
    transcript = Transcript(FixedPad(SECRET, first=True), b"label")
    framed = b""
    for message in [b"label", *messages]:
        framed += len(message).to_bytes(8, "big") + message
    for message in messages:
        transcript.add(message)
    assert transcript.length == len(framed)
    assert transcript.seal().tag == Poly1305.generate_tag(FixedPad.R + FixedPad.S, framed)


def test_poly1305_is_that_of_rfc_8439() -> None:
    tag = Poly1305.generate_tag(FixedPad.R + FixedPad.S, b"Cryptographic Forum Research Group")
    assert tag == bytes.fromhex("a8061dc1305136c6c22b8baf0c0127a9")


def test_each_direction_has_its_tag() -> None:
    mine, theirs = (Transcript(pad, b"x") for pad in pads())
    for transcript in (mine, theirs):
        transcript.add(b"message")
    first = mine.seal()
    theirs.open(first)
    for transcript in (mine, theirs):
        transcript.add(first.tag)
    second = theirs.seal()
    mine.open(second)
    assert first.tag != second.tag


@pytest.mark.parametrize("theirs", [[b"ab"], [b"a"], [b"a", b"c"], [b"b", b"a"], [b"a", b"b", b""]])
def test_another_discussion_is_refused(theirs: list[bytes]) -> None:
    pad, peer = pads()
    mine, other = Transcript(pad, b""), Transcript(peer, b"")
    for message in (b"a", b"b"):
        mine.add(message)
    for message in theirs:
        other.add(message)
    with pytest.raises(AuthenticationError):
        other.open(mine.seal())


def test_another_label_is_refused() -> None:
    pad, peer = pads()
    with pytest.raises(AuthenticationError):
        Transcript(peer, b"stored").open(Transcript(pad, b"block").seal())


def test_a_tag_is_not_accepted_by_its_sender() -> None:
    pad, _ = pads()
    with pytest.raises(AuthenticationError):
        Transcript(pad, b"x").open(Transcript(pad, b"x").seal())


def test_a_tag_is_accepted_once() -> None:
    pad, peer = pads()
    sealed = Transcript(pad, b"x").seal()
    Transcript(peer, b"x").open(sealed)
    with pytest.raises(AuthenticationError, match="before"):
        Transcript(peer, b"x").open(sealed)


def test_an_earlier_place_is_refused_after_a_later_one() -> None:
    pad, peer = pads()
    early, late = (Transcript(pad, b"x").seal() for _ in range(2))
    Transcript(peer, b"x").open(late)
    with pytest.raises(AuthenticationError, match="before"):
        Transcript(peer, b"x").open(early)


def test_forged_places_burn_nothing() -> None:
    pad, peer = pads()
    for offset in range(1, 5):
        with pytest.raises(AuthenticationError):
            Transcript(peer, b"x").open(SealedTag(PadPosition(0, offset), bytes(16)))
    Transcript(peer, b"x").open(Transcript(pad, b"x").seal())


@pytest.mark.parametrize("place", [(0, 0), (0, 5), (1, 0), (2**62, 2**32)])
def test_places_outside_the_pad_are_refused(place: tuple[int, int]) -> None:
    # Offset 0 of segment 0 is the hash key, never a mask.
    with pytest.raises(AuthenticationError):
        pads()[1].expect(PadPosition(*place))


def test_masks_are_used_once_then_the_pad_is_empty() -> None:
    pad, _ = pads()
    assert pad.remaining == 4
    taken = [pad.take() for _ in range(4)]
    assert len({position for position, _ in taken}) == 4
    assert [mask for _, mask in taken] == [SECRET[i : i + 16] for i in range(16, 80, 16)]
    assert pad.remaining == 0
    with pytest.raises(PadExhaustedError):
        pad.take()


def test_refills_serve_in_order_and_only_when_confirmed() -> None:
    pad, peer = pads()
    for end in (pad, peer):
        end.append(7, bytearray(b"m" * 32 + b"p" * 32))
    for _ in range(4):
        pad.take()
    with pytest.raises(PadExhaustedError):
        pad.take()
    pad.confirm(7)
    assert pad.remaining == 2
    position, mask = pad.take()
    assert (position, mask) == (PadPosition(8, 0), b"m" * 16)
    # The peer learns of the confirmation from this very tag.
    assert peer.expect(position) == mask
    assert pad.expect(PadPosition(8, 1)) == b"p" * 16


def test_a_dropped_refill_is_gone() -> None:
    pad, _ = pads()
    refill = bytearray(b"m" * 64)
    pad.append(3, refill)
    assert refill == bytes(64)
    pad.drop(3)
    pad.confirm(3)
    assert pad.remaining == 4
    with pytest.raises(AuthenticationError):
        pad.expect(PadPosition(4, 0))


def test_used_masks_are_wiped() -> None:
    pad, peer = pads()
    sealed = Transcript(pad, b"x").seal()
    Transcript(peer, b"x").open(sealed)
    for end, direction in ((pad, Direction.SENT), (peer, Direction.RECEIVED)):
        assert end._segments[0][direction][16:32] == bytes(16)


@pytest.mark.parametrize("size", [0, MIN_SECRET_BYTES - 32, MIN_SECRET_BYTES + 16])
def test_an_unfit_secret_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{size} bytes"):
        check_secret(bytes(size))
    with pytest.raises(ConfigurationError):
        MemoryPad(bytes(size), first=True)


def test_neither_pad_nor_tag_shows_its_key() -> None:
    pad, _ = pads()
    assert SECRET[16:20].hex() not in repr(pad)
