"""Instruments of a QKD set-up that hold no keys: time taggers and random generators.

They are not devices: raw detections still need distillation, and random numbers are nobody's
shared key. Each has its own opener, so that neither is taken for a key source by mistake::

    with qkd_hal.open_detection_source("tdc1:///dev/ttyACM0?rate_hz=1000000") as tagger:
        for batch in tagger.batches(Deadline(None)):
            session.add_detections(batch)

    with qkd_hal.open_entropy_source("quantis:") as generator:
        generator.read_into(memoryview(seed))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from qkd_hal import schemes
from qkd_hal.device_url import DeviceURL
from qkd_hal.sources import Deadline, DetectionSource, EntropySource

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = [
    "DetectionInstrument",
    "EntropyInstrument",
    "open_detection_source",
    "open_entropy_source",
]

_DEFAULT_TIMEOUT = 10.0  # seconds


class _Instrument(Protocol):
    def close(self) -> None:
        """Release it; idempotent, from any thread, and wakes a blocked call."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class DetectionInstrument(DetectionSource, _Instrument, Protocol):
    """An open time tagger or receiver."""


class EntropyInstrument(EntropySource, _Instrument, Protocol):
    """An open random generator."""


def open_detection_source(url: str, *, timeout: float = _DEFAULT_TIMEOUT) -> DetectionInstrument:
    """Connect to the time tagger at *url*, and identify it within *timeout* seconds.

    Raises:
        ConfigurationError: a malformed URL or an unknown scheme; for the scheme of another
            kind of device, the message names its opener.
        MissingExtraError: the scheme's driver needs an extra; the message names it.
        DeviceError: it is not there, not accessible, busy, or something else.
        DeadlineError: it did not answer in time.
    """
    parsed = DeviceURL.parse(url)
    opened = schemes.make(schemes.DETECTION_SOURCES, parsed, Deadline(timeout))
    return cast("DetectionInstrument", opened)


def open_entropy_source(url: str, *, timeout: float = _DEFAULT_TIMEOUT) -> EntropyInstrument:
    """Connect to the random generator at *url* and test it, within *timeout* seconds.

    Raises:
        ConfigurationError, MissingExtraError, DeviceError, DeadlineError: as for
            :func:`open_detection_source`.
    """
    parsed = DeviceURL.parse(url)
    opened = schemes.make(schemes.ENTROPY_SOURCES, parsed, Deadline(timeout))
    return cast("EntropyInstrument", opened)
