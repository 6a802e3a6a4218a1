"""Two boxes at the ends of one quantum link, in one process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
from qkd_hal_firmware_mocks.boxlink.key_memory import KeyMemory
from qkd_hal_firmware_mocks.boxlink.keys import BoxKeys
from qkd_hal_firmware_mocks.boxlink.settings import STREAM_CHUNK, BoxSettings
from qkd_hal_firmware_mocks.boxlink.supply import KeySupply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["BoxPair", "make_settings"]

_STORED = 1 << 25  # bytes in either direction: a million 32-byte keys


def make_settings(
    psks: tuple[bytes, bytes], *, max_chunk: int = STREAM_CHUNK
) -> tuple[BoxSettings, BoxSettings]:
    """Return the settings of ``alice`` and ``bob``; *max_chunk* is the wire's."""
    alice = BoxSettings("alice", "bob", "MOCK-ALICE", psks[0], max_chunk=max_chunk)
    bob = BoxSettings("bob", "alice", "MOCK-BOB", psks[1], max_chunk=max_chunk)
    return alice, bob


class BoxPair:
    """Boxes ``alice`` and ``bob``, which share keys.

    *directory* (0700) keeps what is durable; without one, it lasts as long as the object.
    *stored*: bytes of key in either direction; *seed* replays them, for tests. *sync*
    makes what is durable survive a power cut, too.
    """

    def __init__(
        self,
        settings: tuple[BoxSettings, BoxSettings],
        directory: Path | None = None,
        *,
        stored: int = _STORED,
        seed: int | None = None,
        sync: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        lock = threading.RLock()
        self._memories: list[KeyMemory] = []
        self.boxes: dict[str, BoxFirmware] = {}
        for number, end in enumerate(settings):
            path = None if directory is None else directory / f"{end.site}.keys"
            memory = KeyMemory(path, sync=sync)
            supply = KeySupply(stored, None if seed is None else 2 * seed + number)
            keys = BoxKeys(memory, supply, max_key=end.max_key)
            self._memories.append(memory)
            self.boxes[end.site] = BoxFirmware(end, keys, lock=lock, clock=clock)
        self.alice, self.bob = self.boxes.values()
        self.alice.keys.pair_with(self.bob.keys)
        self.bob.keys.pair_with(self.alice.keys)

    def close(self) -> None:
        """Release the files; idempotent."""
        for memory in self._memories:
            memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
