"""A box, or a serial server without RFC 2217, behind a TCP port."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import DeadlineError, DeviceNotFoundError
from qkd_hal_drivers.serial_box.fd_line import FdLine

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.serial_box.fd_line import Opened

__all__ = ["TcpLine"]

_KEEPALIVE: Final = (  # a server that vanished without a word is given up after 8 seconds
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class TcpLine(FdLine):
    """A connection to *host* and *port*.

    A name is looked up by the system's resolver, which nothing wakes: ``close()`` waits for it.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = (host, port)

    @property
    def what_to_check(self) -> str:
        """Something listens there, but it speaks another language."""
        return "that the address is a box's, and the baud rate at the serial server"

    def _obtain(self, deadline: Deadline) -> Opened:
        fault = "it has no address"
        for family, kind, protocol, _, address in self._addresses():
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:  # a kernel without IPv6, and a name that has both addresses
                fault = os.strerror(error.errno or 0)
                continue
            try:
                number = self._tried(connection, address, deadline)
            except BaseException:
                connection.close()
                raise
            if number == 0:
                return connection
            connection.close()
            fault = os.strerror(number)
        raise self._not_found(fault)

    def _addresses(self) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        try:
            return list(socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM))
        except UnicodeError:
            raise self._not_found("this is no host name") from None
        except OSError as error:
            raise self._not_found(str(error.strerror)) from None

    def _tried(
        self, connection: socket.socket, address: tuple[object, ...], deadline: Deadline
    ) -> int:
        """Return the error number of a connection that may not block; 0 once it stands."""
        connection.setblocking(False)
        for level, option, value in _KEEPALIVE:
            connection.setsockopt(level, option, value)
        number = connection.connect_ex(address)
        if number != errno.EINPROGRESS:
            return number
        if not self._wait(self._poller(connection.fileno(), select.POLLOUT), deadline):
            raise DeadlineError("no answer in time while connecting to the box")
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _not_found(self, fault: str) -> DeviceNotFoundError:
        host, port = self._address
        return DeviceNotFoundError(
            f"no box can be reached at {host}, port {port}: {fault}",
            cure="Check the address, and that the box or its serial server is on",
        )
