"""``qkd-hal tls serve``: a small TLS 1.3 server on quantum keys, to test against."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import json_option, print_json, print_pairs
from qkd_hal.cli._process import die_with_parent as follow_parent
from qkd_hal.cli.tls._options import address, config_option, die_with_parent_option, pool_option
from qkd_hal.cli.tls.exchange import drop, echo
from qkd_hal.errors import QKDError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qkd_hal.tls import QKDContext
    from qkd_hal.tls.compare import CertificateContext

__all__ = ["serve"]

_PATIENCE = 86_400.0  # seconds until the yardstick's first client must come

logger = logging.getLogger("qkd_hal.cli")


@click.command()
@click.option(
    "--listen",
    type=address,
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 for any free one.",
)
@click.option("--echo", "echoes", is_flag=True, help="Send back what comes, instead of reading on.")
@click.option(
    "--yardstick",
    type=click.IntRange(min=1),
    metavar="ROUNDS",
    help="Also answer ROUNDS handshakes each with quantum keys and RSA-2048 certificates.",
)
@config_option
@pool_option
@die_with_parent_option
@json_option
def serve(
    listen: tuple[str, int],
    echoes: bool,
    yardstick: int | None,
    config: Path | None,
    pool_name: str | None,
    die_with_parent: bool,
    as_json: bool,
) -> None:
    """Serve TLS 1.3 keyed by a pool of qkd-hal.toml, until Ctrl-C.

    Prints where it listens once peers can connect.
    """
    from qkd_hal.cli.wiring import open_site
    from qkd_hal.tls import Server

    if die_with_parent:
        follow_parent()
    with ExitStack() as stack:
        site = stack.enter_context(open_site(config, pool_name))
        context = site.tls_context(pool_name)
        listener = stack.enter_context(socket.create_server(listen))
        server = stack.enter_context(Server(context, listener, echo if echoes else drop))
        facts = {"listening": _text(server.address), "link": site.pool(pool_name).link}
        if yardstick:
            facts |= _start_yardstick(stack, context, yardstick)
        print_json(facts) if as_json else print_pairs(
            facts, title="TLS 1.3 on quantum keys, until Ctrl-C"
        )
        server.serve_forever()


def _start_yardstick(stack: ExitStack, context: QKDContext, rounds: int) -> dict[str, str]:
    from qkd_hal.tls import CLASSICAL_GROUPS
    from qkd_hal.tls.compare import certificate_server

    # The client chooses the group: first the one of the quantum handshake, then X25519 alone.
    certified, pem = certificate_server(groups=(*context.policy.groups, *CLASSICAL_GROUPS))
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    thread = threading.Thread(
        target=_answer, args=(listener, (context, certified, certified), rounds), name="yardstick"
    )
    thread.start()
    stack.callback(thread.join)
    stack.callback(_wake, listener)
    return {"yardstick": _text(listener.getsockname()), "certificate": pem.decode()}


def _answer(
    listener: socket.socket, contexts: Sequence[QKDContext | CertificateContext], rounds: int
) -> None:
    from qkd_hal.tls.compare import answer_handshakes

    try:
        answer_handshakes(listener, contexts, rounds, timeout=_PATIENCE)
    except (QKDError, OSError) as error:
        logger.info("the yardstick ended: %s", error)


def _wake(listener: socket.socket) -> None:
    with suppress(OSError):  # nobody waits there any more
        listener.shutdown(socket.SHUT_RDWR)


def _text(endpoint: tuple[str, int]) -> str:
    host, port = endpoint[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
