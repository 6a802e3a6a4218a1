"""``qkd-hal tls`` and the wiring behind it: two sites in this process over the simulated link."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import click
import pytest
from click.testing import CliRunner

from qkd_hal.cli._run import run
from qkd_hal.cli.commands import root
from qkd_hal.cli.demo.sites import DemoSite, make_sites
from qkd_hal.cli.tls._options import address, size
from qkd_hal.cli.tls.exchange import drop, echo, move
from qkd_hal.cli.wiring import open_site
from qkd_hal.errors import ConfigurationError, KeysExhaustedError, TLSError
from qkd_hal.tls import QKDSocket, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal.testing.link import QKDLink

KEYS = 16  # in the pools of these tests
BLOCK = 256  # bytes: what the short preset has at once


@pytest.fixture
def sites(qkd_link: QKDLink, tmp_path: Path) -> tuple[DemoSite, DemoSite]:
    """The folders of alice and bob; bob is configured."""
    alice, bob = make_sites(tmp_path, qkd_link.alice_url, qkd_link.bob_url)
    bob.configure("alice", "tcp://127.0.0.1:0", listen=True, block_size=BLOCK, keys=KEYS)
    return alice, bob


@pytest.fixture
def server(sites: tuple[DemoSite, DemoSite]) -> Iterator[str]:
    """Bob's echo, running; alice is configured to link to him."""
    alice, bob = sites
    with ExitStack() as stack:
        site = stack.enter_context(open_site(bob.config))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = stack.enter_context(Server(site.tls_context(), listener, echo))
        server.start()
        link = site.pool().link
        alice.configure("bob", link, listen=False, block_size=BLOCK, keys=KEYS)
        yield f"127.0.0.1:{server.address[1]}"


def connect(site: DemoSite, server: str, *options: str) -> dict[str, Any]:
    command = ["tls", "connect", server, "--config", str(site.config), *options]
    done = CliRunner().invoke(root, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def change(site: DemoSite, old: str, new: str) -> None:
    text = site.config.read_text()
    assert old in text
    site.config.write_text(text.replace(old, new))


def test_connect_says_what_protects_and_checks_the_data(
    sites: tuple[DemoSite, DemoSite], server: str
) -> None:
    report = connect(sites[0], server, "--bytes", "100KiB")
    assert (report["moved"]["sent"], report["moved"]["received"]) == (102_400, 102_400)
    assert report["tls"]["protection"] == "quantum+hybrid"
    assert report["tls"]["key_ref"] == f"alice/{report['key_ids'][0]}"
    assert report["peer"] == "bob"


def test_connect_prints_a_table(sites: tuple[DemoSite, DemoSite], server: str) -> None:
    command = ["tls", "connect", server, "--config", str(sites[0].config)]
    done = CliRunner().invoke(root, command, catch_exceptions=False)
    assert "TLS to bob" in done.stdout
    assert "quantum+hybrid" in done.stdout


def test_connect_refuses_simulated_keys_unless_allowed(
    sites: tuple[DemoSite, DemoSite], server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sites[0], "allow_simulated = true", "allow_simulated = false")
    assert run(root, ["tls", "connect", server, "--config", str(sites[0].config)]) == 11
    assert capsys.readouterr().err.startswith("error [policy]: ")


def test_a_policy_that_this_release_lacks_is_refused(
    sites: tuple[DemoSite, DemoSite], server: str
) -> None:
    change(sites[0], "require_quantum", "prefer_quantum")
    with open_site(sites[0].config) as site, pytest.raises(ConfigurationError, match="prefer"):
        site.tls_context()


def test_a_site_must_say_its_name(sites: tuple[DemoSite, DemoSite]) -> None:
    change(sites[1], 'name = "bob"', "")
    with pytest.raises(ConfigurationError, match="whose it is"), open_site(sites[1].config):
        pass
    assert list(sites[1].config.parent.rglob("*.db")) == []  # nothing was opened, or left open


def test_one_of_several_pools_must_be_chosen(sites: tuple[DemoSite, DemoSite]) -> None:
    config = sites[1].config
    text = config.read_text()
    other = text[text.index("[pools.") : text.index("[policy]")]
    config.write_text(text + other.replace("[pools.alice]", "[pools.more]").replace(".db", "2.db"))
    with open_site(config, "more") as site:
        assert list(site.pools) == ["more"]
        with pytest.raises(ConfigurationError, match="alice, more") as caught:
            site.pool()
    assert caught.value.cure == "Choose one with --pool"


def test_waiting_for_keys_ends(sites: tuple[DemoSite, DemoSite]) -> None:
    with open_site(sites[1].config) as site, pytest.raises(KeysExhaustedError, match="2 keys"):
        site.pool().wait_for_keys(2, timeout=0.1)


def test_a_pool_serves_while_its_device_is_off(
    sites: tuple[DemoSite, DemoSite], server: str
) -> None:
    connect(sites[0], server, "--stock", "4")
    change(sites[0], "client.curve", "gone.curve")
    assert len(connect(sites[0], server)["key_ids"]) == 1


def test_serve_announces_itself_and_ends_in_order(sites: tuple[DemoSite, DemoSite]) -> None:
    command = [sys.executable, "-m", "qkd_hal", "tls", "serve", "--config", str(sites[1].config)]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        facts = json.loads(serving.stdout.readline())
        host, port = address(facts["listening"])
        socket.create_connection((host, port)).close()
        assert facts["link"].startswith("tcp://127.0.0.1:")
        serving.terminate()
        assert serving.wait(15) == 128 + signal.SIGTERM


def test_the_yardstick_needs_its_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["tls", "connect", "h:1", "--yardstick", "h:2"]) == 2
    assert "go together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"), [("h:1", ("h", 1)), ("[::1]:65535", ("::1", 65535)), ("a.b:0", ("a.b", 0))]
)
def test_addresses(text: str, value: tuple[str, int]) -> None:
    assert address(text) == value


@pytest.mark.parametrize("text", ["h", ":1", "h:", "h:x", "h:65536", "h:-1", "h:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(click.BadParameter, match="HOST:PORT"):
        address(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4096", 4096), ("3KiB", 3072), ("8MiB", 8 << 20), ("1 GiB", 1 << 30)],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "8MB", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a size"):
        size(text)


class Wire:
    """A connection whose other end answers with what *answer* makes of the data."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self._waiting = b""
        self.sent = 0

    def sendall(self, data: bytes) -> None:
        self.sent += len(data)
        self._waiting += self._answer(data)

    def recv(self, limit: int = 1 << 16) -> bytes:
        data, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return data


def as_socket(wire: Wire) -> QKDSocket:
    return cast("QKDSocket", wire)


def test_moved_data_is_counted_in_chunks() -> None:
    moved = move(as_socket(Wire(bytes)), 200_000)
    assert (moved.sent, moved.received) == (200_000, 200_000)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "other data"),
        (lambda data: data[:-1], "ended in the middle"),
        (lambda _data: b"", "ended in the middle"),
    ],
)
def test_data_that_does_not_come_back_is_noticed(answer: Any, why: str) -> None:
    with pytest.raises(TLSError, match=why):
        move(as_socket(Wire(answer)), 70_000)


def test_echo_and_drop_read_to_the_end() -> None:
    for handler, sent in ((echo, 300), (drop, 0)):
        wire = Wire(lambda _data: b"")
        wire._waiting = b"x" * 300
        handler(as_socket(wire))
        assert (wire._waiting, wire.sent) == (b"", sent)
