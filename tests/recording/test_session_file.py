"""The file of a transcript: private, bounded, and never in the way."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from qkd_hal.distillation.handshake import Role
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.transcript import Header
from qkd_hal.distillation.transcript_file import TranscriptWriter
from qkd_hal.errors import ConfigurationError, ProtocolError
from qkd_hal.recording.session_file import SessionFile, open_session


def write_header(path: Path, *, secret: bool) -> None:
    file = SessionFile(path)
    header = Header(Role.EMITTER, DistillationParameters(), ("a", "b", "c"), secret=secret)
    writer = TranscriptWriter(file.write)
    writer.add(header.to_fields())
    writer.close()
    file.close()


def test_it_is_private_and_new(tmp_path: Path) -> None:
    path = tmp_path / "session"
    os.umask(0)
    try:
        write_header(path, secret=True)
    finally:
        os.umask(0o077)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="exists"):
        SessionFile(path)
    with open_session(path) as transcript:
        assert transcript.header.secret
        assert not list(transcript)
        assert transcript.complete


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    for name, secret in (("secret", True), ("public", False)):
        write_header(tmp_path / name, secret=secret)
        (tmp_path / name).chmod(0o644)
    with open_session(tmp_path / "public") as transcript:
        assert not transcript.header.secret
    with (
        pytest.raises(ConfigurationError, match="chmod 600"),
        open_session(tmp_path / "secret"),
    ):
        pass


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot create"):
        SessionFile(tmp_path / "no" / "session")
    with pytest.raises(ConfigurationError, match="cannot read"), open_session(tmp_path / "no"):
        pass


def test_no_transcript(tmp_path: Path) -> None:
    (tmp_path / "session").write_bytes(b"{}")
    with pytest.raises(ProtocolError), open_session(tmp_path / "session"):
        pass


def test_it_ends_at_its_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = SessionFile(tmp_path / "session", at_most=10)
    file.write(b"12345678")
    file.write(b"abc")
    file.write(b"d")
    file.close()
    assert (tmp_path / "session").read_bytes() == b"12345678"
    assert file.gave_up
    assert len(caplog.records) == 1


@pytest.mark.parametrize("fault", [{"side_effect": OSError(28, "No space")}, {"return_value": 1}])
def test_a_full_disk_ends_the_recording_only(
    tmp_path: Path,
    mocker: MockerFixture,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
) -> None:
    file = SessionFile(tmp_path / "session")
    with caplog.at_level(logging.WARNING):
        mocker.patch("os.write", **fault)
        file.write(b"record")
        file.write(b"record")
        mocker.stopall()
    assert file.gave_up
    assert len(caplog.records) == 1
    file.close()
