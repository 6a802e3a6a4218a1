"""The small protocols at which rooms meet.

A driver implements :class:`KeyDriver` and imports little else; TLS knows only
:class:`KeySource`. None of them is a base class: anything with the right methods fits.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from qkd_hal.errors import DeadlineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qkd_hal.keys import KeyId, KeyRef, Provenance, QuantumKey

__all__ = [
    "Agreement",
    "Alarm",
    "Capability",
    "Deadline",
    "Derives",
    "DetectionBatch",
    "DetectionSource",
    "DeviceInfo",
    "DeviceStatus",
    "EntropySource",
    "KeyDriver",
    "KeyLoader",
    "KeySource",
    "Reservation",
    "Slot",
]


class Deadline:
    """A moment on the monotonic clock until which a call may run; passed down whole."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not seconds >= 0:
            raise UsageError(f"a deadline lies in the future; got {seconds!r} seconds")
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self._at is not None and time.monotonic() >= self._at

    def remaining(self, at_most: float | None = None) -> float | None:
        """Seconds left, never negative; ``None`` means without end."""
        if self._at is None:
            return at_most
        left = self._at - time.monotonic()
        if left < 0:
            return 0.0
        return left if at_most is None or left < at_most else at_most

    def check(self, doing: str, *, device: str | None = None) -> None:
        """Raise :class:`DeadlineError` once the time is up."""
        if self.expired:
            raise DeadlineError(f"no answer in time while {doing}", device=device)


class Capability(Enum):
    """What a device claims; the conformance suite holds it to each claim."""

    LOOK_UP = "look-up"  # get_key_by_id() at any time, without a session at the other end
    STREAM = "stream"  # sessions without a fixed size
    EXTRACT = "extract"  # key bytes can leave the device
    DERIVE = "derive"  # derive() inside the device
    RESERVE_AHEAD = "reserve-ahead"  # a key can be reserved before the peer appears
    REPEATABLE_FETCH = "repeatable-fetch"  # fetch may be repeated until confirm
    CONFIRM_PEER = "confirm-peer"  # agree() can tell that the peer holds the key

    __hash__ = object.__hash__  # members are single; Enum's own, in Python, is on the hot path


