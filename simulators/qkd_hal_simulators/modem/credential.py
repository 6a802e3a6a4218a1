"""The CURVE keys of a modem and of the applications that it admits: one file, 0600."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq

from qkd_hal.private_files import replace_private

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ServerKeys", "issue_credential"]


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The modem's own key pair and the one public key that it admits, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)
    admitted: bytes


def issue_credential(directory: Path) -> ServerKeys:
    """Make fresh keys for this run and write the applications' half to ``client.curve``.

    A credential lives as long as the modem runs: a copy that leaked earlier opens nothing.
    """
    public, secret = zmq.curve_keypair()
    client_public, client_secret = zmq.curve_keypair()
    fields = {
        "server_public": public.decode(),
        "client_public": client_public.decode(),
        "client_secret": client_secret.decode(),
    }
    replace_private(directory / "client.curve", json.dumps(fields).encode())
    return ServerKeys(public, secret, client_public)
