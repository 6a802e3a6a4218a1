"""Quantum handshakes next to their rivals, in turn, between two processes over loopback.

Each handshake is timed as :mod:`qkd_hal.tls.compare` says. The keys lie in two pools in
memory, linked as two sites are, and are filled before the clock starts; ``serial_ms`` is without a
pool, each key straight from a serial box on a pseudo-terminal.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

from benchmarks._report import Row, main
from qkd_hal import DeviceKeySource, open_device
from qkd_hal.emulators import start_emulator
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.pool import MemoryStore, Pool
from qkd_hal.sources import Reservation
from qkd_hal.tls import REQUIRE_QUANTUM, Policy, QKDContext
from qkd_hal.tls._openssl import SSL, answering, new_context, offering
from qkd_hal.tls.compare import (
    answer_handshakes,
    certificate_client,
    certificate_server,
    time_handshakes,
)

QUICK, FULL = 300, 2000  # handshakes of each kind
WARM_UP = 20
BLOCK = 4096  # bytes; the pool keeps 32 of them to check the rest
EMULATED = Policy(allow_simulated=True)
HARDWARE = Provenance(Origin.HARDWARE)


class ToyDevices:
    """A device pair without a wire: both ends compute a key from its ID and one secret."""

    provenance = HARDWARE

    def __init__(self) -> None:
        self._secret = os.urandom(32)

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        ref = KeyRef("alice", KeyId.random())
        return Reservation(ref, self.take(ref, size))

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        bits = hashlib.shake_256(self._secret + bytes(ref.key_id)).digest(size)
        return QuantumKey(bits, provenance=HARDWARE, ref=ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        return True


class BareContext:
    """The least that a PSK handshake needs: pyOpenSSL, blocking, one fixed key, no checks."""

    def __init__(self) -> None:
        self._openssl = new_context(REQUIRE_QUANTUM)
        self._key = memoryview(os.urandom(32))

    @contextmanager
    def wrap_socket(self, sock: socket.socket, server_side: bool = False) -> Iterator[Any]:
        sock.setblocking(True)
        connection = SSL.Connection(self._openssl, sock)
        if server_side:
            connection.set_accept_state()
            keyed = answering(connection, lambda _: self._key, REQUIRE_QUANTUM)
        else:
            connection.set_connect_state()
            keyed = offering(connection, b"bare", self._key, REQUIRE_QUANTUM)
        with sock, keyed:
            connection.do_handshake()
            yield connection


def measure(quick: bool) -> list[Row]:
    """Return the rows; both ends take the four kinds of handshake in turn."""
    rounds = QUICK if quick else FULL
    # RSA-2048 twice: with the quantum handshake's own key exchange, and with X25519 alone.
    groups = REQUIRE_QUANTUM.groups
    (alike, pem), (classical, other) = certificate_server(groups=groups), certificate_server()
    devices, bare, secret = ToyDevices(), BareContext(), os.urandom(32)
    process = multiprocessing.get_context("fork")
    here, there = process.Pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        boxes = start_emulator("box")
        stack.callback(boxes.close)
        rivals = [bare, alike, classical]
        arguments = (there, listener, devices, secret, rivals, boxes.bob_url, rounds + WARM_UP)
        server = process.Process(target=serve, args=arguments)
        server.start()
        with Pool(MemoryStore(), site="alice") as pool, open_device(boxes.alice_url) as box:
            pool.link("bob", here.recv(), listen=False, secret=secret)
            fill(pool, devices, (rounds + WARM_UP) * 32)
            context = QKDContext(pool.source, peer="bob")
            contexts: dict[str, Any] = {"quantum": context, "bare": bare}
            contexts["rsa2048"] = certificate_client(pem, groups=groups)
            contexts["rsa2048_x25519"] = certificate_client(other)
            contexts["serial"] = QKDContext(DeviceKeySource(box), peer="bob", policy=EMULATED)
            time_handshakes(listener.getsockname(), contexts, WARM_UP)
            medians = time_handshakes(listener.getsockname(), contexts, rounds)
            here.send("done")
            server.join()
    return rows(medians)


def serve(
    pipe: Pipe,
    listener: socket.socket,
    devices: ToyDevices,
    secret: bytes,
    rivals: list[Any],
    box_url: str,
    rounds: int,
) -> None:
    """Be bob, in a process of its own."""
    with Pool(MemoryStore(), site="bob") as pool, open_device(box_url) as box:
        address = pool.link("alice", "tcp://127.0.0.1:0", listen=True, secret=secret)
        pool.accept_blocks("alice", devices)
        pipe.send(address)
        quantum = QKDContext(pool.source, peers=["alice"])
        serial = QKDContext(DeviceKeySource(box), peers=["alice"], policy=EMULATED)
        answer_handshakes(listener, [quantum, *rivals, serial], rounds, timeout=60)
        pipe.recv()


def fill(pool: Pool, devices: ToyDevices, size: int) -> None:
    """Bring *size* bytes into both pools."""
    pool.wait_ready("bob")
    for _ in range(size // (BLOCK - 32) + 1):
        pool.add_block("bob", devices.reserve("bob", BLOCK).key)


def rows(medians: dict[str, float]) -> list[Row]:
    """Compare the medians, which are in milliseconds."""
    quantum, serial = medians["quantum"], medians["serial"]
    bare, rsa, classical = (medians[name] for name in ("bare", "rsa2048", "rsa2048_x25519"))
    x25519 = f"RSA-2048, X25519 {classical:.3f} ms"
    return [
        Row("memory_pool_over_bare_psk", quantum, "ms", f"bare PSK {bare:.3f} ms", quantum / bare),
        Row("quantum_over_rsa2048", quantum, "ms", f"RSA-2048 {rsa:.3f} ms", quantum / rsa),
        Row("quantum_over_rsa2048_x25519", quantum, "ms", x25519, quantum / classical),
        Row("serial_ms", serial, "ms", f"RSA-2048 {rsa:.3f} ms", serial / rsa),
    ]


if __name__ == "__main__":
    main("handshake", measure)
