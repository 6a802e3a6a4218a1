"""The key applet against a model of `docs/key-token.md`, over power cuts and rival hosts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qkd_hal_firmware_mocks.token import tlv
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.faults import PowerCut
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.token.model import Model
from qkd_hal_firmware_mocks.token.state import MediumError, TokenState

AID = bytes.fromhex("F0514B4448414C01")
PIN, PUK, WRONG = (text.ljust(16, b"\xff") for text in (b"123456", b"98765432", b"00000000"))
OWN, PEER = 1, 2
SIMULATED, HARDWARE = b"\x02", b"\x00"
DONE = 0x9000

IDS = [bytes([number]) * 16 for number in range(1, 6)]
CLAIMS = [bytes([0xC0 + number]) * 16 for number in range(3)]
LIMITS = Model(max_keys=4, store_bytes=112, max_key_size=64)


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def objects(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([tag, len(value)]) + value for tag, value in pairs)


class Host:
    """Sends one command at a time and returns its data and status word."""

    def __init__(self, applet: KeyApplet) -> None:
        self.applet = applet

    def send(self, head: str, data: bytes = b"") -> tuple[bytes, int]:
        lc = bytes([0, *len(data).to_bytes(2, "big")]) if data else b"\0"
        answer = self.applet.transmit(bytes.fromhex(head) + lc + data + b"\0\0")
        return answer[:-2], int.from_bytes(answer[-2:], "big")

    def open(self) -> None:
        self.send("00A40400", AID)
        self.send("00200081", PIN)

    def initialise(self, site: bytes = b"alice", peer: bytes = b"bob") -> int:
        secrets = (0x80, PIN), (0x81, PUK)
        return self.send("80100000", objects(*secrets, (0x82, site), (0x83, peer)))[1]

    def load(self, direction: int, key_id: bytes, key: bytes, provenance: bytes = SIMULATED) -> int:
        data = key_id + u32(len(key)) + bytes([len(provenance)]) + provenance + key
        return self.send(f"8012{direction:02x}00", data)[1]

    def reserve(self, claim: bytes, size: int = 32) -> tuple[bytes, int]:
        return self.send("80160000", claim + u32(size))

    def fetch(self, direction: int, key_id: bytes, claim: bytes, size: int) -> tuple[bytes, int]:
        return self.send(f"801A{direction:02x}00", key_id + claim + u32(0) + u32(size))

    def confirm(self, direction: int, key_id: bytes, claim: bytes) -> int:
        return self.send(f"801C{direction:02x}00", key_id + claim)[1]

    def erase(self, what: int, key_id: bytes) -> int:
        return self.send(f"801E{what:02x}00", key_id if what == 2 else b"")[1]

    def entries(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            after = int.from_bytes(found[-1][:4], "big") if found else 0
            page, status = self.send("80140000", u32(after))
            assert status == DONE
            if not page:
                return found
            found += [page[start : start + 26] for start in range(0, len(page), 26)]


@pytest.fixture
def medium() -> MemoryMedium:
    return MemoryMedium()


@pytest.fixture
def host(medium: MemoryMedium) -> Host:
    host = Host(KeyApplet(medium))
    host.send("00A40400", AID)
    assert host.initialise() == DONE
    host.open()
    return host


class CuttingMedium(MemoryMedium):
    """Cuts the power at the next save if told: ``"before"`` it, or right ``"after"``."""

    cut = ""

    def save(self, state: TokenState) -> None:
        cut, self.cut = self.cut, ""
        if cut == "before":
            raise PowerCut
        super().save(state)
        if cut == "after":
            raise PowerCut


@dataclass
class ModelKey:
    number: int
    direction: int
    material: bytes = field(repr=False)
    claim: bytes = b""


@dataclass
class TokenModel:
    """What a reader of the specification expects; an operation returns the status word."""

    tries: int = 3
    verified: bool = False
    provenance: bytes = b""
    loaded: int = 0
    keys: dict[bytes, ModelKey] = field(default_factory=dict)
    gone: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def verify(self, block: bytes) -> int:
        if not self.tries:
            return 0x6983
        self.verified = block == PIN
        self.tries = 3 if self.verified else self.tries - 1
        return DONE if self.verified else 0x63C0 + self.tries

    def load(self, direction: int, key_id: bytes, material: bytes, provenance: bytes) -> int:
        if key_id in self.keys or key_id in [known for _, known, _ in self.gone]:
            return 0x6A89
        if self.provenance not in (b"", provenance):
            return 0x6985
        held = sum(len(key.material) for key in self.keys.values())
        if len(self.keys) == LIMITS.max_keys or held + len(material) > LIMITS.store_bytes:
            return 0x6A84
        self.loaded += 1
        self.provenance = provenance
        self.keys[key_id] = ModelKey(self.loaded, direction, material)
        return DONE

    def reserve(self, claim: bytes, size: int) -> tuple[bytes, int]:
        for key_id, key in self.keys.items():
            if key.claim == claim:
                fits = key.direction == OWN and len(key.material) == size
                return (key_id, DONE) if fits else (b"", 0x6985)
        if claim in [known for _, _, known in self.gone]:
            return b"", 0x6985
        for key_id, key in self.keys.items():
            if key.direction == OWN and not key.claim and len(key.material) == size:
                key.claim = claim
                return key_id, DONE
        return b"", 0x6A83

    def fetch(self, direction: int, key_id: bytes, claim: bytes, size: int) -> tuple[bytes, int]:
        key = self.keys.get(key_id)
        if key is None or key.direction != direction:
            return b"", 0x6A88
        if size > len(key.material):
            return b"", 0x6A80
        if direction == PEER:
            key.claim = claim
        if key.claim != claim:
            return b"", 0x6985
        return key.material[:size], DONE

    def confirm(self, direction: int, key_id: bytes, claim: bytes) -> int:
        if (direction, key_id, claim) in self.gone:
            return DONE
        key = self.keys.get(key_id)
        if key is None or key.direction != direction:
            return 0x6A88
        if key.claim != claim:
            return 0x6985
        del self.keys[key_id]
        self.gone.append((direction, key_id, claim))
        return DONE

    def erase(self, what: int, key_id: bytes) -> int:
        if what == 2:
            return DONE if self.keys.pop(key_id, None) else 0x6A88
        kept = {
            name: key for name, key in self.keys.items() if key.direction == PEER or not key.claim
        }
        self.keys = kept if what else {}
        if not what:
            self.provenance = b""
        return DONE


directions = st.sampled_from([OWN, PEER])
key_ids = st.sampled_from(IDS)
claims = st.sampled_from(CLAIMS)
sizes = st.sampled_from([16, 32])
numbers = st.integers(0, 4 * len(IDS))
cuts = st.sampled_from(["", "", "", "before", "after"])


class AppletMachine(RuleBasedStateMachine):
    """Every answer is the model's; a cut loses RAM, and the change either wholly or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.medium = CuttingMedium()
        self.host = Host(KeyApplet(self.medium, LIMITS))
        self.model = TokenModel()
        self.used: dict[int, set[bytes]] = {}

    @initialize()
    def begin(self) -> None:
        self.host.send("00A40400", AID)
        assert self.host.initialise() == DONE
        self.host.open()
        self.model.verified = True

    def do(self, cut: str, act: str, *arguments: bytes | int) -> object:
        """Do *act* on both; with a cut the answer is lost and the power comes back."""
        before = _copied(self.model)
        expected = getattr(self.model, act)(*arguments)
        self.medium.cut = cut
        try:
            found = getattr(self.host, act)(*arguments)
        except PowerCut:
            self.model = before if cut == "before" else self.model
            self.power_cycle()
            return None
        finally:
            self.medium.cut = ""
        assert found == expected
        return expected

    def _verified(self) -> bool:
        return self.model.verified

    @rule()
    def power_cycle(self) -> None:
        self.host.applet.reset()
        self.host.send("00A40400", AID)
        self.model.verified = False

    @rule()
    def verify(self) -> None:
        assert self.host.send("00200081", PIN)[1] == self.model.verify(PIN)

    @rule()
    def verify_wrong_and_unblock(self) -> None:
        assert self.host.send("00200081", WRONG)[1] == self.model.verify(WRONG)
        if not self.model.tries:
            assert self.host.send("002C0081", PUK + PIN)[1] == DONE
            self.model.tries = 3

    @precondition(_verified)
    @rule(direction=directions, key_id=key_ids, size=sizes, cut=cuts)
    def load(self, direction: int, key_id: bytes, size: int, cut: str) -> None:
        material = bytes([self.model.loaded % 256]) * size
        self.do(cut, "load", direction, key_id, material, SIMULATED)

    @precondition(_verified)
    @rule(key_id=key_ids)
    def load_of_other_provenance(self, key_id: bytes) -> None:
        self.do("", "load", OWN, key_id, bytes(16), HARDWARE)

    @precondition(_verified)
    @rule(claim=claims, size=sizes, cut=cuts)
    def reserve(self, claim: bytes, size: int, cut: str) -> None:
        self.do(cut, "reserve", claim, size)

    def choose(self, number: int, direction: int) -> tuple[int, bytes]:
        """Mostly a key that is there, in its own direction."""
        if number < len(IDS) or not self.model.keys:
            return direction, IDS[number % len(IDS)]
        key_id = list(self.model.keys)[number % len(self.model.keys)]
        return self.model.keys[key_id].direction, key_id

    @precondition(_verified)
    @rule(number=numbers, direction=directions, claim=claims, size=sizes, cut=cuts)
    def fetch(self, number: int, direction: int, claim: bytes, size: int, cut: str) -> None:
        self.do(cut, "fetch", *self.choose(number, direction), claim, size)

    @precondition(_verified)
    @rule(number=numbers, direction=directions, claim=claims, cut=cuts)
    def confirm(self, number: int, direction: int, claim: bytes, cut: str) -> None:
        direction, key_id = self.choose(number, direction)
        if self.do(cut, "confirm", direction, key_id, claim) == DONE:
            self.used.setdefault(key_id[0], set()).add(claim)

    @precondition(_verified)
    @rule(what=st.integers(0, 2), key_id=key_ids, cut=cuts)
    def erase(self, what: int, key_id: bytes, cut: str) -> None:
        self.do(cut, "erase", what, key_id)

    @precondition(lambda self: not self.model.verified)
    @rule(ins=st.sampled_from(["14", "16", "18", "1A", "1C", "1E"]), key_id=key_ids)
    def without_the_pin(self, ins: str, key_id: bytes) -> None:
        data = {"14": u32(0), "16": key_id + u32(32), "18": key_id, "1E": b""}
        long = key_id + CLAIMS[0] + (u32(0) + u32(1) if ins == "1A" else b"")
        p1 = "01" if ins in ("1A", "1C", "1E") else "00"
        assert self.host.send(f"80{ins}{p1}00", data.get(ins, long)) == (b"", 0x6982)

    @invariant()
    def one_host_uses_a_key(self) -> None:
        assert all(len(claims) == 1 for claims in self.used.values())

    @precondition(_verified)
    @invariant()
    def lists_what_it_holds(self) -> None:
        assert self.host.entries() == [
            u32(key.number)
            + key_id
            + bytes([key.direction, bool(key.claim)])
            + u32(len(key.material))
            for key_id, key in self.model.keys.items()
        ]

    @invariant()
    def counts_what_it_holds(self) -> None:
        status = tlv.parse(self.host.send("80020000", u32(32))[0])
        own = [len(key.material) for key in self.model.keys.values() if _free(key)]
        peer = [len(key.material) for key in self.model.keys.values() if key.direction == PEER]
        claimed = len(self.model.keys) - len(own) - len(peer)
        free = LIMITS.store_bytes - sum(len(key.material) for key in self.model.keys.values())
        counts = [len(own), claimed, len(peer), sum(own), sum(peer), free]
        counts.append(LIMITS.max_keys - len(self.model.keys))
        assert [status[tag] for tag in range(0x84, 0x8B)] == [u32(count) for count in counts]
        assert status[0x8E] == u32(own.count(32))
        assert status[0x81] == bytes([self.model.tries])
        assert status[0x83] == bytes([self.model.verified])


