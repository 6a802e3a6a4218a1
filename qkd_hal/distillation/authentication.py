"""Wegman-Carter authentication of the classical discussion, with keys that are booked.

A tag is Poly1305 (RFC 8439, 2.5) whose ``r`` is kept per direction and whose ``s`` is 16
fresh bytes of a one-time pad (Wegman and Carter 1981, with a kept hash key). Nobody forges a
tag over L bytes with probability above 8 * ceil(L / 16) / 2^106, whatever they compute.

The pad is named by segments: segment 0 is the secret that both ends were given, and every
confirmed block adds the segment that bears its number plus one. A position (segment,
offset) therefore means the same bytes at both ends, whatever either of them lost.
"""

from __future__ import annotations

import hmac
from enum import Enum
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.poly1305 import Poly1305

from qkd_hal.distillation.parameters import MASK_BYTES
from qkd_hal.errors import AuthenticationError, ConfigurationError, PadExhaustedError
from qkd_hal.keys import wipe

__all__ = [
    "MIN_SECRET_BYTES",
    "AuthenticationPad",
    "Direction",
    "MemoryPad",
    "PadMarks",
    "PadPosition",
    "SealedTag",
    "Transcript",
    "check_secret",
    "segment_of_block",
]

HASH_KEY_BYTES = 16
_PORTION = 1 << 16  # bytes hashed at once: most messages are far shorter
MIN_SECRET_BYTES = 2 * (HASH_KEY_BYTES + 4 * MASK_BYTES)  # two tries of a first block


class Direction(Enum):
    """Whose messages, seen from this end."""

    SENT = "sent"
    RECEIVED = "received"


class PadPosition(NamedTuple):
    """Which mask: ``offset`` counts masks in one direction's half of ``segment``."""

    segment: int
    offset: int


class PadMarks(NamedTuple):
    """How far a pad is used: the next mask to send, and the last that was accepted."""

    next_sent: PadPosition
    last_accepted: PadPosition


class SealedTag(NamedTuple):
    """A tag and the place of the mask that hides it; safe to send."""

    position: PadPosition
    tag: bytes


class AuthenticationPad(Protocol):
    """One-time-pad key for tags. The host keeps it durably and appends segments.

    Each segment is cut in two halves: the first is what one site sends with, the second
    what the other does (a matter of the sites, not of who emits). In segment 0 each half
    begins with the 16-byte hash key of its direction; masks of 16 bytes follow.
    A segment is appended, as *pending*, together with its block; only confirmed segments
    serve :meth:`take`, pending ones serve :meth:`expect` too: the peer may know before us.
    """

    @property
    def remaining(self) -> int:
        """Masks that this end can still send."""
        ...

    @property
    def marks(self) -> PadMarks:
        """How far both directions are used, as the durable store has it."""
        ...

    def hash_key(self, direction: Direction) -> bytes:
        """Return the 16 bytes of Poly1305's ``r`` for *direction*."""
        ...

    def take(self) -> tuple[PadPosition, bytes]:
        """Use up the next mask for sending; durable BEFORE it returns.

        Raises:
            PadExhaustedError: no confirmed segment has a mask left.
        """
        ...

    def expect(self, position: PadPosition) -> bytes:
        """Return the peer's mask at *position*; changes nothing.

        Raises:
            AuthenticationError: not above the last accepted position, or no such mask.
        """
        ...

    def accept(self, position: PadPosition) -> None:
        """Never expect *position* or an earlier one again; durable BEFORE it returns.

        Called once the tag was verified, so that forged positions cannot burn the pad.
        """
        ...


class Transcript:
    """Everything said about one block, in order, hashed for a tag in each direction.

    Poly1305 adds ``s`` last, so the hash runs with ``s`` = 0 as messages come, and a mask
    is used up only when a tag is really made.
    """

    def __init__(self, pad: AuthenticationPad, label: bytes) -> None:
        self._pad = pad
        self._length = 0
        self._unhashed = bytearray()
        self._hashes = {
            direction: Poly1305(pad.hash_key(direction) + bytes(MASK_BYTES))
            for direction in Direction
        }
        self.add(label)

    @property
    def length(self) -> int:
        """Bytes that a tag would be over."""
        return self._length

    def add(self, message: bytes) -> None:
        """Append one message; its length goes in too, so that no two splits look alike."""
        self._unhashed += len(message).to_bytes(8, "big")
        self._unhashed += message
        self._length += 8 + len(message)
        if len(self._unhashed) >= _PORTION:
            self._hash()

    def seal(self) -> SealedTag:
        """Use up a mask and return this end's tag; once.

        Raises:
            PadExhaustedError: no mask is left.
        """
        position, mask = self._pad.take()
        return SealedTag(position, self._masked(Direction.SENT, mask))

    def open(self, sealed: SealedTag) -> None:
        """Check the peer's tag; once.

        Raises:
            AuthenticationError: it is not the tag of this transcript.
        """
        mask = self._pad.expect(sealed.position)
        if not hmac.compare_digest(self._masked(Direction.RECEIVED, mask), sealed.tag):
            raise AuthenticationError(
                "the peer's tag does not fit the discussion",
                cure="Somebody changes messages, or the two ends have different pads",
            )
        self._pad.accept(sealed.position)

    def _hash(self) -> None:
        for running in self._hashes.values():
            running.update(self._unhashed)
        self._unhashed = bytearray()

    def _masked(self, direction: Direction, mask: bytes) -> bytes:
        self._hash()
        value = int.from_bytes(self._hashes.pop(direction).finalize(), "little")
        total = value + int.from_bytes(mask, "little")
        return (total % (1 << 128)).to_bytes(16, "little")


