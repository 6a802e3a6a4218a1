"""Commands that talk to a device, against the simulated link."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from qkd_hal.cli._run import run
from qkd_hal.cli.commands import root
from qkd_hal.cli.devices import _show
from qkd_hal.cli.get_key import _obtain
from qkd_hal.device import QKDDevice
from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.hotplug import Unplugged
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.recording import pseudonym
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_mock import MockerFixture

    from qkd_hal.testing.link import QKDLink

Done = subprocess.CompletedProcess[str]


def told(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """Run a command with --json in this process and return its object."""
    done = CliRunner().invoke(root, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == exit_code
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command that fails; return its exit code and its line on standard error."""
    code = run(root, arguments)
    shown = capsys.readouterr()
    assert shown.out == ""
    return code, shown.err


def test_devices_hides_simulators(qkd_link: QKDLink) -> None:
    assert qkd_link.alice_url not in [device["url"] for device in told("devices")["devices"]]
    shown = {device["url"]: device for device in told("devices", "--simulators")["devices"]}
    assert shown[qkd_link.alice_url]["simulated"] is True


def test_devices_prints_a_table_or_says_that_there_are_none(
    qkd_link: QKDLink, qkd_hal: Callable[..., Done], tmp_path: Path
) -> None:
    assert "optical" in qkd_hal("devices", "--simulators").stdout.lower()
    nothing = qkd_hal("devices", XDG_RUNTIME_DIR=str(tmp_path)).stdout
    assert nothing == "No device found. Simulators need --simulators.\n"


