"""The classical half of the demo: two more processes, each with its device, pool and TLS."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qkd_hal.cli.demo.children import start_child

if TYPE_CHECKING:
    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.cli.demo.sites import DemoSite

__all__ = ["Server", "drain", "exchange", "start_server"]

_PATIENCE = 30.0  # seconds for a process to start, or to finish its task
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """Where bob's process answers; ``certificate`` is a file, for the yardstick only."""

    address: str
    yardstick: str
    certificate: str
    link: str


def start_server(
    stack: ExitStack, alice: DemoSite, bob: DemoSite, settings: DemoSettings
) -> Server:
    """Start bob's TLS server, and tell alice's configuration where its pool listens."""
    _configure(bob, alice, "tcp://127.0.0.1:0", settings, listen=True)
    arguments = ("--echo", "--yardstick", str(settings.handshakes))
    child = start_child(stack, "bob", _command("serve", bob, *arguments), bob.log)
    facts = child.read(_PATIENCE)
    _configure(alice, bob, facts["link"], settings, listen=False)
    certificate = alice.folder / "yardstick.pem"
    certificate.write_text(facts["certificate"])
    return Server(facts["listening"], facts["yardstick"], str(certificate), facts["link"])


def exchange(alice: DemoSite, server: Server, settings: DemoSettings) -> dict[str, Any]:
    """Let alice's pool fill, connect, and move data both ways; return her report."""
    size, stock = str(settings.megabytes * _MIB), str(settings.stock)
    return _run_client(alice, server.address, "--bytes", size, "--stock", stock)


def drain(alice: DemoSite, bob: DemoSite, server: Server, settings: DemoSettings) -> dict[str, Any]:
    """Let alice, who has no device now, time handshakes, then connect until no key is left."""
    _configure(alice, bob, server.link, settings, listen=False, refill=False)
    return _run_client(
        alice,
        server.address,
        *("--yardstick", server.yardstick, "--certificate", server.certificate),
        *("--handshakes", str(settings.handshakes), "--until-exhausted"),
    )


def _configure(
    site: DemoSite,
    other: DemoSite,
    link: str,
    settings: DemoSettings,
    *,
    listen: bool,
    refill: bool = True,
) -> None:
    sizes = {"block_size": settings.block_size, "keys": settings.pool_keys}
    site.configure(other.name, link, listen=listen, refill=refill, **sizes)


def _run_client(alice: DemoSite, *arguments: str) -> dict[str, Any]:
    with ExitStack() as stack:
        command = _command("connect", alice, *arguments)
        return start_child(stack, "alice", command, alice.log).read(_PATIENCE)


def _command(verb: str, site: DemoSite, *arguments: str) -> list[str]:
    common = ("--config", str(site.config), "--die-with-parent", "--json")
    return ["tls", verb, *common, *arguments]
