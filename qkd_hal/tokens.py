"""Tokens that are filled and looked after here: by URL, through installed packages.

Opening one as a device to take keys from is :func:`qkd_hal.open_device`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from qkd_hal import schemes
from qkd_hal.device_url import DeviceURL
from qkd_hal.sources import KeyLoader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qkd_hal.keys import KeyId, Provenance
    from qkd_hal.sources import Deadline

__all__ = ["ManagedKey", "OpenLoader", "TokenManager", "open_loader", "open_manager"]


class OpenLoader(KeyLoader, Protocol):
    """A loader that has its token until it is closed."""

    def close(self) -> None:
        """Let go of the token; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class ManagedKey:
    """A key on a token, without its bytes; ``size`` in bytes.

    ``claimed``: a host reserved it and has not confirmed that it used it.
    """

    key_id: KeyId
    own: bool
    claimed: bool
    size: int


class TokenManager(Protocol):
    """What the owner of a token does with it. *pin* is as a person typed it; ``None``: from
    the URL's ``pin-source`` or ``QKD_HAL_PIN``, and only while no wrong one was counted.

    Every method reaches the token anew, and raises the tree of :mod:`qkd_hal.errors`.
    """

    def facts(self, deadline: Deadline) -> Mapping[str, str | int | None]:
        """Tell what the token says of itself without a PIN."""
        ...

    def keys(self, pin: str | None, deadline: Deadline) -> list[ManagedKey]:
        """List the keys in the order in which they were loaded."""
        ...

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
        ...

    def verify(self, pin: str, deadline: Deadline) -> None:
        """Try *pin* once, whatever the counter says; success resets the counter."""
        ...

    def change_pin(self, old: str, new: str, deadline: Deadline) -> None:
        """Set another PIN; a wrong *old* burns a try."""
        ...

    def unblock(self, puk: str, new_pin: str, deadline: Deadline) -> None:
        """Set another PIN by the PUK; a wrong one burns a try, the last of which erases all."""
        ...

    def erase(
        self, pin: str | None, what: KeyId | None, *, claimed: bool, deadline: Deadline
    ) -> None:
        """Erase the key *what*; or all; or, with *claimed*, those of hosts that died."""
        ...


def open_loader(url: str, site: str, deadline: Deadline, *, pin: str | None = None) -> OpenLoader:
    """Return a loader for the token at *url*; *site* is whose it is, where it does not say.

    Raises:
        ConfigurationError: not a URL of a token that can be filled, or of another site.
        MissingExtraError: an extra is missing.
        QKDError: as the token's driver raises on opening.
    """
    made = schemes.make(schemes.KEY_LOADERS, DeviceURL.parse(url), site, deadline, pin)
    return cast("OpenLoader", made)


def open_manager(url: str) -> TokenManager:
    """Return the manager of the token at *url*; nothing is connected yet.

    Raises:
        ConfigurationError: not a URL of a token that is managed here: a PKCS#11 token has a
            tool of its vendor.
        MissingExtraError: an extra is missing.
    """
    return cast("TokenManager", schemes.make(schemes.TOKEN_MANAGERS, DeviceURL.parse(url)))
