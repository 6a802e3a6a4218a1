"""The modem's side of the application wire, against the bytes of docs/modem-protocol.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.errors import KeyNotFoundError, ProtocolError, UsageError
from qkd_hal.key_ids import KeyIdSealer
from qkd_hal_simulators.modem.app_messages import (
    Request,
    argument,
    encode_error,
    encode_reply,
)
from qkd_hal_simulators.modem.app_server import AppServer
from qkd_hal_simulators.modem.key_service import KeyService

if TYPE_CHECKING:
    from tests.simulators.conftest import OpenStore

ID, HANDLE = bytes(range(16)), bytes(range(16, 32))
_DOCUMENT = Path(__file__).parents[2] / "docs" / "modem-protocol.md"
GOLDEN = {
    name: bytes.fromhex(raw)
    for name, raw in re.findall(r"^\| ([^|]+) \| `([0-9a-f]+)` \|$", _DOCUMENT.read_text(), re.M)
}


def golden(start: str) -> bytes:
    (raw,) = [raw for name, raw in GOLDEN.items() if name.startswith(start)]
    return raw


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("request 1", Request(1, "hello", {"version": 1})),
        ("request 2", Request(2, "reserve", {"peer": "bob", "size": 32, "count": 1})),
        ("request 3", Request(3, "fetch", {"handle": HANDLE, "offset": 0, "size": 32})),
        ("request 4", Request(4, "confirm", {"handle": HANDLE})),
        ("request 5", Request(5, "bind", {"peer": "alice", "key_id": ID})),
    ],
)
def test_documented_requests_are_understood(name: str, request_: Request) -> None:
    raw = golden(name)
    assert Request.from_bytes(raw) == request_
    for bad in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(ProtocolError):
            Request.from_bytes(bad)


def test_documented_replies_are_what_is_sent() -> None:
    slots = {"slots": [{"key_id": ID, "handle": HANDLE}]}
    assert encode_reply(2, slots) == golden("reply 2")
    assert encode_reply(3, {}) == golden("reply 3")
    error = KeyNotFoundError("forged or foreign key ID")
    assert encode_error(5, error) == golden("reply 5")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"n": 1},
        {"op": "hello"},
        {"n": True, "op": "hello"},
        {"n": -1, "op": "hello"},
        {"n": 1 << 63, "op": "hello"},
        {"n": 1, "op": b"hello"},
        {"n": 1, "op": "hello", 3: 4},
    ],
)
def test_what_is_no_request_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        Request.from_bytes(cbor2.dumps(value, canonical=True))


def test_other_encodings_of_a_request_are_refused() -> None:
    raw = bytes.fromhex("a2626f706161616e1801")
    assert cbor2.loads(raw) == {"n": 1, "op": "a"}
    with pytest.raises(ProtocolError):
        Request.from_bytes(raw)


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_noise_raises_one_exception_type(raw: bytes) -> None:
    for candidate in (raw, golden("request 2")[:-7] + raw):
        try:
            Request.from_bytes(candidate)
        except ProtocolError:
            continue


@pytest.mark.parametrize("value", [None, "32", 32.0, True])
def test_arguments_have_exactly_their_type(value: object) -> None:
    with pytest.raises(UsageError, match="'size' of type int"):
        argument(Request(1, "reserve", {"size": value}), "size", int)


@pytest.fixture
def server(store: OpenStore) -> AppServer:
    store.add(0, bytes(range(200)))
    ids = KeyIdSealer(bytes(32), b"alice>bob")
    service = KeyService(store.keys, peer="bob", own_ids=ids, peer_ids=ids)
    return AppServer(service, identity={"site": "alice"}, status=lambda: {"qber": None})


def ask(server: AppServer, **fields: object) -> tuple[dict[str, object], list[bytes]]:
    head, *rest = server.answer(cbor2.dumps({"n": 9, **fields}, canonical=True))
    reply = cbor2.loads(bytes(head))
    assert reply.pop("n") == 9
    return reply, [bytes(part) for part in rest]


def test_hello_tells_who_and_which_version(server: AppServer) -> None:
    reply, _ = ask(server, op="hello", version=1)
    assert reply == {"version": 1, "max_key_size": 65536, "site": "alice"}


def test_another_version_is_refused(server: AppServer) -> None:
    assert ask(server, op="hello", version=2)[0]["error"] == "unsupported"


def test_unknown_operations_and_keys(server: AppServer) -> None:
    assert ask(server, op="explode")[0]["error"] == "unsupported"
    assert ask(server, op="status", future=1) == ({"qber": None}, [])


def test_a_message_that_is_no_request_gets_no_reply(server: AppServer) -> None:
    assert server.answer(b"\xff") == []


def test_key_bytes_travel_outside_the_map(server: AppServer) -> None:
    slots = ask(server, op="reserve", peer="bob", size=32, count=1)[0]["slots"]
    assert isinstance(slots, list)
    handle = slots[0]["handle"]
    reply, parts = ask(server, op="fetch", handle=handle, offset=0, size=32)
    assert (reply, parts) == ({}, [bytes(range(32))])
    assert ask(server, op="agree", handle=handle)[0] == {"confirmed": True}
    assert ask(server, op="confirm", handle=handle) == ({}, [])


@pytest.mark.parametrize("size", [0, -1, 1 << 40])
def test_a_fetch_allocates_no_more_than_a_key(server: AppServer, size: int) -> None:
    assert ask(server, op="fetch", handle=HANDLE, offset=0, size=size)[0]["error"] == "usage"


def test_errors_carry_code_and_cure(server: AppServer) -> None:
    reply, _ = ask(server, op="reserve", peer="bob", size=101, count=1)
    assert reply["error"] == "keys-exhausted"
    assert "Wait" in str(reply["cure"])
    assert ask(server, op="bind", peer="bob", key_id=bytes(15))[0]["error"] == "usage"
