"""The demo with an eavesdropper: what she learns, what it costs, and that no key is hers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkd_hal.cli._process import orderly_stack
from qkd_hal.cli.demo.folder import temporary_folder
from qkd_hal.cli.demo.modems import start_modems, watch
from qkd_hal.registry import open_device

if TYPE_CHECKING:
    from qkd_hal.cli.demo.narrator import Narrator
    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.emulators import EmulatedPair
    from qkd_hal.sources import DeviceStatus

__all__ = ["run_eve"]

_PATIENCE = 60.0  # seconds for the first block
_AMID_TAMPERING = 20.0  # seconds for a key; an Eve who drops all messages lets none be made
_REPORT_SECONDS = 5.0  # until Eve has written down what she heard of a block
_LOOK_SECONDS = 0.1
_KEYS_COMPARED = 4
_TAMPERED = 5  # messages: the demo also shows that the link recovers
_ON_MESSAGES = "man-in-the-middle"
_WEAK_PULSES = ("--source", "wcp", "--block-size", str(1 << 16))
_NEED_WEAK_PULSES = ("photon-number-splitting", "beam-splitting")


def run_eve(
    settings: DemoSettings, attack: str, fraction: float | None, tell: Narrator
) -> dict[str, Any]:
    """Let Eve attack; return what she and both ends saw."""
    begin = time.monotonic()
    attack = _completed(attack, fraction)
    with orderly_stack() as stack:
        tell.say(f"Starting two optical modems, and Eve: {attack}")
        diary = temporary_folder(stack) / "eve.json"
        modems = start_modems(
            stack,
            preset=settings.preset,
            options=_options(settings, attack),
            eve=attack,
            eve_report=diary,
        )
        find = _tampered if attack.startswith(_ON_MESSAGES) else _tapped
        facts = find(modems, diary, tell)
    return {**facts, "seconds": round(time.monotonic() - begin, 2)}


def _completed(attack: str, fraction: float | None) -> str:
    """Return *attack* with what came by other options, and an end of tampering."""
    extra = [] if fraction is None else [f"fraction={fraction}"]
    if attack.startswith(_ON_MESSAGES) and "messages=" not in attack:
        extra.append(f"messages={_TAMPERED}")
    if not extra:
        return attack
    return f"{attack}{',' if ':' in attack else ':'}{','.join(extra)}"


def _options(settings: DemoSettings, attack: str) -> tuple[str, ...]:
    needs_pulses = settings.short and attack.startswith(_NEED_WEAK_PULSES)
    return (*settings.channel, *(_WEAK_PULSES if needs_pulses else ()))


def _tapped(modems: EmulatedPair, diary: Path, tell: Narrator) -> dict[str, Any]:
    tell.say("Waiting for the first block of raw key to be judged")
    status = watch(modems.alice_url, tell, _judged, _PATIENCE)
    until = time.monotonic() + _REPORT_SECONDS
    while (report := _read(diary)).get("qber") is None and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    return _facts(status, report)


def _judged(status: DeviceStatus) -> float:
    # Not on the first abort: one that only timed out says nothing of Eve.
    return 0.0 if status.qber is None else 1.0


def _tampered(modems: EmulatedPair, diary: Path, tell: Narrator) -> dict[str, Any]:
    tell.say("Waiting for keys that both ends hold, whatever Eve does to their messages")
    until = time.monotonic() + _AMID_TAMPERING

    def settled(status: DeviceStatus) -> float:
        tampered = _read(diary).get("messages_tampered", 0)
        ready = tampered and (status.stored_keys or 0) >= _KEYS_COMPARED
        return 1.0 if ready or time.monotonic() >= until else 0.0

    status = watch(modems.alice_url, tell, settled, _PATIENCE)
    compared, differ = _compare(modems) if status.stored_keys else (0, 0)
    return {
        **_facts(status, _read(diary)),
        "blocks": status.details["blocks"],
        "aborted_blocks": status.details["aborted_blocks"],
        "keys_compared": compared,
        "keys_differ": differ,
    }


def _compare(modems: EmulatedPair) -> tuple[int, int]:
    """Take keys at both ends; return how many, and how many of them differ."""
    same = []
    with open_device(modems.alice_url) as alice, open_device(modems.bob_url) as bob:
        for _ in range(_KEYS_COMPARED):
            session = alice.start(peer=bob.info.site, size=32)
            session.connect()
            theirs = bob.get_key_by_id(session.key_id, peer=alice.info.site)
            same.append(session.get_key(32).matches(theirs))
    return len(same), same.count(False)


def _facts(status: DeviceStatus, report: dict[str, Any]) -> dict[str, Any]:
    chosen = {"attack": report["attack"], "fraction": report["fraction"], **report["options"]}
    return {
        "eve": chosen,
        "aborted": int(status.details["aborted_blocks"]) > 0,
        "reason": status.details.get("last_abort"),
        "qber": status.qber,
        "secret_bits": status.details["secret_bits"],
        "secret_key_rate_bps": status.secret_key_rate_bps,
        "alarms": sorted(alarm.value for alarm in status.alarms),
        "eve_report": {
            key: report[key] for key in report if key not in ("attack", "fraction", "options")
        },
    }


def _read(diary: Path) -> dict[str, Any]:
    # She writes it for the first time a moment after she is ready.
    report: dict[str, Any] = json.loads(diary.read_bytes()) if diary.exists() else {}
    return report
