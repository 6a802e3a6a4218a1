"""What was recorded replays with the same outcome, and holds no secret."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.device import QKDDevice
from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import (
    DeadlineError,
    DeviceLostError,
    KeysExhaustedError,
    ProtocolError,
    QKDError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.recording import pseudonym, read_recording, recorded
from qkd_hal.registry import open_device
from tests.device.conftest import ALL, DerivingDriver, Link, MemoryDriver
from tests.recording.spellings import spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.device import QKDSession
    from qkd_hal.sources import Deadline, DeviceInfo

URL = DeviceURL.parse("bb84+tcp://192.0.2.7:7101?credential=/home/eve/client.curve")

FAULTS: tuple[Callable[[], Exception], ...] = (
    lambda: DeviceLostError("the line went dead", cure="Plug it in"),
    lambda: DeadlineError("no answer in time"),
    lambda: KeysExhaustedError("nothing left"),
    lambda: ZeroDivisionError("a bug of the driver"),
)
HOOKS = ("open", "status", "reserve", "bind", "agree", "fetch", "confirm", "derive")

numbers = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("start"), st.sampled_from([16, 32, 48]), numbers),
    st.tuples(st.just("join"), numbers, numbers),
    st.tuples(st.just("connect"), numbers, numbers),
    st.tuples(st.just("get_key"), numbers, st.sampled_from([1, 16, 32])),
    st.tuples(st.just("derive"), numbers, numbers),
    st.tuples(st.just("look_up"), numbers, numbers),
    st.tuples(st.just("close"), numbers, numbers),
    st.tuples(st.sampled_from(["status", "init"]), numbers, numbers),
    st.tuples(st.just("fault"), st.sampled_from(HOOKS), st.integers(0, len(FAULTS) - 1)),
)
Step = tuple[str, Any, Any]


class Ends(NamedTuple):
    """Both ends of a link, and what a play of steps left behind."""

    alice: QKDDevice
    bob: QKDDevice


class Play:
    """Runs steps on two devices and notes what came of each."""

    def __init__(self, ends: Ends, inject: Callable[[str, Exception], None]) -> None:
        self.ends = ends
        self.inject = inject
        self.sessions: list[QKDSession] = []
        self.names: list[KeyId] = []

    def run(self, script: list[Step]) -> list[str]:
        return [self.outcome(step) for step in script]

    def outcome(self, step: Step) -> str:
        try:
            return str(getattr(self, f"do_{step[0]}")(*step[1:]))
        except QKDError as error:
            which = self.names.index(error.key_id) if error.key_id in self.names else "none"
            return f"{error.code}: {error.what} {error.cure} {which}"

    def do_start(self, size: int, _: int) -> str:
        session = self.ends.alice.start("bob", size=size)
        self.sessions.append(session)
        self.names.append(session.key_id)
        return f"{session.peer} {session.size}"

    def do_join(self, which: int, _: int) -> str:
        session = self.ends.bob.start("alice", key_id=self.name(which))
        self.sessions.append(session)
        return f"{session.peer} {session.size}"

    def do_look_up(self, which: int, _: int) -> str:
        with self.ends.bob.get_key_by_id(self.name(which), "alice") as key:
            return f"{len(key)} bytes"

    def do_connect(self, which: int, _: int) -> str:
        return str(self.session(which).connect())

    def do_get_key(self, which: int, size: int) -> str:
        with self.session(which).get_key(size) as key:
            return f"{len(key)} bytes"

    def do_derive(self, which: int, label: int) -> str:
        with self.session(which).derive(f"label {label}".encode()) as key:
            return f"{len(key)} bytes"

    def do_close(self, which: int, _: int) -> str:
        self.session(which).close()
        return "closed"

    def do_status(self, _: int, __: int) -> str:
        return str(self.ends.alice.status())

    def do_init(self, which: int, _: int) -> str:
        info = self.ends[which % 2].init()
        return f"{info.model} {sorted(each.value for each in info.capabilities)}"

    def do_fault(self, hook: str, which: int) -> str:
        self.inject(hook, FAULTS[which]())
        return "injected"

    def session(self, which: int) -> QKDSession:
        if not self.sessions:
            raise KeysExhaustedError("no session was started")
        return self.sessions[which % len(self.sessions)]

    def name(self, which: int) -> KeyId:
        return self.names[which % len(self.names)] if self.names else KeyId.from_bytes(bytes(16))


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())  # a fixture would be shared by all examples
    try:
        yield path
    finally:
        shutil.rmtree(path)


def recorded_play(
    directory: Path, script: list[Step], kind: type[MemoryDriver]
) -> tuple[list[str], Link]:
    link = Link()
    drivers = [kind(link, *sites) for sites in (("alice", "bob"), ("bob", "alice"))]

    def inject(hook: str, error: Exception) -> None:
        drivers[0].fail(hook, error)

    devices = [
        QKDDevice(recorded(driver, directory / driver.site, URL), name="it") for driver in drivers
    ]
    with devices[0] as alice, devices[1] as bob:
        return Play(Ends(alice, bob), inject).run(script), link


def replayed_play(directory: Path, script: list[Step]) -> list[str]:
    alice, bob = (open_device(f"replay://{directory}/{site}") for site in ("alice", "bob"))
    with alice, bob:
        outcomes = Play(Ends(alice, bob), lambda *_: None).run(script)
        return [outcome.replace(alice.name, "it").replace(bob.name, "it") for outcome in outcomes]


@pytest.mark.parametrize("kind", [MemoryDriver, DerivingDriver])
@given(script=st.lists(steps, max_size=25))
@settings(max_examples=60, deadline=None)
def test_a_replay_has_the_outcome_of_the_recorded_session(
    kind: type[MemoryDriver], script: list[Step]
) -> None:
    with folder() as directory:
        before, link = recorded_play(directory, script, kind)
        assert_nothing_secret(directory, link)
        after = replayed_play(directory, script)
        assert [plain(outcome) for outcome in after] == [plain(outcome) for outcome in before]


def plain(outcome: str) -> str:
    """A driver's own exception is replayed as another one, which is named in the message."""
    return outcome.replace("ZeroDivisionError", "RuntimeError")


