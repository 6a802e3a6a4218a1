"""Handshakes that must not succeed, and what each end is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import (
    KeyNotFoundError,
    LinkError,
    PolicyError,
    ProtocolError,
    TLSError,
)
from qkd_hal.keys import Origin, Provenance
from qkd_hal.tls import STRICT_SUITES, Policy, QKDContext, encode_identity
from qkd_hal.tls import _keying as keying_module

if TYPE_CHECKING:
    from qkd_hal.keys import KeyRef
    from tests.tls.conftest import Contexts, Link, MemorySource, Shake, Wires

SIMULATED = Provenance(Origin.SIMULATED)


def faults(shake: Shake, client: QKDContext, server: QKDContext) -> list[BaseException]:
    """Shake hands; return what client and server raised."""
    raised = [future.exception(timeout=10) for future in shake(client, server)]
    assert all(raised), "one end believes that it is connected"
    return [fault for fault in raised if fault]


def forget(bob: MemorySource) -> Callable[[KeyRef], object]:
    return lambda ref: bob.incoming.pop(ref)


def test_a_wrong_key_fails_at_both_ends(link: Link, contexts: Contexts, shake: Shake) -> None:
    alice, bob = link
    alice.on_reserve = lambda ref: bob.incoming.update({ref: bytes(32)})
    client, server = faults(shake, *contexts)
    assert type(client) is type(server) is TLSError
    assert len(alice.handed_out[0]) == len(bob.handed_out[0]) == 0
    alice.reservations[0].give_back()
    assert alice.given_back == []  # the identity was on the wire: burned for good


def test_an_unknown_key_is_named_to_the_server_only(
    link: Link, contexts: Contexts, shake: Shake
) -> None:
    alice, bob = link
    alice.on_reserve = forget(bob)
    client, server = faults(shake, *contexts)
    assert type(server) is TLSError
    assert isinstance(server.__cause__, KeyNotFoundError)
    assert server.key_id == alice.reserved[0].key_id
    assert type(client) is TLSError
    assert client.__cause__ is None


def test_a_wrong_and_an_unknown_key_look_the_same_to_the_client(
    link: Link, contexts: Contexts, shake: Shake
) -> None:
    """Otherwise anybody could ask a server which keys it holds (RFC 8446, E.6)."""
    alice, bob = link
    alice.on_reserve = lambda ref: bob.incoming.update({ref: bytes(32)})
    wrong, _ = faults(shake, *contexts)
    alice.on_reserve = forget(bob)
    unknown, _ = faults(shake, *contexts)
    assert str(wrong) == str(unknown)
    assert "decrypt error" in str(wrong)


def test_a_replayed_identity_is_refused(
    link: Link, contexts: Contexts, shake: Shake, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = link
    for future in shake(*contexts):
        future.result(timeout=10).close()
    used = encode_identity(alice.reserved[0])
    monkeypatch.setattr(keying_module, "encode_identity", lambda _: used)
    _, server = faults(shake, *contexts)
    assert isinstance(server.__cause__, KeyNotFoundError)
    assert len(bob.taken) == 1


@pytest.mark.parametrize("identity", [b"", b"\0", b"somebody", b"qkd1:" + b"x" * 60_000])
def test_foreign_identities_are_refused(
    identity: bytes,
    link: Link,
    contexts: Contexts,
    shake: Shake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keying_module, "encode_identity", lambda _: identity)
    _, server = faults(shake, *contexts)
    assert type(server) is TLSError
    assert link[1].taken == []
    if identity:  # OpenSSL itself refuses the empty one
        assert isinstance(server.__cause__, ProtocolError)


def test_only_listed_peers_may_draw_keys(link: Link, shake: Shake) -> None:
    client = QKDContext(link[0], peer="bob")
    _, server = faults(shake, client, QKDContext(link[1], peers=["carol", "dave"]))
    assert isinstance(server.__cause__, KeyNotFoundError)
    assert link[1].taken == []


def test_a_failing_source_is_raised_as_it_is(link: Link, contexts: Contexts, shake: Shake) -> None:
    def out_of_touch(ref: KeyRef, size: int = 32) -> object:
        raise LinkError("bob's pool is out of touch", key_id=ref.key_id)

    link[1].take = out_of_touch  # type: ignore[method-assign, assignment]
    client, server = faults(shake, *contexts)
    assert type(server) is LinkError
    assert type(client) is TLSError


def test_a_bug_in_a_source_is_not_swallowed(link: Link, contexts: Contexts, shake: Shake) -> None:
    link[1].take = lambda ref, size=32: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    _, server = faults(shake, *contexts)
    assert type(server) is ZeroDivisionError


def test_a_second_identity_in_one_handshake_is_refused(link: Link) -> None:
    alice, bob = link
    first, second = (encode_identity(alice.reserve("bob").ref) for _ in range(2))
    with closing(keying_module.ServerKeying(bob, None, Policy())) as keying:
        key = bytes(keying.find(first))
        assert bytes(keying.find(first)) == key
        assert bytes(keying.find(second)) != key
        assert bytes(keying.find(first)) != key  # nothing more after a refusal
        with pytest.raises(TLSError):
            keying.check()
    assert len(bob.taken) == 1


def test_a_refused_client_meets_a_key_that_it_cannot_guess(link: Link) -> None:
    keyings = [keying_module.ServerKeying(link[1], None, Policy(key_size=48)) for _ in range(2)]
    decoys = [bytes(keying.find(b"nobody")) for keying in keyings]
    assert [len(decoy) for decoy in decoys] == [48, 48]
    assert decoys[0] != decoys[1]


class TestSimulatedKeys:
    """Production refuses them at every point where they could slip in."""

    def test_a_client_refuses_a_simulated_source_before_it_reserves(
        self, link: Link, wires: Wires
    ) -> None:
        link[0].provenance = SIMULATED
        with pytest.raises(PolicyError, match="allow_simulated"):
            QKDContext(link[0], peer="bob").wrap_socket(wires[0])
        assert link[0].reserved == []

    def test_a_client_gives_a_simulated_key_back_unused(self, link: Link, wires: Wires) -> None:
        alice, _ = link
        alice.key_provenance = SIMULATED
        with pytest.raises(PolicyError):
            QKDContext(alice, peer="bob").wrap_socket(wires[0])
        assert alice.given_back == alice.reserved != []
        assert wires[1].recv(1) == b""

    def test_a_server_refuses_a_simulated_key(
        self, link: Link, contexts: Contexts, shake: Shake
    ) -> None:
        link[1].key_provenance = SIMULATED
        _, server = faults(shake, *contexts)
        assert type(server) is PolicyError
        assert len(link[1].handed_out[0]) == 0


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (Policy(groups=("X25519",)), Policy()),
        (Policy(suites=STRICT_SUITES), Policy()),
        (Policy(key_size=64), Policy()),
    ],
)
def test_policies_that_do_not_meet(
    client: Policy, server: Policy, link: Link, shake: Shake
) -> None:
    raised = faults(
        shake,
        QKDContext(link[0], peer="bob", policy=client),
        QKDContext(link[1], policy=server),
    )
    assert all(isinstance(fault, TLSError) for fault in raised)
