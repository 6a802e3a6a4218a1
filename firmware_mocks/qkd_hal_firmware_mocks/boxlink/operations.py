"""What a host may ask for in a session (``docs/boxlink.md``, section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qkd_hal_firmware_mocks.boxlink import fields
from qkd_hal_firmware_mocks.boxlink.cbor import encode
from qkd_hal_firmware_mocks.boxlink.frame import CHUNK, OVERHEAD, RSP
from qkd_hal_firmware_mocks.boxlink.refusals import BoxError, Code
from qkd_hal_firmware_mocks.boxlink.seal import SEAL_BYTES
from qkd_hal_firmware_mocks.boxlink.transfer import CHUNK_HEADER_BYTES, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qkd_hal_firmware_mocks.boxlink.fields import Check
    from qkd_hal_firmware_mocks.boxlink.keys import BoxKeys
    from qkd_hal_firmware_mocks.boxlink.settings import BoxSettings

    Act = Callable[[dict[str, Any]], dict[str, Any]]

__all__ = ["AGREE", "AUTH", "BIND", "BYE", "HELLO", "NAMES", "Operations"]

HELLO, AUTH, BYE = 0x01, 0x02, 0x03
INFO, STATUS = 0x10, 0x11
RESERVE, BIND, AGREE, FETCH, CONFIRM = range(0x20, 0x25)
NAMES = {
    HELLO: "HELLO",
    AUTH: "AUTH",
    BYE: "BYE",
    INFO: "INFO",
    STATUS: "STATUS",
    RESERVE: "RESERVE",
    BIND: "BIND",
    AGREE: "AGREE",
    FETCH: "FETCH",
    CONFIRM: "CONFIRM",
}

_MAX_DATA = 4096  # above it a FETCH announces a transfer
_DATA_FIELD = 9  # bytes of CBOR around the bytes of `data`
_TOKENS = 64  # more than the 16 that a host may count on
_LOW_KEYS = 16
_KEY_BYTES = 32

Reply = tuple[int, bytes]


class Operations:
    """Answers requests and credits: a list of (frame type, plaintext) for each.

    *refuse* and *tamper* are for faults: an error to answer instead of doing anything, and a
    function that changes the fields of the answer.
    """

    def __init__(self, settings: BoxSettings, keys: BoxKeys) -> None:
        self.refuse: BoxError | None = None
        self.tamper: Callable[[dict[str, Any]], None] | None = None
        self._settings = settings
        self._keys = keys
        self._tokens: dict[bytes, list[bytes]] = {}
        self._transfer: Transfer | None = None
        self.transfers = 0
        self._max_frame = self._credit = 0
        self._known: dict[int, tuple[Mapping[str, Check], Act]] = {
            BYE: (fields.EMPTY, lambda _: {}),
            INFO: (fields.EMPTY, self._info),
            STATUS: (fields.EMPTY, self._status),
            RESERVE: (fields.RESERVE, self._reserve),
            BIND: (fields.BIND, self._bind),
            AGREE: (fields.AGREE, self._agree),
            FETCH: (fields.FETCH, self._fetch),
            CONFIRM: (fields.CONFIRM, self._confirm),
        }

    def begin_session(self, *, max_frame: int, credit: int) -> None:
        """Take the limits that the host's HELLO set."""
        self._max_frame, self._credit = max_frame, credit

    def end_session(self) -> None:
        """Erase the keys reserved and not confirmed, since their IDs may have left."""
        self._tokens.clear()
        self._transfer = None
        self._keys.forget_own()

    def request(self, operation: int, sequence: int, plain: bytes) -> list[Reply]:
        """Answer a REQ.

        Raises:
            BoxError, MalformedError, sqlite3.Error: the answer is an ERR.
        """
        self._transfer = None
        if self.refuse is not None:
            raise self.refuse
        if operation not in self._known:
            raise BoxError(Code.UNKNOWN_OP, "no such operation")
        schema, act = self._known[operation]
        ask = fields.read_fields(plain, schema)
        if "peer" in schema and ask["peer"] != self._settings.peer:
            raise BoxError(Code.UNKNOWN_PEER, "no link to this site")
        answer = act(ask)
        if operation == FETCH and self._is_long(answer["data"]):
            answer = self._begin_transfer(sequence, answer["data"])
        if self.tamper is not None:
            self.tamper(answer)
        body = encode(answer)
        if OVERHEAD + SEAL_BYTES + len(body) > self._max_frame:
            raise BoxError(Code.TOO_LARGE, "the answer does not fit your max_frame")
        return [(RSP, body), *self._chunks()]

    def credit(self, sequence: int, plain: bytes) -> list[Reply]:
        """Go on with a transfer.

        Raises:
            MalformedError: the answer is an ERR.
        """
        more = fields.read_fields(plain, fields.CREDIT_BODY)
        transfer = self._transfer
        if transfer is None or (sequence, more["transfer"]) != (transfer.sequence, transfer.number):
            return []
        transfer.credit += more["credits"]
        return self._chunks()

    def _info(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "vendor": self._settings.vendor,
            "model": self._settings.model,
            "firmware": self._settings.firmware,
            "capabilities": ["look-up", "stream", "reserve-ahead", "confirm-peer"],
            "origin": "simulated",
            "nodes": [],
            "site": self._settings.site,
            "peers": [self._settings.peer],
            "max_key": self._settings.max_key,
        }

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        stored = self._keys.supply.stored
        alarms = ["keys-low"] if stored < _LOW_KEYS * _KEY_BYTES else []
        if not self._keys.link_up:
            alarms.append("link-down")
        return {
            "stored_keys": stored // _KEY_BYTES,
            "stored_bytes": stored,
            "link_up": self._keys.link_up,
            "alarms": alarms,
        }

    def _reserve(self, ask: dict[str, Any]) -> dict[str, Any]:
        token = ask["token"]
        if token not in self._tokens:
            self._tokens[token] = self._keys.reserve(ask["size"], ask["count"])
            if len(self._tokens) > _TOKENS:
                del self._tokens[next(iter(self._tokens))]
        return {"ids": list(self._tokens[token])}

    def _bind(self, ask: dict[str, Any]) -> dict[str, Any]:
        size = self._keys.bind(ask["id"])
        return self._along(ask) or {"size": size}

    def _agree(self, ask: dict[str, Any]) -> dict[str, Any]:
        agreement = self._keys.agree(ask["id"])
        return (self._along(ask) if agreement else {}) or {"agreement": agreement}

    def _along(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Return the key as a field, if the host would like it and can take it."""
        key = self._keys.whole(ask["id"], ask.get("inline", 0))
        return {} if key is None or self._is_long(key) else {"data": key}

    def _fetch(self, ask: dict[str, Any]) -> dict[str, Any]:
        if ask["size"] > self._settings.max_key:
            raise BoxError(Code.TOO_LARGE, f"keys have at most {self._settings.max_key} bytes")
        return {"data": self._keys.read(ask["id"], ask["offset"], ask["size"])}

    def _confirm(self, ask: dict[str, Any]) -> dict[str, Any]:
        self._keys.confirm(ask["id"], ask["end"])
        return {"end": ask["end"]}

    def _is_long(self, data: bytes) -> bool:
        frame = OVERHEAD + SEAL_BYTES + _DATA_FIELD + len(data)
        return len(data) > _MAX_DATA or frame > self._max_frame

    def _begin_transfer(self, sequence: int, data: bytes) -> dict[str, Any]:
        room = self._max_frame - OVERHEAD - SEAL_BYTES - CHUNK_HEADER_BYTES
        step = min(room, self._settings.max_chunk)
        self.transfers = (self.transfers + 1) & 0xFFFFFFFF
        self._transfer = Transfer(self.transfers, sequence, data, step=step, credit=self._credit)
        return self._transfer.announcement

    def _chunks(self) -> list[Reply]:
        if self._transfer is None:
            return []
        replies = [(CHUNK, part) for part in self._transfer.chunks()]
        if self._transfer.complete:
            self._transfer = None
        return replies
