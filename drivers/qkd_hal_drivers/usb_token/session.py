"""A verified session with the applet: selected, PIN given, commands repeated where safe.

The PIN is sent only while the token counts no failure. A program that starts again and again
with a wrong PIN therefore burns one try in all, however often it starts.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import DeviceLostError, DevicePermissionError, ProtocolError, QKDError
from qkd_hal.keys import wipe
from qkd_hal.sources import Deadline
from qkd_hal_drivers.usb_token import applet, status_words
from qkd_hal_drivers.usb_token.apdu import get_response, split_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.keys import KeyId
    from qkd_hal_drivers.usb_token.apdu import Command
    from qkd_hal_drivers.usb_token.applet import Identity
    from qkd_hal_drivers.usb_token.card import CardLink
    from qkd_hal_drivers.usb_token.pin import Pin

__all__ = ["TokenSession"]

_MORE: Final = 0x61
_LOG_OUT_SECONDS: Final = 0.5  # a good-bye may not hold up a call that is done


class TokenSession:
    """Commands to the applet on *link*; without *pin*, only those that need none."""

    def __init__(self, link: CardLink, pin: Pin | None) -> None:
        self._link = link
        self._pin = pin
        self._ready = False  # selected and verified, and the link is well
        self._broken = False  # the link has to recover first
        self._identity: Identity | None = None

    @property
    def name(self) -> str:
        """What messages call the token."""
        return self._link.name

    @property
    def identity(self) -> Identity:
        """Who the token is; known after the first turn."""
        assert self._identity is not None  # noqa: S101 - set by the select of every turn
        return self._identity

    def open(self, deadline: Deadline) -> None:
        """Reach the token, and select and verify once."""
        self._link.open(deadline)
        with self.turn(deadline):
            pass

    def close(self) -> None:
        """Let go of the token and forget the PIN; idempotent, from any thread."""
        self._link.close()
        if self._pin is not None:
            self._pin.wipe()

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Have the token for oneself, selected and verified, inside the block."""
        with self._link.turn(deadline):
            if self._link.shared:
                self._ready = False
            try:
                self._repeated(deadline)
                yield
            finally:
                self._leave(deadline)

    def ask(self, command: Command, deadline: Deadline, key_id: KeyId | None = None) -> bytearray:
        """Return the answer to *command*, which is about *key_id*.

        Raises:
            QKDError: the token refuses, in the words of `status_words`.
        """
        data, word = self.ask_word(command, deadline)
        if word != status_words.DONE:
            raise status_words.refusal(word, command, self.name, key_id)
        return data

    def ask_word(self, command: Command, deadline: Deadline) -> tuple[bytearray, int]:
        """Return the answer and its status word, whatever it says.

        A token that was reset, or whose answer was lost, is asked once more, if that is safe.
        """
        if self._broken:
            self._repeated(deadline)
        try:
            data, word = self._exchange(command, deadline)
            again = word in (status_words.NOT_SELECTED, status_words.NEEDS_PIN)
        except ProtocolError:
            if not command.repeatable:
                raise
            again = True
        if not again:
            return data, word
        self._ready = False
        self._repeated(deadline)
        return self._exchange(command, deadline)

    def _repeated(self, deadline: Deadline) -> None:
        """Select and verify, twice if the first attempt meets a disturbance."""
        with suppress(ProtocolError):
            self._establish(deadline)
        self._establish(deadline)

    def _establish(self, deadline: Deadline) -> None:
        if self._broken:
            self._link.recover(deadline)
            self._ready = self._broken = False
        if self._ready:
            return
        data, word = self._exchange(applet.SELECT, deadline)
        if word != status_words.DONE:
            raise status_words.refusal(word, applet.SELECT, self.name)
        self._know(applet.parse_selected(data))
        if self._pin is not None:
            self._verify(self._pin, deadline)
        self._ready = True

    def _know(self, identity: Identity) -> None:
        if self._identity not in (None, identity):
            raise DeviceLostError(
                f"another token is there, {identity.serial_number}",
                device=self.name,
                cure="Put the former one back, or open this one",
            )
        self._identity = identity

    def _verify(self, pin: Pin, deadline: Deadline) -> None:
        _, word = self._exchange(applet.ASK_PIN, deadline)
        if word == status_words.DONE:
            return
        tries = status_words.tries_left(word)
        if tries is None:
            raise status_words.refusal(word, applet.ASK_PIN, self.name)
        if tries < applet.FULL_PIN_TRIES or not pin.block:
            raise self._somebody_failed(tries)
        self.send_pin(pin, deadline)

    def send_pin(self, pin: Pin, deadline: Deadline) -> None:
        """Send *pin*, whatever the counter says: where a human asked for just this."""
        command = applet.verify(pin.block)
        _, word = self._exchange(command, deadline)
        if word != status_words.DONE:
            if status_words.tries_left(word) is not None:
                pin.wipe()  # never again
            raise status_words.refusal(word, command, self.name)

    def _somebody_failed(self, tries: int) -> DevicePermissionError:
        return DevicePermissionError(
            f"a wrong PIN was given before, {tries} tries are left, and none is risked unattended",
            device=self.name,
            cure="Run: qkd-hal token verify, which asks for the PIN and resets the count",
        )

    def _exchange(self, command: Command, deadline: Deadline) -> tuple[bytearray, int]:
        """Send *command* in as many parts as the link needs, and gather its answer."""
        deadline.check(f"asking the token: {command.name}", device=self.name)
        longest = self._link.longest
        if self._identity is not None:
            longest = min(longest, self._identity.max_command_data)
        self._broken = True  # until an answer has come, whatever ends this
        answer = bytearray()
        for apdu in command.apdus(longest):
            try:
                answer = self._link.transmit(apdu, deadline)
            finally:
                wipe(apdu)
            if answer != status_words.DONE.to_bytes(2, "big"):
                break  # the end, or a part was refused
        data, word = self._gathered(answer, command.answer, deadline)
        self._broken = False
        return data, word

    def _gathered(self, answer: bytearray, most: int, deadline: Deadline) -> tuple[bytearray, int]:
        """Return *answer* and what GET RESPONSE adds to it, at most *most* bytes."""
        gathered = bytearray()
        while True:
            part, word = split_answer(answer)
            gathered += part
            if len(gathered) > most:
                wipe(gathered)
                raise ProtocolError("the token answered more than it can", device=self.name)
            more = word >> 8 == _MORE
            if more and not part:
                raise ProtocolError("the token promises more and sends none", device=self.name)
            part.release()
            wipe(answer)
            if not more:
                return gathered, word
            # Each part comes in time, and there may be as many as the answer has bytes.
            deadline.check("waiting for the rest of the token's answer", device=self.name)
            answer = self._link.transmit(get_response(word & 0xFF), deadline)

    def _leave(self, deadline: Deadline) -> None:
        """Log out where the next to use the card may be another process."""
        if not self._link.shared or self._pin is None:
            return
        if self._broken and deadline.expired:
            return  # no time to wait for a card that does not answer: the link resets it
        with suppress(QKDError):
            soon = Deadline(_LOG_OUT_SECONDS)
            if self._broken:
                self._link.recover(soon)
            self._exchange(applet.LOG_OUT, soon)
