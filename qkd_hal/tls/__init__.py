"""TLS 1.3 keyed by quantum keys, for anything that is a :class:`~qkd_hal.sources.KeySource`.

The key goes in as an external pre-shared key next to a post-quantum hybrid key exchange
(RFC 8446, ``psk_dhe_ke``), and its reference travels as the PSK identity. After every
handshake the result is checked, because some peers drop the key in silence. Threat model
and peers: ``docs/tls.md``.
"""

from __future__ import annotations

from qkd_hal.tls._openssl import check_engine
from qkd_hal.tls.client import connect
from qkd_hal.tls.connection import QKDSocket
from qkd_hal.tls.context import QKDContext
from qkd_hal.tls.groups import CLASSICAL_GROUPS, HYBRID_GROUPS
from qkd_hal.tls.identity import decode_identity, encode_identity
from qkd_hal.tls.policy import PORTABLE_SUITES, REQUIRE_QUANTUM, STRICT_SUITES, Mode, Policy
from qkd_hal.tls.protection import Protection
from qkd_hal.tls.server import Server, serve

__all__ = [
    "CLASSICAL_GROUPS",
    "HYBRID_GROUPS",
    "PORTABLE_SUITES",
    "REQUIRE_QUANTUM",
    "STRICT_SUITES",
    "Mode",
    "Policy",
    "Protection",
    "QKDContext",
    "QKDSocket",
    "Server",
    "check_engine",
    "connect",
    "decode_identity",
    "encode_identity",
    "serve",
]
