"""derive(): RFC 5869, the same in software and in a token, each label once."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device._derive import hkdf_expand
from qkd_hal.errors import (
    DeadlineError,
    DeviceError,
    DeviceLostError,
    KeyConsumedError,
    KeyNotFoundError,
    ProtocolError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import QuantumKey
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from qkd_hal.device import QKDSession
    from tests.device.conftest import Pair

# RFC 5869, appendix A.1: PRK, info, OKM of test case 1 (SHA-256).
PRK = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
INFO = "f0f1f2f3f4f5f6f7f8f9"
OKM = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def shown(key: QuantumKey) -> bytes:
    with key.exposed() as view:
        return bytes(view)


def _started(pair: Pair, size: int | None = 32) -> QKDSession:
    session = pair.alice.start(size=size)
    session.connect()
    return session


def test_expansion_matches_rfc_5869() -> None:
    key = memoryview(bytes.fromhex(PRK))
    assert hkdf_expand(key, bytes.fromhex(INFO), 42).hex() == OKM


@pytest.mark.parametrize("size", [32, 64])
def test_software_and_token_derive_the_same(size: int, pair: Pair, token_pair: Pair) -> None:
    plain, token = _started(pair, size), _started(token_pair, size)
    material = pair.link.entries[plain.key_id].material
    token_pair.link.entries[token.key_id].material = material
    assert shown(plain.derive(b"tag", 100)) == shown(token.derive(b"tag", 100))
    assert "fetch" not in token_pair.alice_driver.calls


def test_both_ends_derive_the_same_and_labels_differ(pair: Pair) -> None:
    alice = _started(pair)
    bob = pair.bob.start(key_id=alice.key_id)
    bob.connect()
    assert shown(alice.derive(b"a")) == shown(bob.derive(b"a"))
    assert shown(alice.derive(b"b")) != shown(bob.derive(b"c"))


@pytest.mark.parametrize("kind", ["pair", "token_pair"])
def test_a_label_is_used_once(kind: str, request: pytest.FixtureRequest) -> None:
    session = _started(request.getfixturevalue(kind))
    session.derive(b"tag")
    with pytest.raises(KeyConsumedError, match="label"):
        session.derive(b"tag", 16)


def test_a_label_that_failed_may_be_tried_again(token_pair: Pair) -> None:
    session = _started(token_pair)
    token_pair.alice_driver.fail("derive", DeadlineError("slow"))
    with pytest.raises(DeadlineError):
        session.derive(b"tag")
    assert len(session.derive(b"tag")) == 32


@pytest.mark.parametrize(("size", "output"), [(31, 32), (None, 32), (32, 0), (32, 255 * 32 + 1)])
def test_sizes_that_hkdf_does_not_take_are_refused(
    size: int | None, output: int, pair: Pair
) -> None:
    session = _started(pair, size)
    with pytest.raises(UsageError):
        session.derive(b"tag", output)
    assert "fetch" not in pair.alice_driver.calls


def test_the_largest_output_is_given(pair: Pair) -> None:
    assert len(_started(pair).derive(b"tag", 255 * 32)) == 255 * 32


def test_a_key_inside_a_token_is_erased_after_the_session(token_pair: Pair) -> None:
    session = _started(token_pair)
    with session:
        session.derive(b"tag")
        assert not token_pair.alice_driver.erased(session.key_id)
    token_pair.alice.status()
    assert token_pair.alice_driver.erased(session.key_id)


def test_a_key_inside_a_token_is_erased_when_the_device_closes(token_pair: Pair) -> None:
    session = _started(token_pair)
    session.derive(b"tag")
    session.close()
    token_pair.alice.close()
    assert token_pair.alice_driver.erased(session.key_id)


def test_a_token_that_gives_another_size_is_caught(token_pair: Pair, mocker: MockerFixture) -> None:
    wrong = bytearray(b"k" * 31)
    mocker.patch.object(token_pair.alice_driver, "derive", return_value=wrong)
    with pytest.raises(DeviceError, match="another size"):
        _started(token_pair).derive(b"tag")
    assert not any(wrong)


@pytest.mark.parametrize("wrong", [None, b"short", 32])
def test_a_token_that_gives_no_buffer_at_all_is_caught(
    wrong: object, token_pair: Pair, mocker: MockerFixture
) -> None:
    mocker.patch.object(token_pair.alice_driver, "derive", return_value=wrong)
    with pytest.raises(DeviceError):
        _started(token_pair).derive(b"tag")


def test_a_device_that_can_neither_says_so(new_pair: Callable[..., Pair]) -> None:
    pair = new_pair(frozenset({Capability.LOOK_UP}))
    with pytest.raises(UnsupportedError):
        _started(pair).derive(b"tag")


def test_a_token_derives_for_one_session_at_a_time(token_pair: Pair) -> None:
    first = _started(token_pair)
    first.derive(b"tag")
    with pytest.raises(KeyNotFoundError):
        token_pair.alice.start("alice", key_id=first.key_id)


@pytest.mark.parametrize("end", ["drop", "lose"])
def test_a_key_that_derived_is_erased_however_its_session_ends(end: str, token_pair: Pair) -> None:
    session = _started(token_pair)
    session.derive(b"tag")
    key_id = session.key_id
    if end == "lose":
        token_pair.alice_driver.fail("status", DeviceLostError("unplugged"))
        with pytest.raises(DeviceLostError):
            token_pair.alice.status()
        token_pair.alice.init()
    else:
        del session
        gc.collect()
    with pytest.raises(KeyNotFoundError):
        token_pair.alice.start("alice", key_id=key_id)
    assert token_pair.alice_driver.erased(key_id)


def test_a_key_that_the_token_still_owes_is_not_bound_again(token_pair: Pair) -> None:
    session = _started(token_pair)
    session.derive(b"tag")
    session.close()
    token_pair.alice_driver.fail("confirm", ProtocolError("noise"))
    with pytest.raises(KeyNotFoundError):
        token_pair.alice.start("alice", key_id=session.key_id)
    assert not token_pair.alice_driver.erased(session.key_id)
