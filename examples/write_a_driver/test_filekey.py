"""The driver keeps the promises of every driver: ``pip install pytest . && pytest``."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qkd_hal import KeyId, open_device
from qkd_hal.testing.conformance import DeviceConformance, Pair


class TestFileKey(DeviceConformance):
    serial_numbers = frozenset({"alice", "bob"})  # the checks use up keys: of these boxes only

    @pytest.fixture
    def pair(self, tmp_path: Path) -> Iterator[Pair]:
        here, there = tmp_path / "here", tmp_path / "there"
        for site in ("alice", "bob"):
            (here / site).mkdir(parents=True)
            for _ in range(10):
                (here / site / f"{KeyId.random()}.key").write_bytes(os.urandom(32))
        shutil.copytree(here, there)
        ours = open_device(f"filekey:{here}?site=alice&peer=bob")
        with ours as alice, open_device(f"filekey:{there}?site=bob&peer=alice") as bob:
            yield alice, bob
