"""The closing tables of the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qkd_hal.cli._output import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["print_demo", "print_eve"]

_SHOWN_KEY_IDS = 3


def print_demo(report: Mapping[str, Any]) -> None:
    """Print what the demo found, in the order in which a key lives."""
    source = _device_rows if "devices" in report else _quantum_rows
    print_table(("stage", "what", "figure"), [*source(report), *_tls_rows(report)])


def print_eve(report: Mapping[str, Any]) -> None:
    """Print what the eavesdropper did and learned, and how she was found."""
    tampered = "keys_compared" in report
    deeds = _tampering_rows(report) if tampered else _tapping_rows(report)
    found = _recovery_rows(report) if tampered else _verdict_rows(report)
    print_table(("stage", "what", "figure"), [*deeds, *found])


def _attack_row(report: Mapping[str, Any], what: str) -> tuple[str, str, str]:
    attack = dict(report["eve"])
    name, fraction = attack.pop("attack"), attack.pop("fraction")
    options = "".join(f", {option} {value}" for option, value in attack.items())
    return "Eve", "attack", f"{name} of {fraction:.0%} of the {what}{options}"


def _tapping_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    eve = report["eve_report"]
    yield _attack_row(report, "photons")
    blocked = f", {eve['pulses_blocked']:,} blocked" if eve["pulses_blocked"] else ""
    tapped = f"{eve['pulses_tapped']:,} of {eve['pulses_seen']:,} pulses with light"
    yield "", "tapped", f"{tapped}{blocked}"
    yield "", "knows", f"{eve['known_bits']:,} of {eve['sifted_bits']:,} sifted bits for sure"
    if eve["guessed_bits"]:
        right = f"{eve['guess_probability']:.1%}"
        yield "", "guesses", f"{eve['guessed_bits']:,} more, of which {right} rightly"
    shannon, least = eve["shannon_bits"], eve["min_entropy_bits"]
    yield "", "information", f"{shannon:,.0f} bits (Shannon), {least:,.0f} bits (min-entropy)"
    if eve["yield_change"] is not None:
        yield "", "cost", f"clicks change by {eve['yield_change']:+.1%}"


def _verdict_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "BB84", "QBER", _qber(report)
    share = report["eve_report"]["single_photon_share"]
    if share is not None:
        yield "", "single photons", f"at least {share:.1%} of the sifted key, by the decoys"
    amplified = "block accepted: what Eve may know is amplified away"
    aborted = f"block aborted: {report['reason']}"
    yield "", "verdict", aborted if report["aborted"] else amplified
    yield "", "secret bits", f"{report['secret_bits']:,}"
    yield "", "secret key rate", _rate(report)


def _tampering_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    eve = report["eve_report"]
    yield _attack_row(report, "messages")
    yield "", "heard", f"{eve['messages_heard']:,} messages"
    yield "", "tampered with", f"{eve['messages_tampered']:,} of them"


def _recovery_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "BB84", "QBER", _qber(report)
    last = f", the last for: {report['reason']}" if report["aborted"] else ""
    yield "", "blocks", f"{report['blocks']:,} good, {report['aborted_blocks']:,} aborted{last}"
    yield "", "secret bits", f"{report['secret_bits']:,}"
    yield "", "secret key rate", _rate(report)
    compared = f"{report['keys_compared']} compared at both ends, {report['keys_differ']} differ"
    yield "", "keys", compared


def _qber(report: Mapping[str, Any]) -> str:
    return f"{report['qber']:.2%}" if report["qber"] is not None else "-"


def _rate(report: Mapping[str, Any]) -> str:
    rate = report["secret_key_rate_bps"]
    return f"{rate:,.0f} bit/s" if rate is not None else "-"


def _device_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for device in report["devices"]:
        model = f"{device['vendor']} {device['model']}, {device['serial_number']}"
        yield "device", device["site"], model
    if report["qber"] is not None:
        yield "", "QBER", f"{report['qber']:.2%}"
    if report["secret_key_rate_bps"] is not None:
        yield "", "secret key rate", f"{report['secret_key_rate_bps']:,.0f} bit/s"


def _quantum_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "BB84", "pulses used", f"{report['pulses']:,}"
    yield "", "sifted bits", f"{report['sifted_bits']:,}"
    yield "", "QBER", f"{report['qber']:.2%}"
    leak, efficiency = report["leak_bits"], report["reconciliation_efficiency"]
    yield "", "reconciliation", f"{leak:,} bits leaked, efficiency {efficiency:.3f}"
    yield "", "secret bits", f"{report['secret_bits']:,}"
    yield "", "secret key rate", f"{report['secret_key_rate_bps']:,.0f} bit/s"


def _tls_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    tls, key_ids, drain = report["tls"], report["key_ids"], report["after_drain"]
    shown = "\n".join(key_ids[:_SHOWN_KEY_IDS])
    yield "pool", "key IDs", f"{shown}\n… {len(key_ids)} in all, each used once"
    yield "TLS", "version", f"{tls['version']}, {tls['cipher']}, {tls['group']}"
    yield "", "protected by", f"{tls['protection']}, key from {tls['provenance']}"
    moved = report["bytes_moved"] / (1 << 20)
    yield "", "data", f"{moved:g} MiB, SHA-256 equal at both ends"
    medians = report["handshake_ms"]
    yield "", "handshake", f"{medians['quantum']:.2f} ms (median)"
    classical = f"{medians['rsa2048_x25519']:.2f} ms with X25519 alone"
    yield "", "with RSA-2048", f"{medians['rsa2048']:.2f} ms; {classical}"
    code, before = drain["error"]["code"], drain["handshakes_before"]
    yield "drain", "then", f"refused after {before} more handshakes [{code}]"
