"""Whatever goes wrong, a caller sees one tree of errors, and reads what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import DeviceError, KeyMaterialError, QKDError, UsageError
from qkd_hal.keys import KeyId
from qkd_hal.testing.conformance._base import Conformance

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.testing.conformance._ends import End

__all__ = ["ErrorTree", "check_told"]

_LONGEST = 1000  # characters of one message
_STRANGER = "nobody-we-know"


class ErrorTree(Conformance):
    """Requests that no device can serve, one by one."""

    def test_errors_are_of_the_tree_and_name_the_device(self, end: End) -> None:
        """Each says what happened, to which device, in plain text."""
        device, key_id = end.device, KeyId.random()
        own, _ = end.give()
        calls: dict[str, Callable[[], object]] = {
            "an unknown key ID": lambda: device.start(end.peer, key_id=key_id),
            "a look-up of an unknown key ID": lambda: device.get_key_by_id(key_id, end.peer),
            "a key ID of this end": lambda: device.start(end.peer, key_id=own),
            "a size of minus one": lambda: device.start(end.peer, size=-1),
            "a key ID and an unknown peer": lambda: device.start(_STRANGER, key_id=own),
        }
        for what, call in calls.items():
            error = _raised_by(call)
            assert error is not None, f"{what} was accepted"
            check_told(error, what)
            expected = isinstance(error, DeviceError | KeyMaterialError | UsageError)
            assert expected, f"{what} raised {type(error).__name__}"
        device.status()


def check_told(error: QKDError, what: str) -> None:
    """Check that *error*, which *what* led to, tells its reader enough and nothing odd."""
    assert error.device, f"{what} raised an error that names no device: {error}"
    text = str(error)
    plain = text.isprintable() and len(text) <= _LONGEST
    assert plain, f"{what} raised an error with odd text: {text!a:.200}"


def _raised_by(call: Callable[[], object]) -> QKDError | None:
    try:
        call()
    except QKDError as error:
        return error
    return None
