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
    """Print how the eavesdropper was found."""
    attack = report["eve"]
    verdict = f"block aborted: {report['reason']}" if report["aborted"] else "not noticed"
    rows = [
        ("Eve", "attack", f"{attack['attack']} of {attack['fraction']:.0%} of the photons"),
        ("BB84", "QBER", f"{report['qber']:.2%}" if report["qber"] is not None else "-"),
        ("", "verdict", verdict),
        ("", "secret bits", f"{report['secret_bits']:,}"),
    ]
    print_table(("stage", "what", "figure"), rows)


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