def assert_nothing_secret(directory: Path, link: Link) -> None:
    for file in directory.iterdir():
        text = file.read_text()
        for key_id, entry in link.entries.items():
            found = [form for form in spellings(entry.material) if form in text]
            assert found == []
            assert str(key_id) not in text
            assert bytes(key_id).hex() not in text


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Ends]:
    """Two recorded devices on one link; the recordings are ``alice`` and ``bob``."""
    link = Link()
    alice, bob = MemoryDriver(link, "alice", "bob"), MemoryDriver(link, "bob", "alice")
    devices = [
        QKDDevice(recorded(one, tmp_path / one.site, URL), name="it") for one in (alice, bob)
    ]
    with devices[0], devices[1]:
        yield Ends(devices[0], devices[1])


def exchange(ends: Ends) -> tuple[bytes, bytes]:
    with ends.alice.start("bob", size=32) as session:
        session.connect()
        ours = bytes_of(session.get_key())
        return ours, bytes_of(ends.bob.get_key_by_id(session.key_id, "alice"))


def bytes_of(key: Any) -> bytes:
    with key.exposed() as view:
        return bytes(view)


def test_both_ends_replay_to_one_key_that_is_not_the_recorded_one(
    pair: Ends, tmp_path: Path
) -> None:
    recorded_key, _ = exchange(pair)
    with (
        open_device(f"replay://{tmp_path}/alice") as alice,
        open_device(f"replay://{tmp_path}/bob") as bob,
    ):
        assert alice.info.provenance.origin is Origin.SIMULATED
        ours, theirs = exchange(Ends(alice, bob))
    assert ours == theirs
    assert ours != recorded_key


