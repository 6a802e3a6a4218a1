"""How key bytes may be written."""

from __future__ import annotations

import base64
import json

__all__ = ["spellings"]


def spellings(key: bytes) -> list[str]:
    """Return *key* in every form in which a driver might let it slip."""
    hexadecimal = key.hex()
    forms = [
        hexadecimal,
        key.hex(":"),
        key.hex(" "),
        base64.b64encode(key).decode().rstrip("="),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
        base64.b32encode(key).decode().rstrip("="),
        repr(key)[2:-1],
        str(list(key))[1:-1],
        ",".join(map(str, key)),
        " ".join(map(str, key)),
        " ".join(f"{byte:#x}" for byte in key),
        "".join(f"\\x{byte:02x}" for byte in key),
        str(int.from_bytes(key)),
        str(int.from_bytes(key, "little")),
        hex(int.from_bytes(key)),
        key[::-1].hex(),
        *(_grouped(hexadecimal, digits, gap) for digits in (4, 8, 16) for gap in (" ", ", ")),
        " ".join(f"0x{word}" for word in _grouped(hexadecimal, 8, " ").split()),
        " / ".join(f"{byte:02x}" for byte in key),
        " ".join(f"{byte:08b}" for byte in key),
        key.decode("latin-1"),
    ]
    upper = [form.upper() for form in forms[:3]]
    return [*forms, *upper, *(json.dumps(form)[1:-1] for form in forms)]


def _grouped(text: str, size: int, gap: str) -> str:
    return gap.join(text[at : at + size] for at in range(0, len(text), size))
