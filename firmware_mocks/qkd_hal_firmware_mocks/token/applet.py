"""The key applet: bytes of a command in, bytes of an answer out; no clock, no input or output.

The only thing outside it is the :class:`~qkd_hal_firmware_mocks.token.state.Medium`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token import tlv
from qkd_hal_firmware_mocks.token.apdu import Command, Refusal, Status, parse_command
from qkd_hal_firmware_mocks.token.keys import CLAIM, KEY_ID, LOAD_HEADER, OWN, PEER, U32, KeyRoom
from qkd_hal_firmware_mocks.token.model import AID, Model
from qkd_hal_firmware_mocks.token.names import checked_name, checked_provenance
from qkd_hal_firmware_mocks.token.pins import (
    BLOCK_SIZE,
    LEAST_PIN,
    LEAST_PUK,
    Pins,
    checked_block,
)
from qkd_hal_firmware_mocks.token.state import PIN_TRIES, PUK_TRIES, Life, Store, TokenState

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from qkd_hal_firmware_mocks.token.state import Medium

__all__ = ["ATR", "KeyApplet"]

_HISTORICAL = b"\x80\x73\x80\x01\xc0\x56QKDHAL"
_ATR_BODY = bytes([0x80 | len(_HISTORICAL), 0x01]) + _HISTORICAL

SELECT = (0x00, 0xA4)
GET_RESPONSE = (0x00, 0xC0)
LOAD_KEY = (0x80, 0x12)

_PIN_REFERENCE = 0x81
_DIRECTIONS = (OWN, PEER)
_ANY = range(65536)
_LOAD_MOST = LOAD_HEADER + 255  # beside the key itself


def _check_byte(body: bytes) -> int:
    check = 0
    for byte in body:
        check ^= byte
    return check


ATR = b"\x3b" + _ATR_BODY + bytes([_check_byte(_ATR_BODY)])


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a command must look like before its handler sees it."""

    run: Callable[[Command], bytes]
    sizes: Mapping[int, Container[int]]  # P1 → how long the data may be
    p2: int = 0
    pin: bool = True


