"""One site of the crash test: a process that serves keys until its input ends.

Arguments: its name, and the directory that both sites share. Alice reserves keys, logs them
and passes their IDs on; bob takes them and logs what he got.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
from pathlib import Path

from qkd_hal.errors import DeadlineError, KeyNotFoundError, KeysExhaustedError, LinkError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.pool import Filler, Pool, SQLiteStore
from qkd_hal.sources import Reservation

SECRET = bytes(range(32))
PROVENANCE = Provenance(Origin.SIMULATED)


class ExpandingDevice:
    """Both ends expand the same seed by the key ID, so that no file needs to be shared."""

    provenance = PROVENANCE

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        ref = KeyRef("alice", KeyId.random())
        return Reservation(ref, self.take(ref, size))

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        material = hashlib.shake_256(bytes(ref.key_id)).digest(size)
        return QuantumKey(material, provenance=PROVENANCE, ref=ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        return True


def _log(file: int, key_id: KeyId, key: QuantumKey) -> None:
    with key.exposed() as view:
        digest = hashlib.sha256(view).hexdigest()
    os.write(file, f"{key_id} {digest}\n".encode())


def _alice(pool: Pool, log: int, link: socket.socket, bob: str) -> None:
    for _ in range(20):
        reservation = pool.source.reserve("bob")
        _log(log, reservation.ref.key_id, reservation.key)
        link.sendto(bytes(reservation.ref.key_id), bob)


def _bob(pool: Pool, log: int, link: socket.socket) -> None:
    ref = KeyRef("alice", KeyId.from_bytes(link.recv(16)))
    for _ in range(2):  # the second must always fail
        with contextlib.suppress(KeyNotFoundError):
            _log(log, ref.key_id, pool.source.take(ref))


def _work(pool: Pool, name: str, directory: Path, stopping: threading.Event) -> None:
    log = os.open(directory / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        path = directory / f"{name}.sock"
        path.unlink(missing_ok=True)
        link.bind(str(path))
        link.settimeout(0.2)
        while not stopping.is_set():
            # Out of touch, dry, or the other process is down: all of them pass.
            with contextlib.suppress(LinkError, KeysExhaustedError, DeadlineError, OSError):
                if name == "alice":
                    _alice(pool, log, link, str(directory / "bob.sock"))
                else:
                    _bob(pool, log, link)
    os.close(log)


def _link(pool: Pool, name: str, directory: Path) -> None:
    """Alice listens at a port that the system chose the first time."""
    file = directory / "address"
    if name == "alice":
        wanted = file.read_text() if file.exists() else "tcp://127.0.0.1:0"
        address = pool.link("bob", wanted, listen=True, secret=SECRET)
        (directory / "address.new").write_text(address)
        (directory / "address.new").rename(file)
        return
    waiting = threading.Event()
    while not file.exists():
        waiting.wait(0.01)
    pool.link("alice", file.read_text(), listen=False, secret=SECRET)


def main(name: str, directory: Path) -> None:
    """Run until standard input ends, then close cleanly."""
    stopping = threading.Event()
    with Pool(SQLiteStore(directory / f"{name}.sqlite"), site=name, linger=0.5) as pool:
        _link(pool, name, directory)
        peer = "bob" if name == "alice" else "alice"
        with Filler(pool, peer, ExpandingDevice(), high_water=1 << 20, fill=name == "alice"):
            worker = threading.Thread(target=_work, args=(pool, name, directory, stopping))
            worker.start()
            sys.stdin.read()
            stopping.set()
            worker.join()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
