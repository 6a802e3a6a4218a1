"""What a device takes from the process, it gives back."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from qkd_hal.sources import Deadline
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import End

__all__ = ["Resources"]

_OPENINGS = 4
_FILES = next(path for path in map(Path, ("/proc/self/fd", "/dev/fd")) if path.is_dir())


class Resources(Conformance):
    """Open files and threads are counted before and after."""

    def test_closing_gives_files_and_threads_back(self, end: End) -> None:
        """The fifth opening leaves no more behind than the first did."""
        end.device.close()
        self._used(end)  # what a library sets up once is no leak
        before = _taken()
        for _ in range(_OPENINGS):
            self._used(end)
        after = self._settled(before)
        assert after[0] <= before[0], f"each opening leaves files open: {before[0]}, {after[0]}"
        assert after[1] <= before[1], f"each opening leaves threads: {before[1]}, {after[1]}"

    def test_making_a_device_opens_nothing(self, end: End) -> None:
        """Before ``init`` there is no file, no connection and no thread."""
        end.device.close()
        before = _taken()
        made = [self.reopen(end.device) for _ in range(_OPENINGS)]
        after = self._settled(before)
        for device in made:
            device.close()
        assert not _more(after, before), "a device that was not initialised holds files or threads"

    def _settled(self, before: tuple[int, int]) -> tuple[int, int]:
        """Count again, once what a library does in threads of its own has passed."""
        patience = Deadline(self.at_once)
        while _more(after := _taken(), before) and not patience.expired:
            time.sleep(0.01)
        return after

    def _used(self, end: End) -> None:
        with self.reopen(end.device) as device:
            device.status()


def _more(after: tuple[int, int], before: tuple[int, int]) -> bool:
    return after[0] > before[0] or after[1] > before[1]


def _taken() -> tuple[int, int]:
    return len(list(_FILES.iterdir())), threading.active_count()
