"""PKCS#11 URIs, RFC 7512, strictly: what is not understood is refused, never ignored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import KeyId

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TokenUri"]

_MAX_URI = 2048  # characters, as for every device URL
_SCHEME = "pkcs11:"
_COMMON = r"(?:[A-Za-z0-9._~\-:\[\]@!$'()*+,=%s]|%%[0-9A-Fa-f]{2})*"
_PATH_VALUE = re.compile(_COMMON % "&")
_QUERY_VALUE = re.compile(_COMMON % "/?|")
_LIBRARY = ("library-manufacturer", "library-description", "library-version")
_SLOT = ("slot-manufacturer", "slot-description", "slot-id")
_TOKEN = ("token", "manufacturer", "model", "serial")
_OBJECT = ("object", "type", "id")
_PATH = frozenset({*_LIBRARY, *_SLOT, *_TOKEN, *_OBJECT})
_QUERY = frozenset({"pin-source", "module-name", "module-path"})
_CLASSES = ("secret-key", "data")  # the object classes of RFC 7512 that can hold our keys
_PLAIN = "-._~:[]@!$'()*+,="  # beside letters and digits, what RFC 7512 leaves unencoded


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Which token, in which module, and which of its objects.

    ``matches`` has the path attributes of RFC 7512 section 2.3 that describe a library, slot
    or token, decoded. ``object_label``, ``object_class`` and ``key_id`` narrow down the keys.
    """

    text: str
    matches: Mapping[str, str]
    object_label: str | None = None
    object_class: str | None = None
    key_id: KeyId | None = None
    module_path: Path | None = None
    module_name: str | None = None
    pin_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Read *text*.

        Raises:
            ConfigurationError: no PKCS#11 URI, or an attribute of it is unknown, repeated,
                wrongly encoded, or means nothing for a token of keys.
        """
        if not text[: len(_SCHEME)].lower() == _SCHEME or len(text) > _MAX_URI:
            raise _wrong("not a PKCS#11 URI")
        path_text, _, query_text = text[len(_SCHEME) :].partition("?")
        path = _attributes(path_text, ";", _PATH, _PATH_VALUE)
        query = _attributes(query_text, "&", _QUERY, _QUERY_VALUE)
        return cls(
            text=text,
            matches=_described(path),
            object_label=_text(path, "object"),
            object_class=_object_class(_text(path, "type")),
            key_id=_key_id(path.get("id")),
            module_path=_absolute("module-path", _text(query, "module-path")),
            module_name=_module_name(_text(query, "module-name")),
            pin_file=_pin_file(_text(query, "pin-source")),
        )

    @staticmethod
    def of_token(*, token: str, serial: str, module_path: Path) -> str:
        """Return the URI that names a token by label and serial number in one module."""
        name = f"token={quote(token, safe=_PLAIN)};serial={quote(serial, safe=_PLAIN)}"
        return f"{_SCHEME}{name}?module-path={quote(str(module_path), safe=_PLAIN + '/')}"


def _attributes(
    text: str, separator: str, known: frozenset[str], grammar: re.Pattern[str]
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else []:
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise _wrong("no secret stands in a URL", "Write ?pin-source=file:/PATH")
        if not equals or name not in known:
            raise _wrong(f"{name!r} is no attribute of a PKCS#11 URI that is known here")
        if name in found:
            raise _wrong(f"the attribute {name} stands there twice")
        if not grammar.fullmatch(value):
            raise _wrong(f"the attribute {name} has a character that must be percent-encoded")
        found[name] = unquote_to_bytes(value)
    return found


def _text(attributes: Mapping[str, bytes], name: str) -> str | None:
    raw = attributes.get(name)
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise _wrong(f"the attribute {name} is empty, not UTF-8, or has control characters")
    return text


def _described(path: Mapping[str, bytes]) -> dict[str, str]:
    texts = {name: _text(path, name) for name in (*_LIBRARY, *_SLOT, *_TOKEN)}
    described = {name: text for name, text in texts.items() if text is not None}
    for name, form in (
        ("slot-id", r"[0-9]{1,20}"),
        ("library-version", r"[0-9]{1,3}(\.[0-9]{1,3})?"),
    ):
        if name in described and not re.fullmatch(form, described[name], re.ASCII):
            raise _wrong(f"the attribute {name} is no number")
    return described


def _object_class(name: str | None) -> str | None:
    if name not in (None, *_CLASSES):
        raise _wrong(f"objects of type {name} hold no keys", "Write type=secret-key or type=data")
    return name


def _key_id(raw: bytes | None) -> KeyId | None:
    if raw is not None and len(raw) != 16:
        raise _wrong(f"a key ID has 16 bytes, not {len(raw)}", "Write id=%00%01…, 16 times")
    return None if raw is None else KeyId.from_bytes(raw)


def _module_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9._+-]+", name):
        raise _wrong("a module-name is a file name without path", "Use module-path for a path")
    return name


def _pin_file(source: str | None) -> Path | None:
    if source is None:
        return None
    if source.startswith("|"):
        raise _wrong("a pin-source that is a program is not run", "Write ?pin-source=file:/PATH")
    return _absolute("pin-source", re.sub(r"\Afile:(//(?=/))?", "", source))


def _absolute(name: str, path: str | None) -> Path | None:
    if path is not None and not path.startswith("/"):
        raise _wrong(f"the attribute {name} is no absolute path")
    return None if path is None else Path(path)


def _wrong(what: str, cure: str | None = None) -> ConfigurationError:
    usual = "Write it like pkcs11:token=NAME?module-path=/PATH&pin-source=file:/PATH"
    return ConfigurationError(f"a PKCS#11 URI is wrong: {what}", cure=cure or usual)
