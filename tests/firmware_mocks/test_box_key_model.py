"""Two boxes against a model of what each end may still read, over crashes and power cuts.

One delivery: bytes that were confirmed never come again. Both or none: what one end reads,
the other can read, with the same value, until it confirmed it.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.key_memory import KeyMemory
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from tests.firmware_mocks.box_host import Host, RefusedError

PSKS = (bytes(32), bytes([1]) * 32)
ENDS = {"alice": "bob", "bob": "alice"}
STORED = 3000
NOT_FOUND, EXHAUSTED, CONSUMED = 16, 17, 18


@dataclass
class Key:
    """*marks*: what each end confirmed; *alive*: whether its starter still has it."""

    starter: str
    size: int
    marks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    seen: dict[int, int] = field(default_factory=dict)
    alive: bool = True


class TwoBoxes(RuleBasedStateMachine):
    """Hosts at both ends do anything in any order."""

    ids = Bundle("ids")
    ends = strategies.sampled_from(sorted(ENDS))

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.model: dict[bytes, Key] = {}
        self.tokens = itertools.count()
        self.stored = dict.fromkeys(ENDS, STORED)
        self.boot()

    def boot(self) -> None:
        psks = make_settings(PSKS)
        self.pair = BoxPair(psks, self.home, stored=STORED)
        self.hosts = {}
        for (end, peer), psk in zip(ENDS.items(), PSKS, strict=True):
            self.hosts[end] = Host(self.pair.boxes[end].feed, psk, peer)
            self.hosts[end].open()

    def teardown(self) -> None:
        self.pair.close()
        shutil.rmtree(self.home)

    def forget(self, end: str) -> None:
        """The session of *end* is gone, and with it what it had reserved."""
        for key in self.model.values():
            key.alive = key.alive and key.starter != end

    @rule(target=ids, end=ends, size=strategies.integers(1, 60), count=strategies.integers(1, 3))
    def reserve(self, end: str, size: int, count: int) -> object:
        token = next(self.tokens).to_bytes(16, "big")
        ask = {"size": size, "count": count, "token": token}
        if size * count > self.stored[end]:
            assert self.refused(end, "RESERVE", **ask) == EXHAUSTED
            return multiple()
        self.stored[end] -= size * count
        ids = self.hosts[end].do("RESERVE", **ask)["ids"]
        assert self.hosts[end].do("RESERVE", **ask)["ids"] == ids
        assert not self.model.keys() & set(ids)
        self.model.update({key_id: Key(end, size) for key_id in ids})
        return multiple(*ids)

    @rule(end=ends, key_id=ids)
    def bind(self, end: str, key_id: bytes) -> None:
        key = self.model[key_id]
        gone = key.starter == end or key.marks[end] == key.size
        if gone:
            assert self.refused(end, "BIND", id=key_id) in (NOT_FOUND, CONSUMED)
        else:
            assert self.hosts[end].do("BIND", id=key_id)["size"] == key.size
            self.note_along(end, key, self.hosts[end].do("BIND", id=key_id, inline=60))

    @rule(end=ends, key_id=ids, offset=strategies.integers(0, 59), size=strategies.integers(1, 60))
    def fetch(self, end: str, key_id: bytes, offset: int, size: int) -> None:
        key = self.model[key_id]
        size = min(size, key.size - offset)
        if size < 1:
            return
        ask = {"id": key_id, "offset": offset, "size": size}
        if not self.holds(end, key) or offset < key.marks[end]:
            assert self.refused(end, "FETCH", **ask) in (NOT_FOUND, CONSUMED)
            return
        data = self.hosts[end].do("FETCH", **ask)["data"]
        assert len(data) == size
        self.note(key, data, offset)

    @rule(end=ends, key_id=ids, end_at=strategies.integers(0, 60))
    def confirm(self, end: str, key_id: bytes, end_at: int) -> None:
        key = self.model[key_id]
        end_at = min(end_at, key.size)
        self.hosts[end].do("CONFIRM", id=key_id, end=end_at)
        if self.holds(end, key):
            key.marks[end] = max(key.marks[end], end_at)

    @rule(end=ends, key_id=consumes(ids))
    def agree(self, end: str, key_id: bytes) -> None:
        key = self.model[key_id]
        if self.holds(end, key) and self.holds(ENDS[end], key):
            answer = self.hosts[end].do("AGREE", id=key_id, wait_ms=0)
            assert answer == {"agreement": 1}
            along = self.hosts[end].do("AGREE", id=key_id, wait_ms=0, inline=60)
            self.note_along(end, key, along)

    @rule(end=ends)
    def new_session(self, end: str) -> None:
        self.hosts[end].open()
        self.forget(end)

    @rule(end=ends)
    def say_bye(self, end: str) -> None:
        self.hosts[end].do("BYE")
        self.hosts[end].open()
        self.forget(end)

    @rule(end=ends)
    def brown_out(self, end: str) -> None:
        self.pair.boxes[end].power_cycle()
        self.hosts[end].open()
        self.forget(end)

    @rule()
    def die_and_start_again(self) -> None:
        # Not closed: what it left behind is what a killed process leaves.
        dead = self.pair
        self.boot()
        dead.close()
        self.stored = dict.fromkeys(ENDS, STORED)
        for end in ENDS:
            self.forget(end)

    @invariant()
    def figures_are_the_models(self) -> None:
        if hasattr(self, "hosts"):
            for end, host in self.hosts.items():
                assert host.do("STATUS")["stored_bytes"] == self.stored[end]

    def holds(self, end: str, key: Key) -> bool:
        """Whether *end* has bytes of *key* left."""
        return key.marks[end] < key.size and (key.alive or key.starter != end)

    def note(self, key: Key, data: bytes, offset: int = 0) -> None:
        for place, value in enumerate(data, offset):
            assert key.seen.setdefault(place, value) == value, "the ends differ"

    def note_along(self, end: str, key: Key, answer: dict[str, object]) -> None:
        """Look at an answer that could have brought the key along."""
        data = answer.get("data", b"")
        assert isinstance(data, bytes)
        assert len(data) == (0 if key.marks[end] else key.size)
        self.note(key, data)

    def refused(self, end: str, operation: str, **fields: object) -> int:
        with pytest.raises(RefusedError) as error:
            self.hosts[end].do(operation, **fields)
        code: int = error.value.code
        return code


TestTwoBoxes = TwoBoxes.TestCase
TestTwoBoxes.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_what_was_confirmed_is_overwritten_in_the_file(tmp_path: Path) -> None:
    memory = KeyMemory(tmp_path / "keys")
    secret, rest = b"confirmed bytes!" * 4, b"bytes that stay." * 4
    memory.add([(b"1" * 16, 128, secret + rest), (b"2" * 16, 64, secret)])
    memory.move_mark(b"1" * 16, 64)
    memory.remove(b"2" * 16)
    memory._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (tmp_path / "keys").read_bytes()
    memory.close()
    assert rest in content
    assert secret[:16] not in content


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    memory = KeyMemory(tmp_path / "keys")
    memory.add([(b"1" * 16, 1, b"k")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    memory.close()
    assert set(modes.values()) == {0o600}, modes


def test_keys_that_nobody_asks_for_go_when_there_is_no_room() -> None:
    memory = KeyMemory(None)
    ids = [number.to_bytes(16, "big") for number in range(16385)]
    for start in range(0, len(ids), 1000):
        memory.add([(key_id, 1, b"k") for key_id in ids[start : start + 1000]])
    found = [memory.find(key_id) is not None for key_id in ids]
    memory.close()
    assert found == [False] * 1024 + [True] * (len(ids) - 1024)


def test_a_stored_key_is_not_in_its_repr() -> None:
    memory = KeyMemory(None)
    memory.add([(b"1" * 16, 6, b"secret")])
    assert "secret" not in repr(memory.find(b"1" * 16))
    memory.close()


def test_keys_are_stored_all_or_none() -> None:
    memory = KeyMemory(None)
    memory.add([(b"1" * 16, 1, b"k")])
    twice = [(b"2" * 16, 1, b"k"), (b"1" * 16, 1, b"k")]
    with pytest.raises(Exception, match="UNIQUE"):
        memory.add(twice)
    assert memory.find(b"2" * 16) is None
    memory.close()


def test_a_key_that_the_peer_could_not_store_is_not_given_out() -> None:
    with BoxPair(make_settings(PSKS), stored=STORED) as pair:
        alice = Host(pair.alice.feed, PSKS[0], "bob")
        alice.open()
        pair.bob.keys._memory.close()
        with pytest.raises(RefusedError) as error:
            alice.do("RESERVE", size=32, count=1, token=bytes(16))
        assert error.value.code == 32
        assert not pair.alice.keys._own
