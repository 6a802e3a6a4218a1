"""A pair of key sources in memory, and both ends of a connection."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from qkd_hal.errors import KeyNotFoundError, KeysExhaustedError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.sources import Reservation
from qkd_hal.tls import QKDContext, QKDSocket

HARDWARE = Provenance(Origin.HARDWARE)


@dataclass
class MemorySource:
    """One site's half of a link; what it reserves, the other half can take, once."""

    site: str
    provenance: Provenance = HARDWARE
    key_provenance: Provenance | None = None
    capacity: int = 1_000_000
    other: MemorySource | None = None
    incoming: dict[KeyRef, bytes] = field(default_factory=dict, repr=False)
    reservations: list[Reservation] = field(default_factory=list)
    reserved: list[KeyRef] = field(default_factory=list)
    taken: list[KeyRef] = field(default_factory=list)
    given_back: list[KeyRef] = field(default_factory=list)
    on_reserve: Callable[[KeyRef], object] = field(default=lambda _: None, repr=False)
    handed_out: list[QuantumKey] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        assert self.other is not None
        assert peer == self.other.site
        with self.lock:
            if len(self.reserved) >= self.capacity:
                raise KeysExhaustedError(f"no key for {peer}")
            ref = KeyRef(self.site, KeyId.random())
            material = os.urandom(size)
            self.other.incoming[ref] = material
            self.reserved.append(ref)
            self.on_reserve(ref)
        key = self._key(material, ref)
        self.reservations.append(Reservation(ref, key, lambda: self.given_back.append(ref)))
        return self.reservations[-1]

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        with self.lock:
            material = self.incoming.pop(ref, b"")
            if len(material) != size:
                raise KeyNotFoundError("unknown key", key_id=ref.key_id)
            self.taken.append(ref)
        return self._key(material, ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        return len(self.reserved) < self.capacity

    def _key(self, material: bytes, ref: KeyRef) -> QuantumKey:
        key = QuantumKey(material, provenance=self.key_provenance or self.provenance, ref=ref)
        self.handed_out.append(key)
        return key


Link: TypeAlias = tuple[MemorySource, MemorySource]
Contexts: TypeAlias = tuple[QKDContext, QKDContext]
Ends: TypeAlias = tuple[QKDSocket, QKDSocket]
Wires: TypeAlias = tuple[socket.socket, socket.socket]


@pytest.fixture
def link() -> Link:
    """The sources of alice and bob."""
    alice, bob = MemorySource("alice"), MemorySource("bob")
    alice.other, bob.other = bob, alice
    return alice, bob


@pytest.fixture
def contexts(link: Link) -> Contexts:
    """A client at alice and a server at bob, both with the default policy."""
    return QKDContext(link[0], peer="bob"), QKDContext(link[1], peer="alice")


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for the other end."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def wires() -> Iterator[Wires]:
    """Two ends of a connection, for a test that plays one peer by hand."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


Shake: TypeAlias = Callable[[QKDContext, QKDContext], tuple[Future[QKDSocket], Future[QKDSocket]]]


@pytest.fixture
def shake(background: ThreadPoolExecutor) -> Shake:
    """Start a handshake at both ends; the futures hold the sockets or the faults."""

    def start(
        client: QKDContext, server: QKDContext
    ) -> tuple[Future[QKDSocket], Future[QKDSocket]]:
        near, far = socket.socketpair()
        return (
            background.submit(client.wrap_socket, near),
            background.submit(server.wrap_socket, far, True),
        )

    return start


@pytest.fixture
def ends(contexts: Contexts, shake: Shake) -> Iterator[Ends]:
    """Client and server of one finished handshake."""
    client, server = (future.result(timeout=10) for future in shake(*contexts))
    for end in (client, server):
        end.settimeout(10)
    with client, server:
        yield client, server
