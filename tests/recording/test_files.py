"""The file of a recording: written whatever happens, and never believed when read."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.device import QKDDevice
from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import ConfigurationError, DeviceClosedError, ProtocolError, QKDError
from qkd_hal.recording import (
    Recording,
    Tapped,
    codec,
    log,
    parse_recording,
    read_recording,
    reader,
    recorded,
)
from qkd_hal.registry import open_device
from qkd_hal.sources import Agreement, Deadline
from qkd_hal_drivers.replay.script import Script
from tests.device.conftest import Link, MemoryDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.recording import WireTap

URL = DeviceURL.parse("serial:///dev/ttyUSB0")
HEAD = b'{"qkd_hal_recording": 1}\n'


def memory() -> MemoryDriver:
    return MemoryDriver(Link(), "alice", "bob")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_that_exists_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (file, tmp_path / "link"):
        with pytest.raises(ConfigurationError, match="exists"):
            recorded(memory(), path, URL)
    assert file.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot create"):
        recorded(memory(), tmp_path / "none" / "r", URL)


def test_a_recording_that_cannot_go_on_stops_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with QKDDevice(recorded(memory(), tmp_path / "r", URL), name="it") as device:
        (tmp_path / "r").unlink()
        device.status()
        device.status()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ends here" in caplog.text


def test_a_file_put_in_its_place_gets_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with QKDDevice(recorded(memory(), tmp_path / "r", URL), name="it") as device:
        (tmp_path / "r").rename(tmp_path / "kept")
        (tmp_path / "r").write_text("")
        device.status()
    assert (tmp_path / "r").read_text() == ""
    assert "another file" in caplog.text


def test_a_recording_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 2000)
    with QKDDevice(recorded(memory(), tmp_path / "r", URL), name="it") as device:
        for _ in range(20):
            device.status()
    assert 1000 < (tmp_path / "r").stat().st_size <= 2000
    assert "reached 2000 bytes" in caplog.text
    assert lines_of(tmp_path / "r")[-1]["call"] == "status"


def test_it_stays_where_it_began_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with QKDDevice(recorded(memory(), "r", URL), name="it"):
        (tmp_path / "other").mkdir()
        monkeypatch.chdir("other")
    assert [line.get("call") for line in lines_of(tmp_path / "r")] == [None, "open", "close"]


def test_close_from_another_thread_is_written_while_a_call_hangs(tmp_path: Path) -> None:
    driver = memory()
    driver.hang("status")
    device = QKDDevice(recorded(driver, tmp_path / "r", URL), name="it")
    device.init()
    errors: list[Exception] = []

    def ask() -> None:
        try:
            device.status()
        except QKDError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert driver.blocked.wait(10)
    device.close()
    thread.join()
    assert isinstance(errors[0], DeviceClosedError)
    calls = {line["call"]: line for line in lines_of(tmp_path / "r")[1:]}
    assert calls["status"]["error"]["code"] == "device-closed"
    assert calls["close"]["result"] is None


def test_a_driver_that_answers_nonsense_is_recorded_and_judged_elsewhere(tmp_path: Path) -> None:
    driver = memory()
    nonsense: Any = "fine"
    driver.health = nonsense
    wrapped = recorded(driver, tmp_path / "r", URL)
    assert wrapped.status(Deadline(1)) is nonsense
    assert lines_of(tmp_path / "r")[-1]["result"] == {"unreadable": "AttributeError"}


class TappedDriver(MemoryDriver):
    """A driver that tells of its frames."""

    wire_tap: WireTap | None = None

    def status(self, deadline: Deadline) -> Any:
        assert self.wire_tap is not None
        self.wire_tap.sent({"type": "REQ", "sequence": 7, "token": "00" * 16}, 3)
        self.wire_tap.received({"type": "RSP", "sequence": 7}, 900)
        return super().status(deadline)


def test_a_driver_that_can_be_tapped_tells_of_its_frames(tmp_path: Path) -> None:
    driver = TappedDriver(Link(), "alice", "bob")
    assert isinstance(driver, Tapped)
    with QKDDevice(recorded(driver, tmp_path / "r", URL), name="it") as device:
        device.status()
    sent, received = (line for line in lines_of(tmp_path / "r") if "wire" in line)
    assert sent.pop("at") >= 0
    header = {"type": "REQ", "sequence": 7, "token": "REDACTED"}
    assert sent == {"wire": "sent", "header": header, "length": 3}
    assert (received["wire"], received["length"]) == ("received", 900)
    with open_device(f"replay://{tmp_path}/r") as replayed:
        assert replayed.status() == driver.health


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused_with_one_error(raw: bytes) -> None:
    for content in (raw, HEAD + raw, HEAD + raw + b"\n"):
        try:
            parse_recording(content)
        except ProtocolError:
            continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


READERS: dict[str, Callable[[Any], object]] = {
    "open": codec.info_from_json,
    "status": codec.status_from_json,
    "reserve": codec.slots_from_json,
    "bind": codec.slot_from_json,
    "agree": Agreement,
}


@given(call=st.sampled_from(sorted(READERS)), answer=json_values, failed=st.booleans())
def test_any_answer_is_replayed_or_refused_with_one_error(
    call: str, answer: object, failed: bool
) -> None:
    fields = {"call": call, "arguments": {}, "error" if failed else "result": answer}
    script = Script(Path("r"), device="it")
    try:
        script._recording = parse_recording(HEAD + json.dumps(fields).encode() + b"\n")
        script.answer(call, {}, READERS[call])
    except ProtocolError as refusal:
        lines = str(refusal).count("line 2")
        assert lines or failed
    except (QKDError, RuntimeError):
        assert failed


@pytest.mark.parametrize("field", ["vendor", "capabilities", "origin", "max_key_size", "peers"])
@pytest.mark.parametrize("value", [None, 1.5, [1], "nonsense"])
def test_a_field_of_a_wrong_type_is_refused_with_the_line(
    field: str, value: object, tmp_path: Path
) -> None:
    with QKDDevice(recorded(memory(), tmp_path / "r", URL), name="it"):
        pass
    head, line, *_ = lines_of(tmp_path / "r")
    if type(line["result"][field]) is type(value):
        return
    line["result"][field] = value
    (tmp_path / "bad").write_text(f"{json.dumps(head)}\n{json.dumps(line)}\n")
    with pytest.raises(ProtocolError, match="line 2"):
        open_device(f"replay://{tmp_path}/bad").init()


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    with QKDDevice(recorded(memory(), tmp_path / "r", URL), name="it") as device:
        device.status()
    raw = (tmp_path / "r").read_bytes()
    whole = parse_recording(raw)
    assert len(whole.calls) == 2
    for size in range(len(raw)):
        try:
            cut = parse_recording(raw[:size])
        except ProtocolError:
            assert b"\n" not in raw[:size]
        else:
            assert cut.calls == whole.calls[: len(cut.calls)]


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_BYTES", len(HEAD))
    assert parse_recording(HEAD) == Recording({"qkd_hal_recording": 1})
    (tmp_path / "r").write_bytes(HEAD + b"{}\n")
    with pytest.raises(ProtocolError, match="at most"):
        read_recording(tmp_path / "r")


@pytest.mark.parametrize("head", [b"", b"{}\n", b'{"qkd_hal_recording": 2}\n', b"[]\n", b"\n"])
def test_another_file_or_version_is_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_recording(head)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the recording .*none"):
        open_device(f"replay://{tmp_path}/none").init()


@pytest.mark.parametrize("url", ["replay:", "replay:///", "replay://host/r", "replay:///r?x=1"])
def test_a_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="replay:///PATH"):
        open_device(url)
