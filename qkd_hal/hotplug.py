"""Devices as they come and go.

What is there is always asked of :func:`~qkd_hal.discovery.discover`; the kernel's messages
only say when to ask again, so that nothing in them has to be believed. Where the kernel sends
none, and for what the kernel does not know of, it is asked at an interval.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from qkd_hal.discovery import discover
from qkd_hal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from qkd_hal.discovery import DiscoveredDevice

__all__ = ["Changed", "DeviceWatch", "HotplugEvent", "Plugged", "Unplugged", "watch_devices"]

_UEVENTS = 15  # NETLINK_KOBJECT_UEVENT of linux/netlink.h, which Python does not name
_KERNEL, _UDEVD = 1, 2  # netlink groups: a device came; udevd has given it its rights
_QUIET = 0.05  # seconds without a message, after which one plugging-in is over
_PATIENCE = 0.5  # seconds at most to wait for that quiet
_FLOOD = 1024  # messages dropped in one go; a hub full of devices sends fewer
_LONGEST_WAIT = 86400  # seconds: the kernel counts no more than 2^31 milliseconds
_MESSAGE = 16384  # bytes: the kernel's longest is 2 KiB and a name, udevd's a little more


@dataclass(frozen=True, slots=True)
class Plugged:
    """A device appeared, or was there when the watch began."""

    device: DiscoveredDevice


@dataclass(frozen=True, slots=True)
class Changed:
    """The same device, still plugged in, is now usable, busy, or under another name."""

    device: DiscoveredDevice


@dataclass(frozen=True, slots=True)
class Unplugged:
    """A device is gone; ``device`` is how it was last seen."""

    device: DiscoveredDevice


HotplugEvent: TypeAlias = Plugged | Changed | Unplugged


def watch_devices(
    *, simulators: bool = False, unknown: bool = False, interval: float = 2.0
) -> DeviceWatch:
    """Watch what :func:`~qkd_hal.discovery.discover` lists, with the same choices.

    An iterator of :class:`Plugged`, :class:`Changed` and :class:`Unplugged` that begins with
    what is there. *interval*: seconds after which it looks again in any case.

    Raises:
        UsageError: *interval* is not above zero.
    """
    return DeviceWatch(simulators=simulators, unknown=unknown, interval=interval)


class DeviceWatch:
    """The iterator that :func:`watch_devices` returns. Iterate it in one thread; ``close()``
    may come from any, and ends the iteration."""

    def __init__(self, *, simulators: bool, unknown: bool, interval: float) -> None:
        if not interval > 0:
            raise UsageError(f"an interval is above 0 seconds, not {interval!r}")
        self._look = partial(discover, simulators=simulators, unknown=unknown)
        self._interval: float = 0  # the first look does not wait
        self._pause = interval
        self._seen: dict[tuple[str, ...], DiscoveredDevice] = {}
        self._events: deque[HotplugEvent] = deque()
        self._doorbell = _Doorbell()

    def close(self) -> None:
        """End the iteration; idempotent, from any thread."""
        self._doorbell.close()

    def __iter__(self) -> Iterator[HotplugEvent]:
        return self

    def __next__(self) -> HotplugEvent:
        while not self._events:
            if not self._doorbell.wait(self._interval):
                raise StopIteration
            self._interval = self._pause
            now = {_identity(device): device for device in self._look()}
            self._events.extend(_differences(self._seen, now))
            self._seen = now
        return self._events.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_doorbell"):  # absent when __init__ refused its argument
            self.close()


def _identity(device: DiscoveredDevice) -> tuple[str, ...]:
    """What stays the same while a device stays plugged in; a udev rule may rename its URL."""
    if not device.change_token:
        return (device.url, device.vendor, device.model, device.serial_number)
    return (device.url.partition(":")[0], device.change_token)


def _differences(
    before: Mapping[tuple[str, ...], DiscoveredDevice],
    now: Mapping[tuple[str, ...], DiscoveredDevice],
) -> Iterator[HotplugEvent]:
    """Yield departures first, so that a device plugged in again is never there twice."""
    for identity in before.keys() - now.keys():
        yield Unplugged(before[identity])
    for identity, device in now.items():
        if identity not in before:
            yield Plugged(device)
        elif before[identity] != device:
            yield Changed(device)


class _Doorbell:
    """Rings when the kernel reports a device, and when it is closed."""

    def __init__(self) -> None:
        self._kernel = _kernel_messages()
        self._ear, self._button = socket.socketpair()
        self._closing = False
        self._in_use = threading.Lock()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, *seconds* at most; false once it was closed."""
        try:
            with self._in_use:
                if not self._closing and self._rings(seconds) and self._kernel is not None:
                    self._await_quiet(self._kernel)
                return not self._closing
        finally:
            if self._closing:
                self._release()

    def close(self) -> None:
        """Wake who waits; the sockets are released at once, or by who waits.

        It never blocks, so that a signal handler or a finaliser may call it in a thread that
        waits.
        """
        if not self._closing:
            self._closing = True
            with suppress(OSError):  # who waited has released it already
                self._button.send(b"!")
            self._release()

    def _release(self) -> None:
        """Close the sockets, unless somebody polls them, who will do it afterwards."""
        if not self._in_use.acquire(blocking=False):
            return
        try:
            for end in (self._ear, self._button, self._kernel):
                if end is not None:
                    end.close()
        finally:
            self._in_use.release()

    def _rings(self, seconds: float) -> bool:
        poll = select.poll()
        for end in (self._ear, self._kernel):
            if end is not None:
                poll.register(end, select.POLLIN)
        return bool(poll.poll(min(seconds, _LONGEST_WAIT) * 1000))

    def _await_quiet(self, kernel: socket.socket) -> None:
        """Let one plugging-in, which is a dozen messages, and udevd's work, count as one."""
        until = time.monotonic() + _PATIENCE
        while not self._closing and time.monotonic() < until:
            _drop_messages(kernel)
            if not self._rings(_QUIET):
                return


def _drop_messages(kernel: socket.socket) -> None:
    for _ in range(_FLOOD):
        try:
            kernel.recv(_MESSAGE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # too many to keep: all the more reason to look
                raise


def _kernel_messages() -> socket.socket | None:
    """Return the stream of device events, or ``None`` where a kernel or container has none."""
    if sys.platform != "linux":
        return None
    kernel = None
    try:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _UEVENTS)
        kernel.bind((0, _KERNEL | _UDEVD))
        kernel.setblocking(False)
    except OSError:
        if kernel is not None:
            kernel.close()
        return None
    return kernel
