"""The PSK identity that carries a key reference: ``qkd1:<site>:<key ID>``.

ASCII without NUL and at most 128 bytes, because that is what every TLS stack takes
(several cut an identity at NUL or at 255 bytes). It travels in clear: it names a key and
says nothing about it. RFC 8446, section 4.2.11 (``PskIdentity``).
"""

from __future__ import annotations

from qkd_hal.errors import ProtocolError
from qkd_hal.keys import KeyId, KeyRef

__all__ = ["MAX_IDENTITY", "decode_identity", "encode_identity"]

MAX_IDENTITY = 128  # bytes
_VERSION = "qkd1"


def encode_identity(ref: KeyRef) -> bytes:
    """Return the PSK identity that names *ref*; the same reference gives the same bytes."""
    return f"{_VERSION}:{ref.source}:{ref.key_id}".encode("ascii")


def decode_identity(identity: bytes) -> KeyRef:
    """Read an identity from the wire; only what :func:`encode_identity` writes is accepted.

    Raises:
        ProtocolError: anything else. The message never repeats the peer's bytes.
    """
    if len(identity) > MAX_IDENTITY:
        raise ProtocolError(f"a PSK identity of {len(identity)} bytes; ours have {MAX_IDENTITY}")
    try:
        version, source, key_id = identity.decode("ascii").split(":")
        ref = KeyRef(source, KeyId.parse(key_id))
    except ValueError:  # UsageError and UnicodeDecodeError are ValueErrors, too
        raise ProtocolError("the PSK identity names no quantum key") from None
    if version != _VERSION or key_id != key_id.lower():
        raise ProtocolError("the PSK identity is of another version or not in canonical form")
    return ref
