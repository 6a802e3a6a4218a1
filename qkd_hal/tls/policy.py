"""What a connection must be, and the check of what it became."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from qkd_hal.errors import PolicyError, UsageError
from qkd_hal.tls.groups import HYBRID_GROUPS, canonical_group, kind_of_group

if TYPE_CHECKING:
    from qkd_hal.keys import Provenance
    from qkd_hal.tls.protection import Protection

__all__ = ["PORTABLE_SUITES", "REQUIRE_QUANTUM", "STRICT_SUITES", "Mode", "Policy", "suite_id"]

PORTABLE_SUITES = ("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
STRICT_SUITES = ("TLS_AES_256_GCM_SHA384",)

_SUITE_IDS = {  # RFC 8446, appendix B.4
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
_MIN_KEY, _MAX_KEY = 32, 512  # bytes; OpenSSL takes at most 512


class Mode(Enum):
    """What to do without a quantum key. This release has one answer: refuse."""

    REQUIRE_QUANTUM = "require_quantum"


@dataclass(frozen=True, slots=True)
class Policy:
    """What both ends of a connection insist on.

    ``groups`` and ``suites``: allowed names, best first; a classical group must be asked
    for by name. ``key_size`` in bytes. ``handshake_timeout``: seconds for the whole
    handshake, however slowly the peer feeds it. ``allow_simulated``: accept keys from a
    simulator.

    Raises:
        UsageError: a name or number that no connection could satisfy.
    """

    mode: Mode = Mode.REQUIRE_QUANTUM
    allow_simulated: bool = False
    groups: tuple[str, ...] = HYBRID_GROUPS
    suites: tuple[str, ...] = PORTABLE_SUITES
    key_size: int = 32
    handshake_timeout: float = 10.0

    def __post_init__(self) -> None:
        self._check_groups()
        self._check_suites()
        if not _MIN_KEY <= self.key_size <= _MAX_KEY:
            raise UsageError(f"key_size is {_MIN_KEY} to {_MAX_KEY} bytes, not {self.key_size}")
        if not self.handshake_timeout > 0:
            raise UsageError(f"handshake_timeout is positive, not {self.handshake_timeout}")

    def _check_groups(self) -> None:
        unknown = [name for name in self.groups if kind_of_group(name) == "none"]
        if unknown or not self.groups:
            raise UsageError(f"groups are named as in TLS, such as X25519MLKEM768; got {unknown}")

    def _check_suites(self) -> None:
        # OpenSSL picks the suite before the key: with suites of both hashes it may pick one
        # that the key does not fit, and goes on without the key.
        unknown = [name for name in self.suites if name not in _SUITE_IDS]
        hashes = {name.rpartition("_")[2] for name in self.suites}
        if unknown or len(hashes) != 1:
            raise UsageError(
                f"suites must be TLS 1.3 suites of one hash; got {self.suites}",
                cure="Use PORTABLE_SUITES (SHA-256) or STRICT_SUITES (SHA-384)",
            )

    def require_provenance(self, provenance: Provenance) -> None:
        """Refuse simulated keys unless they are allowed.

        Raises:
            PolicyError: the key comes, in whole or in part, from a simulator.
        """
        if provenance.simulated and not self.allow_simulated:
            raise PolicyError(
                "this quantum key comes from a simulator",
                cure="For tests, say so: Policy(allow_simulated=True)",
            )

    def require(self, protection: Protection) -> None:
        """Check a finished handshake before a byte of application data moves.

        Raises:
            PolicyError: the connection is not what this policy asks for.
        """
        if not protection.psk_used or protection.key_ref is None or protection.provenance is None:
            raise PolicyError(
                "the peer finished the handshake without the quantum key",
                cure="Check that it is keyed by the same link and offers suites of one hash only",
            )
        self.require_provenance(protection.provenance)
        self._require_parameters(protection)

    def _require_parameters(self, protection: Protection) -> None:
        agreed = {
            protection.version: ("TLSv1.3",),
            protection.cipher: self.suites,
            canonical_group(protection.group): self.groups,
        }
        for value, allowed in agreed.items():
            if value not in allowed:
                raise PolicyError(f"the handshake agreed on {value}; allowed: {', '.join(allowed)}")


REQUIRE_QUANTUM = Policy()
"""The default: a quantum key from hardware, X25519MLKEM768 on top, or no connection."""


def suite_id(policy: Policy) -> bytes:
    """Return the wire identifier of the suite that fixes the key's hash."""
    return _SUITE_IDS[policy.suites[0]].to_bytes(2, "big")
