"""``qkd-hal audit`` on the transcripts of a small session."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qkd_hal.distillation.session import Role
from qkd_hal.distillation.transcript_recorder import RecordingSession
from qkd_hal.recording.session_file import SessionFile
from tests.distillation import conftest as distilling

Run = Callable[..., subprocess.CompletedProcess[str]]


def record(folder: Path, seed: int) -> None:
    """Distil one block; leave ``emitter`` and ``detector`` in *folder*."""
    files = {role: SessionFile(folder / role.name.lower()) for role in Role}
    ends: list[RecordingSession] = []

    def engine(role: Role, *arguments: Any, **options: Any) -> RecordingSession:
        about = {"site": "Wonderland", "qkd_hal": "1"}
        write = files[role].write
        ends.append(RecordingSession(role, *arguments, write=write, about=about, **options))
        return ends[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distilling, "DistillationSession", engine)
        pair = distilling.Pair(distilling.SMALL, seed=seed)
        pair.run()
        pair.photons(1.1)
        pair.run()
    for end in ends:
        end.end_recording()
    for file in files.values():
        file.close()


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
