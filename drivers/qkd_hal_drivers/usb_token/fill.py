"""Puts keys into a key token, for later sessions without the box that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError, DeviceError, ProtocolError, UsageError
from qkd_hal.keys import wipe
from qkd_hal_drivers.usb_token import applet, status_words
from qkd_hal_drivers.usb_token.pin import Pin
from qkd_hal_drivers.usb_token.session import TokenSession

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId, Provenance
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.usb_token.apdu import Command
    from qkd_hal_drivers.usb_token.card import CardLink

__all__ = ["TokenLoader"]

_COUNTED_BYTES = 32  # what KeyLoader.free counts


class TokenLoader:
    """A :class:`~qkd_hal.sources.KeyLoader` for the token behind *link*; gives the PIN at once.

    *site*: whose token it has to be; empty: anybody's.

    Raises:
        ConfigurationError: it is another site's.
        QKDError: as `TokenDriver.open`.
    """

    def __init__(self, link: CardLink, pin: Pin, site: str, deadline: Deadline) -> None:
        self._session = TokenSession(link, pin)
        try:
            self._session.open(deadline)
            status = self._status(deadline)
            _check_site(status.site, site, link.name)
        except BaseException:
            self.close()
            raise
        self.site, self._peer = status.site, status.peer

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
            UsageError: the token holds or held *key_id*, is not for *peer*, or takes no key as
                long as this.
            DeviceError: the token is full, has keys of another provenance, or was lost.
        """
        if peer != self._peer:
            what = f"the token shares keys with {self._peer}, not with {peer}"
            raise UsageError(what, device=self._session.name)
        most = self._session.identity.max_key_size
        if len(key) > most:
            what = f"the token takes keys of at most {most} bytes"
            raise UsageError(what, device=self._session.name, cure="Fill it with shorter keys")
        command = applet.load_key(key_id, key, provenance, own=own)
        try:
            with self._session.turn(deadline):
                self._load(command, key_id, (own, len(key)), deadline)
        finally:
            wipe(memoryview(command.data))

    def free(self, deadline: Deadline) -> int | None:
        """Count the 256-bit keys that still fit."""
        status = self._status(deadline)
        return min(status.free_entries, status.free_bytes // _COUNTED_BYTES)

    def close(self) -> None:
        """Let go of the token; idempotent."""
        self._session.close()

    def _load(
        self, command: Command, key_id: KeyId, loaded: tuple[bool, int], deadline: Deadline
    ) -> None:
        try:
            self._session.ask(command, deadline, key_id)
        except ProtocolError:
            # Its answer was lost, or is nonsense: the token knows whether the key is there.
            answer, word = self._session.ask_word(applet.find(key_id), deadline)
            if word != status_words.DONE:
                self._session.ask(command, deadline, key_id)
                return
            entry, _ = applet.parse_found(answer)
            if (entry.own, entry.size) != loaded:
                what = "the token holds another key with this ID"
                raise UsageError(what, device=self._session.name, key_id=key_id) from None

    def _status(self, deadline: Deadline) -> applet.TokenStatus:
        with self._session.turn(deadline):
            return applet.parse_status(self._session.ask(applet.get_status(), deadline))


def _check_site(found: str, wanted: str, device: str) -> None:
    if not found:
        raise DeviceError("the token is blank", device=device, cure="Run: qkd-hal token init")
    if wanted not in ("", found):
        what = f"the token is {found}'s, not {wanted}'s"
        raise ConfigurationError(what, device=device, cure="Insert the other one")
