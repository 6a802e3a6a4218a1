"""What a token holds over a power cut, and how a change of it becomes durable."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from qkd_hal_firmware_mocks.token.apdu import Refusal, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "PIN_TRIES",
    "PUK_TRIES",
    "Confirmed",
    "Life",
    "Medium",
    "MediumError",
    "Store",
    "StoredKey",
    "TokenState",
]

PIN_TRIES = 3
PUK_TRIES = 10


class Life(IntEnum):
    """The token's life state, as SELECT and GET STATUS tell it."""

    BLANK = 0
    INITIALISED = 1
    OPERATIONAL = 2
    LOCKED = 3


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key on the token; ``claim`` is empty while nobody has claimed it."""

    number: int
    key_id: bytes
    direction: int
    material: bytes = field(repr=False)
    claim: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Bytes of key."""
        return len(self.material)


Confirmed = tuple[int, bytes, bytes]
"""Direction, key ID and claim of a key that is gone."""


@dataclass(slots=True)
class TokenState:
    """Everything durable. ``keys`` maps IDs to keys, in the order of loading."""

    pin: bytes = field(default=b"", repr=False)
    puk: bytes = field(default=b"", repr=False)
    pin_tries: int = 0
    puk_tries: int = 0
    site: str = ""
    peer: str = ""
    provenance: bytes = b""
    given_provenance: bytes = b""  # by INITIALISE; what ERASE goes back to
    loaded: bool = False
    last_number: int = 0
    keys: dict[bytes, StoredKey] = field(default_factory=dict)
    confirmed: tuple[Confirmed, ...] = ()

    @property
    def life(self) -> Life:
        """Which commands are possible."""
        if not self.pin:
            return Life.BLANK
        if not self.pin_tries:
            return Life.LOCKED
        return Life.OPERATIONAL if self.loaded else Life.INITIALISED


class MediumError(Exception):
    """The medium could not be written or read; what it held before still stands."""


class Medium(Protocol):
    """Where a token's state survives a power cut."""

    def load(self) -> TokenState:
        """Return what was last saved; a blank state at first."""
        ...

    def save(self, state: TokenState) -> None:
        """Make *state* durable, whole or not at all.

        Raises:
            MediumError: it is not.
        """
        ...


class Store:
    """The state in RAM and its medium; they differ only inside :meth:`change`."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self.state = medium.load()

    def power_up(self) -> None:
        """Forget RAM: what was not saved never happened."""
        self.state = self._medium.load()

    @contextmanager
    def change(self) -> Iterator[TokenState]:
        """Give a draft; at the end of the block it is durable and then the state.

        Raises:
            Refusal: the medium failed; nothing changed.
        """
        draft = replace(self.state, keys=dict(self.state.keys))
        yield draft
        self.save(draft)

    def save(self, state: TokenState) -> None:
        """Make *state* the state, durably.

        Raises:
            Refusal: the medium failed; nothing changed.
        """
        try:
            self._medium.save(state)
        except MediumError:
            raise Refusal(Status.MEDIUM_FAILED) from None
        self.state = state
