"""Runs beside datagrams taken one at a time: the same replies, counts and silences, and that runs are gone at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.stage import change, record_of
from trinity.price.v1 import price_pb2
from trinity_admission.replay import ReplayWindow
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_mac import SessionMacs
from trinity_udp.allowance import Allowance, source_of
from trinity_udp.batches import Received
from trinity_udp.gathering import Run, by_sender, runs_of
from trinity_udp.reply import Reply
from trinity_udp.runs import read_plain
from udp.counter import UNIX_S, make_price
from udp.office import MASTER, A, B, Office, holder
from udp.test_udp_quick import PRICES, bent, cookied, state_of

HOST, PORT = "192.0.2.7", 40_000


def taken(office: Office, datagrams: list[bytes], *, together: bool, port: int = PORT) -> list[bytes]:
    """The replies to what one address sent in one batch; what is looked up is settled as by no service."""
    clock, desk, source = office.keys.clock, office.counter.desk, source_of(HOST)
    times = clock.monotonic_ns(), clock.unix_ns()
    replies = desk.take_run(run_of(datagrams, port), *times) if together else None
    if replies is None:
        replies = [desk.take(datagram, source, port, *times) for datagram in datagrams]
    return [
        reply.data + b"".join(desk.without_lookup(one, unix_ns=times[1]).data for one in reply.deferred)
        for reply in replies
    ]


def run_of(datagrams: list[bytes], port: int = PORT) -> Run:
    senders = [(port, source_of(HOST))] * len(datagrams)
    return Run(senders[0][1], datagrams, senders, range(len(datagrams)), alone=True)


def in_a_run(office: Office, datagrams: list[bytes]) -> list[Reply] | None:
    clock = office.keys.clock
    return office.counter.desk.take_run(run_of(datagrams), clock.monotonic_ns(), clock.unix_ns())


def pair(**fields: Any) -> tuple[Office, Office]:
    """Two desks alike, one for runs and one for datagrams one at a time."""
    record = record_of(A, **{"burst": 60, "rate_per_s": 5, **fields})
    return Office(record, burst=90, session_burst=120), Office(record, burst=90, session_burst=120)


MADE: dict[str, Any] = {
    "plain": lambda office, number: b"GET BTC USD id=%d" % number,
    "padded": lambda office, number: b"GET %b USD id=%d" % ((b"BTC", b"ETH")[number % 2], number) + b" " * 30 + b"\n",
    "cookied": lambda office, number: cookied(office, f"GET BTC id={number}").encode(),
    "unknown": lambda office, number: b"GET NOPE USD id=%d      " % number,
    "zeros": lambda office, number: b"GET BTC USD id=1\0GET BTC USD id=2",
    "garbage": lambda office, number: b"\0" * number,
    "line": lambda office, number: office.line(f"GET BTC USD id={number}"),
    "binary": lambda office, number: office.binary("BTC"),
    "several": lambda office, number: office.binary("BTC", "ETH"),
    "late": lambda office, number: office.binary("BTC", ago_s=(-31, -30, 30, 31)[number % 4]),
    "unsigned": lambda office, number: office.binary("BTC", signed=False),
    "question": lambda office, number: office.binary("NOPE"),
}
RUNS = st.tuples(
    st.lists(st.sampled_from(list(MADE)), min_size=1, max_size=2),
    st.integers(1, 30),
    st.sampled_from(["", "", "", "repeated", "bent", "from before"]),
    st.integers(0, 400),
)
BETWEEN = st.one_of(
    st.tuples(st.just("price"), st.sampled_from(PRICES)),
    st.tuples(st.just("key"), st.sampled_from([{}, {"assets": ["ETH"]}, {"revoked": True}, {"expire_s": UNIX_S + 2}])),
    st.tuples(st.just("move"), st.sampled_from([0.001, 1.0, 9.0, 40.0])),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("nothing"), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(RUNS, BETWEEN), min_size=1, max_size=12))
def test_a_run_is_answered_and_counted_as_its_datagrams_are_one_at_a_time(steps: list[tuple[Any, Any]]) -> None:
    together, single = offices = pair()
    before: list[bytes] = []
    for office in offices:
        for assets in (("BTC",), ("BTC", "ETH")):
            taken(office, [office.binary(*assets)], together=False)
    for (kinds, count, twist, place), (kind, what) in steps:
        made = [[MADE[kinds[n % len(kinds)]](office, n + 1) for n in range(count)] for office in offices]
        assert made[0] == made[1]
        run = made[0]
        if twist == "repeated":
            run.insert(place % len(run), run[place % len(run)])
        elif twist == "bent":
            run[place % count] = bent(run[place % count], place) if run[place % count] else b"x"
        elif twist and before:
            run.insert(place % len(run), before[place % len(before)])
        before += run[:2]
        replies = taken(together, run, together=True), taken(single, run, together=False)
        assert replies[0] == replies[1], run
        assert state_of(together) == state_of(single), run
        for office in offices:
            _then(office, kind, what)


def _then(office: Office, kind: str, what: Any) -> None:
    office.keys.clock.move(0.000_001)
    if kind == "price":
        if what is None:
            office.counter.shelf.prices.pop("BTC", None)
        else:
            office.counter.shelf.prices["BTC"] = make_price(**what)
    elif kind == "key":
        office.keys.say(change(record_of(A, **what), version=office.keys.keyring.version + 1))
    elif kind == "move":
        office.keys.clock.move(what)
    elif kind == "full":
        office.keys.counts.full = what


@pytest.fixture
def office() -> Office:
    made = Office(holder(), burst=10_000, session_burst=10_000, per_s=1_000)
    for assets in (("BTC",), ("BTC", "ETH")):
        made.ask_binary(made.binary(*assets))
    return made


def test_plain_lines_and_binary_queries_of_one_session_are_answered_together(office: Office) -> None:
    before = office.counted()
    lines = in_a_run(office, [MADE["padded"](office, number) for number in range(10)])
    assert lines is not None
    assert lines[1].data == b"OK 1 ETH 3000.5 USD 1767322800 6 F*\n"
    assert all(reply.data and len(reply.slots) == 1 for reply in lines)
    queries = in_a_run(office, [office.binary("BTC", "ETH") for _ in range(10)])
    assert queries is not None
    assert all(reply.data and len(reply.slots) == 2 for reply in queries)
    after = office.counted()
    assert {kind: n - before.get(kind, 0) for kind, n in after.items() if n != before.get(kind, 0)} == {
        ("udp", "GetPrice", "BTC", 1): 10,
        ("udp", "GetPrice", "ETH", 1): 10,
    }


def test_what_of_a_run_does_not_leave_is_given_back(office: Office) -> None:
    before = office.counted()
    replies = in_a_run(office, [office.binary("BTC", "ETH") for _ in range(5)])
    assert replies is not None
    for reply in replies[1:]:
        office.counter.desk.unsent(reply)
    assert sum(office.counted().values()) - sum(before.values()) == 2


def test_a_number_that_came_before_is_dropped_alone(office: Office) -> None:
    run = [office.binary("BTC") for _ in range(5)]
    replies = in_a_run(office, [run[0], *run])
    assert replies is not None
    assert [bool(reply.data) for reply in replies] == [True, False, True, True, True, True]
    assert office.counter.dropped() == {"session_replay": 1}


def test_one_forged_datagram_takes_nothing_from_the_others(office: Office) -> None:
    run = [office.binary("BTC") for _ in range(6)]
    run[3] = bent(run[3], len(run[3]) - 1)
    run.append(run[1])
    replies = in_a_run(office, run)
    assert replies is not None
    assert [bool(reply.data) for reply in replies] == [True, True, True, False, True, True, False]
    assert office.counter.dropped() == {"session_mac": 1, "session_replay": 1}


def test_a_run_of_forged_datagrams_is_silence_and_costs_one_look_each(office: Office) -> None:
    run = [bent(office.binary("BTC"), 43) for _ in range(5)]
    before = office.counted()
    replies = in_a_run(office, run)
    assert replies is not None
    assert not any(reply.data for reply in replies)
    assert office.counter.dropped() == {"session_mac": 5}
    assert office.counted() == before


def test_two_sessions_a_stranger_and_another_question_are_no_run(office: Office) -> None:
    other = office.open(B)
    assert in_a_run(office, [office.binary("BTC"), office.binary("BTC", session=other)]) is None
    assert in_a_run(office, [office.binary("BTC", session=other)] * 4) is None
    assert in_a_run(office, [office.binary("BTC"), office.binary("ETH")]) is None
    assert in_a_run(office, [office.binary("BTC"), b"GET BTC USD"]) is None
    assert in_a_run(office, [b"GET BTC USD", b"PING"]) is None


def test_a_run_beyond_the_allowance_pays_for_what_is_answered_and_no_more() -> None:
    office = Office(holder(), burst=10, per_s=0.001)
    run = [MADE["padded"](office, number) for number in range(4)]
    assert in_a_run(office, run) is not None
    assert in_a_run(office, run) is not None
    assert in_a_run(office, run) is None, "two are left"
    assert [bool(data) for data in taken(office, run, together=True)] == [True, True, False, False]
    assert office.counter.dropped() == {"rate_limited": 2}


def test_a_run_that_fails_after_it_paid_is_paid_back() -> None:
    office = Office(holder(), burst=8, per_s=0.001)
    office.counter.shelf.prices.pop("ETH")
    run = [MADE["padded"](office, number) for number in range(4)]
    assert in_a_run(office, run) is None
    assert [bool(data) for data in taken(office, run * 2, together=False)] == [True] * 8


def test_ports_that_are_refused_are_refused_to_runs(office: Office) -> None:
    assert taken(office, [office.binary("BTC") for _ in range(4)], together=True, port=53) == [b""] * 4
    assert office.counter.dropped() == {"source_port": 4}


def test_lines_are_read_in_one_go_only_where_each_is_whole() -> None:
    assert read_plain([b"GET BTC USD id=7\n", b"GET ETH"]) == [(b"BTC", b" USD", b"7"), (b"ETH", b"", b"")]
    for other in (b"", b"GET BTC\0", b"\0", b"GET BTC\0GET ETH", b"get BTC", b"GET BTC,ETH", b"\xf1\x02", b"GET "):
        assert read_plain([b"GET BTC", other, b"GET ETH"]) is None, other


A1, A2, B1 = (1, b"\x7f\0\0\1"), (2, b"\x7f\0\0\1"), (1, b"\x7f\0\0\2")


def test_a_batch_is_parted_by_addresses_and_sessions(office: Office) -> None:
    assert runs_of(Received([], [], (), 0)) == []
    assert runs_of(Received([b"1", b"2"], [A1, A1], range(2), 0)) == [
        Run(A1[1], [b"1", b"2"], [A1, A1], range(2), alone=True)
    ]
    parted = runs_of(Received([b"1", b"2", b"3", b"4"], [A1, B1, A2, B1], range(4), 0))
    assert parted == [
        Run(A1[1], [b"1", b"3"], [A1, A2], [0, 2], alone=False),
        Run(B1[1], [b"2", b"4"], [B1, B1], [1, 3], alone=True),
    ]
    other = office.open(B)
    mixed = [office.binary("BTC"), office.binary("BTC", session=other), office.binary("ETH"), b"GET BTC"]
    assert [run.datagrams for run in runs_of(Received(mixed, [A1, A2, A2, A1], range(4), 0))] == [
        [mixed[0], mixed[2]],
        [mixed[1]],
        [mixed[3]],
    ]


def test_replies_go_to_their_own_senders_and_silence_to_nobody() -> None:
    said = [Reply(b"1", 1), Reply(b"2", 1), Reply(), Reply(b"4", 1)]
    run = Run(A1[1], [b"?"] * 4, [A1, A2, A1, A1], [7, 8, 9, 10], alone=False)
    assert [*by_sender(run, said)] == [(7, [said[0], said[3]]), (8, [said[1]])]
    alone = Run(A1[1], [b"?"] * 4, [A1] * 4, [7, 8, 9, 10], alone=True)
    assert [*by_sender(alone, said)] == [(7, [said[0], said[1], said[3]])]
    assert [*by_sender(alone, [Reply()] * 4)] == []


def test_one_refused_port_refuses_no_other(office: Office) -> None:
    senders = [(53, source_of(HOST)), *[(PORT, source_of(HOST))] * 3]
    run = Run(senders[0][1], [office.binary("BTC") for _ in range(4)], senders, range(4), alone=False)
    clock = office.keys.clock
    assert office.counter.desk.take_run(run, clock.monotonic_ns(), clock.unix_ns()) is None


def test_an_allowance_that_is_put_back_can_be_taken_again() -> None:
    allowance = Allowance(per_s=1, burst=4, prefixes_max=2)
    assert allowance.take(b"a", now_ns=0, count=4)
    allowance.put_back(b"a", 4)
    assert allowance.take(b"a", now_ns=0, count=4)
    assert not allowance.take(b"a", now_ns=0)


@given(st.lists(st.integers(0, 200), max_size=40))
def test_a_window_takes_several_as_one_after_the_other(sequences: list[int]) -> None:
    together, single = ReplayWindow(), ReplayWindow()
    assert together.take_each(sequences) == [single.take(sequence) for sequence in sequences]


def test_prices_of_a_run_are_those_of_its_moment(office: Office) -> None:
    price = make_price(value="67001.5", state=price_pb2.STATE_STALE)
    office.counter.shelf.prices["BTC"] = price
    office.keys.clock.move(0.000_001)
    assert in_a_run(office, [office.binary("BTC") for _ in range(4)]) is None
    assert in_a_run(office, [b"GET BTC USD".ljust(40)] * 4) is None


@pytest.mark.parametrize(("ago_s", "good"), [(-31, False), (-30, True), (30, True), (31, False)])
def test_a_run_is_as_late_as_a_datagram_may_be(ago_s: int, good: bool, office: Office) -> None:
    replies = in_a_run(office, [office.binary("BTC", ago_s=ago_s) for _ in range(4)])
    assert (replies is not None) is good


def test_a_session_that_ends_has_no_more_runs(office: Office) -> None:
    office.keys.clock.move(3_601)
    assert in_a_run(office, [office.binary("BTC") for _ in range(4)]) is None
    assert taken(office, [office.binary("BTC") for _ in range(4)], together=True) == [b""] * 4


def test_a_datagram_of_another_session_under_this_ones_mac_is_nobodys(office: Office) -> None:
    forged = bytearray(office.binary("BTC"))
    forged[15] ^= 1
    signed = bytes(forged[:-16])
    run = [office.binary("BTC"), signed + SessionMacs(office.session.key(MASTER)).query(signed)]
    assert in_a_run(office, run) is None
    assert [bool(data) for data in taken(office, run, together=True)] == [True, False]


def test_no_run_earns_more_than_three_bytes_a_byte(office: Office) -> None:
    office.counter.shelf.prices["BTC"] = make_price(value="1" * 120)
    office.keys.clock.move(0.000_001)
    assert in_a_run(office, [office.binary("BTC") for _ in range(4)]) is None
    run = [office.binary("BTC") for _ in range(4)]
    for datagram, reply in zip(run, taken(office, run, together=True), strict=True):
        assert len(reply) <= 3 * len(datagram)


def test_a_count_that_fails_for_one_asset_counts_none_of_the_run(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(slot: Any, n: int = 1) -> None:
        if slot.kind[3] == "ETH" and n > 0:
            raise TrinityError(Reason.LEDGER_FULL, "there is no room")
        counts_before(slot, n)

    run = [MADE["padded"](office, number) for number in range(4)]
    counts_before = office.keys.counts.count
    monkeypatch.setattr(office.keys.counts, "count", count)
    assert in_a_run(office, run) is None
    counted = state_of(office)["counted"]
    assert [n for kind, n in counted.items() if "BTC" in kind and kind[0] != A.key_id] == []
