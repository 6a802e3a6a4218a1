"""Whatever a driver says, no key and no usable key ID gets into a recording."""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.device import QKDDevice
from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import DeviceError, KeyNotFoundError
from qkd_hal.keys import KeyId
from qkd_hal.recording import pseudonym, recorded
from qkd_hal.recording.redaction import redacted_text, redacted_url
from qkd_hal.sources import DeviceStatus
from tests.device.conftest import Link, MemoryDriver
from tests.recording.spellings import spellings

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.sources import Deadline, Slot

URL = DeviceURL.parse("serial:///dev/ttyUSB0")


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_key_in_an_error_text_is_left_out(seed: int, size: int) -> None:
    for form in spellings(random.Random(seed).randbytes(size)):
        left = redacted_text(f"the box sent {form} instead")
        assert longest_common(form, left) < 8


def longest_common(one: str, other: str) -> int:
    """Length of the longest piece of *one* that is in *other*."""
    pieces = (one[i:j] for i in range(len(one)) for j in range(i + 1, min(i + 9, len(one) + 1)))
    return max((len(piece) for piece in pieces if piece in other), default=0)


@given(st.text())
def test_a_text_is_never_much_longer_than_it_was(text: str) -> None:
    assert len(redacted_text(text)) <= 500


@pytest.mark.parametrize(
    "text",
    [
        "no answer in time while the box handles 'reserve'",
        "the key has 32 bytes, not 16",
        "32 bytes were asked for, 16 are left in this session",
        "(the reconciliation_efficiency, of_a_quantum_channel)",
        "line 12: expected 4, 8, 15 or 16; got 23",
    ],
)
def test_what_a_vendor_needs_to_read_stays(text: str) -> None:
    assert redacted_text(text) == text


def test_a_key_id_in_a_text_becomes_its_pseudonym() -> None:
    key_id = KeyId.random()
    for form in (str(key_id), str(key_id).upper()):
        assert redacted_text(f"unknown key {form}!") == f"unknown key {pseudonym(key_id)}!"


def test_pseudonyms_are_uuids_of_version_5_in_the_documented_namespace() -> None:
    key_id = KeyId.parse("01234567-89ab-4def-8123-456789abcdef")
    namespace = uuid.UUID("5f1a9c5e-3f0b-5d53-9a38-6a1e5f2c7d10")
    assert pseudonym(key_id).uuid == uuid.uuid5(namespace, "01234567-89ab-4def-8123-456789abcdef")


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("serial:///dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("serial:///dev/ttyUSB0?psk_file=/home/eve/psk", "serial:///dev/ttyUSB0?psk_file=REDACTED"),
        ("usb://1234:abcd/A-7", "usb://1234:abcd/A-7"),
        ("serial+rfc2217://lab.example:7000", "serial+rfc2217://HOST:7000"),
        ("serial+rfc2217://[2001:db8::1]:7000", "serial+rfc2217://HOST:7000"),
        ("etsi014+https://kme.example/BANK-7", "etsi014+https://HOST/REDACTED"),
        ("filekey:/media/keys?site=a", "filekey:/REDACTED?site=REDACTED"),
        ("pkcs11:token=Eve;id=%41", "pkcs11:REDACTED"),
        ("mock:", "mock:"),
    ],
)
def test_an_address_says_how_and_not_where(url: str, left: str) -> None:
    assert redacted_url(DeviceURL.parse(url)) == left


class Blabbing(MemoryDriver):
    """A driver that quotes keys wherever it can."""

    secret = bytes(range(32))
    key_id = KeyId.random()

    def status(self, deadline: Deadline) -> DeviceStatus:
        details: dict[str, str | int | float] = {
            f"key {number}": text for number, text in enumerate(spellings(self.secret))
        }
        details |= {"number": int.from_bytes(self.secret), "nan": float("nan")}
        return DeviceStatus(details=details)

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        raise KeyNotFoundError(
            f"no {self.key_id}", key_id=self.key_id, cure=f"Try {self.secret.hex()}"
        )

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        raise ValueError(self.secret.hex())


def test_a_blabbing_driver_gets_nothing_into_the_file(tmp_path: Path) -> None:
    driver = Blabbing(Link(), "alice", "bob")
    recording = recorded(driver, tmp_path / "r", URL)
    with QKDDevice(recording, name="it") as device:
        device.status()
        with pytest.raises(KeyNotFoundError):
            device.get_key_by_id(Blabbing.key_id, "bob")
        with pytest.raises(DeviceError, match="ValueError"):
            device.start("bob")
    text = (tmp_path / "r").read_text()
    secrets = [*spellings(driver.secret), str(driver.key_id), driver.key_id.uuid.hex]
    assert [form for form in secrets if form in text] == []
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[2]["result"]["details"]["number"] == "REDACTED"
    assert lines[2]["result"]["details"]["nan"] is None
    assert lines[3]["error"]["key_id"] == str(pseudonym(driver.key_id))
    assert lines[4]["error"] == {"exception": "ValueError"}
