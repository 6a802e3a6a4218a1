"""Doctor finds what is wrong and names the cure."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal.cli.doctor import doctor
from qkd_hal.config import parse_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
[site]
name = "alice"
[devices.lab]
url = "bb84+tcp://127.0.0.1:1?credential=client.curve"
[peers.bob]
link = "tcp://127.0.0.1:{port}"
listen = {listen}
link_secret_file = "bob.link"
[pools.main]
url = "pool+sqlite:store/main.db"
peer = "bob"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's folder, in good order but for its device, which is off."""
    tmp_path.chmod(0o700)
    (tmp_path / "store").mkdir(mode=0o700)
    for name in ("client.curve", "bob.link", "store/main.db"):
        (tmp_path / name).touch(mode=0o600)
    return tmp_path


@pytest.fixture
def peer_port() -> Iterator[int]:
    """A port where something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def examine(site: Path, port: int, *, listen: bool = False) -> dict[str, dict[str, Any]]:
    config = site / "qkd-hal.toml"
    config.write_text(CONFIG.format(port=port, listen=str(listen).lower()))
    config.chmod(0o600)
    return checks(["--config", str(config)])


def checks(arguments: list[str], *, exit_code: int = 1) -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(doctor, [*arguments, "--json"])
    assert done.exit_code == exit_code, done.output
    report = json.loads(done.stdout)
    assert report["healthy"] is (exit_code == 0)
    return {check["name"]: check for check in report["checks"]}


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    done = CliRunner().invoke(doctor, ["--example"])
    assert done.exit_code == 0
    assert parse_configuration(done.stdout, tmp_path / "qkd-hal.toml").site == "alice"


def test_a_healthy_machine_without_configuration_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("QKD_HAL_CONFIG", raising=False)
    monkeypatch.setattr("resource.getrlimit", lambda _limit: (0, 0))  # as main() sets it
    found = checks([], exit_code=0)
    assert found["configuration"]["outcome"] == "skipped"
    assert "X25519MLKEM768" in found["OpenSSL"]["detail"]
    assert found["wall clock"]["outcome"] == "passed"


def test_a_missing_file_that_was_named_fails(tmp_path: Path) -> None:
    found = checks(["--config", str(tmp_path / "none.toml")])
    assert found["configuration"]["outcome"] == "failed"


def test_core_dumps_fail(site: Path, peer_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _limit: (1, 1))
    assert examine(site, peer_port)["core dumps"]["cure"] == "Run: ulimit -c 0"


def test_clocks_that_no_deadline_can_trust_fail(
    site: Path, peer_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = SimpleNamespace(resolution=1.0)
    monkeypatch.setattr("qkd_hal.cli.doctor.machine.time.time", lambda: 0.0)
    monkeypatch.setattr("qkd_hal.cli.doctor.machine.time.get_clock_info", lambda _name: coarse)
    found = examine(site, peer_port)
    assert found["wall clock"]["outcome"] == "failed"
    assert found["monotonic clock"]["outcome"] == "failed"


def test_private_files_pass(site: Path, peer_port: int) -> None:
    found = examine(site, peer_port)
    for name in (
        "configuration",
        "link secret of bob",
        "credential of lab",
        "folder of pool main",
        "store of pool main",
        "link to bob",
    ):
        assert found[name]["outcome"] == "passed", found[name]


def test_a_pool_that_was_never_opened_is_no_fault(site: Path, peer_port: int) -> None:
    (site / "store" / "main.db").unlink()
    (site / "store").rmdir()
    found = examine(site, peer_port)
    for name in ("folder of pool main", "store of pool main"):
        assert found[name]["outcome"] == "skipped"
        assert "when the pool first opens" in found[name]["detail"]


@pytest.mark.parametrize(
    ("path", "mode", "name"),
    [
        ("bob.link", 0o640, "link secret of bob"),
        ("client.curve", 0o604, "credential of lab"),
        ("store", 0o710, "folder of pool main"),
        ("store/main.db", 0o644, "store of pool main"),
    ],
)
def test_a_secret_that_others_can_reach_fails(
    path: str, mode: int, name: str, site: Path, peer_port: int
) -> None:
    (site / path).chmod(mode)
    found = examine(site, peer_port)[name]
    assert found["outcome"] == "failed"
    assert found["cure"] == f"Run: chmod go= {site / path}"


def test_a_configuration_that_others_can_change_fails(site: Path, peer_port: int) -> None:
    examine(site, peer_port)
    config = site / "qkd-hal.toml"
    config.chmod(0o620)
    assert checks(["--config", str(config)])["configuration"]["cure"] == (
        f"Run: chmod go-w {config}"
    )


def test_a_missing_secret_fails(site: Path, peer_port: int) -> None:
    (site / "bob.link").unlink()
    assert examine(site, peer_port)["link secret of bob"]["outcome"] == "failed"


def test_a_store_that_is_not_yet_made_is_no_fault(site: Path, peer_port: int) -> None:
    (site / "store/main.db").unlink()
    assert examine(site, peer_port)["store of pool main"]["outcome"] == "skipped"


def test_another_users_secret_fails(
    site: Path, peer_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr("pathlib.Path.stat", _owned_by(Path.stat, 4711))
    assert "chown" in examine(site, peer_port)["link secret of bob"]["cure"]


def _owned_by(stat: Any, user: int) -> Any:
    def owned(path: Path, **options: Any) -> Any:
        import os

        values = list(stat(path, **options))
        values[4] = user
        return os.stat_result(values)

    return owned


def test_a_device_that_is_off_fails_with_a_cure(site: Path, peer_port: int) -> None:
    found = examine(site, peer_port)["device lab"]
    assert found["outcome"] == "failed"
    assert found["cure"]


def test_a_peer_that_is_off_fails(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = examine(site, port)["link to bob"]
    assert found["outcome"] == "failed"
    assert "bob" in found["cure"]


def test_a_listening_link_needs_its_port_or_the_pool_that_has_it(
    site: Path, peer_port: int
) -> None:
    busy = examine(site, peer_port, listen=True)["link from bob"]
    assert (busy["outcome"], "in use" in busy["detail"]) == ("passed", True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    free = examine(site, port, listen=True)["link from bob"]
    assert (free["outcome"], "free" in free["detail"]) == ("passed", True)


def test_missing_extras_fail_only_where_they_are_needed(
    site: Path, peer_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    found = examine(site, peer_port)
    assert found["extra tls"]["cure"] == "Run: pip install 'qkd-hal[tls]'"
    assert (found["extra tls"]["outcome"], found["extra sim"]["outcome"]) == ("failed", "skipped")
