"""The driver of a PKCS#11 token filled with keys: ``pkcs11:token=NAME?module-path=…``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pkcs11 import Mechanism

from qkd_hal.errors import (
    KeyNotFoundError,
    KeysExhaustedError,
    StateError,
    UnsupportedError,
)
from qkd_hal.sources import (
    Agreement,
    Alarm,
    Capability,
    Deadline,
    DeviceInfo,
    DeviceStatus,
    Slot,
)
from qkd_hal_drivers.pkcs11_token import _objects
from qkd_hal_drivers.pkcs11_token._connection import TokenConnection
from qkd_hal_drivers.pkcs11_token._find import serial_number
from qkd_hal_drivers.pkcs11_token._held import Held, InsideKey
from qkd_hal_drivers.pkcs11_token._hkdf import expand
from qkd_hal_drivers.pkcs11_token._stock import Stock
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

if TYPE_CHECKING:
    import pkcs11

    from qkd_hal.keys import KeyId
    from qkd_hal.registry import DeviceURL
    from qkd_hal_drivers.pkcs11_token._objects import TokenKey

__all__ = ["Pkcs11TokenDriver"]

_ALWAYS = frozenset({Capability.RESERVE_AHEAD, Capability.REPEATABLE_FETCH})
_READABLE = _ALWAYS | {Capability.LOOK_UP, Capability.EXTRACT}
_INSIDE = _ALWAYS | {Capability.DERIVE}
_STATUS_KEY_BYTES = 32  # what DeviceStatus.stored_keys counts


class Pkcs11TokenDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` that also ``Derives``.

    *pin*: as a person typed it just now; without, it is read from the URI's ``pin-source`` or
    ``QKD_HAL_PIN`` when the token is opened, and only while the token counts no failure.

    Raises:
        ConfigurationError: *url* is no PKCS#11 URI (RFC 7512), or not one of a token of keys.
    """

    def __init__(self, url: DeviceURL, *, pin: str | None = None) -> None:
        self._uri = TokenUri.parse(url.text)
        self._pin = pin
        self._connection: TokenConnection | None = None
        self._held = Held()
        self._stock: Stock | None = None

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Find the token, log in, and see which keys it holds."""
        self.close()
        connection = TokenConnection.open(self._uri, self._pin, deadline)
        held = self._held = Held()
        connection.before_close = held.clear
        try:
            with connection.turn("searching its keys", deadline) as session:
                stock = Stock(_objects.scan(session, self._uri), self._uri.text)
            info = self._info(connection.token, stock)
        except BaseException:
            connection.close()
            raise
        self._stock, self._connection = stock, connection
        return info

    def close(self) -> None:
        """Drop the keys that were taken out, and log out; idempotent, from any thread."""
        connection = self._connection
        if connection is not None:
            connection.close()

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Count the keys that are left in the token."""
        connection, stock = self._opened()
        if stock.stale:
            with connection.turn("searching its keys", deadline) as session:
                stock.refresh(_objects.scan(session, self._uri))
        sizes = stock.own_sizes()
        alarms = frozenset() if sizes else frozenset({Alarm.KEYS_LOW})
        return DeviceStatus(
            stored_keys=sizes[_STATUS_KEY_BYTES],
            stored_bytes=sum(size * count for size, count in sizes.items()),
            alarms=alarms,
            details={"peer_keys": stock.peer_keys},
        )

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Take *count* own keys out of the token, so that no other process can."""
        connection, stock = self._opened()
        if size is None:
            raise UnsupportedError("a token has no streams", device=self._uri.text)
        slots: list[Slot] = []
        with connection.turn("reserving keys", deadline) as session:
            try:
                while len(slots) < count:
                    key = self._next_own(session, stock, peer, size, count - len(slots))
                    if self._took(session, stock, key):
                        slots.append(Slot(key.key_id, peer, size))
            except BaseException:
                self._burn(slots)
                raise
        return slots

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named among those that *peer* owns."""
        connection, stock = self._opened()
        with connection.turn("looking a key up", deadline) as session:
            return Slot(key_id, peer, self._find(session, stock, peer, key_id).size)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Tokens cannot ask each other."""
        return Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Copy bytes that are out of the token, or take a key of the peer's half out first."""
        connection, stock = self._opened()
        with connection.turn("taking a key out", deadline) as session:
            self._ensure_held(session, stock, slot)
            self._held.read(slot.key_id, out)

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Drop what was taken out, and erase what was not; idempotent."""
        connection, _ = self._opened()
        with connection.turn("erasing a key", deadline) as session:
            self._held.drop(slot.key_id)
            _objects.erase(session, self._uri, slot.key_id)

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        """Run HKDF-Expand with the HMAC of the token; the key never leaves it."""
        connection, stock = self._opened()
        with connection.turn("deriving a key", deadline) as session:
            self._ensure_held(session, stock, slot)
            inside = self._held.inside(slot.key_id)
            return expand(lambda m: inside.sign(m, mechanism=Mechanism.SHA256_HMAC), label, size)

    def _info(self, token: pkcs11.Token, stock: Stock) -> DeviceInfo:
        if stock.inside and Mechanism.SHA256_HMAC not in token.slot.get_mechanisms():
            what = "the token keeps its keys inside but has no HMAC-SHA-256 to derive with"
            cure = "Load the keys extractable, or use another token"
            raise UnsupportedError(what, device=self._uri.text, cure=cure)
        return DeviceInfo(
            vendor=token.manufacturer_id or "unknown",
            model=token.model or "PKCS#11 token",
            serial_number=serial_number(token),
            firmware=".".join(map(str, token.firmware_version)),
            capabilities=_INSIDE if stock.inside else _READABLE,
            provenance=stock.provenance,
            site=stock.site,
            peers=stock.peers,
            max_key_size=_objects.MAX_KEY_BYTES,
        )

    def _opened(self) -> tuple[TokenConnection, Stock]:
        if self._connection is None or self._stock is None:
            what = "the token is not open"
            raise StateError(what, device=self._uri.text, cure="Call init() first")
        return self._connection, self._stock

    def _next_own(
        self, session: pkcs11.Session, stock: Stock, peer: str, size: int, count: int
    ) -> TokenKey:
        """Return one of at least *count* keys, so that too few cost none."""
        if stock.own_keys(peer, size) < count:
            stock.refresh(_objects.scan(session, self._uri))
        if stock.own_keys(peer, size) < count:
            what = f"the token has fewer own keys of {size} bytes for {peer} than are asked for"
            cure = "Fill it again, then open it anew"
            raise KeysExhaustedError(what, device=self._uri.text, cure=cure)
        return stock.pop(peer, size)

    def _took(self, session: pkcs11.Session, stock: Stock, key: TokenKey) -> bool:
        try:
            self._take(session, stock, key)
        except KeyNotFoundError:
            return False  # another process was faster
        return True

    def _take(self, session: pkcs11.Session, stock: Stock, key: TokenKey) -> None:
        taken: bytearray | InsideKey
        if stock.inside:
            taken = cast("InsideKey", _objects.take_copy(session, self._uri, key))
        else:
            taken = _objects.take_out(session, self._uri, key)
        self._held.put(key.key_id, taken)

    def _burn(self, slots: list[Slot]) -> None:
        for slot in slots:
            self._held.drop(slot.key_id)

    def _find(self, session: pkcs11.Session, stock: Stock, peer: str, key_id: KeyId) -> TokenKey:
        found = list(_objects.scan(session, self._uri, key_id))
        fit = [key for key in found if not key.label.own and key.label.peer == peer]
        # Two objects under one ID cannot both be the key that the other token holds.
        if len(found) != 1 or not fit or not stock.serves(fit[0]):
            what = f"the token has no such key of {peer}"
            raise KeyNotFoundError(what, device=self._uri.text, key_id=key_id)
        return fit[0]

    def _ensure_held(self, session: pkcs11.Session, stock: Stock, slot: Slot) -> None:
        if slot.key_id not in self._held:
            self._take(session, stock, self._find(session, stock, slot.peer, slot.key_id))
