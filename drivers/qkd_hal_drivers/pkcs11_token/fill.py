"""Puts keys into a PKCS#11 token, for later sessions without the box that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import check_name
from qkd_hal_drivers.pkcs11_token import _objects
from qkd_hal_drivers.pkcs11_token._connection import TokenConnection
from qkd_hal_drivers.pkcs11_token._label import KeyLabel
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId, Provenance
    from qkd_hal.registry import DeviceURL
    from qkd_hal.sources import Deadline

__all__ = ["Pkcs11Loader", "loader"]


class Pkcs11Loader:
    """A :class:`~qkd_hal.sources.KeyLoader` for the token of *site*; logs in at once.

    ``extractable=False``: the keys never leave the token again, and serve ``derive()`` only.
    *pin*: as a person typed it just now; see :class:`Pkcs11TokenDriver`.

    Raises:
        QKDError: as :meth:`Pkcs11TokenDriver.open`.
    """

    def __init__(
        self,
        url: DeviceURL,
        site: str,
        deadline: Deadline,
        *,
        extractable: bool = True,
        pin: str | None = None,
    ) -> None:
        uri = TokenUri.parse(url.text)
        if uri.object_label is not None or uri.key_id is not None:
            what = "the URI of a token to fill names single objects"
            raise ConfigurationError(what, cure="Leave out object= and id=")
        if uri.object_class == "data" and not extractable:
            what = "data objects cannot keep keys inside a token"
            raise ConfigurationError(what, cure="Leave out type=data, or load extractable keys")
        self._uri = uri
        self.site = check_name(site)
        self._extractable = extractable
        self._connection = TokenConnection.open(uri, pin, deadline)
        try:
            self._check_site(deadline)
        except BaseException:
            self.close()
            raise

    def load(
        self,
        key_id: KeyId,
        key: memoryview,
        *,
        own: bool,
        peer: str,
        provenance: Provenance,
        deadline: Deadline,
    ) -> None:
        """Store one key; *own* says that this token's holder may start sessions with it.

        Raises:
            UsageError: the token already holds *key_id*.
            DeviceError: the token is full, write-protected, or was lost.
        """
        label = KeyLabel(own, self.site, peer, provenance)
        with self._connection.turn("storing a key", deadline) as session:
            _objects.store(session, self._uri, key_id, label, key, extractable=self._extractable)

    def free(self, deadline: Deadline) -> int | None:
        """Return ``None``: few modules know."""
        return None

    def close(self) -> None:
        """Log out; idempotent."""
        self._connection.close()

    def _check_site(self, deadline: Deadline) -> None:
        """A token with keys of two sites would not open any more."""
        with self._connection.turn("searching its keys", deadline) as session:
            others = {key.label.site for key in _objects.scan(session, self._uri)} - {self.site}
        if others:
            raise ConfigurationError(
                f"the token holds keys of {', '.join(sorted(others))}, not of {self.site}",
                device=self._uri.text,
                cure="Correct --site, or insert the other token",
            )

    def __enter__(self) -> Pkcs11Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def loader(url: DeviceURL, site: str, deadline: Deadline, pin: str | None) -> Pkcs11Loader:
    """Return a loader of extractable keys, for ``qkd-hal token fill``.

    Raises:
        QKDError: as :class:`Pkcs11Loader`.
    """
    return Pkcs11Loader(url, site, deadline, pin=pin)
