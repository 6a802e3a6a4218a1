"""What the two ends of a block have in common: transcript, report, and the last steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qkd_hal.distillation.authentication import PadPosition, SealedTag, Transcript
from qkd_hal.distillation.epsilon_budget import epsilon_budget
from qkd_hal.distillation.events import BlockDistilled
from qkd_hal.distillation.parameters import MASK_BYTES
from qkd_hal.distillation.report import BlockReport
from qkd_hal.distillation.verification import (
    VERIFICATION_BITS,
    collision_bound,
    excess_leak,
)
from qkd_hal.errors import NoSecretKeyError, ProtocolError
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qkd_hal.distillation.authentication import AuthenticationPad
    from qkd_hal.distillation.estimation import Estimation
    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.messages import Message, Stored, Tag
    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal.distillation.stages import Stages
    from qkd_hal.sources import EntropySource

__all__ = ["Block", "BlockTools", "Stage"]

_TAGS_PER_BLOCK = 3
_BLOCK_LABEL = b"qkd-hal distillation block v1"
_STORED_LABEL = b"qkd-hal distillation stored v1"


class Wipes(Protocol):
    """Holds key material and can overwrite it."""

    def wipe(self) -> None:
        """Overwrite it; safe to call again."""
        ...


class Stage(Enum):
    """How far a block is."""

    IDLE = "idle"  # nothing was said yet
    RUNNING = "running"
    VERIFIED = "verified"  # detector: the keys agree; the tag waits for those of older blocks
    SEALED = "sealed"  # detector: the tag is out
    DISTILLED = "distilled"  # the key is out, the host is storing it
    CLOSED = "closed"  # stored here; what is left is telling the peer


@dataclass(frozen=True, slots=True)
class BlockTools:
    """What a block needs from its session. ``frame`` queues a message, returns its bytes."""

    parameters: DistillationParameters
    stages: Stages
    pad: AuthenticationPad = field(repr=False)
    entropy: EntropySource = field(repr=False)
    context: bytes
    frame: Callable[[Message], bytes]


class Block:
    """One end of one block. Subclasses say which message comes next and what it does."""

    def __init__(self, number: int, tools: BlockTools) -> None:
        self.number = number
        self.stage = Stage.IDLE
        self.report = BlockReport(block=number)
        self.tools = tools
        self.parameters = tools.parameters
        self._transcript = Transcript(tools.pad, _BLOCK_LABEL + tools.context)
        self._closing = b""  # the emitter's tag as sent: what STORED refers to
        self._secrets: list[Wipes] = []
        self._handlers: dict[type[Message], Callable[..., list[Event]]] = {}

    def receive(self, message: Message, raw: bytes) -> list[Event]:
        """Take the peer's next message.

        Raises:
            ProtocolError: it is out of turn, or breaks the protocol.
            DistillationError: it ends the block for another reason.
        """
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"a {type(message).__name__} message out of turn")
        return handler(message, raw)

    def guard(self, secret: Wipes) -> None:
        """Remember to wipe *secret* when the block ends, however it ends."""
        self._secrets.append(secret)

    def wipe(self) -> None:
        """Overwrite the raw key and what was computed from it; safe to call again."""
        for secret in self._secrets:
            secret.wipe()

    def close(self) -> None:
        """The host has stored the block: tell the peer.

        Raises:
            PadExhaustedError: there is no mask for the tag.
        """
        raise NotImplementedError

    def await_next(self, kind: type[Message], handler: Callable[..., list[Event]]) -> None:
        """Allow *kind* as the only next message."""
        self._handlers = {kind: handler}

    def await_nothing(self) -> None:
        """Refuse whatever comes next: it is the host's turn."""
        self._handlers = {}

    def heard(self, raw: bytes) -> None:
        """Put a received message into the transcript."""
        self._transcript.add(raw)

    def say(self, message: Message) -> None:
        """Send *message* and put it into the transcript."""
        self._transcript.add(self.tools.frame(message))

    def tally(self, **counts: object) -> None:
        """Write into the block's report."""
        self.report = replace(self.report, **counts)  # type: ignore[arg-type]

    def judge(self, estimation: Estimation) -> None:
        """Report the estimate, and abort a block that cannot give a key.

        Raises:
            QBERError: the test error rate is too high.
            NoSecretKeyError: no key would be left even if reconciliation leaked nothing.
        """
        self.tally(
            sifted_bits=estimation.key_bits,
            test_bits=estimation.test_bits,
            qber=estimation.qber,
        )
        estimation.check(self.parameters.qber_threshold)
        # An adversary can cut the sifted key down to a bit: reconciliation never sees those.
        _require_key(estimation.best_case_bits(self.parameters), above=0)

    def key_length(self, estimation: Estimation, leak_bits: int) -> int:
        """Return the finite-key length in bits.

        Raises:
            NoSecretKeyError: it does not even refill the pads.
        """
        cost = leak_bits + excess_leak(self.parameters.eps_cor)
        length = estimation.secret_bits(self.parameters, cost)
        self.tally(
            leak_bits=leak_bits, verification_bits=VERIFICATION_BITS, secret_bits=max(0, length)
        )
        _require_key(length, above=8 * self.parameters.pad_refill_bytes)
        return length

    def check_tag(self, tag: Tag, raw: bytes) -> None:
        """Verify the peer's tag over all that came before it."""
        self._transcript.open(_sealed(tag))
        self.heard(raw)

    def stored_transcript(self) -> Transcript:
        """Return what the detector's STORED message is tagged over."""
        transcript = Transcript(self.tools.pad, _STORED_LABEL + self.tools.context)
        transcript.add(self.number.to_bytes(8, "big"))
        transcript.add(self._closing)
        return transcript

    def check_stored(self, stored: Stored) -> None:
        """Verify the tag of STORED."""
        self.stored_transcript().open(_sealed(stored))

    def distil(
        self, key: NDArray[np.uint8], matrix: NDArray[np.uint8], length: int
    ) -> BlockDistilled:
        """Amplify the reconciled key, and cut off what refills the pads."""
        secret = self.tools.stages.amplification.amplify(key, matrix, length)
        material = bytearray(np.packbits(secret))
        secret.fill(0)
        self.wipe()
        self.stage = Stage.DISTILLED
        refill = self.parameters.pad_refill_bytes
        self._account(length - 8 * refill)
        event = BlockDistilled(self.number, material[refill:], material[:refill], self.report)
        wipe(material)
        return event

    def _account(self, net_bits: int) -> None:
        forgery = _TAGS_PER_BLOCK * collision_bound(self._transcript.length)
        self.tally(
            net_bits=net_bits,
            authentication_bits=_TAGS_PER_BLOCK * 8 * MASK_BYTES,
            forgery_bound=forgery,
            epsilon=self.parameters.eps_sec + self.parameters.eps_cor + forgery,
            epsilon_budget=epsilon_budget(self.parameters, forgery),
        )


def _require_key(length: int, *, above: int) -> None:
    if length <= above:
        raise NoSecretKeyError(
            "the finite-key bound leaves no secret bits",
            cure="Take larger blocks, or lower the error rate",
        )


def _sealed(message: Tag | Stored) -> SealedTag:
    return SealedTag(PadPosition(message.segment, message.offset), message.tag)
