"""HELLO and AUTH: how a session comes to be (``docs/boxlink.md``, section 5)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, NamedTuple

from qkd_hal_firmware_mocks.boxlink import fields
from qkd_hal_firmware_mocks.boxlink.cbor import encode
from qkd_hal_firmware_mocks.boxlink.refusals import BoxError, Code
from qkd_hal_firmware_mocks.boxlink.seal import Secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.boxlink.settings import BoxSettings

__all__ = ["HalfOpen", "Opening"]

_MAJOR, _MINOR, _SUITE = 1, 0, 1
_HALF_OPEN_SECONDS = 10.0


class HalfOpen(NamedTuple):
    """A HELLO that was answered: both bodies, the secrets and the host's limits."""

    request: bytes
    answer: dict[str, Any]
    secrets: Secrets
    max_frame: int
    credit: int
    since: float


class Opening:
    """Answers HELLO, and judges the AUTH that follows; keeps one half-open session."""

    def __init__(
        self,
        settings: BoxSettings,
        clock: Callable[[], float],
        nonce: Callable[[int], bytes],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._nonce = nonce
        self._half_open: HalfOpen | None = None

    def forget(self) -> None:
        """Forget the half-open session."""
        self._half_open = None

    def hello(self, body: bytes) -> dict[str, Any]:
        """Answer HELLO.

        Raises:
            BoxError: another major version, or no common suite.
            MalformedError: the body breaks the schema.
        """
        if fields.read_fields(body, fields.HELLO_MAJOR)["major"] != _MAJOR:
            raise BoxError(Code.VERSION, "this box speaks boxlink 1", major=_MAJOR)
        hello = fields.read_fields(body, fields.HELLO)
        if _SUITE not in hello["suites"]:
            raise BoxError(Code.VERSION, "this box speaks cipher suite 1", major=_MAJOR)
        if self._half_open is None or self._half_open.request != body:
            self._half_open = self._answered(body, hello)
        return self._half_open.answer

    def _answered(self, body: bytes, hello: dict[str, Any]) -> HalfOpen:
        answer = {
            "major": _MAJOR,
            "minor": _MINOR,
            "nonce": self._nonce(32),
            "max_frame": self._settings.max_frame,
            "suite": _SUITE,
            "serial": self._settings.serial,
            "features": [],
        }
        secrets = Secrets(self._settings.psk, body, encode(answer))
        limits = hello["max_frame"], hello["credits"]
        return HalfOpen(body, answer, secrets, *limits, self._clock())

    def judge(self, proof: bytes) -> HalfOpen:
        """Return what the host has proved to share; either way nothing is half open after.

        Raises:
            BoxError: no HELLO came before, or it was long ago, or the proof is wrong.
        """
        half, self._half_open = self._half_open, None
        if half is None or self._clock() - half.since > _HALF_OPEN_SECONDS:
            raise BoxError(Code.NO_SESSION, "say HELLO first")
        if not hmac.compare_digest(proof, half.secrets.host_proof):
            raise BoxError(Code.REFUSED, "the proof is wrong")
        return half
