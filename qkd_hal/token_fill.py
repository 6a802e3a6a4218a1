"""Key fill: tokens that carry quantum keys to where no QKD device is.

Every key goes into two tokens under one ID. One holds it as its *own* and may start sessions
with it, the other as its *peer's*: two directed halves, so that the holders never pick the
same key. A key enters the peer's half first; a fill that breaks off leaves a key there that
nobody names, never one that only its owner has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import KeyMismatchError, UsageError
from qkd_hal.keys import KeyId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.keys import QuantumKey
    from qkd_hal.sources import Deadline, KeyLoader

__all__ = ["fill_pair", "keys_from", "keys_from_pair", "load_session"]


def fill_pair(
    keys: Iterable[QuantumKey], first: KeyLoader, second: KeyLoader, deadline: Deadline
) -> int:
    """Load *keys* into both tokens, each under a fresh ID; return how many.

    *first* owns the first key and every other one from there, *second* the rest.

    Raises:
        UsageError: both tokens are of one site.
        DeviceError: a token is full, write-protected or was lost; what was loaded stays.
        DeadlineError: the time is up; the same holds.
    """
    if first.site == second.site:
        raise UsageError(f"both tokens are {first.site}'s", cure="Fill tokens of two sites")
    count = 0
    owner, other = first, second
    for key in keys:
        _load_both(key, owner, other, deadline)
        owner, other = other, owner
        count += 1
    return count


def keys_from(
    device: QKDDevice, count: int, *, size: int = 32, peer: str | None = None
) -> Iterator[QuantumKey]:
    """Yield *count* keys of *size* bytes from sessions of *device*, one session each.

    Raises:
        QKDError: as :meth:`QKDDevice.start` and the calls of a session.
    """
    for _ in range(count):
        with device.start(peer, size=size) as session:
            session.connect()
            yield session.get_key()


def keys_from_pair(
    first: QKDDevice, second: QKDDevice, count: int, *, size: int = 32
) -> Iterator[QuantumKey]:
    """Yield *count* keys of *size* bytes that both devices gave out, so that neither keeps one.

    Each is trusted no more than the less trusted of the two devices.

    Raises:
        KeyMismatchError: the devices do not share keys.
        QKDError: as :meth:`QKDDevice.start` and the calls of a session.
    """
    for _ in range(count):
        with (
            first.start(second.info.site or None, size=size) as mine,
            second.start(first.info.site or None, key_id=mine.key_id) as theirs,
        ):
            mine.connect()
            theirs.connect()
            key = mine.get_key()
            with theirs.get_key() as other:
                same = key.matches(other)
            if not same:
                key.wipe()
                what = "the two devices do not hold the same key"
                raise KeyMismatchError(what, device=second.name, key_id=mine.key_id)
            key.provenance = key.provenance.combined(other.provenance)
            yield key


def load_session(
    session: QKDSession,
    loader: KeyLoader,
    deadline: Deadline,
    *,
    own: bool | None = None,
    peer: str | None = None,
) -> KeyId:
    """Load the whole key of a connected *session* into the token of this site, and name it.

    For two sites that fill a token each from the QKD devices between them: the end that
    started the session owns the key, unless *own* says whether this end does. Who loads first
    better does not: a key is then never on its owner's token alone. *peer* is what the token
    calls the other site, by default as the device does.

    Raises:
        DeviceError: the token is full, write-protected or was lost; the key is lost.
        UsageError: the token already holds this key.
    """
    key = session.get_key()
    provenance = key.provenance
    with key.exposed() as view:
        loader.load(
            session.key_id,
            view,
            own=session.ref.source != session.peer if own is None else own,
            peer=peer or session.peer,
            provenance=provenance,
            deadline=deadline,
        )
    return session.key_id


def _load_both(key: QuantumKey, owner: KeyLoader, other: KeyLoader, deadline: Deadline) -> None:
    key_id, provenance = KeyId.random(), key.provenance
    with key.exposed() as view:
        for loader, peer in ((other, owner), (owner, other)):
            loader.load(
                key_id,
                view,
                own=loader is owner,
                peer=peer.site,
                provenance=provenance,
                deadline=deadline,
            )
