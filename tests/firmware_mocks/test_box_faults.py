"""Faults: each does what it says, and a plan repeats itself."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag

from qkd_hal_firmware_mocks.boxlink import BoxLine, BoxPair
from qkd_hal_firmware_mocks.boxlink.byte_line import PieceReader
from qkd_hal_firmware_mocks.boxlink.control import Control
from qkd_hal_firmware_mocks.boxlink.frame import read_frame
from qkd_hal_firmware_mocks.boxlink.key_memory import HeldKey
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS, BoxServer
from qkd_hal_firmware_mocks.faults import FaultPlan, FaultSpecError
from qkd_hal_firmware_mocks.outlet import Outlet
from qkd_hal_firmware_mocks.pacer import Pacer
from tests.firmware_mocks.box_host import CHUNK, CODES, ERR, RSP, Host, finish

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PSK = bytes(range(32))
SECONDS = 5.0


class Bench:
    """A box behind a faulty server, and a host that is spared the faults of its own opening."""

    def __init__(self, *, divisible: bool = True) -> None:
        self.pair = BoxPair(make_settings((PSK, PSK)), stored=1 << 20, seed=1)
        self.plan = FaultPlan(seed=5)
        self.server = BoxServer(self.pair.alice, bytes, self.plan, divisible=divisible)
        self.sent: list[bytes] = []
        self.server.attach(self.sent.append)
        self.host = Host(self.exchange, PSK, "bob")
        self.host.open()

    def exchange(self, frame: bytes) -> list[bytes]:
        self.server.serve(frame)
        sent = self.sent[:]
        self.sent.clear()
        return sent

    def under(self, fault: str, operation: str = "INFO", **fields: Any) -> list[bytes]:
        """Return what the box sends for one request that meets *fault*."""
        self.plan.once(fault)
        return self.exchange(self.host.request(operation, **fields))

    def key(self, size: int = 32) -> bytes:
        reserved = self.host.do("RESERVE", size=size, count=1, token=os.urandom(16))
        return bytes(reserved["ids"][0])

    def wait_for(self, count: int) -> list[bytes]:
        end = time.monotonic() + SECONDS
        while len(self.sent) < count and time.monotonic() < end:
            time.sleep(0.005)
        return self.exchange_nothing()

    def exchange_nothing(self) -> list[bytes]:
        sent = self.sent[:]
        self.sent.clear()
        return sent


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.server.outlet.close()
    made.pair.close()


def errors(bench: Bench, frames: list[bytes]) -> list[int]:
    return [body["code"] for kind, body in bench.host.read_all(frames) if kind == ERR]


def test_stalled_requests_are_not_done(bench: Bench) -> None:
    assert bench.under("stall", "RESERVE", size=32, count=1, token=bytes(16)) == []
    assert bench.pair.alice.keys.supply.stored == 1 << 20


def test_some_dropped_requests_are_done_and_some_not(bench: Bench) -> None:
    for number in range(40):
        token = number.to_bytes(16, "big")
        assert bench.under("drop", "RESERVE", size=1, count=1, token=token) == []
    assert 5 < (1 << 20) - bench.pair.alice.keys.supply.stored < 35


def test_corrupt_answers_have_one_bit_flipped(bench: Bench) -> None:
    spoilt = [frame for _ in range(20) for frame in bench.under("corrupt")]
    assert 2 < len(spoilt) < 18, "the others were corrupt on the way to the box"
    assert all(read_frame(frame) is None for frame in spoilt)


def test_duplicates_are_the_same_frame(bench: Bench) -> None:
    first, second = bench.under("duplicate")
    assert first == second


def test_a_reordered_answer_comes_after_the_next(bench: Bench) -> None:
    assert bench.under("reorder") == []
    frames = bench.exchange(bench.host.request("STATUS"))
    assert [frame[6] for frame in frames] == [CODES["STATUS"], CODES["INFO"]]


def test_a_delayed_answer_comes(bench: Bench) -> None:
    assert bench.under("delay") == []
    assert bench.host.read_all(bench.wait_for(1))[0][0] == RSP


def test_a_dribbled_answer_comes_byte_by_byte(bench: Bench) -> None:
    pieces = bench.under("dribble")
    end = time.monotonic() + SECONDS
    while read_frame(b"".join(pieces)) is None and time.monotonic() < end:
        pieces += bench.wait_for(1)
    assert {len(piece) for piece in pieces} == {1}
    assert bench.host.read_all([b"".join(pieces)])[0][0] == RSP


def test_transfers_are_not_dribbled() -> None:
    bench = Bench(divisible=False)
    bench.under("dribble")
    assert bench.host.read_all(bench.wait_for(1))[0][0] == RSP
    bench.server.outlet.close()
    bench.pair.close()


def test_garbage_comes_before_the_answer(bench: Bench) -> None:
    *noise, answer = bench.under("garbage")
    assert sum(map(len, noise)) == 1 << 16
    assert not any(map(read_frame, noise))
    assert bench.host.read_all([answer])[0][0] == RSP


def test_an_unplugged_box_is_plugged_in_again(bench: Bench) -> None:
    events: list[str] = []
    back = threading.Event()
    bench.server.outlet.unplug = lambda: events.append("unplug")

    def plug() -> None:
        events.append("plug")
        back.set()

    bench.server.outlet.plug = plug
    assert bench.under("unplug") == []
    assert back.wait(SECONDS)
    assert events == ["unplug", "plug"]


def test_a_reset_cuts_an_answer_and_ends_the_session(bench: Bench) -> None:
    key_id = bench.key(5000)
    frames = bench.under("reset", "FETCH", id=key_id, offset=0, size=5000)
    assert read_frame(frames[-1]) is None
    assert len(frames) <= 3
    (hint,) = bench.exchange(bench.host.request("INFO"))
    assert bench.host.read_clear(hint)[1]["code"] == 4


def test_a_brown_out_comes_between_fetch_and_confirm(bench: Bench) -> None:
    bench.under("brown-out", "INFO")
    bench.host.do("INFO")
    key_id = bench.key()
    (answer,) = bench.under("brown-out", "FETCH", id=key_id, offset=0, size=32)
    assert len(bench.host.read(answer)[1]["data"]) == 32
    (hint,) = bench.exchange(bench.host.request("CONFIRM", id=key_id, end=32))
    assert bench.host.read_clear(hint)[1]["code"] == 4
    assert bench.pair.bob.keys.bind(key_id) == 32, "the other end has it still"


@pytest.mark.parametrize("size", [32, 5000])
def test_a_brown_out_comes_as_well_after_a_key_that_came_otherwise(bench: Bench, size: int) -> None:
    key_id = bench.key(size)
    asked = {"id": key_id, "inline": 32, "wait_ms": 100}
    name, ask = (
        ("AGREE", asked) if size == 32 else ("FETCH", {"id": key_id, "offset": 0, "size": size})
    )
    assert bench.host.read_all(bench.under("brown-out", name, **ask))[0][0] == RSP
    (hint,) = bench.exchange(bench.host.request("CONFIRM", id=key_id, end=size))
    assert bench.host.read_clear(hint)[1]["code"] == 4


def test_an_agreement_without_a_key_causes_no_brown_out(bench: Bench) -> None:
    bench.under("brown-out", "AGREE", id=bench.key(), wait_ms=100)
    bench.host.do("INFO")


def test_a_wrong_version_is_on_frames_and_in_hello(bench: Bench) -> None:
    (answer,) = bench.under("version")
    assert answer[0] == 2
    assert answer == finish(answer[:7], answer[7:-4])
    bench.plan.once("version")
    with pytest.raises(Exception, match="boxlink 2"):
        bench.host.greet()


@pytest.mark.parametrize("operation", ["INFO", "RESERVE", "BIND", "AGREE", "FETCH", "CONFIRM"])
def test_lies_differ_from_the_truth(bench: Bench, operation: str) -> None:
    key_id = bench.key()
    bench.pair.alice.keys.store([(bytes(16), 32, bytes(32))])
    fields: dict[str, dict[str, Any]] = {
        "RESERVE": {"size": 32, "count": 1, "token": bytes(16)},
        "BIND": {"id": bytes(16)},
        "AGREE": {"id": key_id, "wait_ms": 0},
        "FETCH": {"id": key_id, "offset": 0, "size": 32},
        "CONFIRM": {"id": key_id, "end": 0},
    }
    ask = fields.get(operation, {})
    truth = bench.host.do(operation, **ask)
    ((kind, lie),) = bench.host.read_all(bench.under("lie", operation, **ask))
    assert kind == RSP
    assert lie != truth
    assert lie.keys() == truth.keys()


@pytest.mark.parametrize(("operation", "place"), [("BIND", "size"), ("AGREE", "agreement")])
def test_lies_about_a_key_that_comes_along_can_be_told(
    bench: Bench, operation: str, place: str
) -> None:
    key, key_id = bytes(range(32)), bytes(16)
    for box in (bench.pair.alice, bench.pair.bob):
        box.keys.store([(key_id, 32, key)])
        box.keys._own[key_id] = HeldKey(32, 0, key)
    ask = {"id": key_id, "inline": 32} | ({"wait_ms": 0} if operation == "AGREE" else {})
    assert bench.host.do(operation, **ask) == {"data": key}
    lies: list[dict[str, Any]] = []
    for _ in range(20):
        lies += [lie for _, lie in bench.host.read_all(bench.under("lie", operation, **ask))]
    wrong = ({"data": b""}, {"data": bytes(4097)}, {"data": key, place: 1})
    assert all(lie in wrong for lie in lies)
    assert all(lie in lies for lie in wrong)


def test_an_announced_transfer_lies_too(bench: Bench) -> None:
    key_id = bench.key(5000)
    truth = {"total": 5000}
    for _ in range(10):
        ask = {"id": key_id, "offset": 0, "size": 5000}
        (_, lie), *_ = bench.host.read_all(bench.under("lie", "FETCH", **ask))
        if lie["total"] != truth["total"]:
            return
    pytest.fail("the total is always true")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("busy", 6),
        ("keys-exhausted", 17),
        ("key-mismatch", 19),
        ("store-full", 22),
        ("broken", 32),
        ("link-down", 33),
        ("shutting-down", 34),
    ],
)
def test_errors_by_request(bench: Bench, fault: str, code: int) -> None:
    asked = {"size": 32, "count": 1, "token": bytes(16)}
    assert errors(bench, bench.under(fault, "RESERVE", **asked)) == [code]
    assert bench.host.do("RESERVE", **asked)["ids"], "only this once, and nothing was done"


def test_a_clock_that_jumps_forgets_what_is_half_open(bench: Bench) -> None:
    before = bench.pair.alice.clock()
    bench.under("clock")
    assert abs(bench.pair.alice.clock() - before) > 3000
    bench.host.do("INFO")


def test_endless_chunks(bench: Bench) -> None:
    answers = bench.host.read_all(bench.under("endless"))
    assert [kind for kind, _ in answers] == [RSP] + [CHUNK] * 300


def test_forged_frames_come_before_the_true_one(bench: Bench) -> None:
    plain, noise, true = bench.under("forge")
    assert bench.host.read_clear(plain)[0] == RSP
    assert read_frame(noise) is not None
    with pytest.raises(InvalidTag):
        bench.host.read(noise)
    assert bench.host.read_all([true])[0][0] == RSP


def test_a_false_hint_comes_before_the_true_answer(bench: Bench) -> None:
    hint, true = bench.under("hint")
    assert bench.host.read_clear(hint)[1]["code"] == 4
    assert bench.host.read_all([true])[0][0] == RSP


def test_huge_claims_are_short_frames(bench: Bench) -> None:
    for _ in range(8):
        (frame,) = bench.under("huge")
        assert len(frame) < 1024
        assert read_frame(frame) is not None
    bench.host.do("INFO")


def test_every_fault_is_survived_by_the_box_and_named_alike() -> None:
    for fault in sorted(BOX_FAULTS):
        bench = Bench()
        bench.under(fault)
        bench.server.outlet.close()
        bench.server.outlet.deliver([], None)
        bench.exchange_nothing()
        bench.host.open()
        bench.host.do("INFO")
        bench.pair.close()


def test_a_script_goes_by_requests_and_operations() -> None:
    plan = FaultPlan.script(["drop", "-", "lie@FETCH", "delay"])
    asked = ["HELLO", "AUTH", "INFO", "FETCH", "INFO", "INFO"]
    assert [plan.draw(name) for name in asked] == ["drop", None, None, "lie", "delay", None]


def test_a_fault_goes_on_until_another_or_none() -> None:
    plan = FaultPlan()
    plan.begin("stall")
    assert {plan.draw("INFO") for _ in range(9)} == {"stall"}
    plan.begin("drop")
    assert {plan.draw("INFO") for _ in range(99)} == {"drop", None}
    plan.begin(None)
    assert {plan.draw("INFO") for _ in range(9)} == {None}


def run(seed: int) -> tuple[Sequence[str], list[bytes]]:
    """Return the faults and the answers of a run that *seed* disturbs."""
    names = BOX_FAULTS - {"delay", "dribble", "unplug"}  # the clock's, not the seed's
    pair = BoxPair(make_settings((PSK, PSK)), stored=1 << 20, seed=1)
    nonce = b"n" * 32
    pair.alice._opening._nonce = lambda _: nonce
    plan = FaultPlan.seeded(seed, 0.3, names)
    line, sent = BoxLine(pair.alice, plan), bytearray()
    line.attach(sent.extend)
    frames = [finish(bytes([1, 1, 0, 0, n, 0, 1]), b"\xa0") for n in range(200)]
    heard = []
    for frame in frames:
        line.server.serve(frame)
        heard.append(bytes(sent))
        sent.clear()
    line.server.outlet.close()
    pair.close()
    return plan.log, heard


def test_a_seed_replays_faults_and_bytes() -> None:
    assert run(7) == run(7)
    assert run(7)[0] != run(8)[0]
    assert 30 < sum(fault != "-" for fault in run(7)[0]) < 90


def test_plans_are_read_from_text() -> None:
    known = {"drop", "lie"}
    assert FaultPlan.parse("drop, -,lie@FETCH", known).draw("INFO") == "drop"
    seeded = FaultPlan.parse("seed=3,rate=1.0,only=lie", known)
    assert {seeded.draw("INFO") for _ in range(9)} == {"lie"}
    everything = FaultPlan.parse("seed=3,rate=1", known)
    assert {everything.draw("INFO") for _ in range(30)} == known


@pytest.mark.parametrize(
    "text",
    ["", "fire", "drop,fire@FETCH", "seed=1", "seed=x,rate=1", "seed=1,rate=2", "rate=1,seed=1,a=b",
     "seed=1,rate=1,only=fire", "seed=1,rate=-1"],
)  # fmt: skip
def test_plans_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(FaultSpecError):
        FaultPlan.parse(text, {"drop"})


def test_the_control_lines(bench: Bench) -> None:
    control = Control({"alice": bench.server})
    plugs: list[str] = []
    bench.server.outlet.unplug = lambda: plugs.append("out")
    bench.server.outlet.plug = lambda: plugs.append("in")

    def obey(line: str) -> bool:
        return "done" in control.obey(line.encode())

    assert obey('{"do": "unplug", "end": "alice"}')
    assert obey('{"do": "plug", "end": "alice"}')
    assert plugs == ["out", "in"]
    assert obey('{"do": "fault", "end": "alice", "name": "stall"}')
    assert bench.exchange(bench.host.request("INFO")) == []
    assert obey('{"do": "fault", "end": "alice", "name": null}')
    assert obey('{"do": "once", "end": "alice", "name": "busy"}')
    assert errors(bench, bench.exchange(bench.host.request("INFO"))) == [6]
    assert obey('{"do": "drain", "end": "alice"}')
    assert bench.host.do("STATUS")["stored_keys"] == 0
    assert obey('{"do": "add-keys", "end": "alice", "count": 7}')
    assert bench.host.do("STATUS")["stored_keys"] == 7
    assert obey('{"do": "link", "end": "alice", "up": false}')
    assert bench.host.do("STATUS")["link_up"] is False
    assert obey('{"do": "power-cycle", "end": "alice"}')
    (hint,) = bench.exchange(bench.host.request("INFO"))
    assert hint[1] == ERR


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"do": "fly", "end": "alice"}',
        b'{"do": "plug", "end": "eve"}',
        b'{"do": "fault", "end": "alice"}',
        b'{"do": "fault", "end": "alice", "name": "fire"}',
        b'{"do": "once", "end": "alice", "name": null}',
        b'{"do": "add-keys", "end": "alice", "count": "x"}',
    ],
)
def test_what_control_cannot_do_is_an_error(bench: Bench, line: bytes) -> None:
    assert "error" in Control({"alice": bench.server}).obey(line)


def test_a_pacer_keeps_the_order_of_times_and_forgets_when_closed() -> None:
    pacer, done = Pacer(), []
    finished = threading.Event()
    pacer.later(0.05, finished.set)
    pacer.later(0.02, lambda: done.append(2))
    pacer.later(0.01, lambda: done.append(1))
    pacer.later(60, lambda: done.append(3))
    assert finished.wait(SECONDS)
    pacer.close()
    pacer.later(0, lambda: done.append(4))
    pacer.close()
    assert done == [1, 2]


def test_a_closed_outlet_sends_nothing_late() -> None:
    sent: list[bytes] = []
    outlet = Outlet(FaultPlan().random, divisible=True)
    outlet.attach(sent.append)
    outlet.deliver([b"late"], "delay")
    outlet.close()
    time.sleep(0.35)
    assert sent == []


def test_piece_reader_reads_a_faulty_line_to_its_end(bench: Bench) -> None:
    line, sent = BoxLine(bench.pair.alice, FaultPlan.script(["garbage"])), bytearray()
    line.attach(sent.extend)
    line.server.serve(bench.host.request("INFO"))
    assert bench.host.read_all([*PieceReader(8192).feed(bytes(sent))][-1:])[0][0] == RSP
    line.server.outlet.close()
