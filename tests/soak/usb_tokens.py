"""Two filled key tokens on a USB bus or in a card reader, with faults by chance."""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote

from qkd_hal import open_device
from qkd_hal.keys import KeyId
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.faults import CARD_FAULTS, Fault
from qkd_hal_firmware_mocks.token.keys import OWN, PEER
from qkd_hal_firmware_mocks.token.mischief import FaultyCard
from qkd_hal_firmware_mocks.token.model import Model
from qkd_hal_firmware_mocks.token.state import StoredKey
from tests.drivers.usb_token.conftest import PIN, SIMULATED, initialised
from tests.soak.ledger import Ledger
from tests.soak.usb_plug import UsbPlug

if TYPE_CHECKING:
    from collections.abc import Sequence, Set
    from pathlib import Path

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon
    from qkd_hal_firmware_mocks.token.vpcd import VpcdCard
    from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

__all__ = ["PcscTokenWorld", "TokenWorld"]

_RATE = 0.05  # of commands that meet a fault
_FREE = 20  # own keys of the usual size in a filled token
_KEPT = 60  # keys of either direction; older ones nobody asked for, or claimed and left
_USUAL = 32  # bytes
_SIZES = ([_USUAL, 48, 256, 5000], [85, 5, 5, 5])
_SLOW_LINK = {
    Fault.TIME_STORM,
    Fault.STALL,
    Fault.DROP,
    Fault.LATE,
    Fault.WRONG_SEQUENCE,
    Fault.LIE,
    Fault.HUGE_LENGTH,
}
_POWER_CUTS = {Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.BROWN_OUT}


class _Plan(FaultPlan):
    """``calm`` ends it. Nothing helps against a token that only says that it erased a key."""

    calm = False

    def draw(self, operation: str) -> str | None:
        fault = super().draw(operation)
        lies = (operation, fault) == ("CONFIRM", Fault.FALSE_SUCCESS.value)
        return None if self.calm or lies else fault


class _Tokens:
    """Tokens ``alice`` and ``bob``; *faults* befall commands, those in *slow* less often."""

    names = ("alice", "bob")

    def __init__(self, seed: int, directory: Path, faults: Set[Fault], slow: Set[Fault]) -> None:
        self.ledger = Ledger()
        self.pin = directory / f"{seed}.pin"
        self.pin.touch(0o600)
        self.pin.write_bytes(PIN)
        names = [each.value for each in faults for _ in range(1 if each in slow else 8)]
        self.plans: dict[str, _Plan] = {}
        self.applets: dict[str, KeyApplet] = {}
        self.lock = threading.Lock()  # against commands that nobody waits for any more
        for number, (site, peer) in enumerate(zip(self.names, reversed(self.names), strict=True)):
            self.plans[site] = _Plan(seed=2 * seed + number, rate=_RATE, names=sorted(names))
            model = Model(serial_number=_serial_number(seed, site))
            self.applets[site] = KeyApplet(initialised(site, peer)._store._medium, model)
        self._random = Random(seed)
        self.fill()

    def calm(self) -> None:
        for plan in self.plans.values():
            plan.calm = True
        self.fill()

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        return bytes(key_id) in self.applets[end]._store.state.keys

    def faults(self) -> Sequence[str]:
        return [fault for plan in self.plans.values() for fault in plan.log if fault != "-"]

    def fill(self) -> None:
        """Put in as many keys as were used up; take out those for which nobody came."""
        with self.lock:
            for owner in self.names:
                keys = self.applets[owner]._store.state.keys.values()
                own = [key for key in keys if key.direction == OWN and not key.claim]
                for _ in range(_FREE - sum(key.size == _USUAL for key in own)):
                    self._load(owner)
            for site in self.names:
                self._forget_oldest(site)

    def _load(self, owner: str) -> None:
        (size,) = self._random.choices(*_SIZES)
        key_id, material = self._random.randbytes(16), self._random.randbytes(size)
        self.ledger.learn(KeyId.from_bytes(key_id), material)
        for site, applet in self.applets.items():
            with applet._store.change() as state:
                state.last_number += 1
                direction = OWN if site == owner else PEER
                key = StoredKey(state.last_number, key_id, direction, material)
                state.keys[key_id] = key
                state.provenance, state.loaded = SIMULATED, True

    def _forget_oldest(self, site: str) -> None:
        with self.applets[site]._store.change() as state:
            for direction in (OWN, PEER):
                some = [key.key_id for key in state.keys.values() if key.direction == direction]
                for key_id in some[:-_KEPT]:
                    del state.keys[key_id]


class TokenWorld(_Tokens):
    """On the bus. A lost answer costs a call all its time, so times are short."""

    pace = 0.25

    def __init__(self, seed: int, directory: Path, bus: VirtualBus) -> None:
        super().__init__(seed, directory, frozenset(Fault), _SLOW_LINK)
        self._seed = seed
        self._devices = {
            site: CcidToken(applet, self.plans[site]) for site, applet in self.applets.items()
        }
        self._plugs = {site: UsbPlug(bus, device) for site, device in self._devices.items()}

    def open(self, end: str, timeout: float) -> QKDDevice:
        place = f"1209:0005/{_serial_number(self._seed, end)}"
        return open_device(f"token://{place}?pin-source={self.pin}", timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Pull the token or its card out and put it back; fill both tokens up."""
        self.fill()
        site = chance.choice(self.names)
        if chance.random() < 0.5:
            self._plugs[site].unplug()
            self._plugs[site].plug()
        else:
            self._devices[site].remove_card()
            self._devices[site].insert_card()

    def close(self) -> None:
        for plug in self._plugs.values():
            plug.unplug()


class PcscTokenWorld(_Tokens):
    """In a card reader. The service takes 0.4 s to see a card that was put in."""

    pace = 1.0

    def __init__(self, seed: int, directory: Path, daemon: PcscDaemon) -> None:
        super().__init__(seed, directory, CARD_FAULTS, _POWER_CUTS)
        self._daemon = daemon
        self._cards = {site: self._inserted(site) for site in self.names}

    def open(self, end: str, timeout: float) -> QKDDevice:
        reader = f"{self._daemon.reader_name} 00 {self.names.index(end):02}"
        url = f"token+pcsc:///{quote(reader)}?pin-source={self.pin}"
        return open_device(url, timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Fill both tokens up; now and then, pull one out and put it back."""
        self.fill()
        if chance.random() < 0.2:
            site = chance.choice(self.names)
            self._cards[site].close()
            self._cards[site] = self._inserted(site)

    def close(self) -> None:
        for card in self._cards.values():
            card.close()

    def _inserted(self, site: str) -> VpcdCard:
        card = _LockedCard(self.applets[site], self.plans[site], self.lock)
        return self._daemon.insert(card, self.names.index(site))


class _LockedCard(FaultyCard):
    def __init__(self, applet: KeyApplet, plan: FaultPlan, lock: threading.Lock) -> None:
        super().__init__(applet, plan)
        self._lock = lock

    def transmit(self, apdu: bytes) -> bytes:
        with self._lock:
            return super().transmit(apdu)


def _serial_number(seed: int, site: str) -> str:
    return f"SOAK-{seed}-{site.upper()}"
