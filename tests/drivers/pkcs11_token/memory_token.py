"""A PKCS#11 token in memory that fails by a seed, in ways that SoftHSM2 cannot be made to."""

from __future__ import annotations

import hmac
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag

from qkd_hal.registry import DeviceURL
from qkd_hal_drivers.pkcs11_token import _connection
from qkd_hal_drivers.pkcs11_token._library import Module
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    import pytest

    from qkd_hal.keys import KeyId
    from qkd_hal_drivers.pkcs11_token._label import KeyLabel

__all__ = ["MemoryToken"]

_FAULTS = (
    pkcs11.GeneralError,
    pkcs11.FunctionFailed,
    pkcs11.DeviceMemory,
    pkcs11.OperationActive,
    pkcs11.DeviceError,
    pkcs11.DeviceRemoved,
)


class MemoryToken:
    """``objects`` by handle; ``live``: the number of the open session, or 0.

    ``chance``: of a fault in each call.
    """

    def __init__(self, site: str, random: Random, chance: float = 0.0) -> None:
        self.site = site
        self.objects: dict[int, dict[Attribute, Any]] = {}
        self.handles = itertools.count(1)
        self.sessions = itertools.count(1)
        self.live = 0
        self.mechanisms = {Mechanism.SHA256_HMAC}
        self.random = random
        self.chance = chance

    def add(self, key_id: KeyId, label: KeyLabel, value: bytes, *, inside: bool) -> None:
        """Put a key in, as a loader does."""
        self.objects[next(self.handles)] = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: inside,
            Attribute.EXTRACTABLE: not inside,
            Attribute.ID: bytes(key_id),
            Attribute.LABEL: bytes(label),
            Attribute.VALUE: value,
            Attribute.VALUE_LEN: len(value),
        }

    def driver(self, monkeypatch: pytest.MonkeyPatch) -> Pkcs11TokenDriver:
        """Return a driver that finds this token and no other, once it is opened."""
        library = SimpleNamespace(initialized=True)
        module = Module(Path(f"/{self.site}.so"), cast("Any", library))
        found = vars(_connection)["find_token"]  # perhaps that of another such token
        uri = f"pkcs11:token={self.site}"

        def find(wanted: Any, deadline: Any) -> Any:
            return (module, self) if wanted.text == uri else found(wanted, deadline)

        monkeypatch.setattr(_connection, "find_token", find)
        return Pkcs11TokenDriver(DeviceURL.parse(uri))

    flags = TokenFlag.TOKEN_INITIALIZED
    manufacturer_id, model, serial, firmware_version = "Example", "Memory", b"1", (1, 0)

    @property
    def slot(self) -> Any:
        return SimpleNamespace(
            slot_id=1, get_mechanisms=lambda: self.mechanisms, get_token=lambda: self
        )

    def open(self, **_: object) -> MemorySession:
        self.fail()
        self.live = next(self.sessions)
        return MemorySession(self, self.live)

    def fail(self) -> None:
        """Raise, by chance; a fault that means the token went away ends its session."""
        if self.random.random() < self.chance:
            fault = self.random.choice(_FAULTS)
            if fault in (pkcs11.DeviceError, pkcs11.DeviceRemoved):
                self.live = 0
            raise fault


class MemorySession:
    def __init__(self, token: MemoryToken, number: int) -> None:
        self.token = token
        self.number = number
        self.own_objects: set[int] = set()

    def get_objects(self, template: dict[Attribute, Any]) -> Iterator[MemoryObject]:
        self.check()
        for handle, attributes in list(self.token.objects.items()):
            if all(attributes.get(name) == value for name, value in template.items()):
                yield MemoryObject(self, handle)
        self.token.fail()

    def close(self) -> None:
        if self.number == self.token.live:
            self.token.live = 0
        for handle in self.own_objects:
            self.token.objects.pop(handle, None)

    def check(self) -> None:
        if self.number != self.token.live:
            self.close()
            raise pkcs11.SessionHandleInvalid
        self.token.fail()


class MemoryObject(pkcs11.SignMixin):
    def __init__(self, session: MemorySession, handle: int) -> None:
        self.of = session
        self.number = handle

    def get_attributes(self, keys: list[Attribute]) -> dict[Attribute, Any]:
        attributes = self._attributes()
        return {name: attributes[name] for name in keys if name in attributes}

    def __getitem__(self, name: Attribute) -> Any:
        attributes = self._attributes()
        if name is Attribute.VALUE and attributes[Attribute.SENSITIVE]:
            raise pkcs11.AttributeSensitive
        return attributes[name]

    def copy(self, attrs: dict[Attribute, Any]) -> MemoryObject:
        copy = {**self._attributes(), **attrs}
        handle = next(self.of.token.handles)
        self.of.token.objects[handle] = copy
        self.of.own_objects.add(handle)
        return MemoryObject(self.of, handle)

    def destroy(self) -> None:
        self._attributes()
        del self.of.token.objects[self.number]
        self.of.token.fail()  # done, and told otherwise

    def sign(self, data: Any, **_: Any) -> bytes:
        return hmac.digest(self._attributes()[Attribute.VALUE], data, "sha256")

    def _attributes(self) -> dict[Attribute, Any]:
        self.of.check()
        if self.number not in self.of.token.objects:
            raise pkcs11.ObjectHandleInvalid
        return self.of.token.objects[self.number]
