"""Golden bytes of ``docs/boxlink.md``, from well-kept libraries and neither end's code.

Run it to write ``docs/boxlink-vectors.json``; a test compares the file with what it makes.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cbor2
from cobs import cobs
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

__all__ = ["VECTORS", "vectors"]

VECTORS = Path(__file__).parents[2] / "docs" / "boxlink-vectors.json"

REQ, RSP, ERR, EVT, CHUNK, CREDIT = range(1, 7)
SEALED = 1
PSK = bytes(range(32))
HOST_NONCE = bytes(range(0x40, 0x60))
BOX_NONCE = bytes(range(0x80, 0xA0))
TOKEN = bytes(range(16))
KEY_ID = bytes.fromhex("0f0e0d0c0b0a49088706050403020100")
KEY = hashlib.sha256(b"boxlink golden key").digest()
LONG_KEY = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(160))  # 5120 bytes
CHUNK_BYTES = 4096


def body(value: dict[str, Any]) -> bytes:
    """Deterministic encoding, RFC 8949 section 4.2.1."""
    return cbor2.dumps(value, canonical=True)


def header(kind: int, flags: int, sequence: int, operation: int) -> bytes:
    """Section 3."""
    return struct.pack(">BBBHH", 1, kind, flags, sequence, operation)


def finished(head: bytes, content: bytes) -> bytes:
    """Section 3: add the CRC."""
    return head + content + struct.pack(">I", zlib.crc32(head + content))


def expand(prk: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand, RFC 5869 section 2.3."""
    info = b"boxlink 1 " + label.encode()
    return HKDFExpand(hashes.SHA256(), length=size, info=info).derive(prk)


def extract(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract, RFC 5869 section 2.2."""
    mac = hmac.HMAC(salt, hashes.SHA256())
    mac.update(material)
    return mac.finalize()


class Direction:
    """One direction's seal, section 6."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self.aead, self.iv, self.counter = AESGCM(key), iv, 0

    def seal(self, kind: int, sequence: int, operation: int, plain: bytes) -> bytes:
        """Make a whole frame."""
        self.counter += 1
        head, counter = header(kind, SEALED, sequence, operation), struct.pack(">Q", self.counter)
        sealed = counter + self.aead.encrypt(self.iv + counter, plain, head)
        return finished(head, sealed)


class Recorder:
    """Collects frames with their names."""

    def __init__(self) -> None:
        self.frames: list[dict[str, object]] = []

    def add(self, name: str, sender: str, frame: bytes, plain: bytes) -> None:
        """Keep *frame* whose (unsealed) body is *plain*."""
        row = {"name": name, "from": sender, "frame": frame.hex(), "body": plain.hex()}
        self.frames.append(row | {"stream": (b"\0" + cobs.encode(frame) + b"\0").hex()})


def opening(record: Recorder) -> tuple[dict[str, str], Direction, Direction]:
    """HELLO and AUTH, section 5."""
    ask = body(
        {
            "major": 1,
            "minor": 0,
            "nonce": HOST_NONCE,
            "max_frame": 8192,
            "credits": 1,
            "suites": [1],
            "features": [],
        }
    )
    answer = body(
        {
            "major": 1,
            "minor": 0,
            "nonce": BOX_NONCE,
            "max_frame": 4200,
            "suite": 1,
            "serial": "GOLDEN-1",
            "features": [],
        }
    )
    lengths = [struct.pack(">I", len(part)) for part in (ask, answer)]
    text = b"boxlink 1 transcript\0" + lengths[0] + ask + lengths[1] + answer
    transcript = hashlib.sha256(text).digest()
    prk = extract(transcript, PSK)
    labels = {"host proof": 32, "box proof": 32, "host key": 32, "host iv": 4}
    labels |= {"box key": 32, "box iv": 4}
    made = {label: expand(prk, label, size) for label, size in labels.items()}
    proofs = [body({"proof": made[f"{end} proof"]}) for end in ("host", "box")]
    record.add("HELLO request", "host", finished(header(REQ, 0, 0xFFFF, 1), ask), ask)
    record.add("HELLO response", "box", finished(header(RSP, 0, 0xFFFF, 1), answer), answer)
    record.add("AUTH request", "host", finished(header(REQ, 0, 0, 2), proofs[0]), proofs[0])
    record.add("AUTH response", "box", finished(header(RSP, 0, 0, 2), proofs[1]), proofs[1])
    shown = {name: value.hex() for name, value in made.items()}
    keys = {"transcript": transcript.hex(), "prk": prk.hex()} | shown
    host = Direction(made["host key"], made["host iv"])
    return keys, host, Direction(made["box key"], made["box iv"])


INFO = {
    "vendor": "Golden",
    "model": "Box 1",
    "firmware": "1.0.0",
    "capabilities": ["look-up", "reserve-ahead"],
    "origin": "simulated",
    "nodes": [],
    "site": "alice",
    "peers": ["bob"],
    "max_key": 65536,
}
STATUS = {
    "qber": 0.03125,
    "rate_bps": 20000,
    "stored_keys": 12,
    "stored_bytes": 384,
    "link_up": True,
    "alarms": ["keys-low"],
    "details": {"temperature": 21.5},
}
PEER_ID = {"peer": "bob", "id": KEY_ID}
EXCHANGES: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
    ("INFO", 0x10, {}, INFO),
    ("STATUS", 0x11, {}, STATUS),
    ("RESERVE", 0x20, {"peer": "bob", "size": 32, "count": 1, "token": TOKEN}, {"ids": [KEY_ID]}),
    ("BIND", 0x21, PEER_ID, {"size": 32}),
    ("AGREE", 0x22, PEER_ID | {"wait_ms": 1000}, {"agreement": 1}),
    ("inline BIND", 0x21, PEER_ID | {"inline": 256}, {"data": KEY}),
    ("inline AGREE", 0x22, PEER_ID | {"wait_ms": 1000, "inline": 32}, {"data": KEY}),
    ("FETCH", 0x23, PEER_ID | {"offset": 0, "size": 32}, {"data": KEY}),
    ("CONFIRM", 0x24, PEER_ID | {"end": 32}, {"end": 32}),
]


