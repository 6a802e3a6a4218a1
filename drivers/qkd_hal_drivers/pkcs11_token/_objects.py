"""Keys as objects in a token: written, found, and taken out exclusively.

The one step that PKCS#11 lets only one of several processes do is ``C_DestroyObject``: the
second gets an error. So a key is taken out by copying it to where it dies with this process
(its bytes into memory, or, for a key that stays inside, into a session object) and then
destroying the object; who could not destroy it drops its copy. A crash loses the key.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from struct import error as StructError  # noqa: N812 - a class with a lower-case name
from typing import TYPE_CHECKING, Any

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass

from qkd_hal.errors import (
    DeviceBusyError,
    KeyNotFoundError,
    ProtocolError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import KeyId, wipe
from qkd_hal_drivers.pkcs11_token._errors import GONE, is_loss
from qkd_hal_drivers.pkcs11_token._label import KeyLabel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal_drivers.pkcs11_token.uri import TokenUri

__all__ = ["MAX_KEY_BYTES", "TokenKey", "erase", "scan", "store", "take_copy", "take_out"]

MAX_KEY_BYTES = 1 << 16  # as for every device; tokens hold far shorter keys

_SECRET, _DATA = ObjectClass.SECRET_KEY, ObjectClass.DATA
_CLASSES = {None: (_SECRET, _DATA), "secret-key": (_SECRET,), "data": (_DATA,)}
_APPLICATION = re.compile(rb"qkd-hal ([0-9a-f-]{36}) ([1-9][0-9]{0,4})")
_OURS: dict[Attribute, Any] = {Attribute.TOKEN: True, Attribute.PRIVATE: True}
_WANTED = [
    Attribute.LABEL,
    Attribute.ID,
    Attribute.VALUE_LEN,
    Attribute.SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.APPLICATION,
]
_SEARCHES = 100
_NO_SECRETS = (  # what modules say that store data, but no generic secrets
    pkcs11.AttributeTypeInvalid,
    pkcs11.AttributeValueInvalid,
    pkcs11.FunctionNotSupported,
    pkcs11.KeySizeRange,
    pkcs11.TemplateInconsistent,
)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key in the token, ``size`` in bytes.

    ``readable``: its bytes may leave the token. ``derives``: HMAC can run inside with it.
    """

    key_id: KeyId
    label: KeyLabel
    size: int
    readable: bool
    derives: bool
    handle: pkcs11.Object


def scan(session: pkcs11.Session, uri: TokenUri, key_id: KeyId | None = None) -> Iterator[TokenKey]:
    """Yield the keys of our convention that *uri* does not exclude, or those with one ID.

    Other objects in the token, and what cannot be read, are skipped.
    """
    wanted = {uri.key_id, key_id} - {None}
    for kind in _CLASSES[uri.object_class] if len(wanted) < 2 else ():
        template = {Attribute.CLASS: kind, **_OURS}
        if uri.object_label is not None:
            template[Attribute.LABEL] = uri.object_label.encode()
        if wanted and kind is _SECRET:
            template[Attribute.ID] = bytes(*wanted)
        found = (_described(handle) for handle in _search(session, template))
        yield from (key for key in found if key and (not wanted or key.key_id in wanted))


def store(
    session: pkcs11.Session,
    uri: TokenUri,
    key_id: KeyId,
    label: KeyLabel,
    key: memoryview,
    *,
    extractable: bool,
) -> None:
    """Write one key, as a secret key, or where the module refuses those as private data.

    Raises:
        UsageError: the token already has a key with this ID.
    """
    if any(scan(session, uri, key_id)):
        raise UsageError("the token already holds this key", device=uri.text, key_id=key_id)
    common = {**_OURS, Attribute.LABEL: bytes(label), Attribute.VALUE: key}
    kinds = _CLASSES[uri.object_class] if extractable else (_SECRET,)
    if _SECRET in kinds:
        try:
            session.create_object({**common, **_secret_template(key_id, extractable)})
        except _NO_SECRETS:
            if _DATA not in kinds:
                raise
        else:
            return
    session.create_object({**common, **_data_template(key_id, len(key))})


def take_out(session: pkcs11.Session, uri: TokenUri, key: TokenKey) -> bytearray:
    """Return the bytes of *key*, which nobody else has or gets.

    Raises:
        KeyNotFoundError: another process took it.
        UnsupportedError: its bytes may not leave the token.
    """
    material = _read(uri, key)
    try:
        _destroy_alone(session, uri, key)
    except BaseException:
        wipe(material)
        raise
    return material


