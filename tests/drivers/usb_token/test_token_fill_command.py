"""`qkd-hal token`: fill two tokens, or one at each site; look after them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from qkd_hal import open_device
from qkd_hal.cli.commands import root as command
from qkd_hal.errors import (
    ConfigurationError,
    DeviceError,
    DevicePermissionError,
    KeyNotFoundError,
    QKDError,
    UsageError,
)
from qkd_hal.keys import KeyId, Origin
from qkd_hal.sources import Deadline
from qkd_hal.testing.conformance._ends import driver_of
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from tests.drivers.usb_token.conftest import PIN, PUK, UsbTokens, initialised

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

NEW_PIN = "clementine"
KEY_ID = "5f0c7f5e-8f0e-4c3a-9d52-6a1e0f7b9c11"


def run(*arguments: str, typed: str = "") -> Result:
    done = CliRunner().invoke(command, ["token", *arguments], input=typed)
    if isinstance(done.exception, QKDError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def told(*arguments: str, typed: str = "") -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(run(*arguments, "--json", typed=typed).stdout)
    return facts


@pytest.fixture
def empty(tokens: UsbTokens) -> dict[str, str]:
    """The URLs of two more tokens, initialised and empty, beside those of `tokens`."""
    for site, peer in (("carol", "dave"), ("dave", "carol")):
        tokens.world.plug(CcidToken(initialised(site, peer, max_keys=8)))
    return {site: tokens.url(site) for site in ("carol", "dave")}


def from_tokens(tokens: UsbTokens, *, peer: bool = True) -> list[str]:
    """Filled tokens are devices, too: keys may come from them."""
    both = ["--from", tokens.url("alice")]
    return [*both, "--from-peer", tokens.url("bob")] if peer else both


def exchange(starter: str, other: str, owner: str) -> KeyId:
    with (
        open_device(starter) as mine,
        open_device(other) as theirs,
        mine.start(size=32) as session,
    ):
        session.connect()
        key = session.get_key()
        assert key.matches(theirs.get_key_by_id(session.key_id, owner))
        return session.key_id


def test_two_tokens_are_filled_in_two_halves(tokens: UsbTokens, empty: dict[str, str]) -> None:
    done = told("fill", *empty.values(), *from_tokens(tokens), "--keys", "4")
    assert done == {"keys": 4, "size": 32}
    for url in empty.values():
        facts = told("status", url)
        assert (facts["own_keys"], facts["peer_keys"]) == (2, 2)
    exchange(empty["carol"], empty["dave"], "carol")
    exchange(empty["dave"], empty["carol"], "dave")


def test_the_devices_keep_no_copy_of_what_was_loaded(
    tokens: UsbTokens, empty: dict[str, str]
) -> None:
    run("fill", *empty.values(), *from_tokens(tokens), "--keys", "3")
    for site, own, peer in (("alice", 37, 40), ("bob", 40, 37)):
        facts = told("status", tokens.url(site))
        assert (facts["own_keys"], facts["peer_keys"]) == (own, peer)


def test_provenance_comes_along(tokens: UsbTokens, empty: dict[str, str]) -> None:
    run("fill", *empty.values(), *from_tokens(tokens), "--keys", "2")
    with open_device(empty["carol"]) as carol:
        assert carol.info.provenance.origin is Origin.SIMULATED


def test_each_site_fills_its_own(tokens: UsbTokens, empty: dict[str, str], tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    alice, bob = ["--from", tokens.url("alice")], ["--from", tokens.url("bob")]
    run("fill", empty["carol"], *alice, "--keys", "3", "--ids-out", str(ids), "--peer", "dave")
    # carol's keys are loaded and named; nobody can start a session with them yet
    names = [KeyId.parse(line) for line in ids.read_text().split()]
    facts = told("status", empty["carol"])
    assert (facts["own_keys"], facts["peer_keys"]) == (0, 3)
    run("fill", empty["dave"], *bob, "--ids-in", str(ids), "--peer", "carol")
    assert exchange(empty["dave"], empty["carol"], "dave") == names[0]
    listed = told("list", empty["dave"])["keys"]
    assert [KeyId.parse(key["key_id"]) for key in listed] == names[1:]
    assert all(key["own"] and key["size"] == 32 for key in listed)
    with pytest.raises(ConfigurationError, match="--ids-out"):
        run("fill", empty["carol"], *alice, "--keys", "1", "--ids-out", str(ids))


def test_a_person_may_take_longer_to_type_the_pin_than_a_call_may_take(
    tokens: UsbTokens, empty: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*_: object, **__: object) -> str:
        time.sleep(2)
        return PIN.decode()

    monkeypatch.setattr(click, "prompt", slowly)
    carol = empty["carol"].partition("?")[0]
    both = [carol, empty["dave"], *from_tokens(tokens)]
    assert told("fill", *both, "--keys", "1", "--timeout", "1.5")["keys"] == 1


def test_a_full_store_is_refused_before_a_key_is_taken(
    tokens: UsbTokens, empty: dict[str, str]
) -> None:
    with pytest.raises(DeviceError, match="room for 8 keys"):
        run("fill", *empty.values(), *from_tokens(tokens), "--keys", "9")
    assert told("status", tokens.url("alice"))["own_keys"] == 40


def test_a_fill_that_breaks_off_leaves_no_key_with_its_owner_alone(
    tokens: UsbTokens, empty: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkd_hal_drivers.usb_token.fill import TokenLoader

    whole = TokenLoader.load
    calls: list[bool] = []

    def breaking(loader: TokenLoader, *arguments: Any, **options: Any) -> None:
        if len(calls) == 5:
            raise DeviceError("broken off")
        calls.append(options["own"])
        whole(loader, *arguments, **options)

    monkeypatch.setattr(TokenLoader, "load", breaking)
    with pytest.raises(DeviceError, match="broken off"):
        run("fill", *empty.values(), *from_tokens(tokens), "--keys", "4")
    keys = {site: told("list", url)["keys"] for site, url in empty.items()}
    own = {site: {k["key_id"] for k in some if k["own"]} for site, some in keys.items()}
    peer = {site: {k["key_id"] for k in some if not k["own"]} for site, some in keys.items()}
    assert own["carol"] <= peer["dave"]
    assert own["dave"] <= peer["carol"]
    assert calls == [False, True, False, True, False]


@pytest.mark.parametrize(
    "arguments",
    [
        ["{carol}", "--from", "{alice}"],
        ["{carol}", "{dave}", "--from", "{alice}"],
        ["{carol}", "{dave}", "--from", "{alice}", "--ids-out", "x"],
        ["{carol}", "--from", "{alice}", "--ids-out", "x", "--ids-in", "y"],
    ],
)
def test_half_an_order_is_refused(
    tokens: UsbTokens, empty: dict[str, str], arguments: list[str]
) -> None:
    urls = {**empty, "alice": tokens.url("alice")}
    with pytest.raises(UsageError):
        run("fill", *(argument.format(**urls) for argument in arguments))


@pytest.mark.parametrize("content", ["", "no-key-id\n", 2 * f"{KEY_ID}\n", None])
def test_another_file_is_no_list_of_key_ids(
    tokens: UsbTokens, empty: dict[str, str], tmp_path: Path, content: str | None
) -> None:
    ids = tmp_path / "ids"
    if content is not None:
        ids.write_text(content)
    with pytest.raises(ConfigurationError, match=r"/ids.*Take the file of --ids-out"):
        run("fill", empty["carol"], *from_tokens(tokens, peer=False), "--ids-in", str(ids))


def test_tokens_of_other_sites_are_refused(tokens: UsbTokens, empty: dict[str, str]) -> None:
    tokens.world.plug(CcidToken(initialised("erin", "frank")))
    with pytest.raises(UsageError, match="shares keys with carol, not with erin"):
        run("fill", tokens.url("erin"), empty["dave"], *from_tokens(tokens), "--keys", "2")
    with pytest.raises(ConfigurationError, match="carol's, not erin's"):
        run("fill", *empty.values(), *from_tokens(tokens), "--site", "erin")


@pytest.mark.parametrize("url", ["usb://1209:0001", "nothing:here"])
def test_only_tokens_are_filled_and_managed(tokens: UsbTokens, url: str) -> None:
    with pytest.raises(ConfigurationError):
        run("fill", url, tokens.url("bob"), *from_tokens(tokens))
    with pytest.raises(ConfigurationError):
        run("status", url)


class TestCare:
    @pytest.fixture
    def blank(self, tokens: UsbTokens) -> str:
        tokens.world.plug(CcidToken(KeyApplet(MemoryMedium())))
        return "token://1209:0005/QKDTOKEN0001"

    def test_a_blank_token_is_initialised(self, blank: str) -> None:
        assert told("status", blank)["life"] == "blank"
        with pytest.raises(DeviceError, match="qkd-hal token init"):
            run("list", blank, typed="whatever\n")
        secrets = "123456\n123456\n87654321\n87654321\n"
        run("init", blank, "--site", "erin", "--peer", "frank", typed=secrets)
        facts = told("status", blank)
        assert (facts["site"], facts["peer"], facts["life"]) == ("erin", "frank", "initialised")
        assert told("list", blank, typed="123456\n") == {"keys": []}

    def test_secrets_may_come_from_private_files(self, blank: str, tmp_path: Path) -> None:
        files = {}
        for name, secret in (("pin", "123456"), ("puk", "87654321")):
            files[name] = tmp_path / name
            files[name].touch(0o600)
            files[name].write_text(secret + "\n")
        options = ["--pin-file", str(files["pin"]), "--puk-file", str(files["puk"])]
        run("init", blank, "--site", "erin", "--peer", "frank", *options)
        assert told("list", blank, typed="123456\n") == {"keys": []}
        files["pin"].chmod(0o644)
        with pytest.raises(ConfigurationError, match="chmod 600"):
            run("change-pin", blank, *options[:2], typed="123456\n")

    def test_initialising_again_needs_the_pin_and_a_yes(self, tokens: UsbTokens) -> None:
        url = tokens.url("alice")
        secrets = "123456\n123456\n87654321\n87654321\n"
        names = ["--site", "erin", "--peer", "frank", "--provenance", "hardware"]
        refused = CliRunner().invoke(command, ["token", "init", url, *names], input="n\n")
        assert refused.exit_code != 0
        assert told("status", url)["own_keys"] == 40
        run("init", url, *names, typed="y\n" + secrets)
        facts = told("status", url)
        assert (facts["own_keys"], facts["site"]) == (0, "erin")
        assert facts["provenance"] == "hardware"

    def test_a_token_is_not_its_own_peer(self, blank: str) -> None:
        secrets = "123456\n123456\n87654321\n87654321\n"
        with pytest.raises(UsageError, match="erin shares no keys with itself"):
            run("init", blank, "--site", "erin", "--peer", "erin", typed=secrets)

    def test_a_wrong_pin_is_tried_once_and_a_right_one_resets(self, tokens: UsbTokens) -> None:
        url = tokens.url("alice")
        with pytest.raises(DevicePermissionError, match="2 tries are left"):
            run("verify", url, typed="wrong-pin\n")
        with pytest.raises(DevicePermissionError, match="qkd-hal token verify"):
            open_device(url).init()
        run("verify", url, typed=PIN.decode() + "\n")
        assert tokens.tries("alice") == 3

    def test_changing_the_pin(self, tokens: UsbTokens) -> None:
        url = tokens.url("alice")
        run("change-pin", url, typed=f"{PIN.decode()}\n{NEW_PIN}\n{NEW_PIN}\n")
        tokens.write_pin(NEW_PIN.encode())
        assert told("list", url)["keys"]
        with pytest.raises(DevicePermissionError, match="the PIN is wrong; 2"):
            run("change-pin", url, typed=f"{PIN.decode()}\n{NEW_PIN}\n{NEW_PIN}\n")

    def test_unblocking(self, tokens: UsbTokens) -> None:
        url = tokens.url("alice")
        for _ in range(3):
            with pytest.raises(DevicePermissionError):
                run("verify", url, typed="wrong-pin\n")
        with pytest.raises(DevicePermissionError, match="qkd-hal token unblock"):
            run("list", url)
        with pytest.raises(DevicePermissionError, match="the PUK is wrong; 9"):
            run("unblock", url, typed=f"wrong-puk\n{NEW_PIN}\n{NEW_PIN}\n")
        run("unblock", url, typed=f"{PUK.decode()}\n{NEW_PIN}\n{NEW_PIN}\n")
        tokens.write_pin(NEW_PIN.encode())
        assert len(told("list", url)["keys"]) == 80

    def test_erasing_one_the_claimed_and_all(self, tokens: UsbTokens) -> None:
        url = tokens.url("alice")
        with open_device(url) as device:
            driver_of(device).reserve("bob", 32, 1, Deadline(5))  # and dies before its CONFIRM
        key_id = next(key["key_id"] for key in told("list", url)["keys"] if not key["claimed"])
        run("erase", url, "--key-id", key_id, "--yes")
        with pytest.raises(KeyNotFoundError, match=key_id):
            run("erase", url, "--key-id", key_id, "--yes")
        assert told("status", url)["claimed_keys"] == 1
        run("erase", url, "--claimed", typed="y\n")
        assert told("status", url)["claimed_keys"] == 0
        run("erase", url, "--all", "--yes")
        assert told("list", url) == {"keys": []}
        with pytest.raises(UsageError):
            run("erase", url, "--all", "--claimed")

    def test_tables_for_people(self, tokens: UsbTokens) -> None:
        assert "own keys" in run("status", tokens.url("alice")).stdout
        assert "available" in run("list", tokens.url("alice")).stdout


@pytest.mark.parametrize("fault", ["halt", "duplicate", "lie", "hardware-error", "reset"])
def test_a_disturbed_load_stores_each_key_once(tokens: UsbTokens, fault: str) -> None:
    plan = FaultPlan()
    tokens.world.plug(CcidToken(initialised("carol", "dave"), plan))
    tokens.world.plug(CcidToken(initialised("dave", "carol")))
    for _ in range(3):
        plan.once(f"{fault}@LOAD")
        run("fill", tokens.url("carol"), tokens.url("dave"), *from_tokens(tokens), "--keys", "2")
    assert plan.log.count(fault) == 3
    for site in ("carol", "dave"):
        facts = told("status", tokens.url(site))
        assert (facts["own_keys"], facts["peer_keys"]) == (3, 3)
