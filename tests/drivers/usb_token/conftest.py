"""Pairs of key tokens, filled in two directed halves, on whatever bus the tests run."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from qkd_hal import open_device
from qkd_hal.sources import Deadline
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.faults import CARD_FAULTS
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.token.mischief import FaultyCard
from qkd_hal_firmware_mocks.token.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon
    from qkd_hal_firmware_mocks.token.vpcd import VpcdCard
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

PIN, PUK = b"tangerine", b"98765432"
SITES = ("alice", "bob")
SIMULATED = b"\x02"


def block(secret: bytes) -> bytes:
    return secret.ljust(16, b"\xff")


def raw(applet: KeyApplet, apdu: str) -> bytes:
    """Send an APDU past every driver."""
    return applet.transmit(bytes.fromhex(apdu))


def initialised(site: str, peer: str, max_keys: int = 4096) -> KeyApplet:
    """A token of *site*, without keys."""
    model = Model(serial_number=f"TOKEN-{site.upper()}", max_keys=max_keys)
    applet = KeyApplet(MemoryMedium(), model)
    applet.reset()
    raw(applet, "00A4040008F0514B4448414C0100")
    data = b"".join(
        bytes([tag, len(value)]) + value
        for tag, value in (
            (0x80, block(PIN)),
            (0x81, block(PUK)),
            (0x82, site.encode()),
            (0x83, peer.encode()),
        )
    )
    assert applet.transmit(bytes([0x80, 0x10, 0, 0, len(data)]) + data) == b"\x90\x00"
    return applet


def load(applet: KeyApplet, direction: int, key_id: bytes, key: bytes) -> None:
    """Load a key of at most 200 bytes into a verified applet."""
    data = key_id + len(key).to_bytes(4, "big") + b"\x01" + SIMULATED + key
    answer = applet.transmit(bytes([0x80, 0x12, direction, 0, len(data)]) + data)
    assert answer == b"\x90\x00"


def fill(tokens: tuple[KeyApplet, KeyApplet], each: int, size: int = 32) -> None:
    """Load *each* keys for either direction."""
    for applet in tokens:
        raw(applet, "00A4040008F0514B4448414C0100")
        assert raw(applet, "0020008110" + block(PIN).hex()) == b"\x90\x00"
    for number in range(2 * each):
        key_id, key = os.urandom(16), os.urandom(size)
        owner, other = tokens if number % 2 else reversed(tokens)
        load(other, 2, key_id, key)
        load(owner, 1, key_id, key)
    for applet in tokens:
        applet.reset()


class UsbTokens:
    """Two filled tokens, plugged in, and where to open them."""

    def __init__(self, world: UsbWorld, directory: Path, keys: int = 40) -> None:
        self.world = world
        self.applets = initialised("alice", "bob"), initialised("bob", "alice")
        fill(self.applets, keys)
        self.plan = FaultPlan()
        self.usb = [CcidToken(self.applets[0], self.plan), CcidToken(self.applets[1])]
        self.plugged: list[Any] = [world.plug(each) for each in self.usb]
        self.pin_file = directory / "pin"
        self.write_pin(PIN)

    def write_pin(self, pin: bytes) -> None:
        self.pin_file.touch(0o600)
        self.pin_file.write_bytes(pin + b"\n")

    def url(self, site: str) -> str:
        return f"token://1209:0005/TOKEN-{site.upper()}?pin-source={self.pin_file}"

    def tries(self, site: str) -> int:
        """Tries left of a token's PIN, asked past the driver; ends its selection."""
        applet = self.applets[SITES.index(site)]
        raw(applet, "00A4040008F0514B4448414C0100")
        return raw(applet, "00200081")[1] & 0x0F

    def unplug_alice(self) -> None:
        self.world.unplug(self.plugged[0])

    def plug_alice(self) -> None:
        self.plugged[0] = self.world.plug(self.usb[0])