def test_devices_watches_who_comes_and_goes_until_ctrl_c(
    qkd_link: QKDLink,
) -> None:
    command = [sys.executable, "-m", "qkd_hal", "devices", "--simulators", "--watch", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout
        assert watch.stderr
        seen = [json.loads(watch.stdout.readline()) for _ in range(2)]
        assert {fact["event"] for fact in seen} == {"plugged"}
        watch.send_signal(2)
        assert watch.wait(10) == 130
        assert watch.stderr.read().strip() == "error [interrupted]: stopped by Ctrl-C"


def test_devices_watch_prints_one_line_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    device = DiscoveredDevice(
        "usb://1234:5678/A", "Acme", "Box\x1b[2J", "A", Provenance(Origin.UNKNOWN), usable=False,
        reason="it is busy", cure="Close it",
    )  # fmt: skip
    _show(Unplugged(device), as_json=False)
    line = "unplugged  usb://1234:5678/A  Acme  Box\N{REPLACEMENT CHARACTER}[2J  A"
    assert capsys.readouterr().out == f"{line}  usable: no: it is busy. Close it\n"


def test_info_says_what_the_device_is(qkd_link: QKDLink) -> None:
    facts = told("info", qkd_link.alice_url)
    assert facts["serial_number"] == qkd_link.alice.info.serial_number
    assert facts["simulated"] is True
    assert "look-up" in facts["capabilities"]
    table = CliRunner().invoke(root, ["info", qkd_link.alice_url]).stdout
    assert qkd_link.alice.info.serial_number in table


def test_status_says_how_the_device_fares(qkd_link: QKDLink) -> None:
    facts = told("status", qkd_link.alice_url)
    assert 0 <= facts["qber"] < 0.11
    assert facts["secret_key_rate_bps"] > 0
    assert facts["details"]["sifted_bits"] > 0
    table = CliRunner().invoke(root, ["status", qkd_link.alice_url]).stdout
    assert "sifted bits" in table
    assert "none" in table


def test_status_watches_until_ctrl_c(qkd_link: QKDLink) -> None:
    command = [sys.executable, "-m", "qkd_hal", "status", qkd_link.alice_url]
    options = ["--watch", "--interval", "0.1", "--json"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout
        assert watch.stderr
        assert [json.loads(watch.stdout.readline())["link_up"] for _ in range(3)]
        watch.send_signal(2)
        assert watch.wait(10) == 130
        assert watch.stderr.read().strip() == "error [interrupted]: stopped by Ctrl-C"


def test_a_device_that_is_not_there_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, line = refused(capsys, "info", "abacus://shelf")
    assert code == 3
    assert line.startswith("error [configuration]: ")


def get(link: QKDLink, out: Path, *options: str, end: str = "alice") -> dict[str, Any]:
    url = link.alice_url if end == "alice" else link.bob_url
    return told("get-key", url, "--out", str(out), *options)


def test_get_key_gives_both_ends_the_same_private_file(qkd_link: QKDLink, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    first = get(qkd_link, ours, "--size", "24")
    second = get(qkd_link, theirs, "--key-id", first["key_id"], end="bob")
    same = ours.read_bytes() == theirs.read_bytes()
    assert same
    assert first["size"] == second["size"] == ours.stat().st_size == 24
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600
    assert first["owner"] == second["owner"]
    assert first["provenance"] == "simulated"


@pytest.mark.parametrize(
    ("form", "read"),
    [("hex", lambda text: bytes.fromhex(text.decode())), ("base64", base64.b64decode)],
)
def test_get_key_writes_text_formats(
    form: str, read: Callable[[bytes], bytes], qkd_link: QKDLink, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    key_id = get(qkd_link, ours, "--format", form)["key_id"]
    get(qkd_link, theirs, "--key-id", key_id, end="bob")
    written = ours.read_bytes()
    assert written.endswith(b"\n")
    same = read(written) == theirs.read_bytes()
    assert same


def test_get_key_prints_the_key_id_and_never_the_key(qkd_link: QKDLink, tmp_path: Path) -> None:
    out = tmp_path / "key"
    done = CliRunner().invoke(root, ["get-key", qkd_link.alice_url, "--out", str(out)])
    KeyId.parse(done.stdout.strip())
    leaked = out.read_bytes().hex() in done.output
    assert not leaked


def test_get_key_overwrites_nothing_and_takes_no_key_then(
    qkd_link: QKDLink, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "key"
    out.write_text("precious")
    code, line = refused(capsys, "get-key", "abacus://never-opened", "--out", str(out))
    assert (code, "exists" in line) == (2, True)
    assert out.read_text() == "precious"


def test_get_key_leaves_no_file_when_there_is_no_key(
    qkd_link: QKDLink, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, unknown = tmp_path / "key", str(KeyId.random())
    code, line = refused(
        capsys, "get-key", qkd_link.alice_url, "--key-id", unknown, "--out", str(out)
    )
    assert code == 6
    assert line.startswith("error [key-not-found]: ")
    assert not out.exists()


def test_get_key_of_another_size_consumes_nothing(
    qkd_link: QKDLink, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id = get(qkd_link, tmp_path / "ours")["key_id"]
    wrong = ("--key-id", key_id, "--size", "31", "--out", str(tmp_path / "wrong"))
    assert refused(capsys, "get-key", qkd_link.bob_url, *wrong)[0] == 6
    get(qkd_link, tmp_path / "theirs", "--key-id", key_id, end="bob")


def test_a_device_without_look_up_is_asked_for_a_session(mocker: MockerFixture) -> None:
    device, key_id = mocker.MagicMock(spec=QKDDevice), KeyId.random()
    device.info.capabilities = frozenset({Capability.EXTRACT})
    _obtain(device, "alice", None, key_id)
    device.start.assert_called_once_with("alice", size=32, key_id=key_id)
    session = device.start.return_value.__enter__.return_value
    assert [call[0] for call in session.method_calls] == ["connect", "get_key"]


def test_get_key_goes_down_a_pipe(qkd_link: QKDLink, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qkd_hal", "get-key", qkd_link.alice_url, "--out", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    key_id = done.stderr.decode().strip()
    get(qkd_link, tmp_path / "theirs", "--key-id", key_id, end="bob")
    same = (
        hashlib.sha256(done.stdout).digest()
        == hashlib.sha256((tmp_path / "theirs").read_bytes()).digest()
    )
    assert same


def test_commands_record_what_replays_without_the_device(qkd_link: QKDLink, tmp_path: Path) -> None:
    facts = told("info", qkd_link.alice_url, "--record", str(tmp_path / "info"))
    status = told("status", qkd_link.alice_url, "--record", str(tmp_path / "status"))
    taken = get(qkd_link, tmp_path / "key", "--record", str(tmp_path / "get-key"))
    key = (tmp_path / "key").read_bytes()
    text = (tmp_path / "get-key").read_text()
    leaked = key.hex() in text or base64.b64encode(key).decode() in text
    assert (leaked, taken["key_id"] in text) == (False, False)

    assert told("info", f"replay://{tmp_path}/info") == facts
    assert told("status", f"replay://{tmp_path}/status") == status
    again = told("get-key", f"replay://{tmp_path}/get-key", "--out", str(tmp_path / "other"))
    assert again["key_id"] == str(pseudonym(KeyId.parse(taken["key_id"])))
    assert again["provenance"] == "simulated"
    same = (tmp_path / "other").read_bytes() == key
    assert not same


def test_get_key_refuses_a_terminal() -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "qkd_hal", "get-key", "abacus://never-opened", "--out", "-"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "not printed on a terminal" in done.stderr


def test_get_key_refuses_json_around_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["get-key", "abacus://never-opened", "--out", "-", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_every_table_command_takes_json() -> None:
    for name in ("demo", "doctor", "devices", "info", "status", "get-key"):
        command = root.get_command(click.Context(root), name)
        assert command is not None
        assert "--json" in [option for each in command.params for option in each.opts]
