"""What the owner of a key token does with it: names, PIN, PUK, lists, erasing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.keys import check_name, wipe
from qkd_hal.tokens import ManagedKey
from qkd_hal_drivers.usb_token import applet
from qkd_hal_drivers.usb_token.pin import Pin, pin_block, puk_block
from qkd_hal_drivers.usb_token.session import TokenSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from qkd_hal.keys import KeyId, Provenance
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.usb_token.apdu import Command
    from qkd_hal_drivers.usb_token.applet import Entry, TokenStatus
    from qkd_hal_drivers.usb_token.card import CardLink

__all__ = ["KeyTokenManager"]

_NO_MORE_KEYS: Final = 1 << 20  # a list that is longer than any token's store never ends


class KeyTokenManager:
    """A :class:`~qkd_hal.tokens.TokenManager`; *link* makes a way to the token, *pin_file* and
    then ``QKD_HAL_PIN`` hold its PIN where none is typed."""

    def __init__(self, link: Callable[[], CardLink], pin_file: str | None) -> None:
        self._make_link = link
        self._pin_file = pin_file

    def facts(self, deadline: Deadline) -> Mapping[str, str | int | None]:
        """Tell what the token says of itself without a PIN."""
        with self._without_pin(deadline) as session:
            status = _status(session, deadline)
            identity = session.identity
        return {
            "serial_number": identity.serial_number,
            "vendor": identity.vendor,
            "model": identity.model,
            "firmware": identity.firmware,
            "life": status.life.name.lower(),
            "site": status.site or None,
            "peer": status.peer or None,
            "provenance": str(status.provenance) if status.provenance else None,
            "pin_tries": status.pin_tries,
            "puk_tries": status.puk_tries,
            "own_keys": status.own_keys,
            "claimed_keys": status.claimed_keys,
            "peer_keys": status.peer_keys,
            "own_bytes": status.own_bytes,
            "peer_bytes": status.peer_bytes,
            "free_keys": status.free_entries,
            "free_bytes": status.free_bytes,
        }

    def keys(self, pin: str | None, deadline: Deadline) -> list[ManagedKey]:
        """List the keys in the order in which they were loaded."""
        with self._with_pin(pin, deadline) as session:
            entries = list(_entries(session, deadline))
        return [ManagedKey(each.key_id, each.own, each.claimed, each.size) for each in entries]

    def initialise(
        self,
        pin: str | None,
        *,
        new_pin: str,
        puk: str,
        site: str,
        peer: str,
        provenance: Provenance | None,
        deadline: Deadline,
    ) -> None:
        """Erase all keys; set PIN, PUK and names. Needs *pin* unless the token is blank."""
        names = check_name(site), check_name(peer)
        if site == peer:
            raise UsageError(f"{site} shares no keys with itself", cure="Name the other site")
        secrets = pin_block(new_pin), puk_block(puk)
        command = applet.initialise(*secrets, *names, provenance)
        with self._without_pin(deadline) as session:
            blank = _status(session, deadline).life is applet.Life.BLANK
        opened = self._without_pin(deadline) if blank else self._with_pin(pin, deadline)
        with opened as session:
            _ask_secretly(session, command, deadline, *secrets)

    def verify(self, pin: str, deadline: Deadline) -> None:
        """Try *pin* once, whatever the counter says; success resets the counter."""
        with self._without_pin(deadline) as session:
            session.send_pin(Pin(pin_block(pin)), deadline)

    def change_pin(self, old: str, new: str, deadline: Deadline) -> None:
        """Set another PIN; a wrong *old* burns a try."""
        blocks = pin_block(old), pin_block(new)
        with self._without_pin(deadline) as session:
            _ask_secretly(session, applet.change_pin(*blocks), deadline, *blocks)

    def unblock(self, puk: str, new_pin: str, deadline: Deadline) -> None:
        """Set another PIN by the PUK; a wrong one burns a try, the last of which erases all."""
        blocks = puk_block(puk), pin_block(new_pin)
        with self._without_pin(deadline) as session:
            _ask_secretly(session, applet.reset_retry_counter(*blocks), deadline, *blocks)

    def erase(
        self, pin: str | None, what: KeyId | None, *, claimed: bool, deadline: Deadline
    ) -> None:
        """Erase the key *what*; or all; or, with *claimed*, those of hosts that died."""
        every = applet.ERASE_CLAIMED if claimed else applet.ERASE_ALL
        command = every if what is None else applet.erase_key(what)
        with self._with_pin(pin, deadline) as session:
            session.ask(command, deadline, what)

    @contextmanager
    def _with_pin(self, typed: str | None, deadline: Deadline) -> Iterator[TokenSession]:
        link = self._make_link()
        pin = Pin.from_source(self._pin_file, typed, link.name)
        with _opened(TokenSession(link, pin), deadline) as session:
            yield session

    @contextmanager
    def _without_pin(self, deadline: Deadline) -> Iterator[TokenSession]:
        with _opened(TokenSession(self._make_link(), None), deadline) as session:
            yield session


@contextmanager
def _opened(session: TokenSession, deadline: Deadline) -> Iterator[TokenSession]:
    try:
        session.open(deadline)
        with session.turn(deadline):
            yield session
    finally:
        session.close()


def _ask_secretly(
    session: TokenSession, command: Command, deadline: Deadline, *secrets: bytearray
) -> None:
    try:
        session.ask(command, deadline)
    finally:
        for secret in (command.data, *secrets):
            wipe(memoryview(secret))


def _status(session: TokenSession, deadline: Deadline) -> TokenStatus:
    return applet.parse_status(session.ask(applet.get_status(), deadline))


def _entries(session: TokenSession, deadline: Deadline) -> Iterator[Entry]:
    after = 0
    for _ in range(_NO_MORE_KEYS):
        some = applet.parse_entries(session.ask(applet.list_keys(after), deadline))
        if not some:
            return
        for entry in some:
            if entry.number <= after:
                raise ProtocolError("the token lists a key twice", device=session.name)
            after = entry.number
            yield entry
    raise ProtocolError("the token's list of keys has no end", device=session.name)
