"""Reads a recording, strictly."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qkd_hal.errors import ConfigurationError, ProtocolError
from qkd_hal.recording.codec import item
from qkd_hal.recording.log import FORMAT, MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Call", "Recording", "parse_recording", "read_recording"]


@dataclass(frozen=True, slots=True)
class Call:
    """One hook call at *line* of the file. ``error`` is ``None`` where it gave ``result``."""

    line: int
    name: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """What ``header`` says of the recorded device, and the calls in order, without ``close``,
    which may come at any time. ``lines`` is the length of the file."""

    header: Mapping[str, Any]
    calls: tuple[Call, ...] = ()
    lines: int = field(default=1, compare=False)


def read_recording(path: Path) -> Recording:
    """Read the file *path*.

    Raises:
        ConfigurationError: it cannot be read.
        ProtocolError: it is no recording, or of another version.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read the recording {path}: {error.strerror}") from None
    return parse_recording(raw)


def parse_recording(raw: bytes) -> Recording:
    """Read the bytes of a recording; a last line that a crash cut short is left out.

    Raises:
        ProtocolError: it is no recording, or of another version.
    """
    if len(raw) > MAX_BYTES:
        raise ProtocolError(f"a recording has at most {MAX_BYTES} bytes")
    lines = raw.split(b"\n")[:-1]
    fields = [_parsed(line, number) for number, line in enumerate(lines, 1)]
    if not fields or fields[0].get("qkd_hal_recording") != FORMAT:
        what = f"this is no recording of version {FORMAT}"
        raise ProtocolError(what, cure="Record again with this version of qkd-hal")
    calls = [_call(line, number) for number, line in enumerate(fields[1:], 2) if "call" in line]
    return Recording(
        fields[0], tuple(call for call in calls if call.name != "close"), lines=len(lines)
    )


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if type(fields) is not dict:
        raise ProtocolError(f"line {number} of the recording is no JSON object")
    return fields


def _call(fields: dict[str, Any], number: int) -> Call:
    try:
        return Call(
            line=number,
            name=item(fields, "call", str),
            arguments=item(fields, "arguments", dict),
            result=fields.get("result"),
            error=item(fields, "error", dict) if "error" in fields else None,
        )
    except (KeyError, TypeError):
        raise ProtocolError(f"line {number} of the recording is no call") from None
