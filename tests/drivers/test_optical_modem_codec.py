"""The driver's side of the application wire, against the bytes of docs/modem-protocol.md."""

from __future__ import annotations

import re
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.errors import KeyNotFoundError, ProtocolError
from qkd_hal_drivers.optical_modem._codec import Reply, decode_reply, encode_request, error_of

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
    ("number", "operation", "arguments"),
    [
        (1, "hello", {"version": 1}),
        (2, "reserve", {"peer": "bob", "size": 32, "count": 1}),
        (3, "fetch", {"handle": HANDLE, "offset": 0, "size": 32}),
        (4, "confirm", {"handle": HANDLE}),
        (5, "bind", {"peer": "alice", "key_id": ID}),
    ],
)
def test_requests_are_the_documented_bytes(
    number: int, operation: str, arguments: dict[str, object]
) -> None:
    assert encode_request(number, operation, arguments) == golden(f"request {number}")


def test_the_documented_replies_are_understood() -> None:
    assert decode_reply(golden("reply 2")) == Reply(
        2, {"n": 2, "slots": [{"key_id": ID, "handle": HANDLE}]}
    )
    assert error_of(decode_reply(golden("reply 3")), device="x") is None
    error = error_of(decode_reply(golden("reply 5")), device="x")
    assert type(error) is KeyNotFoundError
    assert str(error) == "forged or foreign key ID (device x)"


def test_a_documented_reply_is_refused_at_every_cut() -> None:
    raw = golden("reply 2")
    for bad in [raw[:cut] for cut in range(len(raw))] + [raw + b"\0"]:
        with pytest.raises(ProtocolError):
            decode_reply(bad)


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_noise_raises_one_exception_type(raw: bytes) -> None:
    for candidate in (raw, golden("reply 2")[:-9] + raw):
        try:
            decode_reply(candidate)
        except ProtocolError:
            continue


@pytest.mark.parametrize("value", [{}, {"n": -1}, {"n": True}, {"n": "1"}, [], {1: 2, "n": 1}])
def test_what_is_no_reply_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        decode_reply(cbor2.dumps(value, canonical=True))


@pytest.mark.parametrize(
    "fields", [{"error": 5}, {"error": "device"}, {"error": "device", "what": 1}]
)
def test_an_error_without_code_or_text_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        error_of(Reply(1, fields), device="x")
