"""Key material leaves by the front door only."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from qkd_hal.errors import QKDError
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends, driver_of
from qkd_hal.testing.conformance._secrets import Needle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from qkd_hal.device import QKDSession

__all__ = ["Leaks"]


class Leaks(Conformance):
    """Eight bytes of a key in a row, in hex, base64, as escapes or numbers, are a leak."""

    def test_keys_stay_out_of_logs(
        self, end: End, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """At the lowest level, and on standard output and error."""
        with caplog.at_level(logging.NOTSET + 1), end.begin() as session:
            needle = _needle(end, session)
            end.device.status()
        written = "".join([caplog.text, *capfd.readouterr()])
        leaked = needle.in_text(written)
        assert not leaked, "key bytes were logged or printed"

    def test_keys_stay_out_of_repr(self, end: End) -> None:
        """Of the device, the session, the driver, the status and the identity."""
        with end.begin() as session:
            needle = _needle(end, session)
            objects = (end.device, session, driver_of(end.device), end.device.status())
            texts = [f"{item!r}\n{item}" for item in (*objects, end.device.info)]
        leaked = needle.in_text("\n".join(texts))
        assert not leaked, "a repr shows key bytes"

    def test_keys_stay_out_of_errors(self, end: End) -> None:
        """Of their messages, their causes, and the traceback with its local variables."""
        with end.begin() as session:
            needle, key_id = _needle(end, session), session.key_id
            calls: list[Callable[[], object]] = [
                lambda: session.get_key(SIZE + 1),
                lambda: end.device.start(end.peer, key_id=key_id),
                lambda: end.device.get_key_by_id(key_id, end.peer),
            ]
            texts = list(_errors(calls))
        end.device.close()
        texts += _errors([lambda: session.get_key(1)])
        leaked = needle.in_text("\n".join(texts))
        assert not leaked, "an error shows key bytes"

    def test_the_driver_keeps_no_copy(self, ends: Ends) -> None:
        """Once both ends got a key, nothing that a driver holds in this process has it."""
        with ends.alice.begin() as session:
            needle = _needle(ends.alice, session)
            ends.bob.take(session.key_id)
        ends.bob.device.status()  # an erasure that was owed goes before the next call
        for device in ends.devices:
            held = needle.held_by(driver_of(device))
            assert not held, f"the driver of {device.name} still holds a key that was delivered"


def _needle(end: End, session: QKDSession) -> Needle:
    if end.both_extract:
        return Needle(session.get_key())
    return Needle(session.derive(b"needle"))


def _errors(calls: list[Callable[[], object]]) -> Iterator[str]:
    for call in calls:
        try:
            call()
        except QKDError as error:
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            yield "\n".join([repr(error), *map(repr, error.args), *told.format()])
