"""A scripted double of the optical modem's application wire, with faults on request.

Written from ``docs/modem-protocol.md`` alone. It holds one key for every handle it gives
out and misbehaves as :class:`Fault` says, once for each entry in ``faults``.
"""

from __future__ import annotations

import json
import os
import threading
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
import zmq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["Fault", "MockModem"]


class Fault(Enum):
    """What goes wrong with one reply."""

    SILENCE = auto()  # the request is done, its reply is lost
    LATE = auto()  # the reply comes just before the next one
    WRONG_LENGTH = auto()  # key bytes of another length than asked for
    NO_KEY_PART = auto()  # a fetch answered without key bytes
    GARBAGE = auto()  # not CBOR
    NOT_A_MAP = auto()  # CBOR, but a list
    TRAILING = auto()  # a good reply, and a byte behind it
    STALE_FLOOD = auto()  # answers to an earlier request, without end
    FUTURE = auto()  # an answer to a request that was never made
    MISSING_FIELD = auto()  # a success without its results
    WRONG_TYPE = auto()  # every result is text
    ERROR_EXHAUSTED = auto()  # the stable code "keys-exhausted"
    ERROR_UNKNOWN_CODE = auto()  # a code of a later version
    ERROR_CONTROL_CHARACTERS = auto()  # an error text that would move a terminal's cursor


_REPLACED = {
    Fault.GARBAGE: b"\xff\xff\xff",
    Fault.NOT_A_MAP: cbor2.dumps([1, 2, 3]),
}
_ERRORS = {
    Fault.ERROR_EXHAUSTED: ("keys-exhausted", "nothing in store"),
    Fault.ERROR_UNKNOWN_CODE: ("flux-capacitor", "a fault of the future"),
    Fault.ERROR_CONTROL_CHARACTERS: ("device", "line\x1b[2Jfeed\n"),
}


class MockModem:
    """A modem in a thread. *directory* gets the credential; *version* is what it speaks."""

    def __init__(self, directory: Path, *, version: int = 1) -> None:
        self.faults: list[Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.version = version
        self._late: list[list[bytes]] = []
        self._client = b""  # who asked last; a router cannot answer another
        self._keys: dict[bytes, bytes] = {}
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self.credential = directory / "client.curve"
        self._prepare()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where a driver opens it."""
        return f"bb84+tcp://127.0.0.1:{self.port}?credential={self.credential}"

    def key_of(self, handle: bytes) -> bytes:
        """Return the key under *handle*."""
        return self._keys[handle]

    def close(self) -> None:
        """End the thread and release the port."""
        self._stop.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()

    def _prepare(self) -> None:
        public, secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        fields = {
            "server_public": public.decode(),
            "client_public": client_public.decode(),
            "client_secret": client_secret.decode(),
        }
        self.credential.touch(mode=0o600)
        self.credential.write_text(json.dumps(fields))
        self._socket.curve_server = True
        self._socket.curve_secretkey = secret
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(20):
                client, raw = self._socket.recv_multipart()
                if client != self._client:
                    self._client, self._late = client, []
                for parts in self._replies(raw):
                    self._socket.send_multipart([client, *parts])

    def _flood(self) -> Iterator[list[bytes]]:
        while not self._stop.is_set() and not self._socket.poll(0):
            yield [cbor2.dumps({"n": 0}, canonical=True)]

    def _replies(self, raw: bytes) -> Iterable[list[bytes]]:
        request = cbor2.loads(raw)
        self.requests.append(request)
        parts = self._answer(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault is Fault.STALE_FLOOD:
            return self._flood()
        if fault is Fault.LATE:
            self._late.append(parts)
        if fault in (Fault.LATE, Fault.SILENCE):
            return []
        late, self._late = self._late, []
        return [*late, parts if fault is None else _spoilt(fault, parts, request["n"])]

    def _answer(self, request: dict[str, Any]) -> list[bytes]:
        key = b""
        if request["op"] == "fetch":
            start = request["offset"]
            key = self._keys[request["handle"]][start : start + request["size"]]
        reply = {"n": request["n"], **getattr(self, f"_op_{request['op']}")(request)}
        return [cbor2.dumps(reply, canonical=True), *([key] if key else [])]

    def _op_hello(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": self.version,
            "vendor": "mock",
            "model": "double",
            "serial_number": "1",
            "firmware": "0",
            "simulated": True,
            "site": "alice",
            "peer": "bob",
            "max_key_size": 65536,
            "a later version's field": 1,
        }

    def _op_status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "qber": 0.01,
            "secret_key_rate_bps": None,
            "stored_keys": 4,
            "stored_bytes": 128,
            "link_up": True,
            "alarms": ["keys-low", "an alarm of a later version"],
            "details": {"blocks": 1},
        }

    def _op_reserve(self, request: dict[str, Any]) -> dict[str, Any]:
        slots = [self._new_key(request["size"]) for _ in range(request["count"])]
        return {"slots": [{"key_id": os.urandom(16), "handle": handle} for handle in slots]}

    def _op_bind(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"handle": self._new_key(32), "size": 32}

    def _op_agree(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"confirmed": True}

    def _op_fetch(self, _: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _op_confirm(self, _: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _new_key(self, size: int) -> bytes:
        handle = os.urandom(16)
        self._keys[handle] = os.urandom(size)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _spoilt(fault: Fault, parts: list[bytes], number: int) -> list[bytes]:
    if fault in _REPLACED:
        return [_REPLACED[fault]]
    if fault in _ERRORS:
        code, what = _ERRORS[fault]
        return [cbor2.dumps({"n": number, "error": code, "what": what}, canonical=True)]
    return _reshaped(fault, parts, number)


def _reshaped(fault: Fault, parts: list[bytes], number: int) -> list[bytes]:
    results = cbor2.loads(parts[0])
    if fault is Fault.TRAILING:
        return [parts[0] + b"\0", *parts[1:]]
    if fault is Fault.WRONG_LENGTH:
        return [parts[0], b"\0" * 7]
    if fault is Fault.FUTURE:
        results["n"] = number + 1
    if fault is Fault.MISSING_FIELD:
        results = {"n": number}
    if fault is Fault.WRONG_TYPE:
        results = dict.fromkeys(results, "text") | {"n": number}
    head = cbor2.dumps(results, canonical=True)
    return [head] if fault is Fault.NO_KEY_PART else [head, *parts[1:]]