class Alarm(Enum):
    """Conditions that a device reports in its status."""

    QBER_HIGH = "qber-high"
    KEYS_LOW = "keys-low"
    LINK_DOWN = "link-down"
    AUTHENTICATION = "authentication"  # forged messages on the classical channel
    PAD_LOW = "pad-low"  # authentication key runs out
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device is. ``site`` is its own name, ``peers`` whom it shares keys with."""

    vendor: str
    model: str
    serial_number: str
    firmware: str
    capabilities: frozenset[Capability]
    provenance: Provenance
    site: str = ""
    peers: tuple[str, ...] = ()
    max_key_size: int = 1 << 16  # bytes in one session or look-up


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """How a device fares now. ``None`` where it cannot tell."""

    qber: float | None = None
    secret_key_rate_bps: float | None = None
    stored_keys: int | None = None  # how many 256-bit keys this end may start
    stored_bytes: int | None = None  # the same store in bytes
    link_up: bool | None = None
    alarms: frozenset[Alarm] = frozenset()
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """A key that a driver holds for one session. ``size`` in bytes, ``None`` for a stream.

    ``handle`` belongs to the driver: a token or number that its later hooks need.
    """

    key_id: KeyId
    peer: str
    size: int | None
    handle: bytes = field(default=b"", repr=False)


class Agreement(Enum):
    """What :meth:`KeyDriver.agree` learned about the other end."""

    CONFIRMED = "confirmed"
    UNCHECKED = "unchecked"


class KeyDriver(Protocol):
    """What a vendor writes. All hooks block, and give up by their deadline.

    :class:`qkd_hal.device.QKDDevice` calls at most one hook at a time, except
    :meth:`close`, which may come from any thread and must wake a blocked hook with
    :class:`~qkd_hal.errors.DeviceClosedError`. A driver raises only the tree of
    :mod:`qkd_hal.errors`; :class:`~qkd_hal.errors.DeviceLostError` marks the device failed.
    """

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Connect and identify the device. Called again after a loss."""
        ...

    def close(self) -> None:
        """Release everything; idempotent, safe on a driver that never opened."""
        ...

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Report the device's health."""
        ...

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Set *count* fresh keys of *size* bytes aside for this end (``QKD_START(NULL)``)."""
        ...

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named (``QKD_START(id)``); consumes nothing."""
        ...

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Check, where the device can, that the other end holds the same key."""
        ...

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Fill *out* with the next ``len(out)`` bytes of the slot, completely or not at all."""
        ...

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Tell the device to erase what was fetched; idempotent."""
        ...


@runtime_checkable
class Derives(Protocol):
    """A driver whose keys stay inside: HKDF-Expand (RFC 5869, 2.3) runs in the device."""

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        """Return *size* bytes of HKDF-Expand-SHA256(key, *label*)."""
        ...


class KeyLoader(Protocol):
    """A token being filled: where keys that came from a device wait for a later session.

    Of each key that two tokens share, one holds the *own* half, which it may start sessions
    with, the other the *peer* half, which it gives out by ID: the holders never pick the same.
    """

    @property
    def site(self) -> str:
        """Whose token it is."""
        ...

    def load(
        self,
        key_id: KeyId,
        key: memoryview,
        *,
        own: bool,
        peer: str,
        provenance: Provenance,
        deadline: Deadline,
    ) -> None:
        """Store *key*, shared with *peer*, durably and whole, or not at all.

        Raises:
            UsageError: the token already holds a key *key_id*.
            DeviceError: the token is full, write-protected, or was lost.
        """
        ...

    def free(self, deadline: Deadline) -> int | None:
        """Count the 256-bit keys that still fit; ``None`` where the token cannot tell."""
        ...


class Reservation:
    """A fresh key that this end may use: its public reference and its bytes.

    Burned (wiped, never served again) unless given back unused. As a context manager it
    burns at the end of the block.
    """

    __slots__ = ("_give_back", "key", "ref")

    def __init__(
        self, ref: KeyRef, key: QuantumKey, give_back: Callable[[], None] | None = None
    ) -> None:
        self.ref = ref
        self.key = key
        self._give_back = give_back

    def give_back(self) -> None:
        """Return the key unused. Legal only while neither its bytes nor its ID were used.

        A source that cannot take it back burns it; so is a key whose bytes were shown.
        """
        give_back, self._give_back = self._give_back, None
        unused = not self.key.shown
        self.key.wipe()
        if give_back is not None and unused:
            give_back()

    def burn(self) -> None:
        """Wipe the key; it is never served again."""
        self._give_back = None
        self.key.wipe()

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self.burn()

    def __repr__(self) -> str:
        return f"<Reservation {self.ref}>"


@runtime_checkable
class KeySource(Protocol):
    """All that TLS, the proxy and the papers' protocols know of where keys come from."""

    @property
    def provenance(self) -> Provenance:
        """The least trusted provenance among the keys that this source may serve."""
        ...

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        """Set a fresh key of *size* bytes aside, one that *peer* can take by its reference.

        Raises:
            KeysExhaustedError: there is not enough key for *peer* now.
            LinkError: the peer is out of touch, so that nothing may be served.
        """
        ...

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        """Hand out the key that the peer named, once.

        Raises:
            KeyNotFoundError: forged, unknown, expired, of another size, or taken before.
        """
        ...

    def can_serve(self, peer: str, bits: int) -> bool:
        """Hint whether *bits* could be reserved for *peer* now; never a promise."""
        ...


@dataclass(frozen=True, slots=True)
class DetectionBatch:
    """Clicks of a single-photon receiver.

    ``pulses``: int64 pulse numbers, strictly rising; ``bases``: 0 = X (key), 1 = Z (test);
    ``bits``: the outcome; all of one length. Covers ``[first_pulse, end_pulse)``.
    """

    pulses: NDArray[np.int64]
    bases: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    first_pulse: int
    end_pulse: int


class DetectionSource(Protocol):
    """A raw time tagger or receiver: not a key device, it needs distillation."""

    @property
    def provenance(self) -> Provenance:
        """Whether real photons were seen."""
        ...

    def batches(self, deadline: Deadline) -> Iterator[DetectionBatch]:
        """Yield batches in pulse order until closed."""
        ...


class EntropySource(Protocol):
    """A random generator, for states, bases, seeds and sampling."""

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with random bytes."""
        ...
