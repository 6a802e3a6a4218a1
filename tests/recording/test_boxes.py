"""A box on a serial line is recorded down to its frames, and replays without them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qkd_hal.registry import open_device
from qkd_hal_drivers.boxlink.tap import _described
from qkd_hal_firmware_mocks.boxlink.emulator import SerialBoxPair
from tests.recording.spellings import spellings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def boxes() -> Iterator[SerialBoxPair]:
    with SerialBoxPair() as pair:
        yield pair


def test_the_frames_of_a_box_are_in_its_recording(boxes: SerialBoxPair, tmp_path: Path) -> None:
    with (
        open_device(boxes.alice_url, record=tmp_path / "r") as alice,
        alice.start(size=9000) as session,
    ):
        session.connect()
        with session.get_key().exposed() as view:
            key = bytes(view)
    text = (tmp_path / "r").read_text()
    assert [form for form in spellings(key[:32]) if form in text] == []
    frames = [json.loads(line) for line in text.splitlines() if '"wire"' in line]
    kinds = [(frame["wire"], frame["header"]["type"]) for frame in frames]
    assert kinds[:3] == [("sent", "reset"), ("sent", "REQ"), ("received", "RSP")]
    chunks = [frame for frame in frames if frame["header"]["type"] == "CHUNK"]
    assert sum(frame["length"] for frame in chunks) >= 9000
    assert all(frame["header"]["sealed"] for frame in chunks)

    with open_device(f"replay://{tmp_path}/r") as alice, alice.start(size=9000) as session:
        session.connect()
        assert len(session.get_key()) == 9000


def test_a_frame_that_is_dropped_is_noted_with_the_reason() -> None:
    header, length = _described(b"\0" * 20)
    assert (header["type"], length) == ("dropped", 20)
    assert "CRC" in str(header["why"])
