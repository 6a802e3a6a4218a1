"""Everything that qkd-hal raises on purpose: one tree, one root.

Each class also inherits the standard library's nearest class, so that a plain
``except TimeoutError`` or ``except PermissionError`` does what a reader expects::

    QKDError
    ├── UsageError              ValueError       start(size=-1)
    │   └── StateError          RuntimeError     get_key() before connect()
    ├── ConfigurationError      ValueError       no [devices.lab] in qkd-hal.toml
    │   └── MissingExtraError   ImportError      bb84+tcp:// without pip install 'qkd-hal[sim]'
    ├── DeviceError             OSError          the box answered with a fault
    │   ├── DeviceNotFoundError LookupError      nothing listens at that address
    │   ├── DevicePermissionError PermissionError  the udev rule or credential file is missing
    │   ├── DeviceBusyError                      another process holds the port
    │   ├── DeviceLostError     ConnectionError  unplugged in the middle of a call
    │   ├── DeviceClosedError                    close() came from another thread
    │   ├── ProtocolError                        bytes on the wire that break the specification
    │   └── UnsupportedError                     derive() on a device that cannot
    ├── DeadlineError           TimeoutError     the call's time is up
    ├── KeyMaterialError
    │   ├── KeyNotFoundError    LookupError      unknown, expired or already taken key ID
    │   ├── KeysExhaustedError                   not enough key bits in store
    │   ├── KeyConsumedError                     these bytes were handed out or wiped before
    │   └── KeyMismatchError                     the two ends hold different bytes
    ├── DistillationError                        a BB84 block was aborted
    │   ├── QBERError                            the error rate is above the threshold
    │   ├── VerificationError                    the corrected keys still differ
    │   ├── AuthenticationError                  a message on the classical channel was forged
    │   ├── PadExhaustedError                    no one-time-pad key left to authenticate with
    │   └── NoSecretKeyError                     the finite-key bound is not positive
    ├── LinkError               ConnectionError  the other site's pool is out of touch
    ├── StoreError                               the key store is damaged or was rolled back
    └── TLSError                OSError          the handshake failed
        └── PolicyError                          the connection is weaker than the policy allows

``code`` is a stable name for machines and ``exit_code`` what the ``qkd-hal`` command
returns. A message says what happened, to which device or key, and what to do next; it
never holds key bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "DeadlineError",
    "DeviceBusyError",
    "DeviceClosedError",
    "DeviceError",
    "DeviceLostError",
    "DeviceNotFoundError",
    "DevicePermissionError",
    "DistillationError",
    "KeyConsumedError",
    "KeyMaterialError",
    "KeyMismatchError",
    "KeyNotFoundError",
    "KeysExhaustedError",
    "LinkError",
    "MissingExtraError",
    "NoSecretKeyError",
    "PadExhaustedError",
    "PolicyError",
    "ProtocolError",
    "QBERError",
    "QKDError",
    "StateError",
    "StoreError",
    "TLSError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
]


class QKDError(Exception):
    """Root of the tree.

    ``what`` says what happened, ``device`` and ``key_id`` to whom, ``cure`` what to do next.
    """

    code: ClassVar[str] = "qkd"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        device: str | None = None,
        key_id: KeyId | None = None,
        cure: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.device = device
        self.key_id = key_id
        self.cure = cure

    def __str__(self) -> str:
        subject = [f"device {self.device}"] if self.device else []
        subject += [f"key ID {self.key_id}"] if self.key_id else []
        where = f" ({', '.join(subject)})" if subject else ""
        return f"{self.what}{where}" + (f". {self.cure}" if self.cure else "")


class UsageError(QKDError, ValueError):
    """An argument makes no sense: ``start(size=-1)``."""

    code = "usage"
    exit_code = 2


class StateError(UsageError, RuntimeError):
    """A call out of order; the message names the call that must come first."""

    code = "state"


class ConfigurationError(QKDError, ValueError):
    """A URL, ``qkd-hal.toml`` or a key file is wrong or missing."""

    code = "configuration"
    exit_code = 3


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message holds the ``pip`` command."""

    code = "missing-extra"


class DeviceError(QKDError, OSError):
    """The device answered with a fault, or could not be reached."""

    code = "device"
    exit_code = 4


class DeviceNotFoundError(DeviceError, LookupError):
    """Nothing is there: wrong address, not plugged in, process not running."""

    code = "device-not-found"


class DevicePermissionError(DeviceError, PermissionError):
    """The operating system or the device refuses this user; the message names the cure."""

    code = "device-permission"


class DeviceBusyError(DeviceError):
    """Another process or session holds the device."""

    code = "device-busy"


class DeviceLostError(DeviceError, ConnectionError):
    """The device went away in the middle of a call; ``init()`` opens it again."""

    code = "device-lost"


class DeviceClosedError(DeviceError):
    """``close()`` was called, here or in another thread, while the call waited."""

    code = "device-closed"


class ProtocolError(DeviceError):
    """A peer or device sent bytes that break the written protocol."""

    code = "protocol"


class UnsupportedError(DeviceError):
    """The device does not have this capability."""

    code = "unsupported"


class DeadlineError(QKDError, TimeoutError):
    """The call's deadline passed; nothing was handed out."""

    code = "deadline"
    exit_code = 5


class KeyMaterialError(QKDError):
    """Anything about keys themselves."""

    code = "key"
    exit_code = 6


class KeyNotFoundError(KeyMaterialError, LookupError):
    """The key ID is unknown, expired, or was taken before."""

    code = "key-not-found"


class KeysExhaustedError(KeyMaterialError):
    """Not enough key material is in store for the request."""

    code = "keys-exhausted"


class KeyConsumedError(KeyMaterialError):
    """These key bytes were handed out, wiped, or belong to a process before ``fork``."""

    code = "key-consumed"


class KeyMismatchError(KeyMaterialError):
    """The two ends do not hold the same bytes under this key ID."""

    code = "key-mismatch"


class DistillationError(QKDError):
    """A block of raw key was aborted; no bit of it is ever seen."""

    code = "distillation"
    exit_code = 7


class QBERError(DistillationError):
    """The quantum bit error rate is above the threshold: noise, or an eavesdropper."""

    code = "qber"


class VerificationError(DistillationError):
    """The universal hashes of the corrected keys differ."""

    code = "verification"


class AuthenticationError(DistillationError):
    """A tag on the classical channel does not verify: somebody changed the discussion."""

    code = "authentication"


class PadExhaustedError(DistillationError):
    """The one-time-pad key that authenticates the classical channel is used up."""

    code = "pad-exhausted"


class NoSecretKeyError(DistillationError):
    """The finite-key bound leaves no secret bits in this block."""

    code = "no-secret-key"


class LinkError(QKDError, ConnectionError):
    """The pool of the other site is out of touch, or does not agree with ours."""

    code = "link"
    exit_code = 8


class StoreError(QKDError):
    """A key store is damaged, of another version, or older than the peer remembers."""

    code = "store"
    exit_code = 9


class TLSError(QKDError, OSError):
    """The TLS connection could not be made or was broken."""

    code = "tls"
    exit_code = 10


class PolicyError(TLSError):
    """The connection would be, or turned out to be, weaker than the policy allows."""

    code = "policy"
    exit_code = 11
