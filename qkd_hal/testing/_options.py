"""Options of ``pytest --pyargs qkd_hal.testing.conformance``.

They have common names, so they are added in runs of the suite only; where another plug-in has
taken a name, the same with ``--qkd-`` in front remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["add_options", "check_options", "is_run_of_the_suite"]

_SUITE = "qkd_hal.testing.conformance"
_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"metavar": "URL", "help": "the device under test: a URL, or a name of qkd-hal.toml"},
    "peer": {"metavar": "URL", "help": "the device at the other end of its link"},
    "serial-number": {
        "metavar": "N",
        "action": "append",
        "default": [],
        "help": "a box whose keys may be used up; give it for each",
    },
    "emulator": {"metavar": "NAME", "help": "start this emulated pair and test it"},
    "interactive": {
        "action": "store_true",
        "help": "ask the person at the terminal to pull and push the plug of the device",
    },
}


def is_run_of_the_suite(arguments: Iterable[str]) -> bool:
    """Tell whether the command line names the conformance suite."""
    return any(_SUITE in argument.replace("/", ".") for argument in arguments)


def add_options(parser: pytest.Parser) -> None:
    """Add the options that nobody else has."""
    group = parser.getgroup("qkd-hal", "qkd-hal conformance")
    for name, settings in _OPTIONS.items():
        names = [f"--qkd-{name}", *([f"--{name}"] if _is_free(parser, f"--{name}") else [])]
        group.addoption(*names, dest=_place(name), **settings)


def check_options(config: pytest.Config) -> None:
    """Say what is missing before the first test says it many times.

    Raises:
        pytest.UsageError: there is nothing to test, or too much.
    """
    if not hasattr(config.option, _place("device")) or config.option.help:
        return
    device, peer, emulator = (config.getoption(_place(n)) for n in ("device", "peer", "emulator"))
    if bool(device) == bool(emulator) and not config.option.collectonly:
        raise pytest.UsageError("say what to test: --device URL [--peer URL], or --emulator NAME")
    if peer and not device:
        raise pytest.UsageError("--peer is the other end of a --device")


def _place(name: str) -> str:
    return f"qkd_{name.replace('-', '_')}"


def _is_free(parser: pytest.Parser, name: str) -> bool:
    try:
        return name in parser.parse_known_and_unknown_args([name])[1]
    except pytest.UsageError:  # somebody's option, which wants a value
        return False
