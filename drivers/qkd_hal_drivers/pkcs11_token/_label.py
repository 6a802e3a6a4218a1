"""What stands in the CKA_LABEL of a key: whose half it is, and where it comes from.

``qkd own alice bob hardware``: alice holds it and may start sessions with bob; on bob's token
the same key is ``qkd peer bob alice hardware``. Trusted nodes follow the origin, if any.
"""

from __future__ import annotations

from dataclasses import dataclass

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.keys import Origin, Provenance, check_name

__all__ = ["KeyLabel"]

_MARK = "qkd"
_HALVES = {"own": True, "peer": False}
_MAX_BYTES = 1024  # a dozen trusted nodes with the longest names; a label is no data store


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """``own``: ``site``, the holder, may start sessions with this key; else ``peer`` may."""

    own: bool
    site: str
    peer: str
    provenance: Provenance

    def __post_init__(self) -> None:
        for name in (self.site, self.peer, *self.provenance.trusted_nodes):
            check_name(name)

    def __bytes__(self) -> bytes:
        """Return the label as it is written.

        Raises:
            UsageError: more trusted nodes than a label holds.
        """
        half = "own" if self.own else "peer"
        origin, nodes = self.provenance.origin.value, self.provenance.trusted_nodes
        raw = " ".join([_MARK, half, self.site, self.peer, origin, *nodes]).encode()
        if len(raw) > _MAX_BYTES:
            raise UsageError("the key passed through more trusted nodes than a label holds")
        return raw

    @classmethod
    def parse(cls, raw: bytes) -> KeyLabel:
        """Read a label.

        Raises:
            ProtocolError: it was not written by this convention.
        """
        try:
            mark, half, site, peer, origin, *nodes = raw[: _MAX_BYTES + 1].decode().split(" ")
            label = cls(_HALVES[half], site, peer, Provenance(Origin(origin), tuple(nodes)))
            known = mark == _MARK and bytes(label) == raw
        except (ValueError, KeyError):  # UsageError and UnicodeDecodeError are ValueErrors
            known = False
        if not known:
            raise ProtocolError("an object's label does not name a key of ours")
        return label
