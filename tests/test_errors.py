"""The error tree: one root, stable codes, the standard library's classes, messages that help."""

from __future__ import annotations

import builtins
import re

import pytest

import qkd_hal.errors
from qkd_hal.errors import QKDError
from qkd_hal.keys import KeyId

CLASSES = [getattr(qkd_hal.errors, name) for name in qkd_hal.errors.__all__]

# code, exit code: machines rely on them, so that a change here is a change of the interface.
STABLE = {
    "QKDError": ("qkd", 1),
    "UsageError": ("usage", 2),
    "StateError": ("state", 2),
    "ConfigurationError": ("configuration", 3),
    "MissingExtraError": ("missing-extra", 3),
    "DeviceError": ("device", 4),
    "DeviceNotFoundError": ("device-not-found", 4),
    "DevicePermissionError": ("device-permission", 4),
    "DeviceBusyError": ("device-busy", 4),
    "DeviceLostError": ("device-lost", 4),
    "DeviceClosedError": ("device-closed", 4),
    "ProtocolError": ("protocol", 4),
    "UnsupportedError": ("unsupported", 4),
    "DeadlineError": ("deadline", 5),
    "KeyMaterialError": ("key", 6),
    "KeyNotFoundError": ("key-not-found", 6),
    "KeysExhaustedError": ("keys-exhausted", 6),
    "KeyConsumedError": ("key-consumed", 6),
    "KeyMismatchError": ("key-mismatch", 6),
    "DistillationError": ("distillation", 7),
    "QBERError": ("qber", 7),
    "VerificationError": ("verification", 7),
    "AuthenticationError": ("authentication", 7),
    "PadExhaustedError": ("pad-exhausted", 7),
    "NoSecretKeyError": ("no-secret-key", 7),
    "LinkError": ("link", 8),
    "StoreError": ("store", 9),
    "TLSError": ("tls", 10),
    "PolicyError": ("policy", 11),
}


def test_codes_and_exit_codes_are_stable_and_complete() -> None:
    assert {cls.__name__: (cls.code, cls.exit_code) for cls in CLASSES} == STABLE
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


def _drawn() -> list[tuple[str, str]]:
    """Read (class, standard library's class) off the tree in the module's docstring."""
    tree = qkd_hal.errors.__doc__ or ""
    return re.findall(r"[├└]── (\w+Error)(?: +(\w+Error))?", tree)


def test_every_class_is_drawn() -> None:
    assert {name for name, _ in _drawn()} == set(STABLE) - {"QKDError"}


@pytest.mark.parametrize(("name", "standard"), _drawn())
def test_a_plain_except_of_the_standard_library_works(name: str, standard: str) -> None:
    cls = getattr(qkd_hal.errors, name)
    assert issubclass(cls, QKDError)
    if standard:
        assert issubclass(cls, getattr(builtins, standard))


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_says_what_to_whom_and_what_to_do(cls: type[QKDError]) -> None:
    key_id = KeyId.random()
    error = cls("it broke", device="lab", key_id=key_id, cure="Mend it")
    assert str(error) == f"it broke (device lab, key ID {key_id}). Mend it"
    assert (error.what, error.device, error.key_id, error.cure) == (
        "it broke",
        "lab",
        key_id,
        "Mend it",
    )
    assert str(cls("it broke")) == "it broke"
    assert str(cls("it broke", device="lab")) == "it broke (device lab)"