@pytest.fixture
def tokens(usb_world: UsbWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UsbTokens:
    monkeypatch.setattr(_usb, "provide_backend", lambda: usb_world.backend)
    monkeypatch.delenv("QKD_HAL_PIN", raising=False)
    few = 8  # an emulated machine is slow
    return UsbTokens(usb_world, tmp_path, keys=few if usb_world.kernel else 40)


class StallingCard(FaultyCard):
    """A card that can be made to think for ever, and has its reader wait as long."""

    def __init__(self, applet: KeyApplet, plan: FaultPlan) -> None:
        super().__init__(applet, plan)
        self.awake = threading.Event()
        self.awake.set()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer once awake."""
        self.awake.wait()
        return super().transmit(apdu)


class Cards:
    """The two filled tokens as cards in the reader of a PC/SC service of the tests' own."""

    def __init__(self, daemon: PcscDaemon, directory: Path, keys: int = 40) -> None:
        self.daemon = daemon
        self.applets = initialised("alice", "bob"), initialised("bob", "alice")
        fill(self.applets, keys)
        self.plans = [FaultPlan(), FaultPlan()]
        self.cards = [StallingCard(*each) for each in zip(self.applets, self.plans, strict=True)]
        self.inserted: list[VpcdCard | None] = [None, None]
        self.pin_file = directory / "pin"
        self.pin_file.touch(0o600)
        self.pin_file.write_bytes(PIN)
        for end in SITES:
            self.plug(end)

    def url(self, site: str) -> str:
        reader = f"{self.daemon.reader_name} 00 0{SITES.index(site)}"
        return f"token+pcsc:///{quote(reader)}?pin-source={self.pin_file}"

    @property
    def faults(self) -> frozenset[str]:
        return frozenset(fault.value for fault in CARD_FAULTS) - {"false-success"} | {"stall"}

    def unplug(self, end: str) -> None:
        slot = SITES.index(end)
        inserted, self.inserted[slot] = self.inserted[slot], None
        if inserted is not None:
            self.cards[slot].awake.set()
            inserted.close()

    def plug(self, end: str) -> None:
        """As slowly as a hand: the service looks for cards every 0.4 s only."""
        slot = SITES.index(end)
        if self.inserted[slot] is None:
            self._wait_for_card(slot, present=False)
            self.inserted[slot] = self.daemon.insert(self.cards[slot], slot)
            self._wait_for_card(slot, present=True)

    def _wait_for_card(self, slot: int, *, present: bool) -> None:
        from smartcard import scard

        reader = f"{self.daemon.reader_name} 00 0{slot}"
        _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        deadline = Deadline(10)
        seen = not present
        while seen != present:
            deadline.check("waiting for the card's reader")
            time.sleep(0.02)
            asked = [(reader, scard.SCARD_STATE_UNAWARE)]
            _, states = scard.SCardGetStatusChange(context, 0, asked)
            seen = bool(states[0][1] & scard.SCARD_STATE_PRESENT)
        scard.SCardReleaseContext(context)

    def fault(self, end: str, name: str | None) -> None:
        slot = SITES.index(end)
        stall = name == "stall"
        self.plans[slot].begin(None if stall else name)
        (self.cards[slot].awake.clear if stall else self.cards[slot].awake.set)()

    def close(self) -> None:
        for end in SITES:
            self.unplug(end)


@pytest.fixture(scope="module")
def cards(pcsc_daemon: PcscDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cards]:
    """Needs the mark ``needs("vpcd-config")``."""
    pytest.importorskip("smartcard", reason="pip install 'qkd-hal[pcsc]'")
    both = Cards(pcsc_daemon, tmp_path_factory.mktemp("cards"), keys=400)
    yield both
    both.close()


@pytest.fixture
def alice(tokens: UsbTokens) -> Iterator[QKDDevice]:
    with open_device(tokens.url("alice")) as device:
        yield device


@pytest.fixture
def bob(tokens: UsbTokens) -> Iterator[QKDDevice]:
    with open_device(tokens.url("bob")) as device:
        yield device


def exchange(alice: QKDDevice, bob: QKDDevice) -> None:
    with alice.start(size=32) as session:
        session.connect()
        assert session.get_key().matches(bob.get_key_by_id(session.key_id))
