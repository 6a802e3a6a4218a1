"""An authenticated connection between two pools: messages in, messages out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qkd_hal.link import SecureChannel, decode, encode
from qkd_hal.link.channel import NONCE_SIZE

if TYPE_CHECKING:
    from qkd_hal.link import Message
    from qkd_hal.pool.transport import FrameSocket

__all__ = ["Connection"]

HANDSHAKE_TIMEOUT = 5.0  # seconds in which a stranger proves the link secret
SILENCE = 10.0  # seconds without any message after which the peer is gone


class Connection:
    """Proves the link *secret* to *peer* over *frames*; blocks until the peer has, too.

    Raises:
        LinkError: the peer is gone or silent.
        ProtocolError: it does not hold the secret, or is another site.
    """

    def __init__(
        self, frames: FrameSocket, secret: bytes, *, site: str, peer: str, connects: bool
    ) -> None:
        self._frames = frames
        self._channel = SecureChannel(
            secret, site=site, peer=peer, connects=connects, nonce=os.urandom(NONCE_SIZE)
        )
        self.close = frames.close
        frames.settimeout(HANDSHAKE_TIMEOUT, in_all=True)
        if connects:
            frames.send(self._channel.opening())
        while not self._channel.established:
            reply, _ = self._channel.receive(frames.receive())
            if reply is not None:
                frames.send(reply)
        frames.settimeout(SILENCE)

    def send(self, message: Message) -> None:
        """Send one message; raises :class:`LinkError` when the connection is gone."""
        self._frames.send(self._channel.seal(encode(message)))

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            LinkError: the connection is gone, or silent for too long.
            ProtocolError: somebody tampered with it, or the peer breaks the rules.
        """
        _, message = self._channel.receive(self._frames.receive())
        return decode(message or b"")
