"""Everything that errors and logs said, and whether there were key bytes in it."""

from __future__ import annotations

import ast
import base64
import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Overheard"]

_HEX = re.compile(r"[0-9a-f]{16,}")
_LITERAL = re.compile(r"""b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}")


class Overheard(logging.Handler):
    """Listens to a logger, and is told of errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Note what was logged."""
        self._said.add(record.getMessage())

    def note(self, error: BaseException | None) -> None:
        """Note all that *error* says, and what it came from."""
        while error is not None:
            self._said.add(f"{error} {error!r} {error.args!r} {vars(error)!r}")
            error = error.__cause__ or error.__context__

    def check(self, samples: Iterable[bytes]) -> None:
        """Assert that none of *samples*, eight bytes each, was said in any spelling."""
        secret = {sample.hex() for sample in samples}
        secret |= {base64.b64encode(bytes.fromhex(each)[:6]).decode() for each in secret}
        for said in tuple(self._said):  # others may still be talking
            leaks = [window for window in _windows(said) if window in secret]
            assert not leaks, f"key bytes leaked in a message of {len(said)} characters"


def _windows(text: str) -> Iterator[str]:
    literals = "".join(f" {ast.literal_eval(each).hex()}" for each in _LITERAL.findall(text))
    plain = re.sub(r"[:,\s]|0x|\\x", "", text.lower())
    for run in _HEX.findall(plain) + _HEX.findall(literals):
        yield from (run[at : at + 16] for at in range(len(run) - 15))
    for run in _BASE64.findall(text):
        yield from (run[at : at + 8] for at in range(len(run) - 7))
