"""The demo with an eavesdropper: the error rate gives her away, and no key is made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qkd_hal.cli._process import orderly_stack
from qkd_hal.cli.demo.modems import start_modems, watch

if TYPE_CHECKING:
    from qkd_hal.cli.demo.narrator import Narrator
    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.sources import DeviceStatus

__all__ = ["run_eve"]

_PATIENCE = 60.0  # seconds for the first block


def run_eve(settings: DemoSettings, fraction: float, tell: Narrator) -> dict[str, Any]:
    """Let Eve intercept and resend *fraction* of the photons; return what both ends saw."""
    begin = time.monotonic()
    with orderly_stack() as stack:
        tell.say(
            f"Starting two optical modems, and Eve, who measures {fraction:.0%} of the photons"
        )
        options = ("--length-km", str(settings.length_km))
        modems = start_modems(stack, preset=settings.preset, options=options, eve_fraction=fraction)
        tell.say("Waiting for the first block of raw key to be judged")
        status = watch(modems.alice_url, tell, _judged, _PATIENCE)
    return {
        "eve": {"attack": "intercept-resend", "fraction": fraction},
        "aborted": int(status.details["aborted_blocks"]) > 0,
        "reason": status.details.get("last_abort"),
        "qber": status.qber,
        "secret_bits": status.details["secret_bits"],
        "alarms": sorted(alarm.value for alarm in status.alarms),
        "seconds": round(time.monotonic() - begin, 2),
    }


def _judged(status: DeviceStatus) -> float:
    # Not on the first abort: one that only timed out says nothing of Eve.
    return 0.0 if status.qber is None else 1.0
