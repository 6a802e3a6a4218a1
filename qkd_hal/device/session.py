"""A session: one byte sequence that both ends agree on."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qkd_hal.device._derive import check_derivation, hkdf_expand
from qkd_hal.device._material import Material
from qkd_hal.device._state import SESSION, Machine, SessionState
from qkd_hal.errors import (
    DeadlineError,
    DeviceError,
    KeyConsumedError,
    KeyMismatchError,
    KeysExhaustedError,
    QKDError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import QuantumKey, wipe
from qkd_hal.sources import Capability, Deadline, Derives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device._delivery import Delivery
    from qkd_hal.keys import KeyId, KeyRef
    from qkd_hal.sources import Agreement, DeviceInfo

__all__ = ["QKDSession"]


class QKDSession:
    """One agreed byte sequence, finite or a stream; made by :meth:`QKDDevice.start`.

    Safe from any thread: two callers get disjoint bytes. Invalid in a forked child. Closing
    it, or its device, overwrites what was not handed out.
    """

    def __init__(
        self, delivery: Delivery, info: DeviceInfo, ref: KeyRef, *, timeout: float
    ) -> None:
        self._delivery = delivery
        self._runner = delivery.runner
        self._slot = delivery.slot
        self._info = info
        self._ref = ref
        self._timeout = timeout
        self._machine = Machine(SESSION, device=self._runner.name)
        self._turn_lock = threading.Lock()
        self._material = Material()
        self._fetched = False
        self._labels: set[bytes] = set()
        self._pid = os.getpid()

    @property
    def key_id(self) -> KeyId:
        """The name of the key; it travels to the peer, who passes it to ``start``."""
        return self._slot.key_id

    @property
    def ref(self) -> KeyRef:
        """The key ID with the site that owns the key: the initiator."""
        return self._ref

    @property
    def peer(self) -> str:
        """The site at the other end."""
        return self._slot.peer

    @property
    def size(self) -> int | None:
        """Bytes in the whole sequence; ``None`` for a stream."""
        return self._slot.size

    @property
    def alive(self) -> bool:
        """Whether the session may still hand something out."""
        ended = (SessionState.BURNED, SessionState.LOST, SessionState.CLOSED)
        return self._machine.state not in ended

    def connect(self, timeout: float | None = None) -> Agreement:
        """Check, where the device can, that both ends hold this key (``QKD_CONNECT``).

        Raises:
            KeyMismatchError: they do not; the session is burned.
            KeyNotFoundError: the peer does not know the key ID.
        """
        deadline = self._deadline(timeout)
        with self._turn("connect", deadline):
            try:
                agreement = self._runner.run("connect", lambda: self._agree(deadline), deadline)
            except KeyMismatchError:
                self._end("burned")
                raise
            self._machine.advance("connect")
            return agreement

    def get_key(self, size: int | None = None, timeout: float | None = None) -> QuantumKey:
        """Hand out the next *size* bytes of the sequence, once (``QKD_GET_KEY``).

        Without *size*, all that is left of a finite session.

        Raises:
            KeysExhaustedError: fewer bytes are left; nothing is consumed.
            KeyConsumedError: the bytes were lost on the way, or the process forked.
            DeadlineError: the call's time is up; nothing was handed out.
        """
        deadline = self._deadline(timeout)
        with self._turn("get_key", deadline):
            self._require_extraction()
            size = self._asked(size)
            if self.size is None:
                return self._handed_out("get_key", self._bring("get_key", size, deadline))
            self._fetch_whole("get_key", self.size, deadline)
            return self._handed_out("get_key", self._material.take(size))

    def derive(self, label: bytes, size: int = 32, timeout: float | None = None) -> QuantumKey:
        """Derive *size* bytes under *label* from the session's whole key, each label once.

        HKDF-Expand-SHA256(key, label), RFC 5869 section 2.3: inside the device where it can,
        else here, with the same result. The ``ref`` of the result names the session's key.

        Raises:
            KeyConsumedError: this label was used in this session.
            UnsupportedError: the device neither derives nor lets keys out.
        """
        deadline = self._deadline(timeout)
        label = bytes(label)
        with self._turn("derive", deadline):
            check_derivation(self.size, size)
            if label in self._labels:
                what = "this label was used in this session; its key is handed out once"
                raise KeyConsumedError(what, device=self._runner.name, key_id=self.key_id)
            derived = self._derived(label, size, deadline)
            self._labels.add(label)
            return self._handed_out("derive", derived)

    def close(self) -> None:
        """Overwrite what was not handed out; idempotent, from any thread, never waits."""
        if self._pid != os.getpid():
            return  # the bytes were overwritten at fork; the locks may be held for ever
        if self._machine.advance("close") is not SessionState.CLOSED:
            self._give_up()

    def abandon(self, event: str) -> None:
        """End the session because its device ended; the device calls this."""
        self._end(event)

    def __enter__(self) -> QKDSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # dropped unclosed, it must not leave a key that can still derive

    def __repr__(self) -> str:
        return f"<QKDSession {self._ref} with {self.peer}, {self._machine.state.value}>"

    @contextmanager
    def _turn(self, call: str, deadline: Deadline) -> Iterator[None]:
        self._require(call)
        if not self._turn_lock.acquire(timeout=deadline.remaining(threading.TIMEOUT_MAX) or 0):
            what = f"the session was busy with another call until the deadline of {call}()"
            raise DeadlineError(what, device=self._runner.name, key_id=self.key_id)
        try:
            self._require(call)
            yield
        except QKDError as error:
            error.device = error.device or self._runner.name
            error.key_id = error.key_id or self.key_id
            raise
        finally:
            self._turn_lock.release()

    def _require(self, call: str) -> None:
        if self._pid != os.getpid():
            raise KeyConsumedError("sessions do not survive fork()", key_id=self.key_id)
        self._runner.require(call)
        self._machine.require(call)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    def _agree(self, deadline: Deadline) -> Agreement:
        return self._runner.driver.agree(self._slot, deadline)

    def _require_extraction(self) -> None:
        if Capability.EXTRACT not in self._info.capabilities:
            what = "the keys of this device never leave it"
            raise UnsupportedError(what, device=self._runner.name, cure="Use derive()")

    def _asked(self, size: int | None) -> int:
        if size is not None and (not isinstance(size, int) or size < 1):
            raise UsageError(f"get_key() gives at least one byte, not {size!r}")
        left = self._left()
        if left is None:
            return self._asked_of_stream(size)
        if left < (size or 1):
            what = f"{size or 1} bytes were asked for, {left} are left in this session"
            raise KeysExhaustedError(what, device=self._runner.name, key_id=self.key_id)
        return left if size is None else size

    def _asked_of_stream(self, size: int | None) -> int:
        if size is None:
            raise UsageError("a stream has no end", cure="Say how many bytes: get_key(32)")
        return size

    def _left(self) -> int | None:
        return len(self._material) if self._fetched else self.size

    def _fetch_whole(self, call: str, size: int, deadline: Deadline) -> None:
        if not self._fetched:
            self._material.put(self._bring(call, size, deadline))
            self._fetched = True

    def _bring(self, call: str, size: int, deadline: Deadline) -> bytearray:
        try:
            return self._delivery.bring(call, size, deadline)
        except BaseException:
            if self._delivery.lost:
                self._end("burned")
            raise

    def _derived(self, label: bytes, size: int, deadline: Deadline) -> bytearray:
        driver = self._runner.driver
        if Capability.DERIVE in self._info.capabilities and isinstance(driver, Derives):
            inside: Derives = driver
            return self._runner.run(
                "derive",
                lambda: self._checked(inside.derive(self._slot, label, size, deadline), size),
                deadline,
            )
        self._require_extraction()
        self._fetch_whole("derive", self.size or 0, deadline)
        return self._material.use(lambda key: hkdf_expand(key, label, size))

    def _checked(self, derived: bytearray, size: int) -> bytearray:
        if len(derived) != size:
            wipe(derived)
            raise DeviceError("the driver derived a key of another size", device=self._runner.name)
        return derived

    def _handed_out(self, call: str, material: bytearray) -> QuantumKey:
        key = QuantumKey(material, provenance=self._info.provenance, ref=self._ref)
        try:
            self._machine.advance(call)
        except QKDError:  # closed or lost in this very moment
            key.wipe()
            raise
        return key

    def _end(self, event: str) -> None:
        self._machine.happen(event)
        self._give_up()

    def _give_up(self) -> None:
        self._material.seal()
        if self._labels and not self._fetched:
            self._runner.owe(self._slot)  # a key inside a token can derive until it is erased
