"""The calls of a recording, one after the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from qkd_hal.errors import ProtocolError
from qkd_hal.recording import Recording, codec, read_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qkd_hal.recording import Call

__all__ = ["Script"]

T = TypeVar("T")


class Script:
    """The recording at *path*, and how far it was replayed; *device* is for messages."""

    def __init__(self, path: Path, *, device: str) -> None:
        self._path = path
        self._device = device
        self._recording = Recording({})
        self._next = 0

    def load(self) -> None:
        """Read the file, unless that was done: a device that is opened again goes on.

        Raises:
            ConfigurationError: it cannot be read.
            ProtocolError: it is no recording.
        """
        if not self._recording.header:
            self._recording = read_recording(self._path)

    def next_is(self, name: str, arguments: Mapping[str, object]) -> bool:
        """Tell whether the recording goes on with this call."""
        call = self._upcoming()
        return call is not None and (call.name, call.arguments) == (name, arguments)

    def answer(self, name: str, arguments: Mapping[str, object], read: Callable[[Any], T]) -> T:
        """Give what this call gave, as *read* makes it of JSON, or raise what it raised.

        Raises:
            ProtocolError: the recording goes on with another call, or its answer is broken.
        """
        call = self._upcoming()
        if call is None or not self.next_is(name, arguments):
            raise ProtocolError(self._deviation(call, name, arguments), device=self._device)
        self._next += 1
        try:
            if call.error is None:
                return read(call.result)
            error = codec.error_from_json(call.error, device=self._device)
        except (KeyError, ValueError, TypeError):
            what = f"line {call.line} of the recording holds no answer of {name}"
            raise ProtocolError(what, device=self._device) from None
        raise error

    def _upcoming(self) -> Call | None:
        calls = self._recording.calls
        return calls[self._next] if self._next < len(calls) else None

    def _deviation(self, call: Call | None, name: str, arguments: Mapping[str, object]) -> str:
        came = f"but {_shown(name, arguments)} came"
        if call is None:
            return f"the recording ends with line {self._recording.lines}, {came}"
        return f"line {call.line} of the recording is {_shown(call.name, call.arguments)}, {came}"


def _shown(name: str, arguments: Mapping[str, object]) -> str:
    pairs = (f"{key}={json.dumps(value)}" for key, value in arguments.items())
    return f"{name}({', '.join(pairs)})"
