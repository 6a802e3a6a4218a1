"""What a token says of itself that stands in the way of using it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pkcs11 import TokenFlag

from qkd_hal_drivers.buses.obstacles import Obstacle, first

if TYPE_CHECKING:
    from pkcs11 import Token

__all__ = ["obstacle"]

_BY_HAND = "Log in once with the token's own tool and the right PIN, which resets the count"
_OFFICER = "Let the token's security officer set a new PIN"
_OBSTACLES = (
    (
        TokenFlag.WRITE_PROTECTED,
        Obstacle(
            "the token is write-protected",
            "Remove the protection: a key that cannot be erased is not handed out",
        ),
    ),
    (TokenFlag.USER_PIN_LOCKED, Obstacle("the PIN is locked", _OFFICER)),
    (TokenFlag.USER_PIN_FINAL_TRY, Obstacle("one more wrong PIN would lock the token", _BY_HAND)),
    (TokenFlag.USER_PIN_COUNT_LOW, Obstacle("a wrong PIN was sent to the token", _BY_HAND)),
)


def obstacle(token: Token, *, attended: bool = False) -> Obstacle:
    """Return what keeps us from *token*, and the cure.

    *attended*: a person gives the PIN, and may risk a second try, though not the last.
    """
    flags = token.flags & ~(TokenFlag.USER_PIN_COUNT_LOW if attended else TokenFlag(0))
    if not flags & TokenFlag.TOKEN_INITIALIZED:
        return Obstacle("the token is not initialised", "Initialise it with its own tool")
    if flags & TokenFlag.LOGIN_REQUIRED and not flags & TokenFlag.USER_PIN_INITIALIZED:
        return Obstacle("the token has no PIN yet", _OFFICER)
    return first(*(hindrance for flag, hindrance in _OBSTACLES if flags & flag))
