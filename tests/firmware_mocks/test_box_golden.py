"""The box speaks the golden bytes of the specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from qkd_hal_firmware_mocks.boxlink import BoxFirmware, BoxSettings
from qkd_hal_firmware_mocks.boxlink.byte_line import PieceReader, to_line
from qkd_hal_firmware_mocks.boxlink.cbor import MalformedError, encode, read_map
from qkd_hal_firmware_mocks.boxlink.frame import CHUNK, ERR, EVT, RSP, read_frame
from qkd_hal_firmware_mocks.boxlink.key_memory import KeyMemory
from qkd_hal_firmware_mocks.boxlink.keys import BoxKeys
from qkd_hal_firmware_mocks.boxlink.seal import Secrets
from qkd_hal_firmware_mocks.boxlink.supply import KeySupply

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = json.loads((Path(__file__).parents[2] / "docs" / "boxlink-vectors.json").read_text())
ROWS = {
    row["name"]: {part: bytes.fromhex(row[part]) for part in ("frame", "body", "stream")}
    for row in GOLDEN["frames"]
}
HOST_ROWS = [row["name"] for row in GOLDEN["frames"] if row["from"] == "host"]
SHORT_KEY = cbor2.loads(ROWS["FETCH response"]["body"])["data"]
LONG_KEY = b"".join(ROWS[f"{n} CHUNK"]["body"][8:] for n in ("first", "second"))


class GoldenSupply(KeySupply):
    """Hands out the golden key and ID."""

    def new_id(self) -> bytes:
        return bytes(cbor2.loads(ROWS["BIND request"]["body"])["id"])

    def take(self, size: int) -> bytes:
        return SHORT_KEY if size == len(SHORT_KEY) else LONG_KEY


@pytest.fixture
def box() -> Iterator[BoxFirmware]:
    settings = BoxSettings(
        site="alice",
        peer="bob",
        serial="GOLDEN-1",
        psk=bytes.fromhex(GOLDEN["psk"]),
        max_frame=4200,
    )
    memory = KeyMemory(None)
    keys = BoxKeys(memory, GoldenSupply(1 << 20), max_key=65536)
    box_nonce = bytes.fromhex(GOLDEN["box_nonce"])
    yield BoxFirmware(settings, keys, nonce=lambda _: box_nonce)
    memory.close()


def test_secrets_are_those_of_the_page() -> None:
    secrets = Secrets(
        bytes.fromhex(GOLDEN["psk"]),
        ROWS["HELLO request"]["body"],
        ROWS["HELLO response"]["body"],
    )
    assert secrets.host_proof.hex() == GOLDEN["keys"]["host proof"]
    assert secrets.box_proof.hex() == GOLDEN["keys"]["box proof"]


@pytest.mark.parametrize("name", ROWS)
def test_frames_on_a_line_are_golden(name: str) -> None:
    row = ROWS[name]
    assert to_line(row["frame"]) == row["stream"]
    assert list(PieceReader(8192).feed(row["stream"])) == [row["frame"]]


def test_what_the_host_sealed_opens_and_what_the_box_seals_is_golden() -> None:
    session = Secrets(
        bytes.fromhex(GOLDEN["psk"]),
        ROWS["HELLO request"]["body"],
        ROWS["HELLO response"]["body"],
    ).session()
    for name, row in ROWS.items():
        frame = read_frame(row["frame"])
        assert frame is not None
        if not frame.flags:
            continue
        if name in HOST_ROWS:
            assert session.unseal(frame) == row["body"]
        else:
            sealed = session.seal(frame.kind, frame.sequence, frame.operation, row["body"])
            assert sealed == row["frame"]


def test_a_session_opens_with_the_golden_frames(box: BoxFirmware) -> None:
    for step in ("HELLO", "AUTH"):
        assert box.feed(ROWS[f"{step} request"]["frame"]) == [ROWS[f"{step} response"]["frame"]]


def opened(box: BoxFirmware) -> BoxFirmware:
    box.feed(ROWS["HELLO request"]["frame"])
    box.feed(ROWS["AUTH request"]["frame"])
    return box


def plaintexts(box: BoxFirmware, name: str) -> list[tuple[int, Any]]:
    """Feed the golden frame *name*; return kinds and plaintexts of the answers."""
    answers = []
    seal = box.seal

    def record(kind: int, sequence: int, operation: int, plain: bytes) -> bytes:
        answers.append((kind, plain))
        return seal(kind, sequence, operation, plain)

    box.seal = record  # type: ignore[method-assign]
    box.feed(ROWS[name]["frame"])
    box.seal = seal  # type: ignore[method-assign]
    return answers


def test_a_reserved_key_is_answered_by_the_golden_bodies(box: BoxFirmware) -> None:
    opened(box)
    along = ("inline BIND", "inline AGREE")
    for operation in ("RESERVE", "BIND", "AGREE", *along, "FETCH", "CONFIRM"):
        expected = [(RSP, ROWS[f"{operation} response"]["body"])]
        assert plaintexts(box, f"{operation} request") == expected


def test_a_long_key_comes_in_the_golden_chunks(box: BoxFirmware) -> None:
    opened(box)
    golden_id = cbor2.loads(ROWS["BIND request"]["body"])["id"]
    box.keys.store([(golden_id, len(LONG_KEY), LONG_KEY)])
    box.operations.transfers = 6
    first = plaintexts(box, "long FETCH request")
    assert first == [
        (RSP, ROWS["long FETCH response"]["body"]),
        (CHUNK, ROWS["first CHUNK"]["body"]),
    ]
    assert plaintexts(box, "CREDIT") == [(CHUNK, ROWS["second CHUNK"]["body"])]


def test_an_error_and_an_event_have_the_golden_bodies(box: BoxFirmware) -> None:
    opened(box)
    box.notify(event="alarm", alarm="qber-high", on=True)
    box.keys.supply.stored = 0
    kinds = dict(plaintexts(box, "RESERVE request"))
    assert cbor2.loads(kinds[ERR])["code"] == cbor2.loads(ROWS["ERR"]["body"])["code"]
    assert kinds[EVT] == ROWS["EVT"]["body"]


def test_a_box_without_the_session_hints_so(box: BoxFirmware) -> None:
    hint = ROWS["clear ERR no-session"]
    (answer,) = box.feed(ROWS["RESERVE request"]["frame"])
    frame = read_frame(answer)
    assert frame is not None
    assert frame.body == hint["body"]
    assert frame.flags == 0


@pytest.mark.parametrize("name", GOLDEN["refused_frames"])
def test_refused_frames_are_dropped(name: str) -> None:
    assert read_frame(bytes.fromhex(GOLDEN["refused_frames"][name])) is None


@pytest.mark.parametrize("name", GOLDEN["refused_bodies"])
def test_refused_bodies_are_malformed(name: str) -> None:
    with pytest.raises(MalformedError):
        read_map(bytes.fromhex(GOLDEN["refused_bodies"][name]))


@pytest.mark.parametrize("name", [name for name in ROWS if "CHUNK" not in name])
def test_bodies_are_read_and_written_as_they_stand(name: str) -> None:
    body = ROWS[name]["body"]
    assert encode(read_map(body)) == body
