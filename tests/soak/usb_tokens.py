"""Two filled key tokens on a USB bus, with faults of card and reader by chance."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from qkd_hal import open_device
from qkd_hal.keys import KeyId
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.faults import Fault
from qkd_hal_firmware_mocks.token.keys import OWN, PEER
from qkd_hal_firmware_mocks.token.model import Model
from qkd_hal_firmware_mocks.token.state import StoredKey
from tests.drivers.usb_token.conftest import PIN, SIMULATED, initialised
from tests.soak.ledger import Ledger
from tests.soak.usb_plug import UsbPlug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

__all__ = ["TokenWorld"]

_RATE = 0.05  # of commands that meet a fault
_OWN, _PEERS = 20, 40  # keys in one token
_SIZES = ([32, 8, 48, 256, 5000], [80, 5, 5, 5, 5])
_SLOW = {
    Fault.TIME_STORM,
    Fault.STALL,
    Fault.DROP,
    Fault.LATE,
    Fault.WRONG_SEQUENCE,
    Fault.LIE,
    Fault.HUGE_LENGTH,
}
_FAULTS = [fault.value for fault in Fault for _ in range(1 if fault in _SLOW else 4)]


class _Plan(FaultPlan):
    """``calm`` ends it. Nothing helps against a token that only says that it erased a key."""

    calm = False

    def draw(self, operation: str) -> str | None:
        fault = super().draw(operation)
        lies = (operation, fault) == ("CONFIRM", Fault.FALSE_SUCCESS.value)
        return None if self.calm or lies else fault


class TokenWorld:
    """Tokens ``alice`` and ``bob``. A lost answer costs a call all its time, so times are short."""

    names = ("alice", "bob")
    pace = 0.25

    def __init__(self, seed: int, directory: Path, bus: VirtualBus) -> None:
        self.ledger = Ledger()
        self._random = Random(seed)
        self._pin = directory / f"{seed}.pin"
        self._pin.touch(0o600)
        self._pin.write_bytes(PIN)
        self._plans = [_Plan(seed=2 * seed + n, rate=_RATE, names=_FAULTS) for n in range(2)]
        self._applets = {}
        self._devices: dict[str, CcidToken] = {}
        self._plugs: dict[str, UsbPlug] = {}
        for site, peer, plan in zip(self.names, reversed(self.names), self._plans, strict=True):
            model = Model(serial_number=_serial_number(seed, site))
            applet = KeyApplet(initialised(site, peer)._store._medium, model)
            self._applets[site] = applet
            self._devices[site] = CcidToken(applet, plan)
            self._plugs[site] = UsbPlug(bus, self._devices[site])
        self._seed = seed
        self._fill()

    def open(self, end: str, timeout: float) -> QKDDevice:
        place = f"1209:0005/{_serial_number(self._seed, end)}"
        return open_device(f"token://{place}?pin-source={self._pin}", timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Pull the token or its card out and put it back; fill both tokens up."""
        self._fill()
        site = chance.choice(self.names)
        if chance.random() < 0.5:
            self._plugs[site].unplug()
            self._plugs[site].plug()
        else:
            self._devices[site].remove_card()
            self._devices[site].insert_card()

    def calm(self) -> None:
        for plan in self._plans:
            plan.calm = True
        self._fill()

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        return bytes(key_id) in self._applets[end]._store.state.keys

    def faults(self) -> Sequence[str]:
        return [fault for plan in self._plans for fault in plan.log if fault != "-"]

    def close(self) -> None:
        for plug in self._plugs.values():
            plug.unplug()

    def _fill(self) -> None:
        for owner in self.names:
            keys = self._applets[owner]._store.state.keys.values()
            free = sum(key.direction == OWN and not key.claim for key in keys)
            for _ in range(_OWN - free):
                self._load(owner)
            self._forget_oldest(owner)

    def _load(self, owner: str) -> None:
        (size,) = self._random.choices(*_SIZES)
        key_id, material = self._random.randbytes(16), self._random.randbytes(size)
        self.ledger.learn(KeyId.from_bytes(key_id), material)
        for site, applet in self._applets.items():
            with applet._store.change() as state:
                state.last_number += 1
                direction = OWN if site == owner else PEER
                key = StoredKey(state.last_number, key_id, direction, material)
                state.keys[key_id] = key
                state.provenance, state.loaded = SIMULATED, True

    def _forget_oldest(self, site: str) -> None:
        """Drop keys for which nobody came."""
        with self._applets[site]._store.change() as state:
            kept = [key.key_id for key in state.keys.values() if key.direction == PEER]
            for key_id in kept[:-_PEERS]:
                del state.keys[key_id]


def _serial_number(seed: int, site: str) -> str:
    return f"SOAK-{seed}-{site.upper()}"
