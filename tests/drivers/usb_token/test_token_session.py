"""The applet's session on a link in memory: swapped cards, slow answers, log-outs, lost loads."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal.errors import (
    DeadlineError,
    DeviceLostError,
    DevicePermissionError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    QKDError,
    UsageError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import Deadline
from qkd_hal_drivers.usb_token import applet
from qkd_hal_drivers.usb_token.driver import TokenDriver
from qkd_hal_drivers.usb_token.fill import TokenLoader
from qkd_hal_drivers.usb_token.manager import KeyTokenManager
from qkd_hal_drivers.usb_token.pin import Pin
from qkd_hal_drivers.usb_token.session import TokenSession
from tests.drivers.usb_token.conftest import PIN, block, fill, initialised, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qkd_hal_drivers.usb_token.apdu import Command
    from qkd_hal_firmware_mocks.token.applet import KeyApplet
    from qkd_hal_firmware_mocks.token.state import StoredKey

ASK_PIN = "00200081"
SELECT = "00A4040008F0514B4448414C0100"
SIMULATED = Provenance(Origin.SIMULATED)


class MemoryLink:
    """A card that other programs may use, too; *spoil* changes what it answers."""

    name = "token:memory"
    shared = True
    longest = 65535

    def __init__(self, card: KeyApplet) -> None:
        self.card = card
        self.spoil: Callable[[bytes, bytes], bytes] = lambda _, answer: answer

    def open(self, deadline: Deadline) -> None:
        """It is there."""

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Nobody else is here."""
        yield

    def transmit(self, message: bytes | bytearray, deadline: Deadline) -> bytearray:
        sent = bytes(message)
        return bytearray(self.spoil(sent, self.card.transmit(sent)))

    def recover(self, deadline: Deadline) -> None:
        """Nothing is left of a command."""

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture
def link() -> MemoryLink:
    return MemoryLink(initialised("alice", "bob"))


def a_pin() -> Pin:
    return Pin(bytearray(block(PIN)))


def test_another_token_in_the_reader_never_gets_the_pin(link: MemoryLink) -> None:
    session = TokenSession(link, a_pin())
    session.open(Deadline(5))
    first, link.card = link.card, initialised("bob", "alice")
    sent: list[bytes] = []

    def overhear(message: bytes, answer: bytes) -> bytes:
        sent.append(message[1:3])
        return answer

    link.spoil = overhear
    for _ in range(2):  # the second time as the first
        with pytest.raises(DeviceLostError, match="another token is there, TOKEN-BOB"):
            session.turn(Deadline(5)).__enter__()
    assert set(sent) == {b"\xa4\x04", b"\x20\xff"}  # SELECT, log-out
    link.card = first
    with session.turn(Deadline(5)):
        assert session.identity.serial_number == "TOKEN-ALICE"


def test_a_pin_is_forgotten_once_refused_and_on_closing(link: MemoryLink) -> None:
    right, wrong = a_pin(), Pin(bytearray(block(b"wrong-pin")))
    kept = right.block, wrong.block
    session = TokenSession(link, right)
    session.open(Deadline(5))
    session.close()
    with pytest.raises(DevicePermissionError, match="2 tries"):
        TokenSession(link, wrong).open(Deadline(5))
    assert not any(right.block + wrong.block)
    assert not any(kept[0] + kept[1])


@pytest.fixture
def driver(link: MemoryLink, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenDriver]:
    """The driver of a token with a key for either direction."""
    fill((link.card, initialised("bob", "alice")), each=1)
    monkeypatch.setenv("QKD_HAL_PIN", PIN.decode())
    opened = TokenDriver(lambda: link, None)
    opened.open(Deadline(5))
    yield opened
    opened.close()


def key_on(card: KeyApplet, direction: int) -> KeyId:
    (raw_id,) = (key_id for key_id, key in stored(card) if key.direction == direction)
    return KeyId.from_bytes(raw_id)


