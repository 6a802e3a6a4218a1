"""Attempts to get key bytes out of a QuantumKey by the side door."""

from __future__ import annotations

import base64
import copy
import gc
import io
import json
import logging
import os
import pickle
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import KeyConsumedError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = bytes(range(0xA0, 0xC0))
REF = KeyRef("alice", KeyId.random())
SIMULATED = Provenance(Origin.SIMULATED)


@pytest.fixture
def key() -> QuantumKey:
    return QuantumKey(SECRET, provenance=SIMULATED, ref=REF)


def leaks(text: str) -> bool:
    """Whether *text* holds the secret, or a good part of it, in any usual notation."""
    part = SECRET[4:12]
    notations = [
        part.hex(),
        part.hex(" "),
        repr(part)[2:-1],
        base64.b64encode(SECRET)[8:20].decode(),
        str(list(part))[1:-1],
        part.decode("latin-1"),
        str(int.from_bytes(SECRET, "big")),
    ]
    return any(notation.lower() in text.lower() for notation in notations)


def test_the_search_for_leaks_finds_one() -> None:
    for text in (SECRET.hex(), repr(SECRET), str(list(SECRET)), repr(bytearray(SECRET))):
        assert leaks(text)


SIDE_DOORS: dict[str, Callable[[QuantumKey], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda key: f"{key}",
    "f-string with a spec": lambda key: f"{key:x} {key!r} {key!s}",
    "percent": lambda key: "%s %r" % (key, key),  # noqa: UP031
    "format": lambda key: "{} {0!r}".replace("{}", "{0}").format(key),
    "inside a container": lambda key: repr([{"key": key}]),
    "ascii": ascii,
    "json default": lambda key: json.dumps(key, default=repr),
    "dir": lambda key: repr(dir(key)),
}


@pytest.mark.parametrize("door", SIDE_DOORS)
def test_text_never_holds_the_key(door: str, key: QuantumKey) -> None:
    text = SIDE_DOORS[door](key)
    assert not leaks(text)
    if door != "dir":
        assert "redacted" in text
        assert str(REF) in text
        assert "simulated" in text


def test_logging_never_holds_the_key(key: QuantumKey) -> None:
    stream = io.StringIO()
    logger = logging.Logger("leak")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("key %s %r", key, key, extra={"material": key})
    assert "redacted" in stream.getvalue()
    assert not leaks(stream.getvalue())


def _trace(error: BaseException) -> str:
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(captured.format())


def test_a_traceback_with_locals_never_holds_the_key(key: QuantumKey) -> None:
    def using(secret_key: QuantumKey) -> None:
        with secret_key.exposed() as view:
            assert view[0] == SECRET[0]
            raise RuntimeError("in use")

    with pytest.raises(RuntimeError) as caught:
        using(key)
    trace = _trace(caught.value)
    assert "secret_key = " in trace
    assert not leaks(trace)


@pytest.mark.parametrize(
    "attempt",
    [
        copy.copy,
        copy.deepcopy,
        lambda key: copy.deepcopy({"key": key}),
        pickle.dumps,
        lambda key: pickle.dumps(key, protocol=0),
        lambda key: pickle.dumps([key]),
        json.dumps,
        vars,
        bytes,
        memoryview,
        list,
        iter,
        hash,
        lambda key: key == key,
        lambda key: key != b"",
        lambda key: key in {1: 2},
        lambda key: key[0],
        lambda key: key + b"",
    ],
)
def test_what_would_copy_or_compare_is_refused(
    attempt: Callable[[QuantumKey], object], key: QuantumKey
) -> None:
    with pytest.raises(TypeError) as caught:
        attempt(key)
    assert not leaks(_trace(caught.value))


def test_bytes_handed_in_are_moved() -> None:
    material = bytearray(SECRET)
    key = QuantumKey(material, provenance=SIMULATED)
    assert material == bytes(32)
    assert key.matches(SECRET)


def test_a_key_is_shown_once_and_then_overwritten(key: QuantumKey) -> None:
    buffer = key._buffer
    with key.exposed() as view:
        assert bytes(view) == SECRET
        assert view.readonly
    assert buffer == bytes(32)
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    with pytest.raises(KeyConsumedError, match=str(REF.key_id)), key.exposed():
        pass
    with pytest.raises(KeyConsumedError):
        key.matches(SECRET)


def test_one_of_many_threads_is_shown_the_key(key: QuantumKey) -> None:
    def attempt(_: int) -> int:
        try:
            with key.exposed() as view:
                return len(bytes(view))
        except KeyConsumedError:
            return 0

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(attempt, range(8))) == [0] * 7 + [32]


@pytest.mark.parametrize("how", ["wipe", "with", "delete"])
def test_every_end_overwrites(how: str) -> None:
    key = QuantumKey(SECRET, provenance=SIMULATED)
    buffer = key._buffer
    if how == "wipe":
        key.wipe()
        key.wipe()
    elif how == "with":
        with key:
            assert len(key) == 32
    del key
    gc.collect()
    assert buffer == bytes(32)


def test_keys_match_without_being_shown(key: QuantumKey) -> None:
    same = QuantumKey(SECRET, provenance=SIMULATED)
    other = QuantumKey(bytes(32), provenance=SIMULATED)
    assert key.matches(same)
    assert not key.matches(other)
    assert not key.matches(SECRET[:-1])
    with key.exposed() as view:
        assert len(view) == 32


def test_a_key_matches_one_that_nobody_else_holds(key: QuantumKey) -> None:
    assert key.matches(QuantumKey(SECRET, provenance=SIMULATED))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_no_key(key: QuantumKey) -> None:
    child = os.fork()
    if child == 0:
        try:
            key.matches(SECRET)
            os._exit(1)
        except KeyConsumedError:
            os._exit(2 if any(key._buffer) else 0)
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert key.matches(SECRET), "the fork cost the parent its key"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_key_on_show_is_overwritten_in_a_forked_child(key: QuantumKey) -> None:
    with key.exposed() as view:
        child = os.fork()
        if child == 0:
            os._exit(any(view))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert bytes(view) == SECRET


def test_bytes_that_somebody_still_holds_are_overwritten_all_the_same(key: QuantumKey) -> None:
    buffer = key._buffer
    with pytest.raises(BufferError), key.exposed() as view:
        held = pickle.PickleBuffer(view)
    held.release()
    assert not any(buffer)
