"""The short way beside the long one: the same replies, counts and silences, and that it is gone at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.stage import change, record_of
from trinity.price.v1 import price_pb2
from trinity_core.udp_cookie import NO_CLIENT
from trinity_core.udp_session import open_session
from trinity_udp.allowance import source_of
from trinity_udp.quick import KNOWN_MAX
from udp.counter import UNIX_S, Counter, make_price
from udp.office import MASTER, A, Office

HOSTS = ("192.0.2.7", "198.51.100.9", "2001:db8::7")


def state_of(office: Office) -> dict[str, Any]:
    """Everything that may not differ."""
    return {
        "counted": {kind: n for kind, n in office.keys.counts.counted.items() if n},
        "dropped": office.counter.dropped(),
        "refusals": office.keys.admission.refusals,
        "sessions": len(office.sessions),
    }


class Both:
    """Two desks that hear the same: one with the short way, one without."""

    def __init__(self, **fields: Any) -> None:
        record = record_of(A, **{"burst": 40, "rate_per_s": 5, **fields})
        self.short = Office(record, burst=60, session_burst=120)
        self.long = Office(record, burst=60, session_burst=120, quick=False)
        self.counters: tuple[Counter, Counter] = (self.short.counter, self.long.counter)

    def hear(self, make: Callable[[Office], bytes], host: str) -> bytes:
        made = [make(office) for office in (self.short, self.long)]
        assert made[0] == made[1]
        replies = [office.ask_bytes(made[0], host) for office in (self.short, self.long)]
        assert replies[0] == replies[1], made[0]
        assert state_of(self.short) == state_of(self.long)
        return made[0]

    def move(self, seconds: float) -> None:
        for office in (self.short, self.long):
            office.keys.clock.move(seconds)

    def say(self, **fields: Any) -> None:
        version = self.short.keys.keyring.version + 1
        for office in (self.short, self.long):
            office.keys.say(change(record_of(A, **fields), version=version))

    def price(self, asset: str, price: price_pb2.Price | None) -> None:
        for counter in self.counters:
            if price is None:
                counter.shelf.prices.pop(asset, None)
            else:
                counter.shelf.prices[asset] = price


def cookied(office: Office, text: str) -> str:
    now_s = office.keys.clock.unix_ns() // 10**9
    return f"{text} c={office.doors.cookies.make(NO_CLIENT, source_of(HOSTS[0]), now_s=now_s).hex()}"


TEXTS = ["GET BTC USD", "GET BTC", "GET ETH USD id=7", "get btc usd", "GET BTC  USD", "GET SOL USD", "GET NOPE USD"]
TEXTS += [
    "GET BTC USD c=0123456789abcdef",
    "GET BTC id=abc",
    "GET BTC,ETH USD",
    "PING id=1",
    "USAGE",
    "GET BTC EUR",
    "GET BTC USD id=-",
    "GET BTC USD id=abcdefghijklmnop",
]
DEMOS = [text.encode() + end for text in TEXTS for end in (b"", b"\n", b" " * 30)]
QUERIES: list[tuple[str, ...]] = [("BTC",), ("btc",), ("ETH", "BTC"), ("BTC",) * 9, ("SOL",), ("NOPE", "BTC"), ()]
PRICES: list[dict[str, Any] | None] = [
    {"value": "67001.5"},
    {"value": "0.00000123", "sandbox": True},
    {"value": "1" * 60},
    {"state": price_pb2.STATE_STALE},
    {"state": price_pb2.STATE_DELAYED},
    {"value": ""},
    None,
]
KEYS: list[dict[str, Any]] = [
    {},
    {"assets": ["ETH"]},
    {"scopes": []},
    {"allowed_networks": ["192.0.2.0/24"]},
    {"rate_per_s": 1, "burst": 3},
    {"revoked": True},
    {"transports": [1]},
    {"expire_s": UNIX_S + 6},
]
STEPS = st.one_of(
    st.tuples(st.just("demo"), st.sampled_from(DEMOS)),
    st.tuples(st.just("cookied"), st.sampled_from(TEXTS)),
    st.tuples(st.just("line"), st.sampled_from(TEXTS)),
    st.tuples(st.just("line with an end"), st.sampled_from(TEXTS)),
    st.tuples(st.just("late line"), st.sampled_from([-32, -31, -30, -1, 29, 30, 31, 32])),
    st.tuples(st.just("binary"), st.sampled_from(QUERIES)),
    st.tuples(st.just("late binary"), st.sampled_from([-32, -31, -30, -1, 29, 30, 31, 32])),
    st.tuples(st.just("unsigned"), st.sampled_from(QUERIES)),
    st.tuples(st.just("again"), st.integers(0, 200)),
    st.tuples(st.just("bent"), st.integers(0, 200)),
    st.tuples(st.just("price"), st.sampled_from(PRICES)),
    st.tuples(st.just("key"), st.sampled_from(KEYS)),
    st.tuples(st.just("move"), st.sampled_from([0.001, 0.5, 7.0, 40.0, 3_590.0])),
    st.tuples(st.just("full"), st.booleans()),
)


SAID: dict[str, Callable[[Office, Any], bytes]] = {
    "demo": lambda _, what: bytes(what),
    "cookied": lambda office, what: cookied(office, what).encode(),
    "line": lambda office, what: office.line(what),
    "line with an end": lambda office, what: office.line(what) + b" \r\n",
    "late line": lambda office, what: office.line(ago_s=what),
    "binary": lambda office, what: office.binary(*what),
    "late binary": lambda office, what: office.binary("BTC", ago_s=what),
    "unsigned": lambda office, what: office.binary(*what, signed=False),
}


def bent(datagram: bytes, at: int) -> bytes:
    """The datagram with one bit turned over."""
    at %= len(datagram)
    return datagram[:at] + bytes((datagram[at] ^ 1,)) + datagram[at + 1 :]


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(st.tuples(STEPS, st.sampled_from(HOSTS)), min_size=5, max_size=60))
def test_whatever_comes_the_short_way_says_and_counts_what_the_long_one_does(
    steps: list[tuple[tuple[str, Any], str]],
) -> None:
    both = Both()
    said = [both.hear(lambda office, what=what: office.binary(*what), HOSTS[0]) for what in (QUERIES[0], QUERIES[2])]
    for (kind, what), host in steps:
        both.move(0.000_001)
        if kind in SAID:
            said.append(both.hear(lambda office, kind=kind, what=what: SAID[kind](office, what), host))
        elif kind in ("again", "bent"):
            datagram = said[what % len(said)]
            heard = bent(datagram, what) if kind == "bent" else datagram
            both.hear(lambda _, heard=heard: heard, host)
        elif kind == "price":
            both.price("BTC", None if what is None else make_price(**what))
        elif kind == "key":
            both.say(**what)
        elif kind == "move":
            both.move(what)
        else:
            both.short.keys.counts.full = both.long.keys.counts.full = what


def test_plain_questions_do_go_the_short_way() -> None:
    office = Office(burst=10_000)
    quick = office.counter.desk._quick
    assert quick is not None
    office.ask(office.line())
    clock, source = office.keys.clock, source_of(HOSTS[0])
    times = clock.monotonic_ns(), clock.unix_ns()
    plain = b"GET ETH USD id=9"
    office.ask_binary(office.binary("BTC", "ETH"))
    for reply in (
        quick.plain(plain, *times),
        quick.line(office.line("GET BTC USD id=7"), source, *times),
        quick.binary(office.binary("BTC", "ETH"), source, *times),
    ):
        assert reply.data, reply  # type: ignore[union-attr]
        assert reply.slots  # type: ignore[union-attr]


def test_what_was_counted_the_short_way_is_given_back_where_it_does_not_leave() -> None:
    office = Office(burst=10_000)
    for _ in range(3):
        office.ask(office.line())
    desk, clock = office.counter.desk, office.keys.clock
    reply = desk.handle(office.line(), HOSTS[0], 40_000, mono_ns=clock.monotonic_ns(), unix_ns=clock.unix_ns())
    assert reply.slots
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 4}
    desk.unsent(reply)
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 3}


def test_what_is_remembered_of_payloads_is_bounded() -> None:
    office = Office(burst=10**6, per_s=10**6)
    quick = office.counter.desk._quick
    assert quick is not None
    for number in range(KNOWN_MAX + 100):
        assert office.ask_bytes(office.binary(f"A{number}", signed=False))
    assert 100 <= len(quick._payloads) <= KNOWN_MAX
    assert len(quick._shown) == 0


@pytest.mark.parametrize("strict", [True, False])
def test_strict_answers_go_the_long_way(strict: bool) -> None:
    office = Office(burst=10_000)
    office.keys.counts.strict = strict
    clock = office.keys.clock
    for _ in range(3):
        reply = office.counter.desk.handle(
            office.line(), HOSTS[0], 40_000, mono_ns=clock.monotonic_ns(), unix_ns=clock.unix_ns()
        )
        assert reply.data
    assert bool(reply.slots) is not strict


def test_a_session_opened_anew_with_the_same_key_is_its_own() -> None:
    office = Office(burst=10_000)
    other = open_session(MASTER, key_id=A.key_id, now_s=office.keys.clock.unix_ns() // 10**9, nonce=999)
    for _ in range(3):
        assert office.ask(office.line()).startswith("OK")
        assert office.ask(office.line(session=other)).startswith("OK")
    assert len(office.sessions) == 2


def test_a_key_that_ends_and_a_session_that_ends_are_met_with_silence_at_once() -> None:
    both = Both(expire_s=UNIX_S + 20, burst=1_000)
    for move_s in (0, 10, 9, 1, 1):
        both.move(move_s)
        both.hear(lambda office: office.binary("BTC"), HOSTS[0])
        both.hear(lambda office: office.line(), HOSTS[0])
    assert both.short.counter.dropped() == {"session_key": 4}
    both = Both(burst=1_000)
    for move_s in (0, 3_580, 20):
        both.move(move_s)
        both.hear(lambda office: office.binary("BTC"), HOSTS[0])
        both.hear(lambda office: office.line(), HOSTS[0])
    assert both.short.counter.dropped() == {"session_unknown": 2}


def test_a_plain_line_that_was_known_is_silence_where_the_demonstration_is_off() -> None:
    office = Office(demo=False)
    for _ in range(3):
        assert office.ask(b"GET BTC USD") == ""
    assert office.counter.dropped() == {"demo_off": 3}