def stored(card: KeyApplet) -> Iterable[tuple[bytes, StoredKey]]:
    return card._store.state.keys.items()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_no_pin() -> None:
    pin = a_pin()
    child = os.fork()
    if not child:
        os._exit(9 if not pin.block else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert pin.block


def test_a_key_for_one_peer_is_not_reserved_for_another(driver: TokenDriver) -> None:
    with pytest.raises(KeysExhaustedError, match="carol"):
        driver.reserve("carol", 32, 1, Deadline(5))
    assert len(driver.reserve("bob", 32, 1, Deadline(5))) == 1


def test_only_the_peers_half_is_looked_up(link: MemoryLink, driver: TokenDriver) -> None:
    own, peer = key_on(link.card, 1), key_on(link.card, 2)
    for key_id, site in ((own, "bob"), (peer, "carol")):
        with pytest.raises(KeyNotFoundError):
            driver.bind(site, key_id, Deadline(5))
    assert driver.bind("bob", peer, Deadline(5)).size == 32


@pytest.mark.parametrize(
    ("spoilt", "error"),
    [
        (slice(4, 20), KeyNotFoundError),  # the ID
        (slice(26, 27), ProtocolError),  # the origin: hardware
    ],
)
def test_what_is_found_must_be_what_was_asked_for(
    link: MemoryLink, driver: TokenDriver, spoilt: slice, error: type[QKDError]
) -> None:
    def lie(message: bytes, answer: bytes) -> bytes:
        told = bytearray(answer)
        if message[1] == 0x18:  # FIND
            told[spoilt] = bytes(len(told[spoilt]))
        return bytes(told)

    link.spoil = lie
    with pytest.raises(error):
        driver.bind("bob", key_on(link.card, 2), Deadline(5))


def test_a_part_of_a_key_is_no_key(link: MemoryLink, driver: TokenDriver) -> None:
    (slot,) = driver.reserve("bob", 32, 1, Deadline(5))
    link.spoil = lambda message, answer: answer[1:] if message[1] == 0x1A else answer  # FETCH
    out = bytearray(32)
    with pytest.raises(ProtocolError, match="part of a key"):
        driver.fetch(slot, memoryview(out), Deadline(5))
    assert not any(out)


def test_keys_of_another_provenance_behind_our_back_are_noticed(
    link: MemoryLink, driver: TokenDriver
) -> None:
    link.card._store.state.provenance = b"\x00"  # measured, and simulated when it was opened
    with pytest.raises(DeviceLostError, match="anew"):
        driver.reserve("bob", 32, 1, Deadline(5))


def test_a_token_that_is_its_own_peer_is_none(link: MemoryLink, driver: TokenDriver) -> None:
    link.card._store.state.peer = "alice"
    with pytest.raises(ProtocolError, match="whose it is"):
        driver.status(Deadline(5))


def test_an_answer_that_comes_byte_by_byte_ends_at_the_deadline(link: MemoryLink) -> None:
    session = TokenSession(link, a_pin())
    session.open(Deadline(5))

    def dribble(message: bytes, answer: bytes) -> bytes:
        if message[1] not in (0x14, 0xC0):  # LIST KEYS, GET RESPONSE
            return answer
        time.sleep(0.001)
        return b"\0\x61\x00"

    with session.turn(Deadline(5)):
        link.spoil = dribble
        begun = time.monotonic()
        with pytest.raises(DeadlineError):
            session.ask(applet.list_keys(0), Deadline(0.2))
        assert time.monotonic() - begun < 5


def test_a_key_too_long_for_the_token_is_told_so(link: MemoryLink) -> None:
    loader = TokenLoader(link, a_pin(), "alice", Deadline(5))
    most = link.card.model.max_key_size
    for size in (most, most + 1):
        expected = pytest.raises(UsageError, match=f"at most {most} bytes")
        with nullcontext() if size == most else expected:
            loader.load(
                KeyId.random(),
                memoryview(bytes(size)),
                own=True,
                peer="bob",
                provenance=SIMULATED,
                deadline=Deadline(5),
            )


def test_a_loaded_key_is_overwritten_here(
    link: MemoryLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Command] = []
    whole = applet.load_key

    def load_key(*arguments: Any, **options: Any) -> Command:
        made.append(whole(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(applet, "load_key", load_key)
    loader = TokenLoader(link, a_pin(), "alice", Deadline(5))
    key = memoryview(os.urandom(32))
    options = {"peer": "bob", "provenance": SIMULATED, "deadline": Deadline(5)}
    loader.load(KeyId.random(), key, own=True, **options)  # type: ignore[arg-type]
    assert made
    assert not any(made[0].data)


def test_a_list_of_keys_that_goes_round_in_circles_ends(link: MemoryLink) -> None:
    fill((link.card, initialised("bob", "alice")), each=2)
    first = b""

    def circle(message: bytes, answer: bytes) -> bytes:
        nonlocal first
        if message[1] != 0x14:  # LIST KEYS
            return answer
        first = first or answer
        return first

    link.spoil = circle
    with pytest.raises(ProtocolError, match="twice"):
        KeyTokenManager(lambda: link, None).keys(PIN.decode(), Deadline(5))


def test_no_token_has_keys_longer_than_those_of_any_device(link: MemoryLink) -> None:
    link.card.model = replace(link.card.model, max_key_size=0xFFFF_FFFF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKD_HAL_PIN", PIN.decode())
        driver = TokenDriver(lambda: link, None)
        info = driver.open(Deadline(5))
        assert info.max_key_size == 65536
        assert info.provenance.origin is Origin.UNKNOWN  # nobody has said what it is to hold
        driver.close()


def test_a_card_that_answers_nonsense_is_logged_out_all_the_same(link: MemoryLink) -> None:
    session = TokenSession(link, a_pin())
    session.open(Deadline(5))
    link.spoil = lambda message, answer: b"\0" if message[1] == 0x02 else answer  # GET STATUS
    with pytest.raises(ProtocolError), session.turn(Deadline(5)):
        session.ask(applet.get_status(), Deadline(5))
    assert raw(link.card, ASK_PIN) == b"\x63\xc3"


@pytest.mark.parametrize(("own", "size"), [(True, 32), (False, 16)])
def test_another_key_is_not_taken_for_one_whose_answer_was_lost(
    link: MemoryLink, own: bool, size: int
) -> None:
    key_id, key = KeyId.random(), memoryview(os.urandom(32))
    loader = TokenLoader(link, a_pin(), "alice", Deadline(5))

    def load(key: memoryview, *, own: bool) -> None:
        where = {"peer": "bob", "provenance": SIMULATED, "deadline": Deadline(5)}
        loader.load(key_id, key, own=own, **where)  # type: ignore[arg-type]

    load(key, own=False)
    link.spoil = lambda message, answer: b"" if message[1] == 0x12 else answer  # LOAD KEY
    load(key, own=False)  # as far as anybody can tell, this one was stored
    with pytest.raises(UsageError, match="another key"):
        load(key[:size], own=own)
