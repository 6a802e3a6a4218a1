"""The hooks of a box as a device, over whatever carries its frames."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import KeyConsumedError, KeyNotFoundError, QKDError, StateError
from qkd_hal.keys import KeyId, wipe
from qkd_hal.sources import Slot
from qkd_hal_drivers.boxlink.client import BoxClient
from qkd_hal_drivers.boxlink.credential import load_psk
from qkd_hal_drivers.boxlink.held import HeldKeys
from qkd_hal_drivers.boxlink.messages import INLINE
from qkd_hal_drivers.boxlink.tap import TappedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.recording import WireTap
    from qkd_hal.sources import Agreement, Deadline, DeviceInfo, DeviceStatus
    from qkd_hal_drivers.boxlink.transport import FrameTransport

__all__ = ["BoxDriver"]

_MAX_COUNT: Final = 16  # keys in one RESERVE
_MAX_OFFSETS: Final = 4096  # streams that one application has open at once, generously


class BoxDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` for one box.

    *transport* makes a new, unopened line for each :meth:`open`; *credential* names the file
    with the PSK, if the URL does. While ``wire_tap`` is set, it hears of every frame.
    """

    def __init__(self, transport: Callable[[], FrameTransport], credential: str | None) -> None:
        self._transport = transport
        self._credential = credential
        self.wire_tap: WireTap | None = None
        self._client: BoxClient | None = None
        self._turn = threading.Lock()  # held by the hook that runs
        self._handles = itertools.count(1)
        # Where the next fetch of a slot begins. Forgetting one fails closed: the box refuses
        # bytes that were confirmed.
        self._offsets: OrderedDict[bytes, int] = OrderedDict()
        self._held = HeldKeys()

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Connect, prove the PSK to each other, and ask the box what it is."""
        self.close()
        psk = load_psk(self._credential)
        line = self._transport()
        if self.wire_tap is not None:
            line = TappedTransport(line, self.wire_tap)
        client = self._client = BoxClient(line)
        try:
            with self._turn:
                self._held = HeldKeys()
                return client.open(psk, deadline)
        except BaseException:
            client.close()
            raise
        finally:
            wipe(psk)

    def close(self) -> None:
        """Take leave of the box if no hook runs, and release the line."""
        self._held.close()
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_open and self._turn.acquire(blocking=False):
            try:
                with suppress(QKDError):  # it erases what was reserved at the next session, too
                    client.say_goodbye()
            finally:
                self._turn.release()
        client.close()

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Report what the box knows of itself."""
        with self._turn:
            return self._opened.status(deadline)

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Set keys aside, 16 at most in one request.

        When a later request fails, the box keeps what it reserved before for nobody, and
        erases it when the session ends.
        """
        ids: list[bytes] = []
        with self._turn:
            while len(ids) < count:
                many = min(count - len(ids), _MAX_COUNT)
                ids += self._opened.reserve(peer, size or 0, many, deadline)
        return [self._slot(KeyId.from_bytes(one), peer, size) for one in ids]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named; if it is small, it may come along."""
        with self._turn:
            keep = partial(self._held.put, (peer, key_id))
            try:
                size = self._opened.bind(peer, bytes(key_id), deadline, INLINE, keep)
            except KeyConsumedError as error:  # some boxes remember what they had, others not
                raise KeyNotFoundError(error.what, cure=error.cure) from None
        return self._slot(key_id, peer, size)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Have the box ask the peer's box; if the key is small, it may come along.

        One that came along before is dropped when this fails: the peer may hold another.
        """
        name = slot.peer, slot.key_id
        with self._turn:
            keep = partial(self._held.put, name)
            inline = self._welcome(slot)
            try:
                return self._opened.agree(slot.peer, bytes(slot.key_id), deadline, inline, keep)
            except BaseException:
                self._held.drop(name)
                raise

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Read the slot's next bytes; until ``confirm`` the same call may be repeated."""
        offset = self._offsets.get(slot.handle, 0)
        with self._turn:
            if offset or not self._held.move((slot.peer, slot.key_id), out):
                self._opened.fetch(slot.peer, bytes(slot.key_id), offset, out, deadline)
        self._offsets[slot.handle] = offset + len(out)
        if len(self._offsets) > _MAX_OFFSETS:
            self._offsets.popitem(last=False)

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Erase what was fetched, and all of a finite key of which this end knows nothing."""
        end = self._offsets.get(slot.handle, slot.size)
        if end is None:
            return
        with self._turn:
            # Or another slot of the same key would hand it out again.
            self._held.drop((slot.peer, slot.key_id))
            self._opened.confirm(slot.peer, bytes(slot.key_id), end, deadline)
        if end == slot.size:
            self._offsets.pop(slot.handle, None)

    @property
    def _opened(self) -> BoxClient:
        if self._client is None:
            raise StateError("the box is not open", cure="Call init() first")
        return self._client

    def _welcome(self, slot: Slot) -> int:
        """Return the size of a key that may come along: small, and not here yet, not even in
        part."""
        known = (slot.peer, slot.key_id) in self._held or slot.handle in self._offsets
        return slot.size if slot.size and slot.size <= INLINE and not known else 0

    def _slot(self, key_id: KeyId, peer: str, size: int | None) -> Slot:
        return Slot(key_id, peer, size, next(self._handles).to_bytes(8, "big"))
