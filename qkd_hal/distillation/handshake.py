"""Agreeing on a session: two fresh nonces, each echoed by the other end.

Nothing here is authenticated; the transcript of every block begins with both HELLOs, so a
forged one ends in tags that do not fit.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from qkd_hal.distillation.bits import random_bytes
from qkd_hal.distillation.messages import NO_SESSION, Hello
from qkd_hal.errors import ProtocolError
from qkd_hal.key_ids import MAX_BLOCK

if TYPE_CHECKING:
    from qkd_hal.distillation.authentication import PadPosition
    from qkd_hal.sources import EntropySource

__all__ = ["Handshake", "Role"]

_NOBODY = bytes(16)


class Role(Enum):
    """Which side of the quantum channel: the emitter's key is the reference."""

    EMITTER = 1
    DETECTOR = 2


class Handshake:
    """This end's HELLO, and the peer's once it has echoed ours."""

    def __init__(
        self, role: Role, digest: bytes, entropy: EntropySource, *, in_flight: int
    ) -> None:
        self._role = role
        self._in_flight = in_flight
        self._digest = digest
        self._entropy = entropy
        self._mine: Hello | None = None
        self._peer: Hello | None = None
        self._session = NO_SESSION

    @property
    def peer(self) -> Hello | None:
        """The peer's HELLO; None until both nonces were echoed."""
        return self._peer

    @property
    def started(self) -> bool:
        """True once a HELLO of ours is out."""
        return self._mine is not None

    def open(self, next_block: int, first_pulse: int, accepted: PadPosition) -> Hello:
        """Begin anew, with a fresh nonce. *accepted*: the last mask of the peer's."""
        nonce = random_bytes(self._entropy, 16)
        known = self._role.value, self._in_flight, next_block, first_pulse, *accepted
        self._mine = Hello(*known, nonce, self._digest, _NOBODY)
        self._peer = None
        return self._mine

    def check(self, hello: Hello) -> None:
        """Refuse a peer that cannot work with us.

        Raises:
            ProtocolError: it has our role, other parameters, or impossible numbers.
        """
        if hello.role == self._role.value:
            raise ProtocolError(
                f"both ends want to be the {self._role.name.lower()}",
                cure="Set exactly one end to emit",
            )
        if hello.role not in {role.value for role in Role}:
            raise ProtocolError(f"the peer has the unknown role {hello.role}")
        if not hello.in_flight:
            raise ProtocolError("the peer cannot bear a single block in flight")
        if hello.next_block > MAX_BLOCK:
            raise ProtocolError(f"the peer's next block is {hello.next_block}: out of numbers")
        if hello.parameters != self._digest:
            raise ProtocolError(
                "the two ends have different distillation parameters",
                cure="Give both ends the same preset, source, block size and options",
            )

    def answers_us(self, hello: Hello) -> bool:
        """Tell whether *hello* echoes our present nonce."""
        return self._mine is not None and hello.echo == self._mine.nonce

    def has_answered(self, hello: Hello) -> bool:
        """Tell whether the nonce of *hello* is the one that we echoed last."""
        return self._mine is not None and hello.nonce == self._mine.echo

    def is_settled(self, hello: Hello) -> bool:
        """Tell whether *hello* is a repeat that calls for nothing."""
        if self.peer is not None:
            return self.answers_us(hello) or hello.nonce == self.peer.nonce
        return self.has_answered(hello) and not self.answers_us(hello)

    def answer(self, hello: Hello) -> Hello:
        """Return our HELLO with the peer's nonce echoed."""
        assert self._mine is not None  # noqa: S101 - open() comes first
        self._mine = replace(self._mine, echo=hello.nonce)
        return self._mine

    def finish(self, hello: Hello) -> None:
        """Settle on *hello*, which echoed our nonce."""
        self._peer = hello
        self._session = hashlib.sha256(self.context).digest()[: len(NO_SESSION)]

    @property
    def first_block(self) -> int:
        """The number of the session's first block: new to both ends."""
        assert self._mine is not None  # noqa: S101
        assert self._peer is not None  # noqa: S101
        return max(self._mine.next_block, self._peer.next_block)

    @property
    def in_flight(self) -> int:
        """How many blocks at once both ends can bear."""
        assert self._peer is not None  # noqa: S101
        return min(self._in_flight, self._peer.in_flight)

    @property
    def context(self) -> bytes:
        """Both HELLOs, the emitter's first: what every transcript of the session begins with."""
        assert self._mine is not None  # noqa: S101
        assert self._peer is not None  # noqa: S101
        pair = (self._mine.core, self._peer.core)
        return b"".join(pair if self._role is Role.EMITTER else pair[::-1])

    @property
    def session(self) -> bytes:
        """Eight bytes that tell this session's frames from those of earlier ones."""
        return self._session
