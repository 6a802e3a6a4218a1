"""Serves the applications of this site over CURVE, in a thread of its own."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

import zmq
from zmq.auth.thread import ThreadAuthenticator

from qkd_hal.errors import ProtocolError, QKDError, UnsupportedError, UsageError
from qkd_hal.keys import KeyId, wipe
from qkd_hal_simulators.modem.app_messages import (
    MAX_REQUEST_BYTES,
    VERSION,
    Request,
    argument,
    encode_error,
    encode_reply,
)
from qkd_hal_simulators.modem.key_service import MAX_KEY_SIZE
from qkd_hal_simulators.modem.sockets import attach, bound_address, watch_peer

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from qkd_hal_simulators.modem.credential import ServerKeys
    from qkd_hal_simulators.modem.key_service import KeyService

__all__ = ["AppServer", "AppSocket"]

_LOG = logging.getLogger("qkd_hal.modem.app")
_SLICE_MS = 50
_QUEUED_REPLIES = 1000  # per application; one that never reads loses replies, not our memory
_ZAP_DOMAIN = "modem"


class AppServer:
    """Answers one request at a time; no request waits for the link."""

    def __init__(
        self,
        service: KeyService,
        *,
        identity: Mapping[str, object],
        status: Callable[[], Mapping[str, object]],
    ) -> None:
        self._service = service
        self._identity = identity
        self._status = status
        self._operations: dict[str, Callable[[Request], Mapping[str, object]]] = {
            "hello": self._hello,
            "status": lambda _: self._status(),
            "reserve": self._reserve,
            "bind": self._bind,
            "agree": self._agree,
            "confirm": self._confirm,
        }

    def answer(self, raw: bytes) -> list[bytes | bytearray]:
        """Return the parts of the reply to one request; none if it is not a request."""
        try:
            request = Request.from_bytes(raw)
        except ProtocolError as error:
            _LOG.warning("dropped a message of an application: %s", error)
            return []
        try:
            return self._run(request)
        except QKDError as error:
            return [encode_error(request.number, error)]

    def _run(self, request: Request) -> list[bytes | bytearray]:
        if request.operation == "fetch":
            return self._fetch(request)
        handler = self._operations.get(request.operation)
        if handler is None:
            raise UnsupportedError(f"this modem has no operation {request.operation[:32]!r}")
        return [encode_reply(request.number, handler(request))]

    def _hello(self, request: Request) -> Mapping[str, object]:
        version = argument(request, "version", int)
        if version != VERSION:
            raise UnsupportedError(
                f"this modem speaks version {VERSION} of its protocol, not {version}",
                cure="Update the older of the two",
            )
        return {"version": VERSION, "max_key_size": MAX_KEY_SIZE, **self._identity}

    def _reserve(self, request: Request) -> Mapping[str, object]:
        held = self._service.reserve(
            argument(request, "peer", str),
            argument(request, "size", int),
            argument(request, "count", int),
        )
        return {"slots": [{"key_id": bytes(key), "handle": handle} for key, handle in held]}

    def _bind(self, request: Request) -> Mapping[str, object]:
        key_id = KeyId.from_bytes(argument(request, "key_id", bytes))
        handle, size = self._service.bind(argument(request, "peer", str), key_id)
        return {"handle": handle, "size": size}

    def _agree(self, request: Request) -> Mapping[str, object]:
        return {"confirmed": self._service.agree(argument(request, "handle", bytes))}

    def _confirm(self, request: Request) -> Mapping[str, object]:
        self._service.confirm(argument(request, "handle", bytes))
        return {}

    def _fetch(self, request: Request) -> list[bytes | bytearray]:
        size = argument(request, "size", int)
        if not 1 <= size <= MAX_KEY_SIZE:
            raise UsageError(f"cannot fetch {size} bytes")
        handle, offset = argument(request, "handle", bytes), argument(request, "offset", int)
        out = bytearray(size)
        self._service.fetch(handle, offset, memoryview(out))
        return [encode_reply(request.number, {}), out]


class AppSocket:
    """The bound ROUTER socket and the check of its clients' keys."""

    def __init__(self, address: str, keys: ServerKeys) -> None:
        self._context = zmq.Context()  # of its own: ZAP answers for every socket of a context
        self._authenticator = ThreadAuthenticator(self._context, log=_LOG)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(_ZAP_DOMAIN, _OnlyClient(keys.admitted))
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._listen(address, keys)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system chose."""
        return bound_address(self._socket)

    def serve(self, server: AppServer, stop: threading.Event) -> None:
        """Answer requests until *stop* is set."""
        while not stop.is_set():
            if self._socket.poll(_SLICE_MS):
                self._serve_one(server)

    def close(self) -> None:
        """Release the port and end the authenticator's thread."""
        self._socket.close(linger=0)
        self._authenticator.stop()
        self._context.term()

    def _listen(self, address: str, keys: ServerKeys) -> None:
        self._socket.curve_server = True
        self._socket.curve_publickey = keys.public
        self._socket.curve_secretkey = keys.secret
        self._socket.zap_domain = _ZAP_DOMAIN.encode()
        self._socket.zap_enforce_domain = True  # without its authenticator, nobody comes in
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_REQUEST_BYTES
        self._socket.sndhwm = _QUEUED_REPLIES
        watch_peer(self._socket)
        attach(self._socket, address, bind=True)

    def _serve_one(self, server: AppServer) -> None:
        client, *parts = self._socket.recv_multipart()
        reply = server.answer(parts[0]) if len(parts) == 1 else []
        if reply:
            self._socket.send_multipart([client, *reply])
        for part in reply:
            if isinstance(part, bytearray):
                wipe(part)


class _OnlyClient:
    def __init__(self, admitted: bytes) -> None:
        self._admitted = admitted

    def callback(self, _domain: str, key: bytes) -> bool:
        return hmac.compare_digest(key, self._admitted)