def operations(record: Recorder, host: Direction, box: Direction) -> int:
    """Each operation once, section 7; returns the next sequence."""
    for sequence, (name, code, ask, answer) in enumerate(EXCHANGES, 1):
        plain = [body(ask), body(answer)]
        record.add(f"{name} request", "host", host.seal(REQ, sequence, code, plain[0]), plain[0])
        record.add(f"{name} response", "box", box.seal(RSP, sequence, code, plain[1]), plain[1])
    return len(EXCHANGES) + 1


def transfer(record: Recorder, host: Direction, box: Direction, sequence: int) -> None:
    """A FETCH whose answer comes in two chunks, with one credit at a time, section 7.1."""
    total = len(LONG_KEY)
    ask = body(PEER_ID | {"offset": 0, "size": total})
    digest = hashlib.sha256(LONG_KEY).digest()
    answer = body({"transfer": 7, "total": total, "sha256": digest})
    more = body({"transfer": 7, "credits": 1})
    parts = [struct.pack(">II", 7, at) + LONG_KEY[at : at + CHUNK_BYTES] for at in (0, CHUNK_BYTES)]
    record.add("long FETCH request", "host", host.seal(REQ, sequence, 0x23, ask), ask)
    record.add("long FETCH response", "box", box.seal(RSP, sequence, 0x23, answer), answer)
    record.add("first CHUNK", "box", box.seal(CHUNK, sequence, 0x23, parts[0]), parts[0])
    record.add("CREDIT", "host", host.seal(CREDIT, sequence, 0x23, more), more)
    record.add("second CHUNK", "box", box.seal(CHUNK, sequence, 0x23, parts[1]), parts[1])


def the_rest(record: Recorder, host: Direction, box: Direction, sequence: int) -> None:
    """An event, a request that fails in two ways, and BYE."""
    ask = body({"peer": "bob", "size": 32, "count": 1, "token": TOKEN})
    event = body({"event": "alarm", "alarm": "qber-high", "on": True})
    error = body({"code": 17, "text": "no key for bob"})
    hint = body({"code": 4, "text": "no session"})
    record.add("EVT", "box", box.seal(EVT, 0, 0, event), event)
    record.add("failing RESERVE request", "host", host.seal(REQ, sequence, 0x20, ask), ask)
    record.add("ERR", "box", box.seal(ERR, sequence, 0x20, error), error)
    record.add("clear ERR no-session", "box", finished(header(ERR, 0, sequence, 0x20), hint), hint)
    record.add("BYE request", "host", host.seal(REQ, sequence + 1, 3, body({})), body({}))
    record.add("BYE response", "box", box.seal(RSP, sequence + 1, 3, body({})), body({}))


def refused_frames() -> dict[str, str]:
    """Frames that every receiver drops, section 3."""
    good = finished(header(REQ, 0, 1, 1), body({}))
    return {
        "wrong CRC": (good[:-1] + bytes([good[-1] ^ 1])).hex(),
        "version 2": finished(b"\2" + header(REQ, 0, 1, 1)[1:], body({})).hex(),
        "type 0": finished(header(0, 0, 1, 1), body({})).hex(),
        "type 7": finished(header(7, 0, 1, 1), body({})).hex(),
        "undefined flag": finished(header(REQ, 2, 1, 1), body({})).hex(),
        "too short": good[:10].hex(),
        "empty": "",
    }


def refused_bodies() -> dict[str, str]:
    """Bodies that every receiver refuses, section 4; all would else be maps."""
    return {
        "trailing byte": (body({"a": 1}) + b"\0").hex(),
        "indefinite map": "bf616101ff",
        "indefinite text": "a161617f6161ff",
        "indefinite array": "a161619f01ff",
        "tag": "a16161c100",
        "undefined": "a16161f7",
        "unassigned simple value": "a16161f820",
        "key that is no text": "a10101",
        "key twice": "a2616101616102",
        "too deep": body({"a": {"b": {"c": {}}}}).hex(),
        "text that is not UTF-8": "a1616161ff",
        "cut short": body({"a": "b"})[:-1].hex(),
        "a list": "8101",
        "length beyond the end": "a161615affffffff00",
        "empty": "",
    }


def vectors() -> dict[str, Any]:
    """Everything that ``docs/boxlink-vectors.json`` holds."""
    record = Recorder()
    keys, host, box = opening(record)
    sequence = operations(record, host, box)
    transfer(record, host, box, sequence)
    the_rest(record, host, box, sequence + 1)
    return {
        "specification": "boxlink 1.0",
        "psk": PSK.hex(),
        "host_nonce": HOST_NONCE.hex(),
        "box_nonce": BOX_NONCE.hex(),
        "keys": keys,
        "frames": record.frames,
        "refused_frames": refused_frames(),
        "refused_bodies": refused_bodies(),
    }


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
