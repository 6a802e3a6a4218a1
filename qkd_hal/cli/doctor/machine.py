"""Checks of the machine: core dumps, clocks, extras, OpenSSL."""

from __future__ import annotations

import importlib.util
import resource
import time
from typing import TYPE_CHECKING

from qkd_hal.cli.doctor._check import Check, attempt, failed, passed, skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

__all__ = ["check_machine"]

_MODULES = {"sim": ("numpy", "zmq"), "tls": ("OpenSSL",)}
_RELEASED = 1_735_689_600  # 2025-01-01: a clock before the code was written is wrong
_COARSEST_TICK = 0.1  # seconds; deadlines are no finer than the monotonic clock


def check_machine(needed: Set[str]) -> Iterator[Check]:
    """Check this machine; *needed* names the extras that the configuration uses."""
    yield _core_dumps()
    yield _wall_clock()
    yield _monotonic_clock()
    for extra in _MODULES:
        yield _extra(extra, needed=extra in needed)
    if "tls" in needed or _missing_modules("tls") == []:
        yield attempt("OpenSSL", _openssl)


def _core_dumps() -> Check:
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        return passed("core dumps", "disabled in qkd-hal processes")
    return failed("core dumps", "a crash would write keys to disk", "Run: ulimit -c 0")


def _wall_clock() -> Check:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() >= _RELEASED:
        return passed("wall clock", now)
    return failed("wall clock", f"it says {now}", "Set the clock, for example with NTP")


def _monotonic_clock() -> Check:
    detail = f"ticks every {(tick := time.get_clock_info('monotonic').resolution):g} s"
    if tick <= _COARSEST_TICK:
        return passed("monotonic clock", detail)
    return failed("monotonic clock", detail, "Use a host with a finer clock")


def _missing_modules(extra: str) -> list[str]:
    return [module for module in _MODULES[extra] if importlib.util.find_spec(module) is None]


def _extra(extra: str, *, needed: bool) -> Check:
    name, cure = f"extra {extra}", f"Run: pip install 'qkd-hal[{extra}]'"
    missing = _missing_modules(extra)
    if not missing:
        return passed(name, "installed")
    detail = f"not installed (Python module {', '.join(missing)})"
    return failed(name, detail, cure) if needed else skipped(name, detail, cure)


def _openssl() -> str:
    from qkd_hal.tls import REQUIRE_QUANTUM, check_engine

    groups = ", ".join(REQUIRE_QUANTUM.groups)
    return f"{check_engine(REQUIRE_QUANTUM)}: external PSK and {groups}"
