"""From a datagram to its answer: the order of checks, the bound of bytes, and silence that is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_udp import codec
from udp.counter import Counter, make_price, open_counter

UNIX_NS = 1_767_322_800 * 1_000_000_000

COMMANDS = ["GET", "get", "PING", "TIME", "HELP", "OK", "ERR"]
ARGUMENTS = [
    "BTC",
    "eth",
    "DOGE",
    "NOPE",
    "BTC,ETH",
    "USD",
    "EUR",
    "id=7",
    "id=",
    "s=1",
    "c=00",
    "x=y",
    "=",
    "-",
    "A" * 40,
]
WORDS = st.sampled_from([*COMMANDS, *ARGUMENTS])
LINES = st.lists(WORDS, max_size=6).map(" ".join)
TEXTS = st.lists(LINES, max_size=70).map("\n".join).map(str.encode)
VALUES = st.decimals(min_value="0.000000000001", max_value="99999999", places=12).map(lambda value: f"{value:f}")


def test_the_first_query_of_the_readme_is_answered(counter: Counter) -> None:
    assert counter.ask(b"GET BTC USD") == b"OK BTC 67000.10 USD F\n"


def test_a_line_end_or_a_few_spaces_earn_the_full_answer(counter: Counter) -> None:
    assert counter.ask(b"GET BTC USD  ") == b"OK - BTC 67000.10 USD 1767322800 6 F\n"
    assert counter.ask(b"GET BTC USD id=7\n") == b"OK 7 BTC 67000.10 USD 1767322800 6 F\n"


def test_simulated_prices_are_marked(counter: Counter) -> None:
    assert counter.ask(b"GET ETH USD") == b"OK ETH 3000.5 USD F*\n"


def test_a_query_without_the_quote_is_told_what_it_lacks_if_the_price_is_long(counter: Counter) -> None:
    assert counter.ask(b"GET BTC") == b"OK BTC 67000.10 F\n"
    counter.shelf.prices["BTC"] = make_price(value="67000.1000001")
    assert counter.ask(b"GET BTC") == b"ERR - PADDING need=8\n"
    assert counter.ask(b"GET BTC ") == b"OK BTC 67000.1000001 F\n"


def test_several_lines_are_answered_in_their_order(counter: Counter) -> None:
    lines = counter.ask(b"GET ETH USD id=1\nPING id=2\nGET BTC USD id=3\n").splitlines()
    assert [line.split()[1] for line in lines] == [b"1", b"2", b"3"]
    assert lines[1] == b"OK 2 PONG"


def test_ping_time_and_help_are_answered_within_twelve_bytes(counter: Counter) -> None:
    assert counter.ask(b"PING") == b"OK - PONG\n"
    assert counter.ask(b"TIME") == b"1767322800\n"
    assert counter.ask(b"TIME id=9") == b"OK 9 TIME 1767322800\n"
    assert counter.ask(b"HELP") == b"OK GET BTC\n"


def test_an_unknown_asset_is_an_error_and_asks_nobody(counter: Counter) -> None:
    reply = counter.desk.handle(b"GET NOPE USD", "192.0.2.7", 40_000, mono_ns=0, unix_ns=UNIX_NS)
    assert reply.data == b"ERR - UNKNOWN_ASSET\n"
    assert reply.deferred == ()


def test_a_stale_price_is_never_an_answer(counter: Counter) -> None:
    price = make_price(state=price_pb2.STATE_STALE)
    price.receive_time.seconds -= 93
    counter.shelf.prices["BTC"] = price
    assert counter.ask(b"GET BTC USD id=7") == b"ERR 7 STALE_PRICE age=93\n"


@pytest.mark.parametrize("state", [price_pb2.STATE_HALTED, price_pb2.STATE_UNSPECIFIED, 77])
def test_a_price_whose_state_says_nothing_good_is_no_price(state: int, counter: Counter) -> None:
    counter.shelf.prices["BTC"] = make_price(state=state)
    assert counter.ask(b"GET BTC USD") == b"ERR - NO_PRICE\n"


def test_what_the_replica_lacks_is_deferred_and_settled_by_the_service(counter: Counter) -> None:
    reply = counter.desk.handle(b"GET SOL USD\nPING\n", "192.0.2.7", 40_000, mono_ns=0, unix_ns=UNIX_NS)
    assert reply.data == b"OK - PONG\n"
    (deferred,) = reply.deferred
    assert deferred.subject == "SOL"
    found = counter.desk.settle(deferred, make_price("SOL", "150.25"), unix_ns=UNIX_NS)
    assert found.data == b"OK - SOL 150.25 USD 1767322800 6 F\n"
    error = TrinityError(Reason.NO_PRICE, "no venue gives one")
    assert counter.desk.settle(deferred, error, unix_ns=UNIX_NS).data == b"ERR - NO_PRICE\n"


def test_a_looked_up_price_that_is_stale_is_refused_too(counter: Counter) -> None:
    reply = counter.desk.handle(b"GET SOL USD", "192.0.2.7", 40_000, mono_ns=0, unix_ns=UNIX_NS)
    stale = make_price("SOL", "150.25", state=price_pb2.STATE_STALE)
    line = counter.desk.settle(reply.deferred[0], stale, unix_ns=UNIX_NS + 5_000_000_000)
    assert line.data == b"ERR - STALE_PRICE age=5\n"


def test_a_field_that_is_wrong_is_named(counter: Counter) -> None:
    assert counter.ask(b"GET BTC EUR id=7") == b"ERR 7 INVALID_FIELD field=quote\n"


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "empty"),
        (b"x" * 1_233, "too_large"),
        (b"\x00\x01", "unknown_first_byte"),
        (b"\xf1" + bytes(60), "bad_binary"),
        (b"\xf1\x01" + bytes(60), "response"),
        (b"\xf1", "bad_binary"),
        (b"OK BTC 67000.10 USD F\n", "response"),
        (b"GET BTC \xff", "bad_text"),
        (b"HELLO", "unknown_command"),
        (b"GET BTC s=1 t=2 q=3 m=4", "session_malformed"),
        (b"GET BTC s=00112233445566ff t=2 q=3 m=" + b"0" * 32, "session_unsupported"),
        (b"GET", "amplification"),
    ],
)
def test_silence_has_a_reason_and_a_count(datagram: bytes, reason: str, counter: Counter) -> None:
    assert counter.ask(datagram) == b""
    assert counter.dropped() == {reason: 1}


@pytest.mark.parametrize("port", [0, 7, 19, 53, 123, 2679])
def test_ports_that_answer_by_themselves_are_never_answered(port: int, counter: Counter) -> None:
    assert counter.ask(b"PING", port=port) == b""
    assert counter.dropped() == {"source_port": 1}


def test_a_prefix_that_spent_its_allowance_meets_silence_and_its_neighbours_do_not() -> None:
    counter = open_counter(per_s=1, burst=3)
    answers = [bool(counter.ask(b"GET BTC USD", host=f"192.0.2.{number}")) for number in range(5)]
    assert answers == [True, True, True, False, False]
    assert counter.ask(b"GET BTC USD", host="192.0.3.1")
    counter.now_ns += 1_000_000_000
    assert counter.ask(b"GET BTC USD", host="192.0.2.9")
    assert counter.dropped() == {"rate_limited": 2}


def test_every_line_of_a_batch_costs_its_token() -> None:
    counter = open_counter(per_s=1, burst=4)
    assert counter.ask(b"PING\n" * 5) == b""
    assert counter.ask(b"PING\n" * 3).count(b"PONG") == 3
    assert counter.ask(b"PING\n") == b""


def test_without_the_demo_allowance_there_are_no_prices_but_the_time() -> None:
    counter = open_counter(demo=False)
    assert counter.ask(b"GET BTC USD") == b""
    assert counter.ask(b"TIME") == b"1767322800\n"
    assert counter.dropped() == {"demo_off": 1}


def test_a_batch_of_many_assets_is_cut_at_a_whole_line(counter: Counter) -> None:
    datagram = b"".join(b"GET BTC USD id=%d\n" % number for number in range(40))
    reply = counter.ask(datagram)
    assert len(reply) <= codec.DATAGRAM_BYTES_MAX
    assert reply.splitlines()[-1] == b"ERR - TRUNCATED more=/v1/prices:batchGet"


@settings(max_examples=400, deadline=None)
@given(datagram=st.one_of(st.binary(max_size=1_300), TEXTS), value=VALUES, host=st.sampled_from(["192.0.2.7", "::1"]))
def test_no_datagram_breaks_the_desk_or_earns_more_than_three_bytes_a_byte(
    datagram: bytes, value: str, host: str
) -> None:
    counter = open_counter(prices={"BTC": make_price(value=value, sandbox=True)})
    reply = counter.ask(datagram, host=host)
    assert len(reply) <= 3 * len(datagram)
    assert all(line.endswith(b"\n") for line in reply.splitlines(keepends=True))
    assert counter.ask(reply) == b"", "an answer was answered"


@settings(max_examples=200, deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=5), padding=st.integers(0, 60))
def test_padding_never_makes_an_answer_shorter(words: list[str], padding: int) -> None:
    line = " ".join(words).encode()
    plain, padded = open_counter().ask(line), open_counter().ask(line + b" " * padding)
    assert len(padded) >= len(plain)
