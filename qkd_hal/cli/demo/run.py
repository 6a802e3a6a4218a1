"""The demo from end to end: photons, key, pool, TLS, and a pool that runs dry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from qkd_hal.cli._process import orderly_stack
from qkd_hal.cli.demo.devices import device_facts, site_names, start_devices
from qkd_hal.cli.demo.folder import temporary_folder
from qkd_hal.cli.demo.modems import distillation_facts, start_modems, watch
from qkd_hal.cli.demo.settings import KEY_BYTES
from qkd_hal.cli.demo.sites import make_sites
from qkd_hal.cli.demo.tls_stage import drain, exchange, start_server
from qkd_hal.errors import KeyConsumedError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qkd_hal.cli.demo.narrator import Narrator
    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.emulators import EmulatedPair
    from qkd_hal.sources import DeviceStatus

__all__ = ["run_demo"]

_Quantum: TypeAlias = "tuple[EmulatedPair, dict[str, Any], tuple[str, str]]"
"""Two devices, what they tell of their photons, and the names of their sites."""


def run_demo(settings: DemoSettings, tell: Narrator) -> dict[str, Any]:
    """Run everything and return the report; nothing of it stays."""
    begin = time.monotonic()
    with orderly_stack() as stack:
        pair, facts, names = (_devices if settings.device else _modems)(stack, settings, tell)
        folder = temporary_folder(stack)
        tell.say("Starting TLS at both sites, each with its own pool of keys")
        alice, bob = make_sites(folder, pair.alice_url, pair.bob_url, names)
        server = start_server(stack, alice, bob, settings)
        tell.say(f"Filling the pools, then moving {settings.megabytes} MiB each way")
        online = exchange(alice, server, settings)

        tell.say("Taking the device away, timing handshakes, then draining the pool")
        pair.close()
        offline = drain(alice, bob, server, settings)
    return {
        **facts,
        **_tls_facts(online, offline),
        "seconds": round(time.monotonic() - begin, 2),
    }


def _modems(stack: ExitStack, settings: DemoSettings, tell: Narrator) -> _Quantum:
    tell.say(f"Starting two optical modems, {_between(settings)} between them")
    modems = start_modems(stack, preset=settings.preset, options=settings.channel)
    tell.say("Distilling secret key from photons (BB84)")
    # The end that detects: it alone knows how many errors it corrected.
    status = watch(
        modems.bob_url, tell, lambda status: _filled(status, settings), settings.patience
    )
    return modems, distillation_facts(status), ("alice", "bob")


def _devices(stack: ExitStack, settings: DemoSettings, tell: Narrator) -> _Quantum:
    tell.say(f"Taking keys from {settings.device}")
    pair = start_devices(stack, settings)
    facts = device_facts(pair, settings)
    return pair, facts, site_names(facts)


def _between(settings: DemoSettings) -> str:
    if settings.length_km is None:
        return f"the line of {settings.preset}"
    return f"{settings.length_km:g} km of fibre"


def _filled(status: DeviceStatus, settings: DemoSettings) -> float:
    wanted = KEY_BYTES * settings.pool_keys
    return (status.stored_bytes or 0) / wanted


def _tls_facts(online: dict[str, Any], offline: dict[str, Any]) -> dict[str, Any]:
    moved, exhausted = online["moved"], offline["exhausted"]
    key_ids = online["key_ids"] + offline["key_ids"]
    if len(set(key_ids)) != len(key_ids):
        raise KeyConsumedError("a key was used twice", cure="Report it: this must never happen")
    return {
        "key_ids": key_ids,
        "bytes_moved": moved["sent"] + moved["received"],
        "sha256": moved["sha256"],
        "tls": online["tls"],
        "handshake_ms": offline["handshake_ms"],
        "after_drain": {
            "refused": True,
            "error": exhausted["error"],
            "handshakes_before": exhausted["handshakes"],
        },
    }
