"""The silicon under a firmware: transfers cut into packets, halts, and requests in turn.

What the virtual bus and the USB/IP server share. It does no I/O and knows no time; its
owner calls `DeviceController.poll` after every change and after every `wake`.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb.function import Nak, Stall
from qkd_hal_firmware_mocks.usb.standard_requests import StandardRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.function import Setup, UsbFunction

__all__ = ["DeviceController", "Transfer"]

_IN = 0x80


@dataclass(eq=False, slots=True)
class Transfer:
    """One request of the host, in progress or done.

    ``endpoint`` is an address with its direction bit, 0 for control; ``size`` the room at the
    host for IN data; ``status`` is ``None`` while the transfer waits, then 0 or an ``errno``;
    ``tag`` is its owner's.
    """

    endpoint: int
    size: int = 0
    data: bytes = field(default=b"", repr=False)
    setup: Setup | None = None
    zero_packet: bool = False
    tag: int = 0
    received: bytearray = field(default_factory=bytearray, repr=False)
    packets: int = 0
    moved: int = 0
    status: int | None = None


class DeviceController:
    """One plugged device. *wake* is handed to the function."""

    def __init__(self, function: UsbFunction, wake: Callable[[], None]) -> None:
        self._function = function
        self._queues: dict[int, deque[Transfer]] = {}
        self._packets = 0
        self.requests = StandardRequests(function)
        function.attach(wake)

    def submit(self, transfer: Transfer) -> None:
        """Queue *transfer* behind the others of its endpoint."""
        self._queues.setdefault(transfer.endpoint, deque()).append(transfer)

    def cancel(self, transfer: Transfer) -> None:
        """Take *transfer* out of its queue, with what it has moved so far."""
        queue = self._queues.get(transfer.endpoint, deque())
        if transfer in queue:
            queue.remove(transfer)

    def reset(self) -> None:
        """Take a bus reset."""
        self.requests.reset()

    def poll(self) -> list[Transfer]:
        """Move all packets that can move, and return the transfers that ended."""
        ended: list[Transfer] = []
        before = -1
        while before != self._packets:  # an OUT packet may give an IN endpoint its data
            before = self._packets
            for queue in tuple(self._queues.values()):
                while queue and self._ends(queue[0]):
                    ended.append(queue.popleft())
        return ended

    def _ends(self, transfer: Transfer) -> bool:
        try:
            transfer.status = self._advance(transfer)
        except Nak:
            return False
        except Stall:
            self._halt(transfer.endpoint)
            transfer.status = errno.EPIPE
        return transfer.status is not None

    def _halt(self, endpoint: int) -> None:
        if endpoint:  # a stall of endpoint 0 ends with the next set-up stage
            self.requests.halted.add(endpoint)

    def _advance(self, transfer: Transfer) -> int | None:
        if transfer.setup is not None:
            return self._control(transfer, transfer.setup)
        packet_size = self.requests.packet_sizes.get(transfer.endpoint)
        if packet_size is None or transfer.endpoint in self.requests.halted:
            return errno.EPIPE
        if transfer.endpoint & _IN:
            return self._receive(transfer, packet_size)
        return self._send(transfer, packet_size)

    def _control(self, transfer: Transfer, setup: Setup) -> int:
        answer = self.requests.answer(setup, transfer.data)
        self._packets += 1
        transfer.received += answer[: transfer.size]
        transfer.moved = len(transfer.received) or len(transfer.data)
        return 0

    def _receive(self, transfer: Transfer, packet_size: int) -> int | None:
        while (packet := self._function.send(transfer.endpoint)) is not None:
            self._packets += 1
            room = min(packet_size, transfer.size - transfer.moved)
            transfer.received += packet[:room]
            transfer.moved = len(transfer.received)
            if len(packet) > room:  # babble: more than the host has room for
                return errno.EOVERFLOW
            if len(packet) < packet_size or transfer.moved == transfer.size:
                return 0
        return None

    def _send(self, transfer: Transfer, packet_size: int) -> int:
        size = len(transfer.data)
        count = max(1, -(-size // packet_size))
        if transfer.zero_packet and size and size % packet_size == 0:
            count += 1
        while transfer.packets < count:
            start = transfer.packets * packet_size
            self._function.receive(transfer.endpoint, transfer.data[start : start + packet_size])
            self._packets += 1
            transfer.packets += 1
            transfer.moved = min(size, start + packet_size)
        return 0