def take_copy(session: pkcs11.Session, uri: TokenUri, key: TokenKey) -> pkcs11.Object:
    """Return a session object with *key*, which nobody else has or gets.

    Raises:
        KeyNotFoundError: another process took it.
        UnsupportedError: the module copies no keys.
    """
    try:
        copy = key.handle.copy({Attribute.TOKEN: False})
    except GONE:
        raise _taken(uri, key.key_id) from None
    try:
        _destroy_alone(session, uri, key)
    except BaseException:
        with suppress(pkcs11.PKCS11Error):
            copy.destroy()
        raise
    return copy


def erase(session: pkcs11.Session, uri: TokenUri, key_id: KeyId) -> None:
    """Destroy the key *key_id*, if it is there."""
    for key in list(scan(session, uri, key_id)):
        with suppress(*GONE):
            key.handle.destroy()


def _read(uri: TokenUri, key: TokenKey) -> bytearray:
    try:
        material = bytearray(key.handle[Attribute.VALUE])
    except GONE:
        raise _taken(uri, key.key_id) from None
    except pkcs11.AttributeSensitive:
        what = "this key never leaves the token"
        raise UnsupportedError(what, device=uri.text, key_id=key.key_id) from None
    if len(material) != key.size:
        wipe(material)
        what = f"a key of {key.size} bytes has another size when it is read"
        raise ProtocolError(what, device=uri.text, key_id=key.key_id)
    return material


def _search(session: pkcs11.Session, template: dict[Attribute, Any]) -> list[pkcs11.Object]:
    for _ in range(_SEARCHES):
        # A search breaks off where another process has just destroyed an object that it found.
        with suppress(*GONE):
            return list(session.get_objects(template))
    raise DeviceBusyError("other processes change the token faster than it can be searched")


def _described(handle: pkcs11.Object) -> TokenKey | None:
    try:
        found = handle.get_attributes(_WANTED)
        label = KeyLabel.parse(found[Attribute.LABEL])
        key_id, size = _name(found)
    except pkcs11.PKCS11Error as error:
        if is_loss(error):
            raise
        return None
    except (KeyError, ValueError, StructError, ProtocolError):
        return None
    # A data object has neither attribute, and can always be read.
    inside = found.get(Attribute.SENSITIVE, False) or not found.get(Attribute.EXTRACTABLE, True)
    derives = isinstance(handle, pkcs11.SignMixin)
    known = 1 <= size <= MAX_KEY_BYTES
    return TokenKey(key_id, label, size, not inside, derives, handle) if known else None


def _name(found: dict[Attribute, Any]) -> tuple[KeyId, int]:
    if Attribute.ID in found:
        return KeyId.from_bytes(found[Attribute.ID]), found[Attribute.VALUE_LEN]
    match = _APPLICATION.fullmatch(found[Attribute.APPLICATION])
    if match is None:
        raise ProtocolError("a data object does not name a key of ours")
    return KeyId.parse(match[1].decode()), int(match[2])


def _secret_template(key_id: KeyId, extractable: bool) -> dict[Attribute, Any]:
    return {
        Attribute.CLASS: _SECRET,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.ID: bytes(key_id),
        Attribute.SENSITIVE: not extractable,
        Attribute.EXTRACTABLE: extractable,
        Attribute.SIGN: True,  # for HMAC
    }


def _data_template(key_id: KeyId, size: int) -> dict[Attribute, Any]:
    # CKO_DATA has no CKA_ID, and its size could otherwise be had only by reading the key.
    return {Attribute.CLASS: _DATA, Attribute.APPLICATION: f"qkd-hal {key_id} {size}".encode()}


def _destroy_alone(session: pkcs11.Session, uri: TokenUri, key: TokenKey) -> None:
    """Destroy *key* if nobody did, else raise."""
    try:
        key.handle.destroy()
    except GONE:
        raise _taken(uri, key.key_id) from None
    except pkcs11.PKCS11Error as error:
        # Modules are not strict about the code; what counts is whether the object is gone.
        if is_loss(error) or any(scan(session, uri, key.key_id)):
            raise
        raise _taken(uri, key.key_id) from None


def _taken(uri: TokenUri, key_id: KeyId) -> KeyNotFoundError:
    return KeyNotFoundError("another process took this key", device=uri.text, key_id=key_id)
