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
        key.decode("latin-1"),
    ]
    upper = [form.upper() for form in forms[:3]]
    return [*forms, *upper, *(json.dumps(form)[1:-1] for form in forms)]
