"""The form of a transcript that can be sent: what an eavesdropper on the wire has, and counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qkd_hal.distillation.transcript import Header, Step
from qkd_hal.distillation.transcript_arrays import unpack_batch
from qkd_hal.distillation.transcript_file import TranscriptWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qkd_hal.distillation.transcript import Transcript

__all__ = ["redact"]

_KEPT_ABOUT = {"qkd_hal", "python"}  # versions; sites and addresses are nobody's business
_PUBLIC_EVENT = {"event", "block", "report", "error", "session", "before"}


def redact(transcript: Transcript, write: Callable[[bytes], object]) -> None:
    """Write the redacted form of *transcript*: messages, events, reports, and calls.

    Nothing is kept that is not named here. Messages are public: they crossed the wire.

    Raises:
        ProtocolError: *transcript* is damaged.
    """
    writer = TranscriptWriter(write)
    writer.add(_header(transcript.header).to_fields())
    for step in transcript:
        writer.add(_step(step).to_fields())
    if transcript.complete:
        writer.close()


def _header(header: Header) -> Header:
    return Header(
        header.role,
        replace(header.parameters, extra={}),
        header.stages,
        header.first_block,
        header.unconfirmed,
        header.options,
        secret=False,
        parameters_digest=header.parameters_digest,
        about={name: value for name, value in header.about.items() if name in _KEPT_ABOUT},
    )


def _step(step: Step) -> Step:
    detections = step.call == "add-detections"
    return Step(
        step.call,
        len(unpack_batch(step.argument).pulses) if detections else step.argument,
        said=step.said,
        events=tuple(_event(event) for event in step.events),
        raised=step.raised,
    )


def _event(event: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in event.items() if name in _PUBLIC_EVENT}
