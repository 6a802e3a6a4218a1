"""A device's address, read strictly: ``scheme://authority/path?query``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DeviceURL"]

_MAX_URL = 2048  # characters: longer than any URL that a person writes or a path can be
_SECRETS = frozenset({"pin", "pin-value", "password", "passphrase", "secret", "key", "psk"})
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):"
    r"(?://(?P<authority>[^/?]*))?(?P<path>[^?]*)(?:\?(?P<query>.*))?"
)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class DeviceURL:
    """A device's address: ``scheme://authority/path?query`` or ``scheme:path?query``.

    ``path`` and the values of ``query`` are percent-decoded, but for a path of ``pkcs11:``,
    which may name bytes that are no text (RFC 7512); ``text`` is what was written.
    ``authority`` is ``host:port`` for what listens on a network, ``VID:PID`` for USB.
    """

    text: str
    scheme: str = field(compare=False)
    authority: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    query: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, text: str) -> DeviceURL:
        """Read *text*, strictly.

        Raises:
            ConfigurationError: not a device URL, or a secret stands in it.
        """
        match = _URL.fullmatch(text) if _is_plain(text) else None
        if match is None:
            raise ConfigurationError(
                "not a device URL", cure="Write it like serial:///dev/ttyUSB0 or usb://VID:PID"
            )
        authority, query = match["authority"] or "", _parsed_query(match["query"])
        if "@" in authority:
            raise _no_secret("a user name or password before '@'")
        for name in query.keys() & _SECRETS:
            raise _no_secret(f"the query value {name}")
        scheme = match["scheme"].lower()
        path = match["path"] if scheme == "pkcs11" else _decoded(match["path"])
        return cls(text, scheme, authority, path, MappingProxyType(query))

    @property
    def host(self) -> str:
        """The host name or address, without brackets.

        Raises:
            ConfigurationError: the URL names none.
        """
        return self._address()["host"].strip("[]")

    @property
    def port(self) -> int | None:
        """The TCP port, 1 to 65535, or ``None`` where the URL names none."""
        port = self._address()["port"]
        if port is not None and not 1 <= int(port) <= 65535:
            raise ConfigurationError(f"{self.text} has no port between 1 and 65535")
        return None if port is None else int(port)

    def _address(self) -> re.Match[str]:
        match = _HOST_PORT.fullmatch(self.authority)
        if match is None:
            raise ConfigurationError(f"{self.text} names no host", cure="Write scheme://host:port")
        return match

    def __str__(self) -> str:
        return self.text


def _is_plain(text: str) -> bool:
    printable = text.isprintable() and " " not in text and "#" not in text
    return printable and len(text) <= _MAX_URL


def _parsed_query(text: str | None) -> dict[str, str]:
    query: dict[str, str] = {}
    for part in text.split("&") if text else []:
        name, equals, value = part.partition("=")
        if not name or not equals or name in query:
            raise ConfigurationError(
                "a query of a device URL is broken", cure="Write ?name=value&other=value"
            )
        query[name] = _decoded(value)
    return query


def _decoded(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        plain = ""
    if not plain.isprintable() or bool(plain) != bool(text):
        raise ConfigurationError("a device URL holds control characters or is not UTF-8")
    return plain


def _no_secret(what: str) -> ConfigurationError:
    cure = "Give it by file, environment variable or prompt"
    return ConfigurationError(f"{what}: no secret stands in a URL", cure=cure)
