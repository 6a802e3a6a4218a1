"""Everything that errors and logs said, and whether there were key bytes in it."""

from __future__ import annotations

import ast
import base64
import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

__all__ = ["Overheard"]

_HEX = re.compile(r"[0-9a-f]{16,}")
_LITERAL = re.compile(r"""b(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}")


class Overheard(logging.Handler):
    """Listens to all that the package logs, inside its block, and is told of errors."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._said: set[str] = set()
        self._logger = logging.getLogger("qkd_hal")

    def __enter__(self) -> Self:
        self._level_before = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level_before)

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
        for said in self._said:
            leaks = [window for window in _windows(said) if window in secret]
            assert not leaks, f"key bytes leaked in a message of {len(said)} characters"


def _windows(text: str) -> Iterator[str]:
    literals = "".join(f" {ast.literal_eval(each).hex()}" for each in _LITERAL.findall(text))
    plain = re.sub(r"[:,\s]|0x|\\x", "", text.lower())
    for run in _HEX.findall(plain) + _HEX.findall(literals):
        yield from (run[at : at + 16] for at in range(len(run) - 15))
    for run in _BASE64.findall(text):
        yield from (run[at : at + 8] for at in range(len(run) - 7))
