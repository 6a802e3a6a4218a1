"""What a policy refuses to be, and what it refuses to accept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qkd_hal.errors import ConfigurationError, PolicyError, UsageError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.tls import (
    PORTABLE_SUITES,
    REQUIRE_QUANTUM,
    STRICT_SUITES,
    Policy,
    Protection,
    QKDContext,
    _openssl,
    check_engine,
)
from qkd_hal.tls import groups as groups_module
from qkd_hal.tls._openssl import new_context

GOOD = Protection(
    version="TLSv1.3",
    cipher="TLS_CHACHA20_POLY1305_SHA256",
    group="X25519MLKEM768",
    psk_used=True,
    key_ref=KeyRef("alice", KeyId.random()),
    provenance=Provenance(Origin.HARDWARE),
)
SIMULATED = Provenance(Origin.SIMULATED)


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": ()},
        {"groups": ("X25519MLKEM768", "nonsense")},
        {"groups": ("X25519MLKEM768:secp256r1",)},
        {"suites": ()},
        {"suites": ("TLS_AES_128_CCM_8_SHA256",)},
        {"suites": STRICT_SUITES + PORTABLE_SUITES},
        {"key_size": 16},
        {"key_size": 513},
        {"handshake_timeout": 0},
        {"handshake_timeout": float("nan")},
    ],
)
def test_policies_that_nothing_could_satisfy(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(REQUIRE_QUANTUM, **changes)  # type: ignore[arg-type]


def test_the_default_is_strict() -> None:
    assert Policy() == REQUIRE_QUANTUM
    assert not REQUIRE_QUANTUM.allow_simulated
    assert REQUIRE_QUANTUM.groups == ("X25519MLKEM768",)
    REQUIRE_QUANTUM.require(GOOD)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"version": "TLSv1.2"}, "TLSv1.2"),
        ({"cipher": "TLS_AES_256_GCM_SHA384"}, "TLS_AES_256_GCM_SHA384"),
        ({"group": "X25519"}, "X25519"),
        ({"group": "none"}, "none"),
        ({"psk_used": False}, "without the quantum key"),
        ({"key_ref": None}, "without the quantum key"),
        ({"provenance": None}, "without the quantum key"),
        ({"provenance": SIMULATED}, "simulator"),
    ],
)
def test_each_weakness_is_refused_by_name(changes: dict[str, object], names: str) -> None:
    with pytest.raises(PolicyError, match=names):
        REQUIRE_QUANTUM.require(replace(GOOD, **changes))  # type: ignore[arg-type]


def test_simulated_keys_must_be_asked_for() -> None:
    with pytest.raises(PolicyError, match="allow_simulated=True"):
        REQUIRE_QUANTUM.require_provenance(SIMULATED)
    Policy(allow_simulated=True).require_provenance(SIMULATED)


@pytest.mark.parametrize(
    ("group", "mode"),
    [
        ("X25519MLKEM768", "quantum+hybrid"),
        ("MLKEM1024", "quantum+post-quantum"),
        ("X25519", "quantum+classical"),
    ],
)
def test_the_mode_says_what_is_mixed(group: str, mode: str) -> None:
    assert replace(GOOD, group=group).mode == mode
    assert replace(GOOD, group=group, psk_used=False).mode == mode.removeprefix("quantum+")


def test_the_reason_names_the_key_or_its_absence() -> None:
    assert str(GOOD.key_ref) in GOOD.reason
    assert "hardware" in GOOD.reason
    assert "no quantum key" in replace(GOOD, psk_used=False).reason


def test_simulated_is_visible_in_json() -> None:
    shown = replace(GOOD, provenance=SIMULATED).to_json()
    assert shown["simulated"] is True
    assert shown["provenance"] == "simulated"


@pytest.mark.parametrize("name", [*groups_module._KINDS])
def test_the_engine_knows_every_group_that_a_policy_may_name(name: str) -> None:
    new_context(Policy(groups=(name,)))


def test_an_engine_without_the_group_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(groups_module._KINDS, "MLKEM-of-tomorrow", "post-quantum")
    with pytest.raises(ConfigurationError, match="MLKEM-of-tomorrow"):
        check_engine(Policy(groups=("MLKEM-of-tomorrow",)))


def test_the_engine_tells_its_version_once_it_fits() -> None:
    assert check_engine(REQUIRE_QUANTUM).startswith("OpenSSL ")


def test_an_engine_without_the_bindings_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_openssl, "_NEEDED", ("SSL_CTX_gone",))
    _openssl._require_features.cache_clear()
    with pytest.raises(ConfigurationError, match="SSL_CTX_gone"):
        QKDContext(source=None)  # type: ignore[arg-type]
    _openssl._require_features.cache_clear()
