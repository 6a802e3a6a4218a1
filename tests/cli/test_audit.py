"""``qkd-hal audit`` on the transcripts of a small session."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qkd_hal.distillation.authentication import MemoryPad
from qkd_hal.distillation.events import BlockDistilled
from qkd_hal.distillation.session import DistillationParameters, Emitted, Role
from qkd_hal.distillation.transcript_recorder import RecordingSession
from qkd_hal.recording.session_file import SessionFile
from qkd_hal.sources import DetectionBatch

Run = Callable[..., subprocess.CompletedProcess[str]]
PARAMETERS = DistillationParameters(
    source="single-photon",
    intensities=(1.0,),
    intensity_probabilities=(1.0,),
    key_basis_probability=0.5,
    block_size=3000,
    qber_threshold=0.11,
    eps_sec=1e-6,
    eps_cor=1e-9,
    pad_refill_bytes=64,
)


class Seeded:
    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def read_into(self, view: memoryview) -> None:
        view[:] = self.generator.bytes(len(view))


class Log:
    """What the emitter sent: all of it arrives, with few errors."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(3)
        self.bases, self.bits = random.integers(0, 2, (2, count), dtype=np.uint8)
        bases = random.integers(0, 2, count, dtype=np.uint8)
        noise = random.random(count) < np.where(bases == self.bases, 0.01, 0.5)
        self.end = 0  # until there is light
        self.seen = DetectionBatch(np.arange(count), bases, self.bits ^ noise, 0, count)

    def shine(self) -> DetectionBatch:
        self.end = self.seen.end_pulse
        return self.seen

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        return Emitted(self.bases[pulses], self.bits[pulses], np.zeros(len(pulses), np.uint8))

    def discard(self, before: int) -> None:
        """It is short."""


def record(folder: Path, seed: int) -> None:
    """Distil one block; leave ``emitter`` and ``detector`` in *folder*."""
    log = Log(2 * PARAMETERS.detections_per_block)
    files = {role: SessionFile(folder / role.name.lower()) for role in Role}
    secret = np.random.default_rng(seed).bytes(1024)
    ends = {
        role: RecordingSession(
            role,
            PARAMETERS,
            pad=MemoryPad(secret, first=role is Role.EMITTER),
            entropy=Seeded(seed + role.value),
            write=files[role].write,
            about={"site": "Wonderland", "qkd_hal": "1"},
        )
        for role in Role
    }
    ends[Role.EMITTER].attach_emissions(log)
    for end in ends.values():
        end.start()
    carry(ends)
    ends[Role.DETECTOR].add_detections(log.shine())
    carry(ends)
    for role, end in ends.items():
        end.end_recording()
        files[role].close()


def carry(ends: dict[Role, RecordingSession]) -> None:
    while moved := [(role, message) for role in Role for message in ends[role].outgoing()]:
        for role, message in moved:
            other = next(end for name, end in ends.items() if name is not role)
            for event in other.receive(message):
                if isinstance(event, BlockDistilled):
                    other.stored(event.number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    for seed in (1, 2):
        (folder / str(seed)).mkdir()
        record(folder / str(seed), seed)
    return folder


def test_both_ends_agree(qkd_hal: Run, folder: Path) -> None:
    ends = (str(folder / "1" / "emitter"), "--peer", str(folder / "1" / "detector"))
    done = qkd_hal("audit", *ends, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["good"]
    assert found["blocks"]
    assert all(block["keys_equal"] and block["key_derived"] for block in found["blocks"])
    assert found["peer"]["equal_keys"] == len(found["blocks"])
    assert found["peer"]["foreign_messages"] == 0
    table = qkd_hal("audit", *ends)
    assert table.returncode == 0
    assert "equal" in table.stdout
    assert "DIFFER" not in table.stdout


def test_other_sessions_keys_differ(qkd_hal: Run, folder: Path) -> None:
    ends = (str(folder / "1" / "emitter"), "--peer", str(folder / "2" / "detector"))
    done = qkd_hal("audit", *ends)
    assert done.returncode == 1
    assert "DIFFER" in done.stdout
    assert "FOUND (both): block 0: the keys differ" in done.stdout


def test_one_end_is_not_its_own_peer(qkd_hal: Run, folder: Path) -> None:
    same = str(folder / "1" / "emitter")
    done = qkd_hal("audit", same, "--peer", same)
    assert done.returncode == 1
    assert "both transcripts are the emitter's" in done.stdout


def test_a_cut_transcript_is_no_good(qkd_hal: Run, folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.touch(mode=0o600)
    cut.write_bytes((folder / "1" / "emitter").read_bytes()[:-5])
    done = qkd_hal("audit", str(cut), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"] == {"emitter": ["the transcript was cut short"]}


def test_a_damaged_transcript_is_refused(qkd_hal: Run, folder: Path, tmp_path: Path) -> None:
    raw = bytearray((folder / "1" / "emitter").read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged = tmp_path / "damaged"
    damaged.touch(mode=0o600)
    damaged.write_bytes(raw)
    done = qkd_hal("audit", str(damaged))
    assert done.returncode == 4
    assert "changed or damaged" in done.stderr


def test_the_redacted_form_is_checked_without_keys(
    qkd_hal: Run, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "public"
    assert qkd_hal("audit", str(folder / "1" / "emitter"), "--redact", str(out)).returncode == 0
    assert b"Wonderland" not in out.read_bytes()
    out.chmod(0o644)
    done = qkd_hal("audit", str(out), "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["redacted"]
    assert found["blocks"][0]["key_derived"] is None
    again = qkd_hal("audit", str(folder / "1" / "emitter"), "--redact", str(out))
    assert again.returncode == 3
    assert "exists" in again.stderr
