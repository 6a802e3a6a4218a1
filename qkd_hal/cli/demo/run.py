"""The demo from end to end: photons, key, pool, TLS, and a pool that runs dry."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from qkd_hal.cli.demo.folder import temporary_folder
from qkd_hal.cli.demo.modems import distillation_facts, start_modems, watch
from qkd_hal.cli.demo.settings import KEY_BYTES
from qkd_hal.cli.demo.sites import make_sites
from qkd_hal.cli.demo.tls_stage import drain, exchange, start_server

if TYPE_CHECKING:
    from qkd_hal.cli.demo.narrator import Narrator
    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.sources import DeviceStatus

__all__ = ["run_demo"]

_PATIENCE = 60.0  # seconds for the first key


def run_demo(settings: DemoSettings, tell: Narrator) -> dict[str, Any]:
    """Run everything and return the report; nothing of it stays."""
    begin = time.monotonic()
    with ExitStack() as stack:
        tell.say(f"Starting two optical modems, {settings.length_km:g} km of fibre between them")
        folder = temporary_folder(stack)
        modems = start_modems(stack, preset=settings.preset, options=_channel(settings))
        tell.say("Distilling secret key from photons (BB84)")
        watch(modems.alice_url, tell, lambda status: _filled(status, settings), _PATIENCE)

        tell.say("Starting TLS at both sites, each with its own pool of keys")
        alice, bob = make_sites(folder, modems.alice_url, modems.bob_url)
        server = start_server(stack, alice, bob, settings)
        tell.say(f"Moving {settings.megabytes} MiB each way and timing handshakes")
        online = exchange(alice, server, settings)
        distilled = watch(modems.alice_url, tell, lambda _status: 1.0, _PATIENCE)

        tell.say("Switching the modems off and connecting until no key is left")
        modems.close()
        drained = drain(alice, server)
    return {
        **distillation_facts(distilled),
        **_tls_facts(online, drained),
        "seconds": round(time.monotonic() - begin, 2),
    }


def _channel(settings: DemoSettings) -> tuple[str, ...]:
    return ("--length-km", str(settings.length_km))


def _filled(status: DeviceStatus, settings: DemoSettings) -> float:
    wanted = KEY_BYTES * settings.pool_keys
    return (status.stored_bytes or 0) / wanted


def _tls_facts(online: dict[str, Any], drained: dict[str, Any]) -> dict[str, Any]:
    moved, exhausted = online["moved"], drained["exhausted"]
    return {
        "key_ids": online["key_ids"] + drained["key_ids"],
        "bytes_moved": moved["sent"] + moved["received"],
        "sha256": moved["sha256"],
        "tls": online["tls"],
        "handshake_ms": online["handshake_ms"],
        "after_drain": {
            "refused": True,
            "error": exhausted["error"],
            "handshakes_before": exhausted["handshakes"],
        },
    }
