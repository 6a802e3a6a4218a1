"""The token as a card in vsmartcard's virtual reader: pcscd sees it without a USB stack.

The reader listens on TCP; each message is a length of two bytes and as many bytes. One byte
is an order: power off, power on, reset, or "tell your ATR"; more is a command APDU.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.faults import PowerCut

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qkd_hal_firmware_mocks.token.mischief import Card

__all__ = ["DEFAULT_PORT", "VpcdCard"]

DEFAULT_PORT = 0x8C7B
_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4


class VpcdCard:
    """Puts *card* into the reader at *host*:*port*, until closed.

    After a fault that cuts the power it is put in again.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, card: Card, port: int = DEFAULT_PORT, host: str = "127.0.0.1") -> None:
        self._card = card
        self._address = (host, port)
        self._line = self._connected()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Pull the card out; idempotent, from any thread."""
        self._closed.set()
        with suppress(OSError):  # the reader closed first
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):  # the reader is gone
            while self._serve() and not self._closed.is_set():
                self._line = self._connected()
        self._line.close()

    def _serve(self) -> bool:
        """Answer until the reader closes; tell whether instead a fault cut the power."""
        try:
            while (message := self._read()) is not None:
                self._take(message)
        except PowerCut:
            self._line.close()
            self._card.reset()
            return True
        return False

    def _connected(self) -> socket.socket:
        line = socket.create_connection(self._address)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, message: bytes) -> None:
        if len(message) != 1:
            self._write(self._card.transmit(message))
        elif message[0] == _ATR:
            self._write(self._card.atr)
        elif message[0] in (_OFF, _ON, _RESET):
            self._card.reset()

    def _read(self) -> bytes | None:
        head = self._read_exactly(2)
        return None if head is None else self._read_exactly(int.from_bytes(head, "big"))

    def _read_exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            # Set before each read, because the kernel takes it back: without it the reader,
            # which writes length and body apart, waits 40 ms for our acknowledgement.
            self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            part = self._line.recv(size - len(data))
            if not part:
                return None
            data += part
        return data

    def _write(self, message: bytes) -> None:
        self._line.sendall(len(message).to_bytes(2, "big") + message)
