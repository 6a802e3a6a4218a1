"""The ``qkd-hal`` command.

A table of names, help texts and modules (:mod:`qkd_hal.cli.commands`): ``qkd-hal --help``
imports no device, key store or TLS code. Commands of other packages, such as ``modem``,
come from the entry-point group ``qkd_hal.commands``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from qkd_hal.cli._process import EXIT_INTERRUPTED, harden, stop_on_sigterm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``qkd-hal`` with *arguments* (default: the command line's) and exit."""
    harden()
    stop_on_sigterm()
    try:
        from qkd_hal.cli._run import run  # click loads only in a hardened process
        from qkd_hal.cli.commands import root

        sys.exit(run(root, sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # before a command runs; from then on click sees to it
        sys.exit(EXIT_INTERRUPTED)
