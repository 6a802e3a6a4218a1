"""Attacks by name: ``NAME`` or ``NAME:OPTION=VALUE,…``, and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qkd_hal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AttackOptions", "with_option"]


class AttackOptions:
    """The options of one attack, taken one by one; :meth:`finish` refuses what is left.

    ``taken`` holds those that were given, as they were understood.

    Raises:
        UsageError: *text* has another form, or gives an option twice.
    """

    def __init__(self, text: str) -> None:
        self.name, _, rest = text.partition(":")
        self.taken: dict[str, str | float | int] = {}
        self._left: dict[str, str] = {}
        for part in rest.split(",") if rest else []:
            option, equals, value = part.partition("=")
            if not (option and equals and value):
                raise UsageError(
                    f"{part!r} is no option of an attack",
                    cure="Write NAME:OPTION=VALUE,OPTION=VALUE",
                )
            self.give(option, value)

    def give(self, option: str, value: object) -> None:
        """Add an option that came by another way.

        Raises:
            UsageError: it is there already.
        """
        if option in self._left:
            raise UsageError(f"{option} is given twice", cure=f"Leave {option}={value} away")
        self._left[option] = str(value)

    def share(self, option: str, default: float) -> float:
        """Take a number from 0 to 1."""
        taken = self.number(option)
        if taken is None:
            return default
        if taken > 1:
            raise UsageError(f"{option} is {taken:g}", cure=f"Give {option} from 0 to 1")
        return taken

    def number(self, option: str) -> float | None:
        """Take a number that is not negative; ``None`` without it."""
        if option not in self._left:
            return None
        raw = self._left.pop(option)
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UsageError(f"{option} is {raw!r}", cure="Give a number that is not negative")
        self.taken[option] = value
        return value

    def count(self, option: str) -> int | None:
        """Take a whole number; ``None`` without it."""
        value = self.number(option)
        if value is None:
            return None
        if value != int(value):
            raise UsageError(f"{option} is {value:g}", cure="Give a whole number")
        self.taken[option] = int(value)
        return int(value)

    def choice(self, option: str, choices: Sequence[str]) -> str:
        """Take one of *choices*; the first without it."""
        value = self._left.pop(option, None)
        if value is None:
            return choices[0]
        if value not in choices:
            raise UsageError(f"no {option} {value!r}", cure=f"Take one of {', '.join(choices)}")
        self.taken[option] = value
        return value

    def finish(self) -> None:
        """Refuse options that nobody took.

        Raises:
            UsageError: there are some.
        """
        if self._left:
            raise UsageError(
                f"{self.name} has no option {', '.join(sorted(self._left))}",
                cure="docs/eavesdropping.md lists the options of each attack",
            )


def with_option(spec: str, option: str, value: object) -> str:
    """Return *spec* with one option more.

    Raises:
        UsageError: it has that option already.
    """
    AttackOptions(spec).give(option, value)
    return f"{spec}{',' if ':' in spec else ':'}{option}={value}"
