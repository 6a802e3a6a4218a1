"""A module that fails at any call: no key twice, no wrong key, only our errors."""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pkcs11
import pytest

from qkd_hal.device import DeviceState, QKDDevice
from qkd_hal.errors import (
    DeviceBusyError,
    DeviceError,
    KeyNotFoundError,
    QKDError,
    UnsupportedError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import Deadline
from qkd_hal_drivers.pkcs11_token import _objects, _patience, _stock
from qkd_hal_drivers.pkcs11_token._label import KeyLabel
from qkd_hal_drivers.pkcs11_token._patience import patiently
from qkd_hal_drivers.pkcs11_token.uri import TokenUri
from tests.drivers.pkcs11_token.memory_token import MemoryObject, MemorySession, MemoryToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from qkd_hal.device import QKDSession

URI = TokenUri.parse("pkcs11:token=alice")
OWN = KeyLabel(own=True, site="alice", peer="bob", provenance=Provenance(Origin.HARDWARE))
PEER = KeyLabel(own=False, site="bob", peer="alice", provenance=Provenance(Origin.HARDWARE))
SOON = Deadline(None)

T = TypeVar("T")


class Ends:
    """Alice starts sessions, bob answers; what each got is counted by key ID."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch, *, inside: bool) -> None:
        self.random = Random(seed)
        self.inside = inside
        self.tokens = [MemoryToken(site, self.random) for site in ("alice", "bob")]
        self.loaded: dict[KeyId, bytes] = {}
        self.load(2)
        drivers = [token.driver(monkeypatch) for token in self.tokens]
        self.devices = [QKDDevice(driver, name=f"token {n}") for n, driver in enumerate(drivers)]
        for device in self.devices:
            device.init()
        self.values: tuple[dict[KeyId, bytes], dict[KeyId, bytes]] = ({}, {})
        self.told: Counter[str] = Counter()

    def load(self, count: int) -> None:
        for _ in range(count):
            key_id, value = KeyId.from_bytes(self.random.randbytes(16)), self.random.randbytes(32)
            self.loaded[key_id] = value
            for token, label in zip(self.tokens, (OWN, PEER), strict=True):
                token.add(key_id, label, value, inside=self.inside)

    def step(self) -> None:
        """Use one key at both ends, as far as the faults let them."""
        if len(self.tokens[0].objects) < 4:
            self.load(4)
        key_id = self.session(0, lambda: self.devices[0].start("bob"))
        if key_id is not None:
            for _ in range(2):
                self.session(1, lambda: self.devices[1].start("alice", key_id=key_id))

    def session(self, end: int, start: Callable[[], QKDSession]) -> KeyId | None:
        """Use a session up; return its key ID if it started."""
        session = self.attempt(end, start)
        if session is None:
            return None
        with session:
            self.attempt(end, lambda: self.use(end, session))
        return session.key_id

    def use(self, end: int, session: QKDSession) -> None:
        session.connect()
        key = session.derive(b"label") if self.inside else session.get_key()
        assert session.key_id not in self.values[end], "a key was given twice"
        with key.exposed() as view:
            self.values[end][session.key_id] = bytes(view)
        loaded = self.loaded[session.key_id]
        right = hmac.digest(loaded, b"label\1", "sha256") if self.inside else loaded
        same = right == self.values[end][session.key_id]
        assert same, "a key is wrong"

    def attempt(self, end: int, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except QKDError as error:
            self.told[type(error).__name__] += 1
            named = error.device is not None
            assert named, "an error names no device"
        while self.devices[end].state is not DeviceState.READY:
            try:
                self.devices[end].init()
            except DeviceError:
                self.told["init"] += 1
        return None


def run(seed: int, steps: int, monkeypatch: pytest.MonkeyPatch, *, inside: bool) -> Ends:
    ends = Ends(seed, monkeypatch, inside=inside)
    for token in ends.tokens:
        token.chance = 0.02
    for _ in range(steps):
        ends.step()
    return ends


@pytest.mark.parametrize("inside", [False, True])
def test_under_random_faults_no_key_is_given_twice(
    monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    check(run(20250701 + inside, 500, monkeypatch, inside=inside), 500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("inside", [False, True])
def test_under_many_random_faults(monkeypatch: pytest.MonkeyPatch, seed: int, inside: bool) -> None:
    check(run(seed, 1700, monkeypatch, inside=inside), 1700)


def check(ends: Ends, steps: int) -> None:
    ours, theirs = ends.values
    assert len(ours) > steps / 4, "faults left nothing to test"
    assert len(theirs.keys() & ours.keys()) > steps / 8
    assert {"DeviceError", "DeviceLostError", "KeyNotFoundError", "init"} <= ends.told.keys()


class Handle(MemoryObject):
    """One object, and what becomes of it at the moment of ``destroy``."""

    def __init__(self, session: MemorySession, number: int, how: str) -> None:
        super().__init__(session, number)
        self.how = how

    def destroy(self) -> None:
        if self.how == "taken by another":
            super().destroy()
            raise pkcs11.ObjectHandleInvalid
        if self.how == "taken, and told badly":
            super().destroy()
        raise pkcs11.FunctionFailed


@pytest.fixture
def session() -> MemorySession:
    """A session on a token with one key."""
    token = MemoryToken("alice", Random(1))
    token.add(KeyId.random(), OWN, bytes(range(32)), inside=False)
    return token.open()


@pytest.mark.parametrize("take", [_objects.take_out, _objects.take_copy])
@pytest.mark.parametrize(
    ("how", "error", "left"),
    [
        ("taken by another", KeyNotFoundError, 0),
        ("taken, and told badly", KeyNotFoundError, 0),
        ("not destroyed", pkcs11.FunctionFailed, 1),
    ],
)
def test_who_could_not_destroy_the_object_does_not_have_the_key(
    session: MemorySession, take: Callable[..., object], how: str, error: type[Exception], left: int
) -> None:
    (key,) = _objects.scan(session, URI)  # type: ignore[arg-type]
    (number,) = session.token.objects
    stolen = replace(key, handle=Handle(session, number, how))
    with pytest.raises(error):
        take(session, URI, stolen)
    assert len(session.token.objects) == left


@pytest.mark.parametrize("take", [_objects.take_out, _objects.take_copy])
def test_a_key_that_is_gone_before_it_is_copied_is_another_s(
    session: MemorySession, take: Callable[..., object]
) -> None:
    (key,) = _objects.scan(session, URI)  # type: ignore[arg-type]
    session.token.objects.clear()
    with pytest.raises(KeyNotFoundError, match="another process"):
        take(session, URI, key)


def test_a_search_that_others_disturb_is_made_again(
    session: MemorySession, mocker: MockerFixture
) -> None:
    whole = session.get_objects
    gone = pkcs11.ObjectHandleInvalid
    mocker.patch.object(session, "get_objects", side_effect=[gone, gone, *map(whole, [{}])])
    assert len(_objects._search(session, {})) == 1  # type: ignore[arg-type]
    mocker.patch.object(session, "get_objects", side_effect=gone)
    with pytest.raises(DeviceBusyError):
        _objects._search(session, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "lost"),
    [(pkcs11.FunctionFailed, False), (ValueError, False), (pkcs11.DeviceRemoved, True)],
)
def test_an_object_that_cannot_be_read_is_skipped_and_a_lost_token_is_not(
    session: MemorySession, mocker: MockerFixture, fault: type[Exception], lost: bool
) -> None:
    mocker.patch.object(MemoryObject, "get_attributes", side_effect=fault)
    if lost:
        with pytest.raises(pkcs11.DeviceRemoved):
            list(_objects.scan(session, URI))  # type: ignore[arg-type]
    else:
        assert not list(_objects.scan(session, URI))  # type: ignore[arg-type]


def test_a_passing_answer_is_waited_out_and_a_lasting_one_is_told(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    monkeypatch.setattr(_patience, "_PAUSE_SECONDS", 0)
    passing = pkcs11.UserPinNotInitialized
    action = mocker.Mock(side_effect=[passing, passing, "open"])
    assert patiently(action, passing) == "open"
    action = mocker.Mock(side_effect=passing)
    with pytest.raises(passing):
        patiently(action, passing)
    assert 2 < action.call_count < 20
    action = mocker.Mock(side_effect=pkcs11.PinIncorrect)
    with pytest.raises(pkcs11.PinIncorrect):
        patiently(action, passing)
    assert action.call_count == 1, "a wrong PIN was sent again"


def test_a_token_without_hmac_is_refused_where_its_keys_stay_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = MemoryToken("alice", Random(1))
    driver = token.driver(monkeypatch)
    token.mechanisms = set()
    token.add(KeyId.random(), OWN, bytes(32), inside=True)
    with pytest.raises(UnsupportedError, match="HMAC"):
        driver.open(SOON)
    assert not token.live, "the session was left open"


def test_several_keys_are_reserved_all_or_none(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    token = MemoryToken("alice", Random(1))
    for _ in range(3):
        token.add(KeyId.random(), OWN, bytes(range(32)), inside=False)
    driver = token.driver(monkeypatch)
    driver.open(SOON)
    destroyed = mocker.patch.object(
        MemoryObject, "destroy", side_effect=[None, pkcs11.FunctionFailed], autospec=True
    )
    with pytest.raises(DeviceError, match="FunctionFailed"):
        driver.reserve("bob", 32, 2, SOON)
    assert destroyed.call_count == 2
    assert not driver._held._bytes, "a key of a refused call is still there"
    driver.close()


def test_a_token_has_no_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    token = MemoryToken("alice", Random(1))
    driver = token.driver(monkeypatch)
    driver.open(SOON)
    with pytest.raises(UnsupportedError, match="streams"):
        driver.reserve("bob", None, 1, SOON)
    driver.close()


def test_counts_are_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stock, "_FRESH_SECONDS", 0)
    token = MemoryToken("alice", Random(1))
    for _ in range(2):
        token.add(KeyId.random(), OWN, bytes(range(32)), inside=False)
    driver = token.driver(monkeypatch)
    driver.open(SOON)
    token.objects.popitem()  # another process took it
    assert driver.status(SOON).stored_keys == 1
    driver.close()
