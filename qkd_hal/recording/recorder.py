"""A driver around a driver: passes every hook on, and writes down what was asked and answered."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qkd_hal import __version__
from qkd_hal.recording.calls import (
    bind_arguments,
    derive_arguments,
    fetch_arguments,
    reserve_arguments,
    slot_arguments,
)
from qkd_hal.recording.codec import (
    error_to_json,
    figure,
    info_to_json,
    slot_to_json,
    status_to_json,
)
from qkd_hal.recording.log import FORMAT, RecordingLog
from qkd_hal.recording.redaction import pseudonym, redacted_url
from qkd_hal.recording.wire_tap import Tapped
from qkd_hal.sources import Derives

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from qkd_hal.keys import KeyId
    from qkd_hal.registry import DeviceURL
    from qkd_hal.sources import (
        Agreement,
        Deadline,
        DeviceInfo,
        DeviceStatus,
        KeyDriver,
        Slot,
    )

__all__ = ["RecordingDriver", "recorded"]

T = TypeVar("T")


def recorded(driver: KeyDriver, path: str | os.PathLike[str], url: DeviceURL) -> KeyDriver:
    """Return *driver* with all its calls written to the new private file *path*.

    Raises:
        ConfigurationError: *path* exists, or cannot be made.
    """
    log = RecordingLog(Path(path))
    log.write(
        {
            "qkd_hal_recording": FORMAT,
            "qkd_hal": __version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "url": redacted_url(url),
            "driver": f"{type(driver).__module__}.{type(driver).__qualname__}",
        }
    )
    if isinstance(driver, Tapped):
        driver.wire_tap = _LoggedTap(log)
    if isinstance(driver, Derives):
        return _DerivingRecordingDriver(driver, driver, log)
    return RecordingDriver(driver, log)


class RecordingDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` that writes the calls of another to *log*."""

    def __init__(self, driver: KeyDriver, log: RecordingLog) -> None:
        self._driver = driver
        self._log = log

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Connect and identify the device."""
        return self._call("open", {}, deadline, lambda: self._driver.open(deadline), info_to_json)

    def close(self) -> None:
        """Release everything."""
        self._call("close", {}, None, self._driver.close)

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Report the device's health."""
        ask = self._driver.status
        return self._call("status", {}, deadline, lambda: ask(deadline), status_to_json)

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Set keys aside."""
        return self._call(
            "reserve",
            reserve_arguments(peer, size, count),
            deadline,
            lambda: self._driver.reserve(peer, size, count, deadline),
            lambda slots: [slot_to_json(_named(slot)) for slot in slots],
        )

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named."""
        return self._call(
            "bind",
            bind_arguments(peer, pseudonym(key_id)),
            deadline,
            lambda: self._driver.bind(peer, key_id, deadline),
            lambda slot: slot_to_json(_named(slot)),
        )

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Check that the other end holds the same key."""
        return self._call(
            "agree",
            slot_arguments(_named(slot)),
            deadline,
            lambda: self._driver.agree(slot, deadline),
            lambda agreement: agreement.value,
        )

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Fill *out*; only its length is written down."""
        fetch = self._driver.fetch
        arguments = fetch_arguments(_named(slot), len(out))
        self._call("fetch", arguments, deadline, lambda: fetch(slot, out, deadline))

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Have the device erase what was fetched."""
        confirm = self._driver.confirm
        self._call(
            "confirm", slot_arguments(_named(slot)), deadline, lambda: confirm(slot, deadline)
        )

    def _call(
        self,
        name: str,
        arguments: Mapping[str, object],
        deadline: Deadline | None,
        hook: Callable[[], T],
        to_json: Callable[[T], object] = lambda _: None,
    ) -> T:
        began = self._log.now()
        line = {"call": name, "arguments": arguments, "at": began}
        line["timeout"] = None if deadline is None else deadline.remaining()
        try:
            answer = hook()
        except BaseException as error:
            self._log.write(line | self._spent(began) | {"error": error_to_json(error)})
            raise
        self._log.write(line | self._spent(began) | {"result": _noted(answer, to_json)})
        return answer

    def _spent(self, began: float) -> dict[str, object]:
        return {"seconds": round(self._log.now() - began, 6)}


class _DerivingRecordingDriver(RecordingDriver):
    """The same around a token: it must not look like one where the driver is none."""

    def __init__(self, driver: KeyDriver, token: Derives, log: RecordingLog) -> None:
        super().__init__(driver, log)
        self._token = token

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        """Derive inside the token; the label is written down, the result is not."""
        derive = self._token.derive
        arguments = derive_arguments(_named(slot), label, size)
        return self._call(
            "derive", arguments, deadline, lambda: derive(slot, label, size, deadline)
        )


class _LoggedTap:
    """Writes the frames that a driver reports between the lines of its calls."""

    def __init__(self, log: RecordingLog) -> None:
        self._log = log

    def sent(self, header: Mapping[str, str | int], length: int) -> None:
        """Note a frame to the device."""
        self._note("sent", header, length)

    def received(self, header: Mapping[str, str | int], length: int) -> None:
        """Note a frame from the device."""
        self._note("received", header, length)

    def _note(self, direction: str, header: Mapping[str, str | int], length: int) -> None:
        plain = {name: figure(value) for name, value in header.items()}
        self._log.write(
            {"wire": direction, "header": plain, "length": length, "at": self._log.now()}
        )


def _named(slot: Slot) -> Slot:
    return replace(slot, key_id=pseudonym(slot.key_id))


def _noted(answer: T, to_json: Callable[[T], object]) -> object:
    try:
        value = to_json(answer)
        json.dumps(value, allow_nan=False)
        return value  # noqa: TRY300 - all three are attempted
    except Exception as error:  # noqa: BLE001 - what a broken driver gave is the caller's to judge
        return {"unreadable": type(error).__name__}
