"""Reads one TOML table strictly: types, names, paths, nearest spelling, no inline secrets."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from qkd_hal.errors import ConfigurationError, UsageError
from qkd_hal.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Section", "nearest"]

_SECRET = re.compile(r"(.*[_-])?(secret|pin|password|passphrase|key|psk|token)")
_FILE_VALUE = re.compile(r"(?<=[?&])(credential|\w+_file)=([^&]*)")
_ENDPOINT = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^:/\[\]\s@]+):([0-9]{1,5})")
_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean …?`` for the most similar of *known*, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else ""


class Section:
    """One table of the file. Each getter raises :class:`ConfigurationError` on a wrong value.

    *where* names the table in messages; relative paths start at *base*.
    """

    def __init__(self, where: str, values: Mapping[str, object], base: Path) -> None:
        self._where = where
        self._values = values
        self._base = base

    def allow(self, *known: str) -> None:
        """Refuse every key outside *known*, a secret with its own words."""
        for key in self._values.keys() - set(known):
            if _SECRET.fullmatch(key):
                cure = f"Write it to a file of mode 0600 and name that with {key}_file"
                raise self.wrong(key, "is a secret, and none stands in this file", cure)
            cure = nearest(key, known) or f"Known here: {', '.join(known)}"
            raise self.wrong(key, "is unknown", cure)

    def section(self, key: str, *allowed: str) -> Section:
        """Return the table *key*, empty where it is absent, with only *allowed* in it."""
        section = Section(f"[{key}]", self._table(key), self._base)
        section.allow(*allowed)
        return section

    def named_sections(self, key: str, *allowed: str) -> dict[str, Section]:
        """Return the tables ``[key.NAME]`` by name."""
        tables = Section(f"[{key}]", self._table(key), self._base)
        sections = {}
        for name in tables._values:
            tables._plain_name(name, name)
            sections[name] = Section(f"[{key}.{name}]", tables._table(name), self._base)
            sections[name].allow(*allowed)
        return sections

    def name(self, key: str, default: str | None) -> str | None:
        """Return the name of a site, peer or device."""
        value = self._text(key, default)
        return value if value is None else self._plain_name(key, value)

    def required_name(self, key: str) -> str:
        """Return a name that must be there."""
        return self._plain_name(key, self._required(key))

    def choice(self, key: str, known: tuple[str, ...], default: str) -> str:
        """Return one of *known*."""
        value = self._text(key, default) or default
        if value not in known:
            raise self.wrong(key, f"must be one of {', '.join(known)}", nearest(value, known))
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def count(self, key: str) -> int | None:
        """Return a whole number of at least one, or ``None`` where it is absent."""
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "must be a whole number of at least 1")
        return value

    def seconds(self, key: str, default: float) -> float:
        """Return a time in seconds above zero."""
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.wrong(key, "must be a number of seconds above 0")
        return float(value)

    def path(self, key: str) -> Path:
        """Return a path, absolute."""
        return self._base / Path(self._required(key)).expanduser()

    def endpoint(self, key: str, *, any_port: bool) -> str:
        """Return ``tcp://host:port``; port 0 only where *any_port* will do."""
        value = self._required(key)
        match = _ENDPOINT.fullmatch(value)
        if match is None or not (0 if any_port else 1) <= int(match[2]) <= 65535:
            raise self.wrong(key, "must be written tcp://host:port")
        return value

    def url(self, key: str, *schemes: str) -> str:
        """Return a URL that begins with one of *schemes*; file names in it become absolute."""
        value = self._required(key)
        if not _URL_SCHEME.fullmatch(value) or not value.startswith(schemes or ("",)):
            raise self.wrong(key, f"must be a URL, {' or '.join(schemes) or 'scheme://…'}")
        return _FILE_VALUE.sub(self._absolute_value, self._absolute_pool(value))

    def wrong(self, key: str, why: str, cure: str = "") -> ConfigurationError:
        """Return the error that says what is wrong with *key*."""
        return ConfigurationError(f"{key} in {self._where} {why}", cure=cure or None)

    def _absolute_value(self, match: re.Match[str]) -> str:
        return f"{match[1]}={quote(str(self._base / unquote(match[2])))}"

    def _absolute_pool(self, url: str) -> str:
        scheme, _, path = url.partition(":")
        if scheme != "pool+sqlite" or path.startswith("//"):
            return url
        return f"{scheme}://{quote(str(self._base / unquote(path)))}"

    def _table(self, key: str) -> Mapping[str, object]:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a table, [{key}]")
        return value

    def _text(self, key: str, default: str | None) -> str | None:
        value = self._values.get(key, default)
        if value is not None and not (isinstance(value, str) and value):
            raise self.wrong(key, "must be a text in quotes")
        return value

    def _required(self, key: str) -> str:
        value = self._text(key, None)
        if value is None:
            raise self.wrong(key, "is missing")
        return value

    def _plain_name(self, key: str, value: str) -> str:
        try:
            return check_name(value)
        except UsageError as error:
            raise self.wrong(key, f"is wrong: {error.what}", error.cure or "") from None
