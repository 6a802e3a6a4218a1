"""What a URL says about the receiver: its port, its pulses, and what each input means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qkd_hal.registry import DeviceURL

__all__ = ["OUTCOMES", "Tdc1Settings"]

OUTCOMES = ("X0", "X1", "Z0", "Z1")  # basis (X = key, Z = test) and bit
_UNUSED = "-"
_INPUTS = 4
_MAX_RATE_HZ = 250_000_000  # two steps of the unit's clock for a pulse
_MAX_VOLTS = 3.3  # trigger level, from the data sheet
_CLOCKS = {"auto": 0, "external": 1, "internal": 2}
_KNOWN = {"rate_hz", "offset_ns", "gate_ns", "inputs", "level", "clock"}


@dataclass(frozen=True, slots=True)
class Tdc1Settings:
    """A receiver behind one unit.

    *rate_hz*: pulses per second, a whole number, so that no rounding adds up over time.
    *offset_ns*: when pulses arrive, modulo their period. *gate_ns*: how wide a window around
    that moment is taken, in whole; ``None`` for the whole period. *inputs*: for each of the
    four inputs, which of :data:`OUTCOMES` its detector stands for, or ``None``. *level*: the
    command that sets the trigger level. *clock*: the number of the reference to use.
    """

    port: str
    rate_hz: int
    offset_ns: float = 0.0
    gate_ns: float | None = None
    inputs: tuple[str | None, ...] = OUTCOMES
    level: str = "NIM"
    clock: int = 0

    @classmethod
    def of(cls, url: DeviceURL) -> Tdc1Settings:
        """Read ``tdc1:///dev/PORT?rate_hz=…[&offset_ns=…&gate_ns=…&inputs=…&level=…&clock=…]``.

        Raises:
            ConfigurationError: a part is missing, unknown or impossible; the message names it.
        """
        query = url.query
        if url.authority or len(url.path) < 2 or set(query) - _KNOWN:
            raise _wrong(str(url), "Write tdc1:///dev/ttyACM0?rate_hz=1000000")
        gate = _number(query, "gate_ns", 0.0, 1e9)
        return cls(
            url.path,
            _rate(query),
            _number(query, "offset_ns", -1e9, 1e9) or 0.0,
            gate,
            _inputs(query.get("inputs", ",".join(OUTCOMES))),
            _level(query),
            _clock(query.get("clock", "auto")),
        )


def _rate(query: Mapping[str, str]) -> int:
    text = query.get("rate_hz", "")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= _MAX_RATE_HZ):
        cure = f"Give the pulse rate: rate_hz=1 to {_MAX_RATE_HZ}, a whole number"
        raise _wrong(f"rate_hz={text}", cure)
    return int(text)


def _number(query: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    if name not in query:
        return None
    try:
        value = float(query[name])
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise _wrong(f"{name}={query[name]}", f"Give a number from {least:g} to {most:g}")
    return value


def _inputs(text: str) -> tuple[str | None, ...]:
    names = text.upper().split(",")
    used = [name for name in names if name != _UNUSED]
    if len(names) != _INPUTS or not used or not set(used) <= set(OUTCOMES):
        cure = f"Name four of {', '.join(OUTCOMES)} and {_UNUSED!r}, such as X0,X1,Z0,-"
        raise _wrong(f"inputs={text}", cure)
    return tuple(None if name == _UNUSED else name for name in names)


def _level(query: Mapping[str, str]) -> str:
    text = query.get("level", "NIM").upper()
    if text in ("NIM", "TTL"):
        return text
    volts = _number({"level": text}, "level", -_MAX_VOLTS, _MAX_VOLTS) or 0.0
    return f"{'NEG' if volts < 0 else 'POS'} {volts:.3f}"


def _clock(text: str) -> int:
    if text not in _CLOCKS:
        raise _wrong(f"clock={text}", f"Choose one of {', '.join(_CLOCKS)}")
    return _CLOCKS[text]


def _wrong(what: str, cure: str) -> ConfigurationError:
    return ConfigurationError(f"{what} describes no TDC1 receiver", cure=cure)
