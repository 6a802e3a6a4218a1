"""What a recording says instead of what it must not say."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from qkd_hal.keys import KeyId

if TYPE_CHECKING:
    from qkd_hal.registry import DeviceURL

__all__ = ["REDACTED", "pseudonym", "redacted_text", "redacted_url"]

REDACTED = "REDACTED"
_NAMESPACE = uuid.UUID("5f1a9c5e-3f0b-5d53-9a38-6a1e5f2c7d10")  # stated in docs/recording.md
_MAX_TEXT = 500  # characters of one text; ours have fewer than 300
_KEY_ID = r"(?P<key_id>\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b)"
_GAP = r"[\W_]{0,4}"  # what stands between two numbers of a row
_BYTES = rf"(?:(?:0x|\b)[0-9A-Fa-f]{{1,3}}\b{_GAP}){{8,}}"  # byte by byte, decimal or hex
_WORDS = rf"(?:(?:0x|\b)[0-9A-Fa-f]{{4,}}\b{_GAP}){{3,}}"  # as xxd, od and debuggers print memory
_LONG_WORDS = rf"(?:(?:0x|\b)[0-9A-Fa-f]{{8,}}\b{_GAP}){{2,}}"
_NAME = r"""[a-z_.,:;()'"-]+(?!\S)"""  # such as reconciliation_efficiency; no key is spelt so
_RUN = rf"(?!{_NAME})\S{{20,}}"  # hex, Base32, Base64, a number
_SECRET = re.compile("|".join((_KEY_ID, _BYTES, _WORDS, _LONG_WORDS, _RUN)))
_RAW = re.compile(
    r"[\x00-\x1f\x7f-\x9f]|\\x|\bb['\"]"
)  # bytes as they are, or as Python shows them
_USB_IDS = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}")
_PORT = re.compile(r"(?::[0-9]{1,5})?$")


def pseudonym(key_id: KeyId) -> KeyId:
    """Return the name of *key_id* in every recording: a UUID of version 5 (RFC 9562, 5.5).

    Whoever knows the key ID recognises it, at either end of a link; nobody gets from the
    pseudonym to the ID, with which an unused key could be taken.
    """
    return KeyId(uuid.uuid5(_NAMESPACE, str(key_id)))


def redacted_text(text: str) -> str:
    """Return *text*, which a driver wrote, without anything that could be a key; key IDs
    become pseudonyms, and a text with raw bytes in it is left out whole."""
    text = str(text)[:_MAX_TEXT]
    return REDACTED if _RAW.search(text) else _SECRET.sub(_replacement, text)


def redacted_url(url: DeviceURL) -> str:
    """Return what of a device's address says how it is attached, and not whose it is."""
    usb = _USB_IDS.fullmatch(url.authority)
    authority = url.authority if usb or not url.authority else f"HOST{_port(url.authority)}"
    plain = usb or url.path.startswith("/dev/") or not url.path.strip("/")
    path = quote(url.path) if plain else ("/" + REDACTED if url.path[0] == "/" else REDACTED)
    query = "&".join(f"{name}={REDACTED}" for name in url.query)
    slashes = "//" if url.text[len(url.scheme) + 1 :].startswith("//") else ""
    return f"{url.scheme}:{slashes}{authority}{path}" + (f"?{query}" if query else "")


def _port(authority: str) -> str:
    match = _PORT.search(authority)
    return match[0] if match else ""


def _replacement(match: re.Match[str]) -> str:
    key_id = match["key_id"]
    return str(pseudonym(KeyId.parse(key_id))) if key_id else REDACTED
