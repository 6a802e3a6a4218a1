"""The driver against a modem that was written apart from it, and that misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import zmq

from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    KeysExhaustedError,
    ProtocolError,
    StateError,
    UnsupportedError,
)
from qkd_hal.keys import KeyId
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Agreement, Alarm, Deadline, Slot
from qkd_hal_drivers.optical_modem._channel import ModemChannel, _configure
from qkd_hal_drivers.optical_modem._credential import Credential
from qkd_hal_drivers.optical_modem.driver import OpticalModemDriver
from qkd_hal_firmware_mocks.optical_modem import Fault, MockModem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = 0.2  # seconds: for what cannot be answered
LONG = 5.0


def slot_of(driver: OpticalModemDriver, size: int = 32) -> Slot:
    (slot,) = driver.reserve("bob", size, 1, Deadline(LONG))
    return slot


def fetch(driver: OpticalModemDriver, slot: Slot, size: int, within: float = LONG) -> bytes:
    out = bytearray(size)
    driver.fetch(slot, memoryview(out), Deadline(within))
    return bytes(out)


def test_a_life_without_faults(modem: MockModem) -> None:
    driver = OpticalModemDriver(DeviceURL.parse(modem.url))
    info = driver.open(Deadline(LONG))
    assert (info.vendor, info.site, info.peers) == ("mock", "alice", ("bob",))
    assert info.provenance.simulated
    status = driver.status(Deadline(LONG))
    assert (status.qber, status.secret_key_rate_bps, status.stored_keys) == (0.01, None, 4)
    assert status.alarms == {Alarm.KEYS_LOW, Alarm.FAULT}
    (slot,) = driver.reserve("bob", 48, 1, Deadline(LONG))
    assert driver.agree(slot, Deadline(LONG)) is Agreement.CONFIRMED
    out = bytearray(48)
    driver.fetch(slot, memoryview(out)[:32], Deadline(LONG))
    driver.fetch(slot, memoryview(out)[32:], Deadline(LONG))
    assert out == modem.key_of(slot.handle)
    driver.confirm(slot, Deadline(LONG))
    bound = driver.bind("bob", KeyId.random(), Deadline(LONG))
    assert bound.size == 32
    driver.close()
    driver.close()


def test_nothing_is_opened_before_open(tmp_path: Path) -> None:
    driver = OpticalModemDriver(
        DeviceURL.parse(f"bb84+tcp://127.0.0.1:1?credential={tmp_path}/none")
    )
    driver.close()
    with pytest.raises(StateError, match="init"):
        driver.status(Deadline(LONG))


@pytest.mark.parametrize(
    "text",
    ["bb84+tcp://127.0.0.1", "bb84+tcp://127.0.0.1:1?credentials=x", "bb84+tcp://127.0.0.1:1/x"],
)
def test_senseless_urls_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        OpticalModemDriver(DeviceURL.parse(text))


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault.GARBAGE, ProtocolError),
        (Fault.NOT_A_MAP, ProtocolError),
        (Fault.TRAILING, ProtocolError),
        (Fault.FUTURE, ProtocolError),
        (Fault.MISSING_FIELD, ProtocolError),
        (Fault.WRONG_TYPE, ProtocolError),
        (Fault.ERROR_EXHAUSTED, KeysExhaustedError),
        (Fault.ERROR_UNKNOWN_CODE, DeviceError),
        (Fault.SILENCE, DeadlineError),
    ],
)
@pytest.mark.parametrize("operation", ["status", "reserve", "bind", "agree"])
def test_each_operation_turns_each_fault_into_one_typed_error(
    driver: OpticalModemDriver,
    modem: MockModem,
    operation: str,
    fault: Fault,
    raised: type[Exception],
) -> None:
    slot = slot_of(driver)
    calls: dict[str, Callable[[Deadline], object]] = {
        "status": lambda within: driver.status(within),
        "reserve": lambda within: driver.reserve("bob", 32, 1, within),
        "bind": lambda within: driver.bind("bob", KeyId.random(), within),
        "agree": lambda within: driver.agree(slot, within),
    }
    modem.faults = [fault]
    with pytest.raises(raised) as caught:
        calls[operation](Deadline(SHORT if fault is Fault.SILENCE else LONG))
    assert type(caught.value) is raised
    calls[operation](Deadline(LONG))


@pytest.mark.parametrize(
    "fault", [Fault.WRONG_LENGTH, Fault.NO_KEY_PART, Fault.GARBAGE, Fault.TRAILING]
)
def test_a_spoilt_fetch_fills_nothing_and_can_be_repeated(
    driver: OpticalModemDriver, modem: MockModem, fault: Fault
) -> None:
    slot = slot_of(driver)
    modem.faults = [fault]
    out = bytearray(32)
    with pytest.raises(ProtocolError):
        driver.fetch(slot, memoryview(out), Deadline(LONG))
    assert not any(out)
    assert fetch(driver, slot, 32) == modem.key_of(slot.handle)


def test_key_bytes_that_nobody_asked_for_are_refused(
    driver: OpticalModemDriver, modem: MockModem
) -> None:
    modem.faults = [Fault.WRONG_LENGTH]
    with pytest.raises(ProtocolError, match="another length"):
        driver.status(Deadline(LONG))


def test_a_lost_fetch_reply_is_repeated_at_the_same_offset(
    driver: OpticalModemDriver, modem: MockModem
) -> None:
    slot = slot_of(driver)
    modem.faults = [Fault.SILENCE]
    with pytest.raises(DeadlineError):
        fetch(driver, slot, 16, SHORT)
    assert fetch(driver, slot, 16) + fetch(driver, slot, 16) == modem.key_of(slot.handle)


def test_a_reply_that_runs_ahead_cannot_guess_the_next_number(
    driver: OpticalModemDriver, modem: MockModem
) -> None:
    for _ in range(8):
        driver.status(Deadline(LONG))
    numbers = [request["n"] for request in modem.requests]
    gaps = [after - before for before, after in pairwise(numbers)]
    assert min(gaps) > 1 << 10
    assert len(set(gaps)) == len(gaps)


def test_a_late_reply_is_not_taken_for_the_next_one(
    driver: OpticalModemDriver, modem: MockModem
) -> None:
    late, wanted = slot_of(driver), slot_of(driver)
    modem.faults = [Fault.LATE]
    with pytest.raises(DeadlineError):
        fetch(driver, late, 32, SHORT)
    assert fetch(driver, wanted, 32) == modem.key_of(wanted.handle)
    assert fetch(driver, late, 32) == modem.key_of(late.handle)


def test_stale_replies_without_end_do_not_outlast_the_deadline(
    driver: OpticalModemDriver, modem: MockModem
) -> None:
    modem.faults = [Fault.STALE_FLOOD]
    with pytest.raises(DeadlineError):
        driver.status(Deadline(SHORT))
    assert driver.status(Deadline(LONG)).stored_keys == 4


def test_a_peer_that_reads_nothing_blocks_nobody() -> None:
    (server, _), client = zmq.curve_keypair(), zmq.curve_keypair()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        channel = ModemChannel(endpoint, Credential(server, *client), device="silent")
        for _ in range(16):
            with pytest.raises(DeadlineError):
                channel.call("status", {}, Deadline(0))
        with pytest.raises(DeviceLostError, match="no more requests"):
            channel.call("status", {}, Deadline(LONG))
        channel.close()


def test_an_error_text_cannot_move_the_cursor(driver: OpticalModemDriver, modem: MockModem) -> None:
    modem.faults = [Fault.ERROR_CONTROL_CHARACTERS]
    with pytest.raises(DeviceError) as caught:
        driver.status(Deadline(LONG))
    assert str(caught.value).isprintable()


def test_the_modem_s_key_ids_and_handles_are_checked(
    driver: OpticalModemDriver, modem: MockModem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modem, "_op_bind", lambda _: {"handle": b"short", "size": 32})
    with pytest.raises(ProtocolError, match="16 bytes"):
        driver.bind("bob", KeyId.random(), Deadline(LONG))


def test_a_modem_that_reserves_fewer_keys_is_refused(
    driver: OpticalModemDriver, modem: MockModem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modem, "_op_reserve", lambda _: {"slots": []})
    with pytest.raises(ProtocolError, match="another number"):
        driver.reserve("bob", 32, 1, Deadline(LONG))


@pytest.mark.parametrize(("ids", "handles"), [(b"aa", b"ab"), (b"ab", b"aa")])
def test_a_key_that_is_reserved_twice_is_refused(
    driver: OpticalModemDriver,
    modem: MockModem,
    monkeypatch: pytest.MonkeyPatch,
    ids: bytes,
    handles: bytes,
) -> None:
    slots = [
        {"key_id": bytes([key] * 16), "handle": bytes([handle] * 16)}
        for key, handle in zip(ids, handles, strict=True)
    ]
    monkeypatch.setattr(modem, "_op_reserve", lambda _: {"slots": slots})
    with pytest.raises(ProtocolError, match="twice"):
        driver.reserve("bob", 32, 2, Deadline(LONG))


def test_streams_are_unsupported(driver: OpticalModemDriver) -> None:
    with pytest.raises(UnsupportedError):
        driver.reserve("bob", None, 1, Deadline(LONG))


def test_another_version_is_refused_with_its_number(tmp_path: Path) -> None:
    with MockModem(tmp_path, version=2) as modem:
        driver = OpticalModemDriver(DeviceURL.parse(modem.url))
        with pytest.raises(ProtocolError, match="version 2"):
            driver.open(Deadline(LONG))
        driver.close()


def test_silence_at_hello_means_no_device(modem: MockModem) -> None:
    modem.faults = [Fault.SILENCE]
    driver = OpticalModemDriver(DeviceURL.parse(modem.url))
    with pytest.raises(DeviceNotFoundError, match="nobody answers"):
        driver.open(Deadline(SHORT))
    driver.close()


def test_a_closed_port_is_reported_at_once(tmp_path: Path) -> None:
    with MockModem(tmp_path) as gone:
        pass
    driver = OpticalModemDriver(DeviceURL.parse(gone.url))
    began = time.monotonic()
    with pytest.raises(DeviceNotFoundError, match="no modem listens"):
        driver.open(Deadline(30))
    assert time.monotonic() - began < 10
    driver.close()


def test_a_modem_that_goes_away_is_lost_at_once(tmp_path: Path) -> None:
    modem = MockModem(tmp_path)
    driver = OpticalModemDriver(DeviceURL.parse(modem.url))
    driver.open(Deadline(LONG))
    modem.close()
    with pytest.raises(DeviceLostError):
        driver.status(Deadline(30))
    driver.close()


def test_a_lost_device_is_opened_again(driver: OpticalModemDriver, modem: MockModem) -> None:
    driver.open(Deadline(LONG))
    slot = slot_of(driver)
    assert fetch(driver, slot, 32) == modem.key_of(slot.handle)


def test_a_credential_of_another_modem_opens_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with MockModem(tmp_path / "one") as modem, MockModem(tmp_path / "two") as other:
        url = f"bb84+tcp://127.0.0.1:{modem.port}?credential={other.credential}"
        driver = OpticalModemDriver(DeviceURL.parse(url))
        with pytest.raises((DevicePermissionError, DeviceNotFoundError)):
            driver.open(Deadline(1))
        driver.close()


def test_close_wakes_a_blocked_call(driver: OpticalModemDriver, modem: MockModem) -> None:
    modem.faults = [Fault.SILENCE]
    raised: list[Exception] = []

    def call() -> None:
        try:
            driver.status(Deadline(60))
        except DeviceClosedError as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    while not any(request["op"] == "status" for request in modem.requests):
        time.sleep(0.001)
    driver.close()
    caller.join(10)
    assert len(raised) == 1


def test_heartbeats_of_zeromq_stay_off() -> None:
    server, client = zmq.curve_keypair()[0], zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        _configure(dealer, Credential(server, *client))
        assert dealer.getsockopt(zmq.HEARTBEAT_IVL) == 0  # libzmq issue 4364
        assert dealer.getsockopt(zmq.TCP_KEEPALIVE) == 1
