"""A firmware as a real USB device: a USB/IP server for the kernel's ``vhci-hcd``.

`serve_connection` speaks the phase of URBs on a socket whose other end the kernel holds;
`UsbIpServer` lets ``usbip attach -r HOST -b 1-1`` connect over TCP.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb.device_controller import DeviceController, Transfer
from qkd_hal_firmware_mocks.usb.usbip_wire import (
    Import,
    Unlink,
    UsbIpError,
    device_list,
    import_reply,
    read_commands,
    read_request,
    submit_reply,
    unlink_reply,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qkd_hal_firmware_mocks.usb.function import UsbFunction
    from qkd_hal_firmware_mocks.usb.usbip_wire import Command

__all__ = ["BUS_ID", "UsbIpServer", "serve_connection"]

BUS_ID = "1-1"
_CHUNK = 1 << 16
_HANG_UP_SECONDS = 0.5  # for the host before, which may have hung up and not yet let go


def serve_connection(function: UsbFunction, line: socket.socket, already: bytes = b"") -> None:
    """Be *function* to the kernel at the other end of *line*, until that hangs up.

    *line* stays open; `socket.shutdown` on it from another thread is an unplugged cable.

    Raises:
        UsbIpError: the peer broke the protocol.
    """
    with _Wire(function, line) as wire:
        wire.serve(already)


class _Wire:
    """One connection in the phase of URBs. One thread calls the function: `serve`'s."""

    def __init__(self, function: UsbFunction, line: socket.socket) -> None:
        self._line = line
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._transfers: dict[int, Transfer] = {}
        self._controller = DeviceController(function, self._wake)
        self._controller.reset()

    def serve(self, already: bytes) -> None:
        buffer = bytearray(already)
        while True:
            for command in read_commands(buffer):
                self._do(command)
            ready, _, _ = select.select([self._line, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(_CHUNK)
                self._poll()
            if self._line in ready:
                data = _read(self._line)
                if not data:
                    return
                buffer += data

    def _do(self, command: Command) -> None:
        if isinstance(command, Unlink):
            return self._unlink(command)
        if command.number in self._transfers:
            raise UsbIpError(f"URB {command.number} twice")
        transfer = Transfer(
            endpoint=command.endpoint,
            size=command.size,
            data=command.data,
            setup=None if command.endpoint else command.setup,
            zero_packet=command.zero_packet,
            tag=command.number,
        )
        self._transfers[command.number] = transfer
        self._controller.submit(transfer)
        return self._poll()

    def _unlink(self, command: Unlink) -> None:
        transfer = self._transfers.get(command.target)
        if transfer is None:  # its reply has left, and crossed with this command
            return self._reply(unlink_reply(command.number, 0))
        self._controller.cancel(transfer)
        if transfer.moved:  # what moved is no more at the other end: hand it over
            transfer.status = 0
            self._end(transfer)
            return self._reply(unlink_reply(command.number, 0))
        del self._transfers[command.target]
        return self._reply(unlink_reply(command.number, errno.ECONNRESET))

    def _poll(self) -> None:
        for transfer in self._controller.poll():
            self._end(transfer)

    def _end(self, transfer: Transfer) -> None:
        del self._transfers[transfer.tag]
        status = transfer.status or 0
        self._reply(submit_reply(transfer.tag, status, transfer.moved, bytes(transfer.received)))

    def _reply(self, data: bytes) -> None:
        try:
            self._line.sendall(data)
        except OSError:
            return  # the peer is gone; the next read says so

    def _wake(self) -> None:
        try:
            self._waker.send(b"\0")
        except OSError:
            return  # woken already and not yet looked, or closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._woken.close()
        self._waker.close()


class UsbIpServer:
    """Export *function* over TCP as device ``1-1``, to one host at a time."""

    def __init__(self, function: UsbFunction, host: str = "127.0.0.1", port: int = 0) -> None:
        self._function = function
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()  # for the set of lines
        self._taken = threading.Lock()  # by the host that imported the device
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def unplug(self) -> None:
        """Hang up on every host; the next import is the device plugged in again."""
        with self._lock:
            for line in self._lines:
                _hang_up(line)

    def close(self) -> None:
        """Unplug, and serve nobody any more."""
        _hang_up(self._listener)
        self._threads[0].join()
        self.unplug()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._lines.add(line)
            thread = threading.Thread(target=self._serve, args=(line,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        try:
            self._greet(line)
        except (UsbIpError, OSError) as error:
            print(f"USB/IP connection ended: {error}", file=sys.stderr)
        finally:
            with self._lock:
                self._lines.remove(line)
            line.close()

    def _greet(self, line: socket.socket) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray()
        while (request := read_request(buffer)) is None:
            data = _read(line)
            if not data:
                return
            buffer += data
        if isinstance(request, Import):
            self._import(line, request.bus_id, bytes(buffer))
        else:
            line.sendall(device_list(self._function.descriptors, BUS_ID))

    def _import(self, line: socket.socket, bus_id: str, already: bytes) -> None:
        if bus_id != BUS_ID or not self._taken.acquire(timeout=_HANG_UP_SECONDS):
            line.sendall(import_reply(None, bus_id))
            return
        try:
            line.sendall(import_reply(self._function.descriptors, bus_id))
            serve_connection(self._function, line, already)
        finally:
            self._taken.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _read(line: socket.socket) -> bytes:
    try:
        return line.recv(_CHUNK)
    except OSError:
        return b""  # reset by the peer: it hung up, too


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has hung up by itself
        line.shutdown(socket.SHUT_RDWR)