class KeyApplet:
    """The card. :meth:`transmit` never raises for what a host sends."""

    def __init__(self, medium: Medium, model: Model | None = None) -> None:
        self.model = model or Model()
        self._store = Store(medium)
        self._pins = Pins(self._store)
        self._keys = KeyRoom(self._store, self.model)
        self._rules = self._table()
        self.reset()

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return ATR

    def reset(self) -> None:
        """Power up: only what is on the medium is still there."""
        self._selected = False
        self._rest = b""
        self._parts: Command | None = None
        self._store.power_up()
        self._pins.power_up()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU."""
        try:
            command = parse_command(apdu)
            if command.name != GET_RESPONSE:
                self._rest = b""
            return self._part(self._run(command), command.expected)
        except Refusal as refusal:
            self._rest, self._parts = b"", None
            return refusal.status.to_bytes(2, "big")

    def _part(self, answer: bytes, expected: int) -> bytes:
        part, self._rest = answer[:expected], answer[expected:]
        if not self._rest:
            return part + Status.DONE.to_bytes(2, "big")
        more = len(self._rest) if len(self._rest) < 256 else 0
        return part + (Status.MORE + more).to_bytes(2, "big")

    def _run(self, command: Command) -> bytes:
        rule = self._rule(command)
        if len(command.data) > self.model.max_command_data:
            raise Refusal(Status.WRONG_LENGTH)
        whole = self._gathered(command)
        if whole.chained:
            return b""
        if len(whole.data) not in rule.sizes[whole.p1]:
            raise Refusal(Status.WRONG_LENGTH)
        if rule.pin and not self._pins.verified:
            raise Refusal(Status.NEEDS_PIN)
        return rule.run(whole)

    def _rule(self, command: Command) -> _Rule:
        if not self._selected and command.name != SELECT:
            raise Refusal(Status.NOT_SELECTED)
        rule = self._rules.get(command.name)
        if rule is None:
            raise Refusal(Status.NO_INSTRUCTION)
        if command.chained and command.name != LOAD_KEY:
            raise Refusal(Status.NO_CHAINING)
        if command.p1 not in rule.sizes or command.p2 != rule.p2:
            raise Refusal(Status.WRONG_P1P2)
        return rule

    def _gathered(self, command: Command) -> Command:
        before, self._parts = self._parts, None
        if before is not None and _same_chain(before, command):
            command = replace(command, data=before.data + command.data)
        if command.name == LOAD_KEY and len(command.data) > self.model.max_key_size + _LOAD_MOST:
            raise Refusal(Status.WRONG_LENGTH)
        if command.chained:
            self._parts = command
        return command

    def _table(self) -> dict[tuple[int, int], _Rule]:
        return {**self._interindustry(), **self._key_commands()}

    def _interindustry(self) -> dict[tuple[int, int], _Rule]:
        one, two = {0: (0, BLOCK_SIZE), 0xFF: (0,)}, {0: (2 * BLOCK_SIZE,)}
        return {
            SELECT: _Rule(self._select, {4: _ANY}, pin=False),
            GET_RESPONSE: _Rule(self._more, {0: (0,)}, pin=False),
            (0x00, 0x20): _Rule(self._verify, one, p2=_PIN_REFERENCE, pin=False),
            (0x00, 0x24): _Rule(self._change_pin, two, p2=_PIN_REFERENCE, pin=False),
            (0x00, 0x2C): _Rule(self._reset_tries, two, p2=_PIN_REFERENCE, pin=False),
        }

    def _key_commands(self) -> dict[tuple[int, int], _Rule]:
        keys, load = self._keys, range(LOAD_HEADER, self.model.max_key_size + _LOAD_MOST + 1)
        return {
            (0x80, 0x02): _Rule(self._status, {0: (0, U32)}, pin=False),
            (0x80, 0x10): _Rule(self._initialise, {0: _ANY}, pin=False),
            LOAD_KEY: _Rule(keys.load, dict.fromkeys(_DIRECTIONS, load)),
            (0x80, 0x14): _Rule(keys.list_keys, dict.fromkeys((0, *_DIRECTIONS), (U32,))),
            (0x80, 0x16): _Rule(keys.reserve, {0: (CLAIM + U32,)}),
            (0x80, 0x18): _Rule(keys.find, {0: (KEY_ID,)}),
            (0x80, 0x1A): _Rule(
                keys.fetch, dict.fromkeys(_DIRECTIONS, (KEY_ID + CLAIM + 2 * U32,))
            ),
            (0x80, 0x1C): _Rule(keys.confirm, dict.fromkeys(_DIRECTIONS, (KEY_ID + CLAIM,))),
            (0x80, 0x1E): _Rule(keys.erase, {0: (0,), 1: (0,), 2: (KEY_ID,)}),
        }

    def _more(self, _: Command) -> bytes:
        if not self._rest:
            raise Refusal(Status.NOT_ALLOWED)
        return self._rest

    def _select(self, command: Command) -> bytes:
        self._pins.verified = False
        self._selected = command.data in (AID, AID[:-1])
        if not self._selected:
            raise Refusal(Status.NO_APPLICATION)
        return self.model.template(self._store.state)

    def _status(self, command: Command) -> bytes:
        return self.model.status(self._store, verified=self._pins.verified, asked=command.data)

    def _verify(self, command: Command) -> bytes:
        if command.p1:
            self._pins.verified = False
        elif command.data:
            self._pins.verify(command.data)
        else:
            self._pins.ask()
        return b""

    def _change_pin(self, command: Command) -> bytes:
        self._pins.change(command.data)
        return b""

    def _reset_tries(self, command: Command) -> bytes:
        self._pins.reset_tries(command.data)
        return b""

    def _initialise(self, command: Command) -> bytes:
        if self._store.state.life is not Life.BLANK and not self._pins.verified:
            raise Refusal(Status.NEEDS_PIN)
        self._store.save(_initial_state(command.data))
        self._pins.verified = False
        return b""


def _same_chain(before: Command, command: Command) -> bool:
    same = (before.name, before.p1, before.p2)
    return same == (command.name, command.p1, command.p2)


def _initial_state(data: bytes) -> TokenState:
    try:
        objects = tlv.parse(data)
        pin, puk, site, peer = (objects[tag] for tag in range(0x80, 0x84))
    except (ValueError, KeyError):
        raise Refusal(Status.WRONG_DATA) from None
    if site == peer:
        raise Refusal(Status.WRONG_DATA)
    provenance = checked_provenance(objects[0x84]) if 0x84 in objects else b""
    return TokenState(
        pin=checked_block(pin, LEAST_PIN),
        puk=checked_block(puk, LEAST_PUK),
        pin_tries=PIN_TRIES,
        puk_tries=PUK_TRIES,
        site=checked_name(site),
        peer=checked_name(peer),
        provenance=provenance,
        given_provenance=provenance,
    )
