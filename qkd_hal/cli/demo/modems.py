"""The quantum half of the demo: two modems in processes of their own, seen through the HAL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qkd_hal.cli._process import uninterrupted
from qkd_hal.emulators import start_emulator
from qkd_hal.errors import DeadlineError
from qkd_hal.registry import open_device

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from qkd_hal.cli.demo.narrator import Narrator
    from qkd_hal.emulators import EmulatedPair
    from qkd_hal.sources import DeviceStatus

__all__ = ["distillation_facts", "start_modems", "watch"]

_POLL = 0.1  # seconds between two looks at a modem
_COUNTS = {
    "light_pulses": "pulses on the line",
    "sifted_bits": "sifted bits",
    "secret_bits": "secret bits",
}


def start_modems(stack: ExitStack, **options: Any) -> EmulatedPair:
    """Start the pair; it ends with *stack*, even if Ctrl-C comes this very moment."""
    with uninterrupted():
        pair = start_emulator("bb84", **options)
        stack.callback(pair.close)
    return pair


def watch(
    url: str,
    tell: Narrator,
    progress: Callable[[DeviceStatus], float],
    timeout: float,
) -> DeviceStatus:
    """Show how a modem fares until *progress* reaches 1, and return its status then.

    Raises:
        DeadlineError: it did not within *timeout* seconds.
    """
    until = time.monotonic() + timeout
    with open_device(url) as device:
        while (done := progress(status := device.status())) < 1:
            tell.show(done, _figures(status))
            if time.monotonic() >= until:
                reason = status.details.get("last_abort", "no block came")
                raise DeadlineError(
                    f"no key within {timeout:g} s: {reason}",
                    device=url,
                    cure="Less loss makes key sooner: try a smaller --length-km",
                )
            time.sleep(_POLL)
    return status


def distillation_facts(status: DeviceStatus) -> dict[str, object]:
    """Return what the report says of the quantum half."""
    details = status.details
    return {
        "pulses": details["pulses"],
        "sifted_bits": details["sifted_bits"],
        "qber": status.qber,
        "leak_bits": details["leak_bits"],
        "reconciliation_efficiency": details.get("reconciliation_efficiency"),
        "secret_bits": details["secret_bits"],
        "secret_key_rate_bps": status.secret_key_rate_bps,
    }


def _figures(status: DeviceStatus) -> str:
    counts = [f"{status.details.get(name, 0):,} {text}" for name, text in _COUNTS.items()]
    qber = "" if status.qber is None else f"  QBER {status.qber:.2%}"
    return "  ".join(counts) + qber
