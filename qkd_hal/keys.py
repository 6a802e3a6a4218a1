"""Key identifiers and key material: redacted, handed out once, wiped.

What wiping means here, and what it cannot mean, is in ``docs/security.md``.
"""

from __future__ import annotations

import hmac
import os
import uuid
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from qkd_hal.errors import KeyConsumedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeyId", "KeyRef", "Origin", "Provenance", "QuantumKey"]

MAX_SOURCE_NAME = 64  # keeps a PSK identity inside the 128 bytes that every TLS stack takes


@dataclass(frozen=True, slots=True, order=True)
class KeyId:
    """The public name of a key: a UUID, as in ETSI GS QKD 014 (clause 6.3)."""

    uuid: uuid.UUID

    @classmethod
    def random(cls) -> KeyId:
        """Return a fresh random identifier (UUIDv4)."""
        return cls(uuid.UUID(bytes=os.urandom(16), version=4))

    @classmethod
    def parse(cls, text: str) -> KeyId:
        """Read the canonical form, 36 lower- or upper-case characters.

        Raises:
            UsageError: *text* is anything else; braces, URNs and bare hex are refused.
        """
        try:
            value = uuid.UUID(text)
        except (ValueError, AttributeError, TypeError):
            value = None
        if value is None or str(value) != text.lower():
            raise UsageError("not a key ID; expected a UUID such as " + str(uuid.UUID(int=0)))
        return cls(value)

    @classmethod
    def from_bytes(cls, raw: bytes) -> KeyId:
        """Read 16 bytes in network order."""
        if len(raw) != 16:
            raise UsageError(f"a key ID has 16 bytes, not {len(raw)}")
        return cls(uuid.UUID(bytes=bytes(raw)))

    def __bytes__(self) -> bytes:
        return self.uuid.bytes

    def __str__(self) -> str:
        return str(self.uuid)


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Which key, and whose: the site that owns it, and its identifier. Safe to send."""

    source: str
    key_id: KeyId

    def __post_init__(self) -> None:
        check_name(self.source)

    def __str__(self) -> str:
        return f"{self.source}/{self.key_id}"


def check_name(name: str) -> str:
    """Return *name* if it can name a site, peer or SAE on every wire we speak.

    Raises:
        UsageError: it is empty, too long, or has characters other than ASCII letters,
            digits, ``.``, ``_`` and ``-``.
    """
    plain = name.isascii() and name.replace(".", "").replace("_", "").replace("-", "").isalnum()
    if not plain or len(name) > MAX_SOURCE_NAME:
        raise UsageError(
            f"{name!r} cannot name a site or peer",
            cure=f"Use 1 to {MAX_SOURCE_NAME} ASCII letters, digits, '.', '_' or '-'",
        )
    return name


class Origin(Enum):
    """What made the key bits."""

    HARDWARE = "hardware"
    SIMULATED = "simulated"
    UNKNOWN = "unknown"


_DISTRUST = {Origin.HARDWARE: 0, Origin.UNKNOWN: 1, Origin.SIMULATED: 2}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where key material comes from; it travels with the key and is never improved.

    ``trusted_nodes`` names the relays that saw the key in clear, in order.
    """

    origin: Origin
    trusted_nodes: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        """True when any part came from a simulator."""
        return self.origin is Origin.SIMULATED

    def combined(self, other: Provenance) -> Provenance:
        """Return the provenance of material made from both: the less trusted of the two."""
        origin = max(self.origin, other.origin, key=_DISTRUST.__getitem__)
        extra = tuple(node for node in other.trusted_nodes if node not in self.trusted_nodes)
        return Provenance(origin, self.trusted_nodes + extra)

    def __str__(self) -> str:
        return self.origin.value + "".join(f" via {node}" for node in self.trusted_nodes)


class QuantumKey:
    """Key bytes in one buffer that this object owns, shows once and overwrites.

    A key never appears in ``repr``, ``str`` or a format; it cannot be copied, pickled,
    hashed or compared with ``==``; in a forked child it is gone. Use it as::

        with key.exposed() as view:
            cipher = AESGCM(view)

    A ``bytearray`` handed in is moved: the caller's buffer is zeroed.
    """

    __slots__ = ("__weakref__", "_buffer", "_pid", "_views", "provenance", "ref")

    def __init__(
        self,
        material: bytes | bytearray | memoryview,
        *,
        provenance: Provenance,
        ref: KeyRef | None = None,
    ) -> None:
        self._buffer = bytearray(material)
        if isinstance(material, bytearray):
            wipe(material)
        self._views = [None]
        self._pid = os.getpid()
        self.provenance = provenance
        self.ref = ref
        _LIVE.add(self)

    @contextmanager
    def exposed(self) -> Iterator[memoryview]:
        """Give a read-only view of the bytes, once; wipe them when the block ends.

        Raises:
            KeyConsumedError: the key was exposed or wiped before, or the process forked.
        """
        self._require_live()
        try:
            self._views.pop()  # atomic: of two threads only one gets the view
        except IndexError:
            what = "this key was exposed before"
            raise KeyConsumedError(what, key_id=self._key_id()) from None
        view = memoryview(self._buffer).toreadonly()
        try:
            yield view
        finally:
            self.wipe()  # first: a view that somebody still holds cannot be released
            view.release()

    @property
    def shown(self) -> bool:
        """Whether :meth:`exposed` gave the bytes to anybody."""
        return not self._views

    def matches(self, other: QuantumKey | bytes | bytearray | memoryview) -> bool:
        """Compare in constant time, without exposing either."""
        self._require_live()
        if not isinstance(other, QuantumKey):
            return hmac.compare_digest(self._buffer, other)
        other._require_live()  # noqa: SLF001 - same class
        # `other` keeps its name: this may be the last reference, and a key wipes as it goes.
        return hmac.compare_digest(self._buffer, other._buffer)  # noqa: SLF001

    def wipe(self) -> None:
        """Overwrite the bytes; safe to call again."""
        wipe(self._buffer)
        self._buffer = bytearray()

    def _key_id(self) -> KeyId | None:
        return self.ref.key_id if self.ref else None

    def _require_live(self) -> None:
        if self._pid != os.getpid():
            raise KeyConsumedError("keys do not survive fork()", key_id=self._key_id())
        if not self._buffer:
            raise KeyConsumedError("this key was wiped", key_id=self._key_id())

    def __len__(self) -> int:
        return len(self._buffer)

    def __enter__(self) -> QuantumKey:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __del__(self) -> None:
        wipe(getattr(self, "_buffer", bytearray()))  # absent when __init__ refused its argument

    def __repr__(self) -> str:
        name = f" {self.ref}" if self.ref else ""
        return f"<QuantumKey{name} {len(self._buffer)} bytes, {self.provenance}, redacted>"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        raise TypeError("keys are compared with matches(), in constant time")

    __hash__ = None  # type: ignore[assignment]

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a QuantumKey is not copied or serialised; use exposed(), once")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __getstate__ = _refuse


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite *buffer* with zeros in place."""
    buffer[:] = bytes(len(buffer))


class _LiveKeys:
    """Every key that still holds bytes, by identity (keys have no hash)."""

    def __init__(self) -> None:
        self._keys: dict[int, weakref.ref[QuantumKey]] = {}

    def add(self, key: QuantumKey) -> None:
        number = id(key)
        self._keys[number] = weakref.ref(key, lambda _: self._keys.pop(number, None))

    def wipe_all(self) -> None:
        for reference in list(self._keys.values()):
            key = reference()
            if key is not None:
                key.wipe()


_LIVE = _LiveKeys()
os.register_at_fork(after_in_child=_LIVE.wipe_all)
