"""Bodies against the schema of section 9."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal import errors
from qkd_hal.errors import ProtocolError, QKDError
from qkd_hal.keys import Origin
from qkd_hal.sources import Agreement, Alarm, Capability
from qkd_hal_drivers.boxlink import messages
from qkd_hal_drivers.boxlink.error_codes import error_of
from qkd_hal_drivers.boxlink.messages import Failure, Transfer
from qkd_hal_drivers.boxlink.strict_cbor import encode_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.boxlink.conftest import Golden

ID = bytes(range(16))
HELLO = {
    "major": 1,
    "minor": 7,
    "nonce": bytes(32),
    "max_frame": 256,
    "suite": 1,
    "serial": "S",
    "features": ["later"],
}
INFO = {
    "vendor": "V",
    "model": "M",
    "firmware": "1",
    "capabilities": ["look-up", "stream", "teleport"],
    "origin": "hardware",
    "nodes": ["relay"],
    "site": "alice",
    "peers": ["bob"],
    "max_key": 64,
}
STATUS = {
    "qber": 0.02,
    "rate_bps": 5,
    "stored_keys": 1,
    "stored_bytes": 32,
    "link_up": False,
    "alarms": ["keys-low", "of-tomorrow"],
    "details": {"t": 21.5, "n": -1, "ok": True, "s": "a\nb"},
}
ERROR = {"code": 6, "text": "bu\x1bsy", "retry_ms": 5}
TRANSFER = {"transfer": 1, "total": 5000, "sha256": bytes(32)}
KEY = bytes(range(32))


def inline(body: memoryview, instead_of: str, least: int, most: int) -> bytes:
    """Read a key that has to be there."""
    key = messages.read_inline(body, instead_of, least, most)
    if key is None:
        raise ProtocolError("no key came along")
    return bytes(key)


READERS: dict[str, tuple[dict[str, Any], Callable[[memoryview], object]]] = {
    "hello": (HELLO, messages.read_hello),
    "proof": ({"proof": bytes(32)}, messages.read_proof),
    "info": (INFO, lambda body: messages.read_info(body, "S")),
    "status": (STATUS, messages.read_status),
    "ids": ({"ids": [ID, bytes(16)]}, lambda body: messages.read_ids(body, 2)),
    "size": ({"size": 32}, messages.read_bound_size),
    "agreement": ({"agreement": 1}, messages.read_agreement),
    "key with a size's place": ({"data": KEY}, lambda body: inline(body, "size", 1, 48)),
    "key with an agreement's": ({"data": KEY}, lambda body: inline(body, "agreement", 32, 32)),
    "transfer": (TRANSFER, lambda body: messages.read_fetched(body, 5000)),
    "confirmed": ({"end": 32}, messages.read_confirmed),
    "error": (ERROR, messages.read_failure),
}


def view(fields: dict[str, Any]) -> memoryview:
    return memoryview(encode_map(fields))


@pytest.mark.parametrize("name", READERS)
def test_each_body_is_read_and_unknown_keys_are_ignored(name: str) -> None:
    fields, read = READERS[name]
    assert read(view(fields)) == read(view({**fields, "of tomorrow": [1]}))


OPTIONAL = {"qber", "rate_bps", "stored_keys", "stored_bytes", "link_up", "details", "retry_ms"}
WRONG: list[tuple[str, str, Any]] = [
    ("hello", "major", 2),
    ("hello", "major", True),
    ("hello", "minor", -1),
    ("hello", "minor", 65536),
    ("hello", "nonce", bytes(31)),
    ("hello", "max_frame", 255),
    ("hello", "max_frame", 65537),
    ("hello", "suite", 2),
    ("hello", "serial", ""),
    ("hello", "serial", "x" * 65),
    ("hello", "serial", "é" * 33),
    ("hello", "serial", "a\nb"),
    ("hello", "features", [1]),
    ("hello", "features", ["f"] * 33),
    ("proof", "proof", bytes(33)),
    ("proof", "proof", "x" * 32),
    ("info", "vendor", 1),
    ("info", "origin", "heaven"),
    ("info", "nodes", "relay"),
    ("info", "peers", [""]),
    ("info", "peers", ["p"] * 65),
    ("info", "max_key", 0),
    ("info", "max_key", (1 << 20) + 1),
    ("status", "qber", 1.01),
    ("status", "qber", -0.01),
    ("status", "qber", float("nan")),
    ("status", "qber", False),
    ("status", "qber", "0"),
    ("status", "rate_bps", float("inf")),
    ("status", "stored_keys", 1 << 32),
    ("status", "stored_bytes", 1 << 53),
    ("status", "link_up", 1),
    ("status", "alarms", None),
    ("status", "details", []),
    ("status", "details", {"a": None}),
    ("status", "details", {"a": float("nan")}),
    ("status", "details", {"a": float("inf")}),
    ("status", "details", {"a": "x" * 201}),
    ("status", "details", {str(n): 1 for n in range(33)}),
    ("ids", "ids", [ID]),
    ("ids", "ids", [ID, ID]),
    ("ids", "ids", [ID, ID[:15]]),
    ("ids", "ids", [ID, "x" * 16]),
    ("size", "size", (1 << 20) + 1),
    ("size", "size", None),
    ("agreement", "agreement", 2),
    ("agreement", "agreement", True),
    ("key with a size's place", "data", b""),
    ("key with a size's place", "data", bytes(49)),
    ("key with a size's place", "data", "x" * 32),
    ("key with a size's place", "size", 32),
    ("key with an agreement's", "data", bytes(31)),
    ("key with an agreement's", "data", bytes(33)),
    ("key with an agreement's", "agreement", 1),
    ("transfer", "total", 4999),
    ("transfer", "data", bytes(5000)),
    ("transfer", "transfer", 1 << 32),
    ("transfer", "sha256", bytes(31)),
    ("confirmed", "end", -1),
    ("error", "code", 65536),
    ("error", "text", "x" * 201),
    ("error", "text", b"x"),
    ("error", "retry_ms", 600_001),
]


@pytest.mark.parametrize(("name", "field", "value"), WRONG)
def test_each_wrong_field_is_refused(name: str, field: str, value: object) -> None:
    fields, read = READERS[name]
    with pytest.raises(ProtocolError):
        read(view({**fields, field: value}))


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, (fields, _) in READERS.items() for field in fields],
)
def test_what_must_be_there_is_missed(name: str, field: str) -> None:
    fields, read = READERS[name]
    left = view({key: value for key, value in fields.items() if key != field})
    if field in OPTIONAL:
        read(left)
    else:
        with pytest.raises(ProtocolError):
            read(left)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=50))
def test_noise_raises_one_exception(name: str, raw: bytes) -> None:
    for body in (raw, cbor2.dumps({"a": raw, "data": 1})):
        with pytest.raises(ProtocolError):
            READERS[name][1](memoryview(body))


def test_a_box_is_what_it_says(golden: Golden) -> None:
    info = messages.read_info(memoryview(golden["INFO response"].body), "GOLDEN-1")
    assert (info.vendor, info.model, info.firmware) == ("Golden", "Box 1", "1.0.0")
    assert (info.serial_number, info.site, info.peers) == ("GOLDEN-1", "alice", ("bob",))
    assert info.provenance.simulated
    assert info.max_key_size == 65536
    assert info.capabilities == {
        Capability.LOOK_UP,
        Capability.RESERVE_AHEAD,
        Capability.EXTRACT,
        Capability.REPEATABLE_FETCH,
    }
    relayed = messages.read_info(view(INFO), "S").provenance
    assert (relayed.origin, relayed.trusted_nodes) == (Origin.HARDWARE, ("relay",))


def test_a_box_cannot_claim_what_boxlink_does_not_have() -> None:
    claims = {**INFO, "capabilities": ["derive", "extract", "repeatable-fetch"]}
    info = messages.read_info(view(claims), "S")
    assert info.capabilities == {Capability.EXTRACT, Capability.REPEATABLE_FETCH}


def test_a_status_is_read(golden: Golden) -> None:
    status = messages.read_status(memoryview(golden["STATUS response"].body))
    assert (status.qber, status.secret_key_rate_bps) == (0.03125, 20000.0)
    assert (status.stored_keys, status.stored_bytes, status.link_up) == (12, 384, True)
    assert status.alarms == {Alarm.KEYS_LOW}
    assert status.details == {"temperature": 21.5}
    other = messages.read_status(view(STATUS))
    assert other.alarms == {Alarm.KEYS_LOW, Alarm.FAULT}
    assert other.details == {"t": 21.5, "n": -1, "ok": True, "s": "a?b"}


def test_the_short_answers_are_read() -> None:
    assert messages.read_bound_size(view({"size": 0})) is None
    assert messages.read_inline(view({"size": 32}), "size", 1, 48) is None
    assert messages.read_agreement(view({"agreement": 0})) is Agreement.UNCHECKED
    assert messages.read_agreement(view({"agreement": 1})) is Agreement.CONFIRMED
    assert messages.read_failure(view(ERROR)) == Failure(6, "bu?sy", 5)
    assert messages.read_fetched(view(TRANSFER), 5000) == Transfer(1, 5000, bytes(32))
    assert messages.read_fetched(view({"data": b"key"}), 3) == memoryview(b"key")
    with pytest.raises(ProtocolError, match="another number"):
        messages.read_fetched(view({"data": b"key"}), 4)


EXPECTED = {
    1: errors.ProtocolError,
    2: errors.UnsupportedError,
    3: errors.ProtocolError,
    4: errors.DeviceLostError,
    5: errors.DevicePermissionError,
    6: errors.DeviceBusyError,
    16: errors.KeyNotFoundError,
    17: errors.KeysExhaustedError,
    18: errors.KeyConsumedError,
    19: errors.KeyMismatchError,
    20: errors.UsageError,
    21: errors.UsageError,
    22: errors.StoreError,
    23: errors.DeadlineError,
    32: errors.DeviceError,
    33: errors.DeviceError,
    34: errors.DeviceLostError,
}


@pytest.mark.parametrize("code", EXPECTED)
def test_each_code_has_its_error(code: int) -> None:
    error = error_of(Failure(code, "words", None))
    assert type(error) is EXPECTED[code]
    assert '"words"' in str(error)


def test_an_unknown_code_is_a_fault_and_is_shown() -> None:
    error: QKDError = error_of(Failure(4711, "", None))
    assert type(error) is errors.DeviceError
    assert "4711" in str(error)
    assert "says" not in str(error)
