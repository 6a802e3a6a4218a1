"""One box, asked and answered: repeats, transfers and deadlines over a transport."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from qkd_hal.errors import DeadlineError, DeviceNotFoundError, ProtocolError
from qkd_hal.sources import Agreement, Deadline
from qkd_hal_drivers.boxlink.error_codes import ErrorCode, error_of
from qkd_hal_drivers.boxlink.link import Answer, BoxLink, Chunk, Refusal
from qkd_hal_drivers.boxlink.messages import (
    MAX_KEY,
    Operation,
    Transfer,
    read_agreement,
    read_bound_size,
    read_confirmed,
    read_fetched,
    read_ids,
    read_info,
    read_inline,
    read_status,
)
from qkd_hal_drivers.boxlink.round_trips import RoundTrips
from qkd_hal_drivers.boxlink.strict_cbor import encode_map
from qkd_hal_drivers.boxlink.transfer import Assembly

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.sources import DeviceInfo, DeviceStatus
    from qkd_hal_drivers.boxlink.messages import Failure
    from qkd_hal_drivers.boxlink.transport import FrameTransport

__all__ = ["CREDITS", "BoxClient"]

CREDITS: Final = 8  # chunks on their way at once: hides the round trip of a serial line
_MAX_WAIT_MS: Final = 1000  # one AGREE; a lost one is noticed that soon
_AGREE_PATIENCE: Final = 0.1  # seconds; the box may be asking its peer
_BUSY_MS: Final = 100
_GOODBYE: Final = 0.1  # seconds for BYE, which does no harm when it is lost
_NOTHING: Final = b"\xa0"  # the empty map

_MAX_DOUBLINGS: Final = 6  # of a stalled transfer's patience: by then it is above any answer

Keep: TypeAlias = "Callable[[memoryview], None]"
T = TypeVar("T")
E = TypeVar("E", Answer, Chunk)


def _drop(_: memoryview) -> None:
    """A key that came along and that nobody wants."""


class BoxClient:
    """The operations of section 7 as calls. One at a time, except :meth:`close`.

    Beside what each method says, all raise what the transport raises,
    :class:`~qkd_hal.errors.DeadlineError` when no answer came,
    :class:`~qkd_hal.errors.ProtocolError` for one that breaks the page, and the error that
    the box itself reports.
    """

    def __init__(
        self,
        transport: FrameTransport,
        *,
        window: int = CREDITS,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._transport = transport
        self._window = window
        self._random = random
        # Twice a chunk, so that its seal and header fit with room to spare.
        self._max_frame = 2 * transport.max_chunk
        self._link = BoxLink(max_frame=self._max_frame, window=window, random=random)
        self._trips = RoundTrips()

    @property
    def is_open(self) -> bool:
        """Whether a session is open, as far as this end knows."""
        return self._link.is_open

    def open(self, psk: bytearray, deadline: Deadline) -> DeviceInfo:
        """Connect, prove the PSK to each other, and ask the box what it is.

        Raises:
            DeviceNotFoundError: nobody answers as a box.
            DevicePermissionError: one end does not hold *psk*.
        """
        self._transport.open(deadline)
        self._transport.reset(deadline)
        try:
            serial_number = self._opened(psk, deadline)
        except DeadlineError:
            cure = self._transport.why_silent()
            raise DeviceNotFoundError("nobody answers as a box", cure=cure) from None
        return self._call(
            Operation.INFO, _NOTHING, deadline, lambda body: read_info(body, serial_number)
        )

    def close(self) -> None:
        """Release the line and wake a blocked call; idempotent, from any thread."""
        self._transport.close()

    def say_goodbye(self) -> None:
        """End the session, so that the box erases what was reserved; best effort, brief."""
        self._call(Operation.BYE, _NOTHING, Deadline(_GOODBYE), lambda _: None)

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Ask how the box fares."""
        return self._call(Operation.STATUS, _NOTHING, deadline, read_status)

    def reserve(self, peer: str, size: int, count: int, deadline: Deadline) -> list[bytes]:
        """Set *count* fresh keys aside; return their IDs. *size* 0 is a stream."""
        token = self._random(16)
        body = encode_map({"peer": peer, "size": size, "count": count, "token": token})
        return self._call(Operation.RESERVE, body, deadline, lambda body: read_ids(body, count))

    def bind(
        self, peer: str, key_id: bytes, deadline: Deadline, inline: int = 0, keep: Keep = _drop
    ) -> int | None:
        """Find the key that *peer* named; return its size, ``None`` for a stream.

        If the box sends a key of at most *inline* bytes along, *keep* gets a view of it, which
        is overwritten as soon as *keep* returns.
        """
        body = encode_map({"id": key_id, "peer": peer} | _asking(inline))
        return self._call(
            Operation.BIND,
            body,
            deadline,
            lambda body: _kept(body, "size", 1, inline, keep) or read_bound_size(body),
        )

    def agree(
        self, peer: str, key_id: bytes, deadline: Deadline, inline: int = 0, keep: Keep = _drop
    ) -> Agreement:
        """Ask whether the peer's box holds the key, again and again until *deadline*.

        If *inline* is the key's size, the box may send it along, as in :meth:`bind`.
        """
        known = {"id": key_id, "peer": peer} | _asking(inline)
        while True:
            left = deadline.remaining(2 * _MAX_WAIT_MS / 1000) or 0
            body = encode_map(known | {"wait_ms": int(500 * left)})
            try:
                return self._call(
                    Operation.AGREE,
                    body,
                    deadline,
                    lambda body: _agreed(body, inline, keep),
                    least=_AGREE_PATIENCE,
                )
            except DeadlineError:
                if deadline.expired:
                    raise

    def confirm(self, peer: str, key_id: bytes, end: int, deadline: Deadline) -> None:
        """Have the bytes before *end* erased."""
        body = encode_map({"id": key_id, "end": end, "peer": peer})
        if self._call(Operation.CONFIRM, body, deadline, read_confirmed) < end:
            raise ProtocolError("the box erased less than it was told to")

    def fetch(
        self, peer: str, key_id: bytes, offset: int, out: memoryview, deadline: Deadline
    ) -> None:
        """Fill *out* with the key's bytes from *offset* on."""
        done = stalls = 0
        while done < len(out):
            part = out[done : done + MAX_KEY]
            got = self._fetch_part(peer, key_id, offset + done, part, stalls, deadline)
            done += got
            stalls = 0 if got else stalls + 1

    def _fetch_part(
        self,
        peer: str,
        key_id: bytes,
        offset: int,
        part: memoryview,
        stalls: int,
        deadline: Deadline,
    ) -> int:
        """Ask for *part*; return how much of it came before a chunk was missing."""
        body = encode_map({"id": key_id, "peer": peer, "size": len(part), "offset": offset})
        transfer = self._call(Operation.FETCH, body, deadline, lambda body: _placed(body, part))
        if transfer is None:
            return len(part)
        patience = self._trips.patience * 2 ** min(stalls, _MAX_DOUBLINGS)
        return self._assembled(Assembly(transfer, part), patience, deadline)

    def _assembled(self, assembly: Assembly, patience: float, deadline: Deadline) -> int:
        free = 0  # chunks taken in and not yet credited
        while not assembly.complete:
            if not self._take_chunk(assembly, patience, deadline):
                break
            free += 1
            if 2 * free >= self._window and not assembly.complete:
                self._transport.send(self._link.credit(assembly.number, free), deadline)
                free = 0
        return assembly.taken

    def _take_chunk(self, assembly: Assembly, patience: float, deadline: Deadline) -> bool:
        deadline.check("the box sent a long key")  # also when it never falls silent
        event = self._listen(Chunk, patience, deadline)
        if isinstance(event, Refusal):
            raise error_of(event.failure)
        if event is None:
            return False
        try:
            return assembly.take(event)
        finally:
            self._link.wipe()

    def _opened(self, psk: bytearray, deadline: Deadline) -> str:
        while True:
            try:
                return self._proved(psk, deadline)
            except _ForgottenError:
                deadline.check("the box opened a session")

    def _proved(self, psk: bytearray, deadline: Deadline) -> str:
        link, doing = self._link, "the box opened a session"
        serial_number = self._exchange(
            lambda repeat: link.hello(repeat=repeat),
            lambda body: link.greeted(body, psk),
            deadline,
            doing,
        )
        self._exchange(lambda repeat: link.auth(repeat=repeat), link.proved, deadline, doing)
        return serial_number

    def _call(
        self,
        operation: Operation,
        body: bytes,
        deadline: Deadline,
        read: Callable[[memoryview], T],
        least: float = 0.0,
    ) -> T:
        return self._exchange(
            lambda repeat: self._link.request(operation, body, repeat=repeat),
            read,
            deadline,
            f"the box handled {operation.name}",
            least,
        )

    def _exchange(
        self,
        frame: Callable[[bool], bytes],
        read: Callable[[memoryview], T],
        deadline: Deadline,
        doing: str,
        least: float = 0.0,
    ) -> T:
        """Send a request, again with doubled patience until it is answered, and read the answer."""
        patience = max(self._trips.patience, least)
        sent: list[float] = []
        while True:
            raw = frame(bool(sent))
            sent.append(monotonic())
            self._transport.send(raw, deadline)
            event = self._listen(Answer, patience, deadline)
            if isinstance(event, Answer):
                self._trips.observe(monotonic() - sent[event.attempt])
                try:
                    return read(event.body)
                finally:
                    self._link.wipe()
            if event is None:
                deadline.check(doing)
                patience *= 2
            else:
                self._heed(event.failure, deadline)

    def _heed(self, failure: Failure, deadline: Deadline) -> None:
        """Wait while the box is busy; raise what else it reports."""
        if failure.code == ErrorCode.NO_SESSION and not self._link.is_open:
            raise _ForgottenError
        if failure.code != ErrorCode.BUSY or deadline.expired:
            raise error_of(failure)
        pause = _BUSY_MS if failure.retry_ms is None else failure.retry_ms
        until = Deadline(deadline.remaining(pause / 1000))
        while self._transport.receive(until) is not None and not until.expired:
            pass  # late answers to earlier repeats; close() wakes this wait, too

    def _listen(self, wanted: type[E], patience: float, deadline: Deadline) -> E | Refusal | None:
        """Return the next *wanted* event or refusal, ``None`` when patience is at its end.

        It lasts while bytes come in, as those of a long frame on a slow line do, but not for
        more of them than the longest frame has: noise without a pause must not stop repeats.
        """
        transport, link = self._transport, self._link
        start = heard = transport.heard
        until = Deadline(deadline.remaining(patience))
        while True:
            raw = transport.receive(until)
            if raw is not None:
                event = link.received(raw)
                if isinstance(event, (wanted, Refusal)):
                    return event
                link.wipe()
            if raw is not None and not until.expired:
                continue
            if heard == transport.heard or heard - start > self._max_frame or deadline.expired:
                return None
            heard = transport.heard
            until = Deadline(deadline.remaining(patience))


class _ForgottenError(Exception):
    """Between HELLO and AUTH the box lost the half-open session: it gets another HELLO."""


def _placed(body: memoryview, out: memoryview) -> Transfer | None:
    """Put the key bytes of a FETCH answer into *out*, or return the transfer that brings them."""
    found = read_fetched(body, len(out))
    if isinstance(found, Transfer):
        return found
    out[:] = found
    return None


def _asking(inline: int) -> dict[str, object]:
    return {"inline": inline} if inline else {}


def _kept(body: memoryview, instead_of: str, least: int, most: int, keep: Keep) -> int:
    """Give *keep* the key that came along; return its size, 0 if none did."""
    key = read_inline(body, instead_of, least, most)
    if key is None:
        return 0
    keep(key)
    return len(key)


def _agreed(body: memoryview, size: int, keep: Keep) -> Agreement:
    came = _kept(body, "agreement", max(size, 1), size, keep)
    return Agreement.CONFIRMED if came else read_agreement(body)
