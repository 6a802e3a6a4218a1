"""Checks of what is out there: devices that answer, links that can be made."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from qkd_hal.cli.doctor._check import Check, attempt, failed, passed
from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import DeviceURL, open_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.config import Configuration, PeerEntry

__all__ = ["check_reach"]

_TIMEOUT = 3.0  # seconds for each device and each link


def check_reach(configuration: Configuration) -> Iterator[Check]:
    """Check every device and every link of *configuration*."""
    for name in configuration.devices:
        yield attempt(f"device {name}", lambda name=name: _identify(name, configuration))  # type: ignore[misc]
    for peer in configuration.peers.values():
        yield _listening(peer) if peer.listen else _connecting(peer)


def _identify(name: str, configuration: Configuration) -> str:
    with open_device(name, config=configuration, timeout=_TIMEOUT) as device:
        info = device.info
        link = {True: "link up", False: "link down", None: "link unknown"}[device.status().link_up]
    return f"{info.vendor} {info.model} {info.serial_number}, {info.provenance}, {link}"


def _connecting(peer: PeerEntry) -> Check:
    name = f"link to {peer.name}"
    try:
        with socket.create_connection(_endpoint(peer), _TIMEOUT):
            return passed(name, f"{peer.link} answers")
    except OSError as error:
        cure = f"Start the pool at {peer.name}, or open the port in the firewall"
        return failed(name, f"{peer.link}: {error.strerror or error}", cure)


def _listening(peer: PeerEntry) -> Check:
    name = f"link from {peer.name}"
    try:
        with socket.create_server(_endpoint(peer)):
            return passed(name, f"{peer.link} is free to listen on")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return passed(name, f"{peer.link} is in use, as when the pool runs")
        return failed(name, f"{peer.link}: {error.strerror or error}", "Correct the address")


def _endpoint(peer: PeerEntry) -> tuple[str, int]:
    url = DeviceURL.parse(peer.link)
    if url.port is None:
        raise ConfigurationError(f"{peer.link} names no port")
    return url.host, url.port
