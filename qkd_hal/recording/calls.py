"""The arguments of hooks as a recording has them: written by one driver, awaited by another.

Key IDs are what the caller makes them: pseudonyms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.recording.codec import slot_to_json

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId
    from qkd_hal.sources import Slot

__all__ = [
    "bind_arguments",
    "derive_arguments",
    "fetch_arguments",
    "reserve_arguments",
    "slot_arguments",
]


def reserve_arguments(peer: str, size: int | None, count: int) -> dict[str, object]:
    """Arguments of ``reserve``."""
    return {"peer": peer, "size": size, "count": count}


def bind_arguments(peer: str, key_id: KeyId) -> dict[str, object]:
    """Arguments of ``bind``."""
    return {"peer": peer, "key_id": str(key_id)}


def slot_arguments(slot: Slot) -> dict[str, object]:
    """Arguments of ``agree`` and ``confirm``."""
    return {"slot": slot_to_json(slot)}


def fetch_arguments(slot: Slot, size: int) -> dict[str, object]:
    """Arguments of ``fetch``: the length of the buffer, never what came into it."""
    return {"slot": slot_to_json(slot), "size": size}


def derive_arguments(slot: Slot, label: bytes, size: int) -> dict[str, object]:
    """Arguments of ``derive``; the label is public, and tells which key came out."""
    return {"slot": slot_to_json(slot), "label": label.hex(), "size": size}
