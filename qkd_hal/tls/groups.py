"""Key-exchange groups by name, and what each adds to the quantum key."""

from __future__ import annotations

__all__ = ["CLASSICAL_GROUPS", "HYBRID_GROUPS", "canonical_group", "kind_of_group"]

HYBRID_GROUPS = ("X25519MLKEM768",)
CLASSICAL_GROUPS = ("X25519",)  # for peers without ML-KEM, such as OpenSSL before 3.5

_KINDS = {
    "X25519MLKEM768": "hybrid",
    "SecP256r1MLKEM768": "hybrid",
    "SecP384r1MLKEM1024": "hybrid",
    "MLKEM768": "post-quantum",
    "MLKEM1024": "post-quantum",
    "X25519": "classical",
    "secp256r1": "classical",
    "secp384r1": "classical",
}
_CANONICAL = {name.lower(): name for name in _KINDS}


def canonical_group(name: str | None) -> str:
    """Return the name as policies spell it, or *name* itself if no policy can ask for it."""
    return _CANONICAL.get((name or "").lower(), name or "none")


def kind_of_group(name: str) -> str:
    """Return ``hybrid``, ``post-quantum``, ``classical``, or ``none`` for an unknown group."""
    return _KINDS.get(name, "none")
