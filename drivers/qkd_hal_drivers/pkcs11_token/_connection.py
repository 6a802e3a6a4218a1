"""A logged-in session on one token, shared by all who use that token in this process.

PKCS#11 logs a whole process in and out, so the last user logs out and nobody earlier. The
session is used under the module's lock, one operation at a time.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pkcs11
from pkcs11.attributes import AttributeMapper

from qkd_hal.errors import DevicePermissionError
from qkd_hal_drivers.buses.obstacles import NONE
from qkd_hal_drivers.pkcs11_token._errors import PIN_REFUSED, is_loss, translated
from qkd_hal_drivers.pkcs11_token._find import find_token
from qkd_hal_drivers.pkcs11_token._flags import obstacle
from qkd_hal_drivers.pkcs11_token._library import SharedSession
from qkd_hal_drivers.pkcs11_token._patience import patiently
from qkd_hal_drivers.pkcs11_token._pin import check_unrefused, pin_for, remember_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.pkcs11_token._library import Module
    from qkd_hal_drivers.pkcs11_token.uri import TokenUri

__all__ = ["TokenConnection"]


class TokenConnection:
    """From a URI to a session that may read, write and erase keys.

    ``before_close`` runs with the session before it is given up.
    """

    def __init__(
        self, uri: TokenUri, module: Module, token: pkcs11.Token, shared: SharedSession
    ) -> None:
        self.token = token
        self.module = module
        self.before_close: Callable[[], None] = lambda: None
        self._device = uri.text
        self._shared = shared
        self._closed = threading.Event()
        self._open = threading.Lock()

    @classmethod
    def open(cls, uri: TokenUri, pin: str | None, deadline: Deadline) -> TokenConnection:
        """Find the token, and log in unless this process is.

        Raises:
            ConfigurationError: the URI fits several tokens, or there is no PIN or module.
            DeviceNotFoundError: no token fits.
            DevicePermissionError: the PIN is wrong or locked, or the token write-protected.
            DeviceBusyError: it has no session left.
        """
        module, token = find_token(uri, deadline)
        doing = "opening a session"
        module.acquire(doing, deadline, threading.Event(), uri.text)
        try:
            shared = _shared(uri, module, token, pin)
        except pkcs11.PKCS11Error as error:
            raise translated(error, doing, uri.text) from None
        finally:
            module.release()
        return cls(uri, module, token, shared)

    @contextmanager
    def turn(self, doing: str, deadline: Deadline) -> Iterator[pkcs11.Session]:
        """Give the session to one caller; what the module reports leaves as our errors.

        Raises:
            DeadlineError, DeviceClosedError: while waiting for the turn.
            DeviceLostError: the token or the session is gone.
        """
        self.module.acquire(doing, deadline, self._closed, self._device)
        try:
            yield self._shared.session
        except pkcs11.PKCS11Error as error:
            if is_loss(error):
                _forget(self.module, self._shared)
            raise translated(error, doing, self._device) from None
        finally:
            self.module.release()

    def close(self) -> None:
        """Give the session up; idempotent, from any thread, waits for nobody."""
        if self._open.acquire(blocking=False):  # taken once, never given back
            self._closed.set()
            self.module.do_later(self._give_up)

    def _give_up(self) -> None:
        self.before_close()
        self._shared.users -= 1
        if not self._shared.users:
            _forget(self.module, self._shared)
            with suppress(pkcs11.PKCS11Error):  # a token that is gone has nothing to close
                self._shared.session.close()


def _shared(
    uri: TokenUri, module: Module, token: pkcs11.Token, prompted: str | None
) -> SharedSession:
    slot = token.slot.slot_id
    if slot not in module.sessions:
        module.sessions[slot] = SharedSession(_session(uri, token, prompted))
    shared = module.sessions[slot]
    shared.users += 1
    return shared


def _session(uri: TokenUri, token: pkcs11.Token, prompted: str | None) -> pkcs11.Session:
    # Asked anew: another device of this process may have sent a wrong PIN while we waited.
    hindered = obstacle(token.slot.get_token(), attended=prompted is not None)
    if hindered != NONE:
        raise DevicePermissionError(hindered.reason, device=uri.text, cure=hindered.cure)
    if not token.flags & pkcs11.TokenFlag.LOGIN_REQUIRED:
        return _opened(token, None)
    pin = pin_for(uri, token, prompted)
    check_unrefused(token, pin, uri.text)
    try:
        # A token without PIN was sorted out above: SoftHSM says so, before it looks at ours,
        # while another process that logs in writes the token's flags.
        return patiently(lambda: _opened(token, pin), pkcs11.UserPinNotInitialized)
    except pkcs11.UserAlreadyLoggedIn:
        return _opened(token, None)  # by another part of this process, which will log out
    except PIN_REFUSED:
        remember_refused(token, pin)
        raise


def _opened(token: pkcs11.Token, pin: str | object | None) -> pkcs11.Session:
    mapper = AttributeMapper()
    for text in (pkcs11.Attribute.LABEL, pkcs11.Attribute.APPLICATION):
        mapper.register_handler(text, bytes, bytes)  # foreign objects need not be UTF-8
    return token.open(rw=True, user_pin=pin, attribute_mapper=mapper)


def _forget(module: Module, shared: SharedSession) -> None:
    """Let the next one who opens the token get a new session."""
    slots = [slot for slot, known in module.sessions.items() if known is shared]
    for slot in slots:
        del module.sessions[slot]
