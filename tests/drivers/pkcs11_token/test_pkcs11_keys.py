"""What is in a token: whose keys, of what provenance, and what is none of ours."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from qkd_hal import DeviceKeySource, open_device
from qkd_hal.errors import (
    ConfigurationError,
    DeviceError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Alarm, Capability, Deadline, Derives, KeyDriver, KeyLoader
from qkd_hal_drivers.pkcs11_token import _held, _objects
from qkd_hal_drivers.pkcs11_token._label import KeyLabel
from qkd_hal_drivers.pkcs11_token.fill import Pkcs11Loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.drivers.pkcs11_token.conftest import FilledTokens, TokenPair

pytestmark = pytest.mark.needs("softhsm2-util")

HARDWARE, SIMULATED = Provenance(Origin.HARDWARE), Provenance(Origin.SIMULATED)
OWN = KeyLabel(own=True, site="alice", peer="bob", provenance=HARDWARE)
PEER = KeyLabel(own=False, site="alice", peer="bob", provenance=HARDWARE)
SOON = Deadline(None)
AS_DATA = {
    "CLASS": ObjectClass.DATA,
    **dict.fromkeys(["KEY_TYPE", "ID", "SENSITIVE", "EXTRACTABLE", "SIGN"]),
}


@pytest.fixture
def filled(filled_tokens: FilledTokens, use_tokens: Callable[[Path], TokenPair]) -> TokenPair:
    return use_tokens(filled_tokens(3))


def put(session: pkcs11.Session, **changes: Any) -> KeyId:
    """Make an object as other software might; *changes* are attributes by name."""
    key_id = KeyId.random()
    attributes: dict[Attribute, Any] = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
        Attribute.SIGN: True,
        Attribute.ID: bytes(key_id),
        Attribute.LABEL: "qkd own alice bob hardware",
        Attribute.VALUE: os.urandom(32),
    }
    attributes |= {Attribute[name]: value for name, value in changes.items()}
    session.create_object({name: v for name, v in attributes.items() if v is not None})
    return key_id


def objects_in(tokens: TokenPair, site: str) -> int:
    """Count all private objects, ours or not, in the token and in sessions."""
    with tokens.session(site) as session:
        return len(list(session.get_objects({Attribute.PRIVATE: True})))


def test_the_token_tells_what_it_is_and_what_is_left(filled: TokenPair) -> None:
    driver: KeyDriver = filled.driver("alice")
    assert isinstance(driver, Derives)
    info = driver.open(SOON)
    assert (info.vendor, info.model) == ("SoftHSM project", "SoftHSM v2")
    assert len(info.serial_number) == 16
    assert (info.site, info.peers, info.provenance) == ("alice", ("bob",), HARDWARE)
    assert info.max_key_size == 65536
    status = driver.status(SOON)
    assert (status.stored_keys, status.stored_bytes) == (3, 96)
    assert status.details == {"peer_keys": 3}
    assert not status.alarms
    driver.reserve("bob", 32, 3, SOON)
    status = driver.status(SOON)
    assert (status.stored_keys, status.stored_bytes) == (0, 0)
    assert status.alarms == {Alarm.KEYS_LOW}
    driver.close()


def test_an_empty_token_opens_and_says_that_it_wants_filling(tokens: TokenPair) -> None:
    with open_device(tokens.url("alice")) as device:
        assert (device.info.site, device.info.peers) == ("", ())
        assert device.info.provenance == Provenance(Origin.UNKNOWN)
        with pytest.raises(KeysExhaustedError, match="Fill it again"):
            device.start("bob")


def test_keys_are_counted_by_size_and_start_only_sessions_of_their_size(
    tokens: TokenPair,
) -> None:
    tokens.fill(1, size=48)
    tokens.fill(1, size=32)
    with open_device(tokens.url("alice")) as device:
        status = device.status()
        assert (status.stored_keys, status.stored_bytes) == (1, 80)
        with pytest.raises(KeysExhaustedError):
            device.start(size=64)
        assert device.start(size=48).size == 48
        assert device.start(size=32).size == 32


def test_asking_for_too_many_costs_none(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(SOON)
    with pytest.raises(KeysExhaustedError):
        driver.reserve("bob", 32, 4, SOON)
    assert len({slot.key_id for slot in driver.reserve("bob", 32, 3, SOON)}) == 3
    driver.close()


def test_keys_that_came_later_are_found_when_the_known_ones_are_used(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(SOON)
    driver.reserve("bob", 32, 3, SOON)
    loaded = filled.load("alice", OWN)
    assert driver.reserve("bob", 32, 1, SOON)[0].key_id == loaded
    driver.close()


def test_a_session_that_ended_leaves_nothing_in_the_token(filled: TokenPair) -> None:
    before = objects_in(filled, "alice")
    with open_device(filled.url("alice")) as device, device.start() as session:
        session.connect()
        session.get_key()
    assert objects_in(filled, "alice") == before - 1


@pytest.mark.parametrize("own", [True, False])
def test_a_key_inside_is_erased_after_its_session(tokens: TokenPair, own: bool) -> None:
    loaded = tokens.load("alice", replace(OWN, own=own), extractable=False)
    with open_device(tokens.url("alice")) as device, tokens_login(tokens) as session:
        one = device.start() if own else device.start("bob", key_id=loaded)
        with one:
            one.connect()
            one.derive(b"a label")
            assert len(list(session.get_objects({Attribute.ID: bytes(loaded)}))) == 1
        device.status()  # what is owed to a device is settled before its next call
        assert not list(session.get_objects({Attribute.ID: bytes(loaded)}))


def tokens_login(tokens: TokenPair) -> pkcs11.Session:
    """Open a second session of this process, which is logged in already."""
    from tests.drivers.pkcs11_token.conftest import MODULE

    return pkcs11.lib(str(MODULE)).get_token(token_label="alice").open()


def test_the_least_trusted_key_names_the_provenance(tokens: TokenPair) -> None:
    tokens.load("alice", OWN)
    tokens.load("alice", replace(PEER, provenance=SIMULATED))
    with open_device(tokens.url("alice")) as device:
        assert device.info.provenance == SIMULATED


def test_a_key_of_worse_provenance_is_not_served_before_the_token_is_opened_anew(
    filled: TokenPair,
) -> None:
    with open_device(filled.url("alice")) as device:
        ours = filled.load("alice", replace(OWN, provenance=SIMULATED))
        theirs = filled.load("alice", replace(PEER, provenance=SIMULATED))
        with pytest.raises(KeyNotFoundError):
            device.start(key_id=theirs)
        started = {device.start().key_id for _ in range(3)}
        assert ours not in started
        with pytest.raises(KeysExhaustedError):
            device.start()
    with open_device(filled.url("alice")) as device:
        assert device.info.provenance == SIMULATED
        assert device.start().key_id == ours
        assert device.start(key_id=theirs).size == 32


def test_keys_of_two_sites_in_one_token_are_refused(tokens: TokenPair) -> None:
    tokens.load("alice", OWN)
    tokens.load("alice", replace(OWN, site="carol"))
    with (
        pytest.raises(ProtocolError, match="alice, carol"),
        open_device(tokens.url("alice")),
    ):
        pass


def test_one_sensitive_key_keeps_the_whole_token_s_keys_inside(filled: TokenPair) -> None:
    filled.load("alice", OWN, extractable=False)
    with open_device(filled.url("alice")) as device:
        assert Capability.EXTRACT not in device.info.capabilities
        for _ in range(4):
            with device.start() as session:
                session.connect()
                with pytest.raises(UnsupportedError, match="never leave"):
                    session.get_key()
                assert len(session.derive(b"label")) == 32


def test_a_sensitive_key_that_came_later_is_left_alone(filled: TokenPair) -> None:
    with open_device(filled.url("alice")) as device:
        ours = filled.load("alice", OWN, extractable=False)
        theirs = filled.load("alice", PEER, extractable=False)
        with pytest.raises(KeyNotFoundError):
            device.get_key_by_id(theirs)
        assert ours not in {device.start().key_id for _ in range(3)}
        with pytest.raises(KeysExhaustedError):
            device.start()
    assert objects_in(filled, "alice") == 3 + 2


def test_tls_is_told_at_once_that_it_cannot_have_the_bytes(tokens: TokenPair) -> None:
    tokens.fill(1, extractable=False)
    with open_device(tokens.url("alice")) as device:
        with pytest.raises(UnsupportedError, match="never leave"):
            DeviceKeySource(device)
        assert device.status().stored_keys == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"PRIVATE": False},
        {"LABEL": "somebody's key"},
        {"LABEL": "qkd own alice"},
        {"LABEL": None},
        {"ID": b"short"},
        {"ID": None},
        {**AS_DATA, "APPLICATION": "other"},
    ],
)
def test_what_other_software_keeps_in_the_token_is_skipped(
    filled: TokenPair, changes: dict[str, Any]
) -> None:
    with filled.session("alice") as session:
        put(session, **changes)
    with open_device(filled.url("alice")) as device:
        assert device.status().stored_keys == 3
        assert device.status().details == {"peer_keys": 3}


def test_a_peer_cannot_name_a_key_that_is_ours_to_start_with(filled: TokenPair) -> None:
    ours = filled.load("alice", OWN)
    with open_device(filled.url("alice")) as device:
        for give in (device.get_key_by_id, lambda key_id: device.start(key_id=key_id)):
            with pytest.raises(KeyNotFoundError):
                give(ours)
        assert ours in {device.start().key_id for _ in range(4)}


def test_a_key_of_one_peer_is_not_given_to_another(tokens: TokenPair) -> None:
    of_bob = tokens.load("alice", PEER)
    of_carol = tokens.load("alice", replace(PEER, peer="carol"))
    with open_device(tokens.url("alice")) as device:
        assert device.info.peers == ("bob", "carol")
        with pytest.raises(KeyNotFoundError):
            device.get_key_by_id(of_carol, "bob")
        assert len(device.get_key_by_id(of_carol, "carol")) == 32
        assert len(device.get_key_by_id(of_bob, "bob")) == 32


@pytest.mark.parametrize(("site", "peer"), [("carol", "bob"), ("alice", "carol")])
def test_keys_of_names_that_the_device_did_not_tell_are_not_served(
    filled: TokenPair, site: str, peer: str
) -> None:
    with open_device(filled.url("alice")) as device:
        filled.load("alice", replace(OWN, site=site, peer=peer))
        theirs = filled.load("alice", replace(PEER, site=site, peer=peer))
        for _ in range(3):
            device.start("bob")
        with pytest.raises(KeysExhaustedError):
            device.start(peer)
        with pytest.raises(KeyNotFoundError):
            device.start(peer, key_id=theirs)


def test_a_key_that_is_there_twice_is_not_served(tokens: TokenPair) -> None:
    with tokens.session("alice") as session:
        twin = put(session, LABEL="qkd peer alice bob hardware")
        put(session, LABEL="qkd peer alice bob hardware", ID=bytes(twin))
    with open_device(tokens.url("alice")) as device, pytest.raises(KeyNotFoundError):
        device.get_key_by_id(twin)


def test_an_own_key_that_is_there_twice_starts_no_session(tokens: TokenPair) -> None:
    """Two processes would each take one of the two objects, and use the same key."""
    with tokens.session("alice") as session:
        twin = put(session)
        put(session, ID=bytes(twin))
        single = put(session)
    with open_device(tokens.url("alice")) as device:
        assert device.status().stored_keys == 1
        assert device.start().key_id == single
        with pytest.raises(KeysExhaustedError):
            device.start()


def test_a_token_of_another_site_is_not_filled(filled: TokenPair) -> None:
    with pytest.raises(ConfigurationError, match="keys of alice, not of carol") as caught:
        Pkcs11Loader(DeviceURL.parse(filled.url("alice")), "carol", Deadline(10))
    assert "--site" in (caught.value.cure or "")
    with open_device(filled.url("alice")) as device:
        assert device.info.site == "alice"


def test_a_key_made_by_hand_by_the_convention_is_served(tokens: TokenPair) -> None:
    with tokens.session("alice") as session:
        by_hand = put(session, VALUE=b"k" * 32)
    with open_device(tokens.url("alice")) as device, device.start() as session_of_key:
        session_of_key.connect()
        assert session_of_key.key_id == by_hand
        assert session_of_key.get_key().matches(b"k" * 32)


def test_a_data_object_that_lies_about_its_size_is_refused_and_kept(tokens: TokenPair) -> None:
    key_id = KeyId.random()
    with tokens.session("alice") as session:
        put(
            session,
            **AS_DATA,
            APPLICATION=f"qkd-hal {key_id} 33",
        )
    with (
        open_device(tokens.url("alice")) as device,
        pytest.raises(ProtocolError, match="another size"),
    ):
        device.start(size=33)
    assert objects_in(tokens, "alice") == 1


@pytest.mark.parametrize("named", ["id=ID", "object=LABEL", "object=LABEL;type=secret-key"])
def test_attributes_of_objects_in_the_uri_narrow_the_keys_down(
    filled: TokenPair, named: str
) -> None:
    marked = filled.load("alice", replace(OWN, peer="carol"))
    label = "qkd%20own%20alice%20carol%20hardware"
    named = named.replace("LABEL", label).replace("ID", quote_from_bytes(bytes(marked), safe=""))
    with open_device(filled.url("bob")) as bob:
        of_bob = bob.start().key_id
    with open_device(filled.url("alice", f";{named}")) as device:
        assert device.info.peers == ("carol",)
        assert device.status().stored_keys == 1
        with pytest.raises(KeyNotFoundError):
            device.start("bob", key_id=of_bob)
        assert device.start().key_id == marked
    with open_device(filled.url("alice")) as device:
        assert device.start(key_id=of_bob).size == 32


def test_the_type_in_the_uri_tells_which_objects_are_keys(filled: TokenPair) -> None:
    with open_device(filled.url("alice", ";type=data")) as device:
        assert device.status().stored_keys == 0


def test_a_key_is_loaded_once(filled: TokenPair) -> None:
    key_id = KeyId.random()
    loader: KeyLoader = filled.loader("alice")
    with filled.loader("alice") as same:
        for again, one in enumerate((loader, same)):
            arguments: dict[str, Any] = {"own": not again, "peer": "bob", "deadline": SOON}
            if again:
                with pytest.raises(UsageError, match=str(key_id)):
                    one.load(key_id, memoryview(bytes(32)), provenance=HARDWARE, **arguments)
            else:
                one.load(key_id, memoryview(bytes(32)), provenance=HARDWARE, **arguments)
        assert loader.free(SOON) is None
    assert isinstance(loader, Pkcs11Loader)
    loader.close()


def test_a_module_that_refuses_secret_keys_gets_data_objects(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM takes secret keys; a wrong attribute stands in for a module that does not."""
    whole = _objects._secret_template

    def refused(key_id: KeyId, extractable: bool) -> dict[Attribute, Any]:
        return {**whole(key_id, extractable), Attribute.KEY_TYPE: KeyType.RSA}

    monkeypatch.setattr(_objects, "_secret_template", refused)
    tokens.fill(1)
    for site in ("alice", "bob"):
        with tokens.session(site) as session:
            kinds = [one.object_class for one in session.get_objects({Attribute.PRIVATE: True})]
            assert len(list(session.get_objects({Attribute.CLASS: ObjectClass.DATA}))) == 2
            assert ObjectClass.SECRET_KEY not in kinds
    with pytest.raises(DeviceError, match="storing a key"):
        tokens.fill(1, extractable=False)
    with open_device(tokens.url("alice")) as alice, open_device(tokens.url("bob")) as bob:
        with alice.start() as session_of_key:
            session_of_key.connect()
            key = session_of_key.get_key()
        assert bob.get_key_by_id(session_of_key.key_id).matches(key)


