"""The ``openssl`` command as the other end: a TLS stack that shares no code with ours.

The command of OpenSSL 3.0 knows no ML-KEM, so a classical group is asked for by name. It
takes a PSK only on its command line: the keys here are made for one test and thrown away.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import PolicyError, TLSError
from qkd_hal.tls import CLASSICAL_GROUPS, STRICT_SUITES, Policy, QKDContext, encode_identity

if TYPE_CHECKING:
    from tests.tls.conftest import Link, MemorySource

pytestmark = pytest.mark.needs("openssl")

PORTABLE = Policy(groups=CLASSICAL_GROUPS)
Address = tuple[str, int]


@contextmanager
def openssl(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["openssl", *arguments], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def s_server(identity: bytes, key: bytes, *more: str) -> Iterator[Address]:
    """Run a server that sends every line back reversed; give its address."""
    keying = ["-psk", key.hex(), "-psk_identity", identity.decode()]
    with openssl("s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-rev", *keying, *more) as run:
        assert run.stdout is not None
        found = next(filter(None, (re.match(rb"ACCEPT .*:(\d+)", line) for line in run.stdout)))
        yield "127.0.0.1", int(found[1])


@pytest.fixture
def promised(link: Link, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """Identity and key that alice's next reservation will be: a server must know them first."""
    alice, bob = link
    reservation = alice.reserve("bob")
    monkeypatch.setattr(alice, "reserve", lambda peer, size: reservation)
    return encode_identity(reservation.ref), bob.incoming[reservation.ref]


def talk(address: Address, source: MemorySource, policy: Policy) -> bytes:
    """Be the client: send a line, return the answer."""
    sock = socket.create_connection(address, 10)
    with QKDContext(source, peer="bob", policy=policy).wrap_socket(sock) as client:
        assert client.protection.mode == "quantum+classical"
        client.sendall(b"quantum\n")
        return client.recv()


@pytest.mark.parametrize("suite", PORTABLE.suites)
def test_our_client_and_their_server(suite: str, link: Link, promised: tuple[bytes, bytes]) -> None:
    with s_server(*promised, "-nocert") as address:
        assert talk(address, link[0], replace(PORTABLE, suites=(suite,))) == b"mutnauq\n"


def test_their_server_asks_for_another_group(link: Link, promised: tuple[bytes, bytes]) -> None:
    policy = replace(PORTABLE, groups=("secp256r1", "X25519"))
    with s_server(*promised, "-nocert", "-groups", "X25519") as address:
        assert talk(address, link[0], policy) == b"mutnauq\n"


def test_their_server_holds_another_key(link: Link, promised: tuple[bytes, bytes]) -> None:
    with (
        s_server(promised[0], bytes(32), "-nocert") as address,
        pytest.raises(TLSError, match="illegal parameter"),
    ):
        talk(address, link[0], PORTABLE)


def test_their_server_drops_the_right_key_in_silence(
    link: Link, promised: tuple[bytes, bytes], tmp_path: Path
) -> None:
    """With SHA-384 suites it skips a key given by ``-psk`` and goes on with the certificate."""
    files = ["-key", str(tmp_path / "key.pem"), "-cert", str(tmp_path / "cert.pem")]
    subject = ["-subj", "/CN=bob", "-keyout", files[1], "-out", files[3]]
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run(request, check=True, capture_output=True)
    with (
        s_server(*promised, *files) as address,
        pytest.raises(PolicyError, match="without the quantum key"),
    ):
        talk(address, link[0], replace(PORTABLE, suites=STRICT_SUITES))


def their_client(
    link: Link, server_policy: Policy, *more: str, key: bytes | None = None
) -> tuple[bytes, bytes | None]:
    """Run ``s_client`` against our server; return what each of the two received."""
    alice, bob = link
    ref = alice.reserve("bob").ref
    keying = ["-psk", (key or bob.incoming[ref]).hex(), "-psk_identity"]
    keying += [encode_identity(ref).decode(), "-ciphersuites", ":".join(PORTABLE.suites)]
    context = QKDContext(bob, peers=["alice"], policy=server_policy)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_turn_one_line, listener, context)
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        with openssl("s_client", "-connect", where, "-tls1_3", "-quiet", *keying, *more) as run:
            received, _ = run.communicate(b"quantum\n", timeout=20)
        return received, answer.result(timeout=10)


def _turn_one_line(listener: socket.socket, context: QKDContext) -> bytes:
    sock, _ = listener.accept()
    with context.wrap_socket(sock, server_side=True) as server:
        server.settimeout(10)
        line = server.recv()
        server.sendall(line.strip()[::-1] + b"\n")
        return line


def test_their_client_and_our_server(link: Link) -> None:
    assert their_client(link, PORTABLE) == (b"mutnauq\n", b"quantum\n")
    assert len(link[1].taken) == 1


def test_their_client_guesses_the_wrong_group(link: Link) -> None:
    """After our HelloRetryRequest it names the same key again: taken once."""
    received, _ = their_client(link, PORTABLE, "-groups", "P-256:X25519")
    assert received == b"mutnauq\n"
    assert len(link[1].taken) == 1


def test_their_client_holds_another_key(link: Link) -> None:
    with pytest.raises(TLSError, match="shaking hands"):
        their_client(link, PORTABLE, key=bytes(32))


def test_their_client_offers_only_classical_groups(link: Link) -> None:
    with pytest.raises(TLSError):
        their_client(link, Policy())