def _free(key: ModelKey) -> bool:
    return key.direction == OWN and not key.claim


def _copied(model: TokenModel) -> TokenModel:
    keys = {key_id: replace(key) for key_id, key in model.keys.items()}
    return replace(model, keys=keys, gone=list(model.gone))


def test_the_applet_is_its_model() -> None:
    run_state_machine_as_test(
        AppletMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
def test_the_applet_is_its_model_at_length() -> None:
    long = settings(max_examples=500, stateful_step_count=100, deadline=None)
    run_state_machine_as_test(AppletMachine, settings=long)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_cutting_the_power_saves_no_try_of_the_pin(cut: str) -> None:
    medium = CuttingMedium()
    host = Host(KeyApplet(medium))
    host.send("00A40400", AID)
    host.initialise()
    left = []
    for _ in range(3):
        medium.cut = cut
        with pytest.raises(PowerCut):
            host.send("00200081", WRONG)
        host.applet.reset()
        host.send("00A40400", AID)
        left.append(host.send("00200081")[1])
    # Before the try is written down nothing is compared: that guess taught its maker nothing.
    assert left == {"before": [0x63C3] * 3, "after": [0x63C2, 0x63C1, 0x6983]}[cut]


def test_the_wipe_after_the_last_puk_outlives_a_power_cut() -> None:
    medium = CuttingMedium()
    host = Host(KeyApplet(medium))
    host.send("00A40400", AID)
    host.initialise()
    host.open()
    host.load(OWN, IDS[0], bytes(32))
    for _ in range(9):
        host.send("002C0081", WRONG + PIN)
    medium.cut = "after"
    with pytest.raises(PowerCut):
        host.send("002C0081", WRONG + PIN)
    assert medium.saved.keys
    host.applet.reset()
    assert medium.saved == TokenState()


def test_a_failing_medium_changes_nothing(host: Host, medium: MemoryMedium) -> None:
    host.load(OWN, IDS[0], bytes(32))
    host.load(PEER, IDS[1], bytes(32))
    before = medium.saved

    def fail(state: TokenState) -> None:
        raise MediumError("worn out")

    medium.save = fail  # type: ignore[method-assign]
    assert host.load(OWN, IDS[2], bytes(32)) == 0x6581
    assert host.reserve(CLAIMS[0]) == (b"", 0x6581)
    assert host.fetch(PEER, IDS[1], CLAIMS[0], 32) == (b"", 0x6581)
    assert host.send("801E0000")[1] == 0x6581
    assert host.send("00200081", PIN)[1] == 0x6581
    assert len(host.entries()) == 2
    assert medium.saved is before


def test_confirms_are_remembered_for_64_others(host: Host) -> None:
    for number in range(65):
        key_id, claim = bytes([number]) * 16, bytes([number, 1]) * 8
        host.load(PEER, key_id, bytes(16))
        host.fetch(PEER, key_id, claim, 16)
        assert host.confirm(PEER, key_id, claim) == DONE
    assert host.confirm(PEER, bytes([1]) * 16, bytes([1, 1]) * 8) == DONE
    assert host.confirm(PEER, bytes([0]) * 16, bytes([0, 1]) * 8) == 0x6A88


def test_a_claim_on_a_peer_key_reserves_nothing(host: Host) -> None:
    host.load(PEER, IDS[0], bytes(32))
    host.load(OWN, IDS[1], bytes(32))
    host.fetch(PEER, IDS[0], CLAIMS[0], 32)
    assert host.reserve(CLAIMS[0]) == (b"", 0x6985)


def test_erasing_the_reserved_keeps_the_rest(host: Host) -> None:
    for direction, key_id in ((OWN, IDS[0]), (OWN, IDS[1]), (PEER, IDS[2])):
        host.load(direction, key_id, bytes(32))
    host.reserve(CLAIMS[0])
    host.fetch(PEER, IDS[2], CLAIMS[1], 32)
    assert host.erase(1, b"") == DONE
    assert [entry[4:20] for entry in host.entries()] == IDS[1:3]


def test_initialise_erases_and_needs_the_pin(host: Host) -> None:
    host.load(OWN, IDS[0], bytes(32))
    host.send("0020FF81")
    assert host.initialise(b"carol") == 0x6982
    host.open()
    assert host.initialise(b"carol") == DONE
    assert host.send("80140000", u32(0)) == (b"", 0x6982), "INITIALISE ends verified"
    host.open()
    assert host.entries() == []
    status = tlv.parse(host.send("80020000")[0])
    assert (status[0x8B], status[0x8C], 0x8D in status) == (b"carol", b"bob", False)


def test_initialise_can_fix_the_provenance_for_good(host: Host) -> None:
    named = objects((0x80, PIN), (0x81, PUK), (0x82, b"a"), (0x83, b"b"), (0x84, HARDWARE))
    assert host.send("80100000", named)[1] == DONE
    host.open()
    assert host.load(OWN, IDS[0], bytes(16), SIMULATED) == 0x6985
    assert host.load(OWN, IDS[0], bytes(16), HARDWARE) == DONE
    host.send("801E0000")
    assert host.load(OWN, IDS[0], bytes(16), SIMULATED) == 0x6985


@pytest.mark.parametrize(
    "provenance",
    [b"", b"\x03", b"\x00,", b"\x00a,,b", b"\x00a b", b"\x00" + b"n" * 65, b"\x00a,"],
)
def test_a_malformed_provenance(host: Host, provenance: bytes) -> None:
    assert host.load(OWN, IDS[0], bytes(16), provenance) == 0x6A80


@pytest.mark.parametrize("name", [b"", b"a" * 65, b"a b", b"\xc3\xa4", b"a\n"])
def test_a_malformed_name(host: Host, name: bytes) -> None:
    assert host.initialise(site=name) == 0x6A80
    assert host.initialise(peer=name) == 0x6A80


def test_the_longest_key_arrives_in_chains_and_leaves_in_parts(host: Host) -> None:
    key = bytes(number * 7 % 251 for number in range(1 << 16))
    command = IDS[0] + u32(len(key)) + b"\x01\x02" + key
    starts = range(0, len(command), 255)
    for start in starts:
        part, last = command[start : start + 255], start == starts[-1]
        head = bytes([0x80 if last else 0x90, 0x12, PEER, 0, len(part)])
        assert host.applet.transmit(head + part) == b"\x90\x00"
    found = b""
    while len(found) < len(key):
        place = u32(len(found)) + u32(min(4096, len(key) - len(found)))
        data, status = host.send("801A0200", IDS[0] + CLAIMS[0] + place)
        assert status == DONE
        found += data
    assert found == key


BETWEEN = {
    "a command that succeeds": "80020000 00",
    "an unknown instruction": "80770000",
    "no APDU at all": "8002",
    "another class": "A0020000",
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_a_command_between_the_parts_drops_them(host: Host, between: str) -> None:
    command = IDS[0] + u32(32) + b"\x01\x02" + bytes(32)
    first, last = bytes.fromhex("90120200 14"), bytes.fromhex("80120200 22")
    assert host.applet.transmit(first + command[:20]) == b"\x90\x00"
    host.applet.transmit(bytes.fromhex(between))
    assert host.applet.transmit(last + command[20:]) == b"\x6a\x80"
    assert host.entries() == []


@pytest.mark.parametrize(
    "between", [*BETWEEN.values(), "00C00001 00"], ids=[*BETWEEN, "a wrong GET RESPONSE"]
)
def test_a_command_before_the_rest_of_an_answer_drops_it(host: Host, between: str) -> None:
    assert host.applet.transmit(bytes.fromhex("80020000 01"))[-2] == 0x61
    host.applet.transmit(bytes.fromhex(between))
    assert host.applet.transmit(bytes.fromhex("00C00000 00")) == b"\x69\x85"


def test_selecting_again_ends_verified(host: Host) -> None:
    host.send("00A40400", AID)
    assert host.send("00200081") == (b"", 0x63C3)


def test_a_chain_without_end_is_dropped(host: Host) -> None:
    part = bytes.fromhex("90120100") + b"\x00\x0f\xff" + bytes(4095)
    answers = [host.applet.transmit(part) for _ in range(17)]
    assert answers == [b"\x90\x00"] * 16 + [b"\x67\x00"]
    assert host.applet.transmit(part) == b"\x90\x00", "what was gathered is gone"


def test_more_data_than_an_apdu_may_have(host: Host) -> None:
    most = LIMITS.max_command_data + 1
    command = bytes.fromhex("8012010000") + most.to_bytes(2, "big") + bytes(most)
    assert host.applet.transmit(command) == b"\x67\x00"


def test_a_key_above_the_limit() -> None:
    host = Host(KeyApplet(MemoryMedium(), LIMITS))
    host.send("00A40400", AID)
    host.initialise()
    host.open()
    assert host.load(OWN, IDS[0], bytes(65)) == 0x6A80
    assert host.load(OWN, IDS[0], b"") == 0x6A80
    assert host.load(OWN, IDS[0], bytes(64)) == DONE


@pytest.mark.parametrize("offset_and_length", [(0, 0), (0, 33), (32, 1), (1 << 31, 1 << 31)])
def test_fetching_outside_of_the_key(host: Host, offset_and_length: tuple[int, int]) -> None:
    host.load(PEER, IDS[0], bytes(32))
    place = b"".join(map(u32, offset_and_length))
    assert host.send("801A0200", IDS[0] + CLAIMS[0] + place) == (b"", 0x6A80)
    assert host.confirm(PEER, IDS[0], CLAIMS[0]) == 0x6985, "nothing was claimed"


def test_fetching_more_than_an_answer_may_have() -> None:
    host = Host(KeyApplet(MemoryMedium(), Model(max_response_data=256)))
    host.send("00A40400", AID)
    host.initialise()
    host.open()
    host.load(PEER, IDS[0], bytes(300))
    assert host.fetch(PEER, IDS[0], CLAIMS[0], 257) == (b"", 0x6A80)
    assert host.fetch(PEER, IDS[0], CLAIMS[0], 256) == (bytes(256), DONE)


def test_a_long_list_comes_in_pages(host: Host) -> None:
    key_ids = [number.to_bytes(16, "big") for number in range(400)]
    for key_id in key_ids:
        host.load(OWN, key_id, bytes(16))
    assert [entry[4:20] for entry in host.entries()] == key_ids


@given(garbage=st.binary(max_size=300), cla=st.sampled_from([0x00, 0x80, 0x90]))
def test_no_command_breaks_the_applet(garbage: bytes, cla: int) -> None:
    medium = MemoryMedium()
    host = Host(KeyApplet(medium))
    host.send("00A40400", AID)
    for apdu in (garbage, bytes([cla]) + garbage):
        assert 2 <= len(host.applet.transmit(apdu)) <= 2 + LIMITS.max_response_data
    assert not medium.saved.keys


@given(
    ins=st.sampled_from([0x10, 0x12, 0x14, 0x16, 0x18, 0x1A, 0x1C, 0x1E, 0x20, 0x24, 0x2C]),
    p1=st.integers(0, 2),
    data=st.binary(max_size=100),
)
def test_no_data_breaks_a_verified_applet(ins: int, p1: int, data: bytes) -> None:
    host = Host(KeyApplet(MemoryMedium()))
    host.send("00A40400", AID)
    host.initialise()
    host.open()
    cla, p2 = (0, 0x81) if ins >= 0x20 else (0x80, 0)
    _, status = host.send(f"{cla:02x}{ins:02x}{p1:02x}{p2:02x}", data)
    assert status >> 8 in (0x90, 0x63, 0x67, 0x69, 0x6A)


@given(
    pairs=st.dictionaries(st.integers(0, 255), st.binary(max_size=700), max_size=6),
    extra=st.binary(max_size=3),
)
def test_data_objects(pairs: dict[int, bytes], extra: bytes) -> None:
    raw = tlv.encode(pairs.items())
    assert tlv.parse(raw) == pairs
    for end in itertools.chain(range(min(len(raw), 40)), [len(raw) - 1]):
        _parsed_or_refused(raw[: max(end, 0)])
    _parsed_or_refused(raw + extra)


@given(st.binary(max_size=40))
def test_any_bytes_are_data_objects_or_refused(raw: bytes) -> None:
    _parsed_or_refused(raw)


def _parsed_or_refused(raw: bytes) -> None:
    try:
        found = tlv.parse(raw)
    except ValueError:
        return
    assert tlv.encode(found.items()) == raw, "one form only"
