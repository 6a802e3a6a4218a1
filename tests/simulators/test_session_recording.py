"""A pair of modems that record what they distil, and the audit of both transcripts."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from qkd_hal import QKDDevice, open_device
from qkd_hal.distillation.session import DistillationSession, Role
from qkd_hal.distillation.transcript_audit import audit_public
from qkd_hal.distillation.transcript_replay import Replay, replay
from qkd_hal.errors import ConfigurationError
from qkd_hal.recording.session_file import open_session
from qkd_hal_simulators.emulator import ModemPair
from qkd_hal_simulators.modem.session_recording import SUFFIX, engine_of
from tests.simulators.conftest import eventually


def has_key(device: QKDDevice) -> bool:
    return int(device.status().details["secret_bits"]) > 0


def replayed(path: Path) -> tuple[Role, Replay]:
    with open_session(path) as transcript:
        assert audit_public(transcript).good
    with open_session(path) as transcript:
        assert transcript.header.about["site"] in path.name
        return transcript.header.role, replay(transcript)


def test_both_modems_keys_are_derived_again(tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    with ModemPair(options=("--record-session", str(sessions))) as pair:
        for url in (pair.alice_url, pair.bob_url):
            with open_device(url) as device:
                eventually(partial(has_key, device))
        assert "SECRET" in pair.log("alice")
    assert sessions.stat().st_mode & 0o777 == 0o700
    ends = dict(replayed(path) for path in sessions.iterdir() if path.name.endswith(SUFFIX))
    assert set(ends) == set(Role)
    emitter, detector = ends[Role.EMITTER], ends[Role.DETECTOR]
    assert not emitter.differences + detector.differences
    assert emitter.complete
    assert detector.complete
    both = emitter.keys.keys() & detector.keys.keys()
    assert both
    assert all(emitter.same_key(block, detector) for block in both)


def test_without_a_directory_nothing_is_recorded() -> None:
    with ExitStack() as cleanup:
        assert engine_of("alice", None, cleanup) is DistillationSession


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with ExitStack() as cleanup, pytest.raises(ConfigurationError, match="chmod 700"):
        engine_of("alice", tmp_path, cleanup)
