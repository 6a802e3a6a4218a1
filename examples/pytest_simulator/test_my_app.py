"""Test an application that uses quantum keys without any hardware: ``pytest test_my_app.py``.

The fixture ``qkd_link`` comes with ``pip install 'qkd-hal[sim,test]'``.
"""

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qkd_hal import KeyId, QKDDevice
from qkd_hal.testing.link import QKDLink

NONCE = bytes(12)  # never repeated: each key seals one message


def seal(device: QKDDevice, peer: str, message: bytes) -> tuple[str, bytes]:
    """The application under test: encrypt under a fresh quantum key, and name the key."""
    with device.start(peer, size=32) as session:
        session.connect()
        with session.get_key(32).exposed() as key:
            return str(session.key_id), AESGCM(key).encrypt(NONCE, message, None)


def unseal(device: QKDDevice, peer: str, key_id: str, sealed: bytes) -> bytes:
    with device.get_key_by_id(KeyId.parse(key_id), peer).exposed() as key:
        return AESGCM(key).decrypt(NONCE, sealed, None)


def test_bob_reads_what_alice_sealed(qkd_link: QKDLink) -> None:
    key_id, sealed = seal(qkd_link.alice, "bob", b"attack at dawn")
    assert unseal(qkd_link.bob, "alice", key_id, sealed) == b"attack at dawn"
