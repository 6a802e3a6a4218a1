"""The token answers as `docs/key-token-vectors.json` says, byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid_reader import CcidReader
from qkd_hal_firmware_mocks.token.medium import FileMedium, MemoryMedium
from qkd_hal_firmware_mocks.token.model import Model

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "key-token-vectors.json").read_text()
)


def vector_model() -> Model:
    fields = dict(VECTORS["token"])
    return Model(name=fields.pop("model"), **fields)


def play(applet: KeyApplet) -> None:
    for scene in VECTORS["scenes"]:
        for step in scene["steps"]:
            if "power" in step:
                applet.reset()
            else:
                answer = applet.transmit(bytes.fromhex(step["send"]))
                assert answer.hex() == step["answer"], (scene["name"], step["why"])


def test_scenes() -> None:
    play(KeyApplet(MemoryMedium(), vector_model()))


def test_scenes_on_a_file(tmp_path: Path) -> None:
    with FileMedium(tmp_path / "token") as medium:
        play(KeyApplet(medium, vector_model()))


def test_ccid_messages() -> None:
    reader = CcidReader(KeyApplet(MemoryMedium(), vector_model()))
    for step in VECTORS["ccid"]:
        reader.handle(bytes.fromhex(step["send"]))
        answer = reader.next_answer()
        assert answer is not None
        assert answer.hex() == step["answer"], step["why"]
        assert reader.next_answer() is None


def test_atr() -> None:
    assert KeyApplet(MemoryMedium()).atr.hex() == VECTORS["atr"]
