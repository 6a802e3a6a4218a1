"""What passed between the HAL and a driver, written down for a bug report; no key is in it.

:func:`recorded` writes down the calls of any driver, :func:`read_recording` reads them for
the driver ``replay:``. The format, and what is left out of it, is in ``docs/recording.md``.
"""

from __future__ import annotations

from qkd_hal.recording.reader import Call, Recording, parse_recording, read_recording
from qkd_hal.recording.recorder import RecordingDriver, recorded
from qkd_hal.recording.redaction import pseudonym
from qkd_hal.recording.wire_tap import Tapped, WireTap

__all__ = [
    "Call",
    "Recording",
    "RecordingDriver",
    "Tapped",
    "WireTap",
    "parse_recording",
    "pseudonym",
    "read_recording",
    "recorded",
]