class RealDriver(MemoryDriver):
    """Says that its keys are real."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        provenance = Provenance(Origin.HARDWARE, ("relay",))
        return replace(super().open(deadline), provenance=provenance)


def test_what_replays_a_real_box_is_simulated(tmp_path: Path) -> None:
    driver = RealDriver(Link(), "alice", "bob")
    with QKDDevice(recorded(driver, tmp_path / "r", URL), name="it") as device:
        assert not device.info.provenance.simulated
    with open_device(f"replay://{tmp_path}/r") as device:
        assert device.info.provenance == Provenance(Origin.SIMULATED, ("relay",))


def test_a_replayed_device_that_was_lost_goes_on_where_it_was(tmp_path: Path) -> None:
    driver = MemoryDriver(Link(), "alice", "bob")
    driver.fail("status", DeviceLostError("unplugged"))

    def lose(device: QKDDevice) -> None:
        with pytest.raises(DeviceLostError, match="unplugged"):
            device.status()
        device.init()
        assert device.status() == driver.health

    with QKDDevice(recorded(driver, tmp_path / "r", URL), name="it") as device:
        lose(device)
    with open_device(f"replay://{tmp_path}/r") as device:
        (tmp_path / "r").unlink()
        lose(device)


def test_streams_replay_as_one_sequence(pair: Ends, tmp_path: Path) -> None:
    def read(device: QKDDevice) -> list[bytes]:
        with device.start("bob", size=None) as session:
            session.connect()
            return [bytes_of(session.get_key(size)) for size in (5, 7, 5)]

    read(pair.alice)
    with open_device(f"replay://{tmp_path}/alice") as alice:
        pieces = read(alice)
    assert [len(piece) for piece in pieces] == [5, 7, 5]
    assert pieces[0] != pieces[2]


def test_a_token_replays_to_what_software_derives(tmp_path: Path) -> None:
    link = Link()
    token, software = DerivingDriver(link, "alice", "bob"), MemoryDriver(link, "bob", "alice")
    for directory in ("recorded", "replayed"):
        (tmp_path / directory).mkdir()
    devices = Ends(
        *(
            QKDDevice(recorded(each, tmp_path / each.site, URL), name="it")
            for each in (token, software)
        )
    )

    def derive(ends: Ends) -> list[bytes]:
        with ends.alice, ends.bob:
            first = ends.alice.start("bob", size=32)
            second = ends.bob.start("alice", key_id=first.key_id)
            for session in (first, second):
                session.connect()
            return [bytes_of(session.derive(b"label", 40)) for session in (first, second)]

    derive(devices)
    one, other = derive(
        Ends(*(open_device(f"replay://{tmp_path}/{site}") for site in ("alice", "bob")))
    )
    assert one == other


def test_the_peer_may_name_a_replayed_key_by_its_real_id(pair: Ends, tmp_path: Path) -> None:
    with pair.alice.start("bob", size=32) as session:
        session.connect()
        key_id = session.key_id
    pair.bob.get_key_by_id(key_id, "alice").wipe()
    for name in (key_id, pseudonym(key_id)):
        with open_device(f"replay://{tmp_path}/bob") as bob:
            key = bob.get_key_by_id(name, "alice")
            assert key.ref is not None
            assert key.ref.key_id == name


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda device: device.status(), r"line 3 .* is reserve\(.*size=32.*but status\(\) came"),
        (lambda device: device.start("bob", size=16), r"line 3 .*size=32.*but reserve\(.*size=16"),
        (lambda device: device.start("eve", size=32), r"line 3 .*\"bob\".*but reserve\(.*\"eve\""),
    ],
)
def test_a_deviation_names_the_line(
    call: Callable[[QKDDevice], object], words: str, pair: Ends, tmp_path: Path
) -> None:
    exchange(pair)
    with open_device(f"replay://{tmp_path}/alice") as alice:
        with pytest.raises(ProtocolError, match=words):
            call(alice)
        alice.start("bob", size=32).close()  # the recording still goes on where it did


def test_more_calls_than_were_recorded_are_a_deviation(pair: Ends, tmp_path: Path) -> None:
    exchange(pair)
    with open_device(f"replay://{tmp_path}/alice") as alice:
        with alice.start("bob", size=32) as session:
            session.connect()
            session.get_key().wipe()
        with pytest.raises(ProtocolError, match="ends with line 6, but status"):
            alice.status()


def test_the_file_is_private_and_says_what_was_asked(pair: Ends, tmp_path: Path) -> None:
    exchange(pair)
    pair.alice.close()
    file = tmp_path / "alice"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    head, *lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert head["qkd_hal_recording"] == 1
    assert head["url"] == "bb84+tcp://HOST:7101?credential=REDACTED"
    assert head["driver"].endswith("MemoryDriver")
    calls = ["open", "reserve", "agree", "fetch", "confirm", "close"]
    assert [line["call"] for line in lines] == calls
    assert lines[3]["arguments"]["size"] == 32
    assert 9 < lines[1]["timeout"] <= 10
    assert all(line["at"] >= 0 and line["seconds"] >= 0 for line in lines)


def test_a_recording_knows_its_calls(pair: Ends, tmp_path: Path) -> None:
    exchange(pair)
    recording = read_recording(tmp_path / "bob")
    assert [call.name for call in recording.calls] == ["open", "bind", "fetch", "confirm"]
    assert [call.line for call in recording.calls] == [2, 3, 4, 5]


def test_a_device_without_derivation_does_not_seem_to_have_it(tmp_path: Path) -> None:
    plain_driver = recorded(MemoryDriver(Link(), "alice", "bob", ALL), tmp_path / "a", URL)
    token = recorded(DerivingDriver(Link(), "alice", "bob"), tmp_path / "b", URL)
    assert (hasattr(plain_driver, "derive"), hasattr(token, "derive")) == (False, True)
