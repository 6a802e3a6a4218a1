"""The golden bytes of `docs/boxlink-vectors.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[2] / "docs" / "boxlink-vectors.json"


@dataclass(frozen=True)
class GoldenFrame:
    """One frame, as it is sent, as it goes over a stream, and what it says."""

    name: str
    sender: str
    frame: bytes
    stream: bytes
    body: bytes


@dataclass(frozen=True)
class Golden:
    """The whole file."""

    psk: bytes
    host_nonce: bytes
    keys: dict[str, bytes]
    frames: list[GoldenFrame]
    refused_frames: dict[str, bytes]
    refused_bodies: dict[str, bytes]

    def __getitem__(self, name: str) -> GoldenFrame:
        """Return the frame *name*."""
        (found,) = [frame for frame in self.frames if frame.name == name]
        return found

    def random(self, size: int) -> bytes:
        """Give what the golden host drew: its first sequence, its nonce, its token."""
        return {2: b"\xff\xff", 32: self.host_nonce, 16: bytes(range(16))}[size]


def _bytes(table: dict[str, str]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in table.items()}


@pytest.fixture(scope="session")
def golden() -> Golden:
    raw = json.loads(VECTORS.read_text())
    frames = [
        GoldenFrame(
            one["name"],
            one["from"],
            *(bytes.fromhex(one[part]) for part in ("frame", "stream", "body")),
        )
        for one in raw["frames"]
    ]
    return Golden(
        bytes.fromhex(raw["psk"]),
        bytes.fromhex(raw["host_nonce"]),
        _bytes(raw["keys"]),
        frames,
        _bytes(raw["refused_frames"]),
        _bytes(raw["refused_bodies"]),
    )