def segment_of_block(block: int) -> int:
    """Return the number of the pad segment that *block* brings."""
    return block + 1


def check_secret(secret: bytes | bytearray | memoryview) -> None:
    """Refuse an initial secret that cannot authenticate a first block.

    Raises:
        ConfigurationError: it is too short, or of odd length.
    """
    if len(secret) < MIN_SECRET_BYTES or len(secret) % (2 * MASK_BYTES):
        raise ConfigurationError(
            f"the initial shared secret has {len(secret)} bytes; it needs a multiple of "
            f"{2 * MASK_BYTES}, at least {MIN_SECRET_BYTES}",
            cure="Make one with `qkd-hal modem secret` and give it to both ends",
        )


class MemoryPad:
    """A pad without durability, for tests and simulations in one process.

    *first* tells the two ends apart: one is made with ``True``, the other with ``False``.
    """

    def __init__(self, secret: bytes | bytearray | memoryview, *, first: bool) -> None:
        check_secret(secret)
        self._first = first
        self._segments: dict[int, dict[Direction, bytearray]] = {}
        self._confirmed = {0}
        self.next_sent = PadPosition(0, 1)
        self.last_accepted = PadPosition(0, 0)
        self._append(0, secret)

    @property
    def remaining(self) -> int:
        """Masks that this end can still send."""
        here, offset = self.next_sent
        masks = {number: self._masks(number, Direction.SENT) for number in self._confirmed}
        return sum(n - offset * (s == here) for s, n in masks.items() if s >= here)

    @property
    def marks(self) -> PadMarks:
        """How far both directions are used."""
        return PadMarks(self.next_sent, self.last_accepted)

    def hash_key(self, direction: Direction) -> bytes:
        """Return the first 16 bytes of *direction*'s half of the initial secret."""
        return bytes(self._segments[0][direction][:HASH_KEY_BYTES])

    def take(self) -> tuple[PadPosition, bytes]:
        """Use up the next mask of the earliest confirmed segment that has one."""
        segment, offset = self.next_sent
        for number in sorted(n for n in self._confirmed if n >= segment):
            at = PadPosition(number, offset if number == segment else 0)
            if at.offset < self._masks(number, Direction.SENT):
                self.next_sent = PadPosition(number, at.offset + 1)
                return at, self._read(at, Direction.SENT, erase=True)
        raise PadExhaustedError(
            "no one-time-pad key is left to authenticate with",
            cure="Give both ends a fresh initial secret",
        )

    def expect(self, position: PadPosition) -> bytes:
        """Return the peer's mask at *position*."""
        known = position.segment in self._segments
        if not known or position.offset >= self._masks(position.segment, Direction.RECEIVED):
            raise AuthenticationError("a tag names a place that the pad does not have")
        if position <= self.last_accepted:
            raise AuthenticationError("a tag names a place in the pad that was used before")
        return self._read(position, Direction.RECEIVED, erase=False)

    def accept(self, position: PadPosition) -> None:
        """Raise the mark and wipe the mask."""
        self.last_accepted = position
        self._read(position, Direction.RECEIVED, erase=True)

    def append(self, block: int, refill: bytes | bytearray | memoryview) -> None:
        """Add the segment of *block*, pending; a *bytearray* is wiped."""
        self._append(segment_of_block(block), refill)
        if isinstance(refill, bytearray):
            wipe(refill)

    def confirm(self, block: int) -> None:
        """Let the segment of *block* serve :meth:`take`."""
        if segment_of_block(block) in self._segments:
            self._confirmed.add(segment_of_block(block))

    def drop(self, block: int) -> None:
        """Wipe the segment of *block*, which the peer never had."""
        for half in self._segments.pop(segment_of_block(block), {}).values():
            wipe(half)

    def _append(self, number: int, secret: bytes | bytearray | memoryview) -> None:
        middle = len(secret) // 2
        halves = bytearray(secret[:middle]), bytearray(secret[middle:])
        sent, received = halves if self._first else halves[::-1]
        self._segments[number] = {Direction.SENT: sent, Direction.RECEIVED: received}

    def _masks(self, segment: int, direction: Direction) -> int:
        return len(self._segments[segment][direction]) // MASK_BYTES

    def _read(self, position: PadPosition, direction: Direction, *, erase: bool) -> bytes:
        start = position.offset * MASK_BYTES
        view = memoryview(self._segments[position.segment][direction])[start : start + MASK_BYTES]
        mask = bytes(view)
        if erase:
            wipe(view)
        return mask
