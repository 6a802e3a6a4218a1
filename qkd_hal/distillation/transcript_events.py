"""Events as a transcript has them: what happened, and of a key only a digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from qkd_hal.distillation.events import (
    BlockAborted,
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    FramesReleased,
    PeerRefused,
    Synchronised,
)

if TYPE_CHECKING:
    from qkd_hal.distillation.events import Event

__all__ = ["event_to_fields", "key_digest"]


def event_to_fields(event: Event) -> dict[str, object]:
    """Return *event* as plain values. ``key_digest`` is as secret as the transcript itself."""
    name = {"event": type(event).__name__}
    match event:
        case Synchronised(session):
            return {**name, "session": session}
        case PeerRefused(error):
            return {**name, "error": error.code}
        case BlockDistilled(number, key, refill, report):
            digest = key_digest(key, refill)
            return {**name, "block": number, "key_digest": digest, "report": report.to_json()}
        case BlockAborted(number, error, report):
            return {**name, "block": number, "error": error.code, "report": report.to_json()}
        case BlockConfirmed(number) | BlockDropped(number):
            return {**name, "block": number}
        case FramesReleased(before):
            return {**name, "before": before}


def key_digest(key: bytes | bytearray, refill: bytes | bytearray) -> bytes:
    """Return the SHA-256 by which a replay knows that it found the same key."""
    both = hashlib.sha256(len(key).to_bytes(8, "big") + key)
    both.update(refill)
    return both.digest()