@pytest.mark.parametrize(
    ("path", "extractable"),
    [(";object=x", True), (";id=" + "%00" * 16, True), (";type=data", False)],
)
def test_a_uri_that_a_token_cannot_be_filled_by_is_refused(
    tokens: TokenPair, path: str, extractable: bool
) -> None:
    url = DeviceURL.parse(tokens.url("alice", path))
    with pytest.raises(ConfigurationError):
        Pkcs11Loader(url, "alice", SOON, extractable=extractable)


def test_keys_that_nobody_fetches_do_not_pile_up(
    filled: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_held, "_MAX_HELD", 2)
    driver = filled.driver("alice")
    driver.open(SOON)
    slots = driver.reserve("bob", 32, 3, SOON)
    with pytest.raises(KeyNotFoundError):
        driver.fetch(slots[0], memoryview(bytearray(32)), SOON)
    driver.fetch(slots[1], memoryview(bytearray(32)), SOON)
    driver.close()


def test_a_slot_is_read_in_pieces_and_no_further(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(SOON)
    slot = driver.reserve("bob", 32, 1, SOON)[0]
    whole = bytearray(32)
    driver.fetch(slot, memoryview(whole)[:20], SOON)
    with pytest.raises(KeysExhaustedError):
        driver.fetch(slot, memoryview(bytearray(13)), SOON)
    driver.fetch(slot, memoryview(whole)[20:], SOON)
    assert len(set(whole)) > 8, "this is not random"
    driver.close()


def test_what_is_held_is_overwritten_on_confirm_and_on_close(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(SOON)
    first, second = driver.reserve("bob", 32, 2, SOON)
    held = [driver._held._bytes[slot.key_id] for slot in (first, second)]
    driver.confirm(first, SOON)
    assert [any(material) for material in held] == [False, True]
    driver.close()
    assert not any(held[1])


def test_confirm_erases_what_was_never_fetched(filled: TokenPair) -> None:
    with open_device(filled.url("alice")) as alice:
        key_id = alice.start().key_id
    driver = filled.driver("bob")
    driver.open(SOON)
    slot = driver.bind("alice", key_id, SOON)
    driver.confirm(slot, SOON)
    driver.confirm(slot, SOON)
    with pytest.raises(KeyNotFoundError):
        driver.bind("alice", key_id, SOON)
    driver.close()
    assert objects_in(filled, "bob") == 5
