"""Somebody on the line, in both directions: whatever she does, she can cut it, and no more."""

from __future__ import annotations

import random
import zlib
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, ClassVar

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qkd_hal.device import DeviceState, QKDDevice
from qkd_hal.errors import DeadlineError, DeviceClosedError, DeviceLostError, QKDError
from qkd_hal_drivers.boxlink import seal as host_seal
from qkd_hal_drivers.boxlink.driver import BoxDriver
from qkd_hal_firmware_mocks.boxlink import seal as box_seal
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.boxlink.transport import FrameTransport
    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware

PSK = bytes(range(32))
ROUNDS = 60
FITS_ALL = cbor2.dumps({"ids": [bytes(16)], "data": bytes(32), "end": 1 << 20})
SECONDS = 0.3  # of a call: on this line an answer takes microseconds


class Adversary:
    """Passes frames on, or drops, doubles, holds back and alters them; replays what she knows."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._known: list[bytes] = []
        self._held: list[bytes] = []
        self.at_work = False

    def passes(self, frame: bytes) -> list[bytes]:
        """Return what goes on in place of *frame*."""
        self._known.append(frame)
        if not self.at_work:
            return [frame]
        acts = self._drop, self._double, self._hold, self._alter, self._replay, self._forge
        return self._chance.choice(acts)(frame) if self._chance.random() < 0.3 else [frame]

    def _drop(self, _: bytes) -> list[bytes]:
        return []

    def _double(self, frame: bytes) -> list[bytes]:
        return [frame, frame]

    def _hold(self, frame: bytes) -> list[bytes]:
        self._held, released = [frame], self._held
        return released

    def _replay(self, frame: bytes) -> list[bytes]:
        return [self._chance.choice(self._known), frame]

    def _alter(self, frame: bytes) -> list[bytes]:
        content = bytearray(frame[:-4])
        content[self._chance.randrange(len(content))] ^= 1 << self._chance.randrange(8)
        return [with_crc(content)]

    def _forge(self, frame: bytes) -> list[bytes]:
        """Put a clear answer that fits any request before the sealed one."""
        return [with_crc(frame[:2] + b"\0" + frame[3:7] + FITS_ALL), frame]


def with_crc(content: bytes | bytearray) -> bytes:
    return bytes(content) + zlib.crc32(content).to_bytes(4, "big")


class TappedLine:
    """A `FrameTransport` from a host through *adversary* to *box*."""

    max_chunk = 4096

    def __init__(self, box: BoxFirmware, adversary: Adversary) -> None:
        self._box = box
        self._adversary = adversary
        self._inbox: deque[bytes] = deque()
        self._closed = False
        self.heard = 0

    def open(self, deadline: Deadline) -> None:
        pass

    def reset(self, deadline: Deadline) -> None:
        self._inbox.clear()

    def send(self, frame: bytes, deadline: Deadline) -> None:
        for request in self._adversary.passes(frame):
            for answer in self._box.feed(request):
                self._inbox += self._adversary.passes(answer)

    def receive(self, deadline: Deadline) -> bytes | None:
        if self._closed:
            raise DeviceClosedError("closed")
        return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        self._closed = True

    def why_silent(self) -> str:
        return "Look for the adversary"


class OnceOnly:
    """AES-GCM that fails the test where a nonce comes twice under one key."""

    used: ClassVar[set[tuple[bytes, bytes]]] = set()

    def __init__(self, key: bytes) -> None:
        self._key = key
        real = AESGCM(key)
        self._encrypt = real.encrypt
        self.decrypt = real.decrypt
        self.decrypt_into = real.decrypt_into

    def encrypt(self, nonce: bytes, plain: bytes, head: bytes) -> bytes:
        assert (self._key, nonce) not in self.used, "a nonce came twice"
        self.used.add((self._key, nonce))
        return self._encrypt(nonce, plain, head)


class Ends:
    """Both devices behind one adversary, and what they handed out."""

    def __init__(self, stack: ExitStack, adversary: Adversary, credential: Path) -> None:
        self.adversary = adversary
        pair = stack.enter_context(BoxPair(make_settings((PSK, PSK)), seed=1))
        self.alice, self.bob = (
            stack.enter_context(self._device(box, credential)) for box in (pair.alice, pair.bob)
        )
        self.matched = 0
        self.errors: list[QKDError] = []
        self._seen: set[bytes] = set()

    def _device(self, box: BoxFirmware, credential: Path) -> QKDDevice:
        def line() -> FrameTransport:
            return TappedLine(box, self.adversary)

        return QKDDevice(BoxDriver(line, str(credential)), name=box.settings.site, timeout=SECONDS)

    def exchange(self, size: int) -> None:
        """Try to take one key at both ends."""
        for device in (self.alice, self.bob):
            while device.state is not DeviceState.READY:
                with suppress(QKDError):
                    device.init()
        try:
            with self.alice.start("bob", size=size) as session:
                session.connect()
                key, key_id = session.get_key(), session.key_id
            assert key_id.uuid.bytes not in self._seen, "a key came twice"
            self._seen.add(key_id.uuid.bytes)
            assert key.matches(self.bob.get_key_by_id(key_id, "alice")), "a wrong key"
            self.matched += 1
        except QKDError as error:
            self.errors.append(error)


@pytest.mark.parametrize("seed", range(4))
def test_an_adversary_on_the_line_can_cut_it_and_no_more(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (host_seal, box_seal):
        monkeypatch.setattr(module, "AESGCM", OnceOnly)
    credential = tmp_path / "psk"
    credential.touch(0o600)
    credential.write_text(PSK.hex())
    adversary = Adversary(seed)
    with ExitStack() as stack:
        ends = Ends(stack, adversary, credential)
        adversary.at_work = True
        for number in range(ROUNDS):
            ends.exchange([32, 5000, 20000][number % 3])
        adversary.at_work = False
    assert {type(error) for error in ends.errors} <= {DeviceLostError, DeadlineError}
    assert ends.matched > ROUNDS / 3
