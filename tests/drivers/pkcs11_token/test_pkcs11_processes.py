"""Several processes on one token, killed at any step: every key goes to one of them at most."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from qkd_hal import KeyId, open_device
from qkd_hal.errors import KeyMaterialError, KeysExhaustedError
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.drivers.pkcs11_token.conftest import FilledTokens, TokenPair

pytestmark = pytest.mark.needs("softhsm2-util")
RACERS = 3

# Each child opens the token and waits for a line, so that all start at the same moment.
_OPEN = """
import json, sys
from qkd_hal.errors import KeyMaterialError, KeysExhaustedError
from qkd_hal.keys import KeyId
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver

driver, soon = Pkcs11TokenDriver(DeviceURL.parse(sys.argv[1])), Deadline(60)
driver.open(soon)
print("open", flush=True)
asked = json.loads(sys.stdin.readline())
"""
_RESERVE_ALL = """
got = []
try:
    while True:
        got.append(str(driver.reserve("bob", 32, 1, soon)[0].key_id))
except KeysExhaustedError:
    print(json.dumps(got))
"""
_TAKE_ALL = """
got = []
for name in asked:
    try:
        slot = driver.bind("alice", KeyId.parse(name), soon)
        USE
        driver.confirm(slot, soon)
        got.append(name)
    except KeyMaterialError:
        pass
print(json.dumps(got))
"""
_FETCH = "driver.fetch(slot, memoryview(bytearray(32)), soon)"
_DERIVE = 'driver.derive(slot, b"label", 32, soon)'
_RESERVE_ONE = """
slot = driver.reserve("bob", 32, 1, soon)[0]
STEPS
print(slot.key_id, flush=True)
sys.stdin.readline()
"""
_TAKE_ONE = """
slot = driver.bind("alice", KeyId.parse(asked), soon)
STEPS
print(slot.key_id, flush=True)
sys.stdin.readline()
"""


def child(url: str, work: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN + work, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], asked: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()


def race(url: str, work: str, asked: object, environment: dict[str, str]) -> list[list[str]]:
    """Return what each of the racers got."""
    with ExitStack() as stack:
        racers = [stack.enter_context(child(url, work, environment)) for _ in range(RACERS)]
        for racer in racers:
            stack.callback(racer.kill)
        assert [line_of(racer) for racer in racers] == ["open"] * RACERS
        for racer in racers:
            tell(racer, asked)
        got = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * RACERS
        return got


def killed_after(url: str, work: str, asked: object, environment: dict[str, str]) -> KeyId:
    """Let a child get as far as *work* goes, then kill it; return the key that it used."""
    with child(url, work, environment) as process:
        assert line_of(process) == "open"
        tell(process, asked)
        key_id = KeyId.parse(line_of(process))
        process.kill()
    return key_id


def own_key_ids(url: str) -> list[KeyId]:
    """Use up all own keys of a token."""
    driver = Pkcs11TokenDriver(DeviceURL.parse(url))
    driver.open(Deadline(10))
    got = []
    try:
        while True:
            got.append(driver.reserve("bob", 32, 1, Deadline(10))[0].key_id)
    except KeysExhaustedError:
        return got
    finally:
        driver.close()


@pytest.fixture(params=[True, False], ids=["extractable", "inside"])
def extractable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def pair(
    extractable: bool, filled_tokens: FilledTokens, use_tokens: Callable[[Path], TokenPair]
) -> TokenPair:
    return use_tokens(filled_tokens(10, extractable=extractable))


@pytest.fixture
def use(extractable: bool) -> str:
    return _FETCH if extractable else _DERIVE


def test_racing_processes_reserve_every_key_once(
    pair: TokenPair, bare_environment: dict[str, str]
) -> None:
    got = race(pair.url("alice"), _RESERVE_ALL, None, bare_environment)
    reserved = [*chain(*got)]
    assert (len(reserved), len(set(reserved))) == (10, 10)


def test_racing_processes_take_every_key_of_the_peer_once(
    pair: TokenPair, use: str, bare_environment: dict[str, str]
) -> None:
    names = [str(key_id) for key_id in own_key_ids(pair.url("alice"))]
    got = race(pair.url("bob"), _TAKE_ALL.replace("USE", use), names, bare_environment)
    assert sorted(chain(*got)) == sorted(names)


@pytest.mark.parametrize("steps", [0, 1], ids=["after reserve", "after its use"])
def test_a_key_of_a_killed_process_is_not_reserved_again(
    pair: TokenPair, use: str, steps: int, bare_environment: dict[str, str]
) -> None:
    work = _RESERVE_ONE.replace("STEPS", use if steps else "")
    burned = killed_after(pair.url("alice"), work, None, bare_environment)
    left = own_key_ids(pair.url("alice"))
    assert len(left) == 9
    assert burned not in left


def test_a_key_that_a_killed_process_used_is_not_given_to_the_next(
    pair: TokenPair, use: str, bare_environment: dict[str, str]
) -> None:
    named = own_key_ids(pair.url("alice"))[0]
    work = _TAKE_ONE.replace("STEPS", use)
    assert killed_after(pair.url("bob"), work, str(named), bare_environment) == named
    with open_device(pair.url("bob")) as bob, pytest.raises(KeyMaterialError):
        bob.start("alice", key_id=named)


def test_a_key_that_a_killed_process_only_looked_up_is_still_there(
    pair: TokenPair, bare_environment: dict[str, str]
) -> None:
    named = own_key_ids(pair.url("alice"))[0]
    killed_after(pair.url("bob"), _TAKE_ONE.replace("STEPS", ""), str(named), bare_environment)
    with open_device(pair.url("bob")) as bob, bob.start("alice", key_id=named) as session:
        session.connect()
        assert len(session.derive(b"label")) == 32
