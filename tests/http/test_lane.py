"""The fast lane beside the long way: whatever is sent, a client sees the same, and the same is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admission.stage import change, make_key, record_of
from lane_stage import (
    BOUND,
    ETH_ONLY,
    GONE,
    GOOD,
    KEYS,
    PEER,
    SCOPELESS,
    UDP_ONLY,
    Connection,
    Gateway,
    both,
    exchange,
    seen,
)
from trinity.price.v1 import price_pb2
from trinity_core.keys import KeyText
from trinity_http.lane import PLANS_MAX
from trinity_http.lane_request import REQUEST_BYTES_MAX, plain_request
from udp.counter import UNIX_S, make_price


def shelf() -> dict[str, price_pb2.Price]:
    lasting = make_price("ETH", "3000.5", sandbox=True, sequence=8, epoch=3)
    lasting.fresh_until.seconds = UNIX_S + 10_000_000_000
    return {
        "BTC": make_price(sequence=7, epoch=3),
        "ETH": lasting,
        "SOL": make_price("SOL", "150", state=price_pb2.STATE_STALE, sequence=9, epoch=3),
    }


def request(
    target: str = "/price?asset=BTC",
    key: KeyText | None = GOOD,
    *headers: str,
    method: str = "GET",
    version: str = "1.1",
) -> bytes:
    bearer = [f"Authorization: Bearer {key.text}"] if key else []
    lines = [f"{method} {target} HTTP/{version}", "Host: prices.example", *bearer, *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


PLAIN = [
    request(),
    request("/price?asset=eth"),
    request("/v1/prices/BTC"),
    request(
        "/v1/prices/eth", GOOD, "Accept: */*", "User-Agent: curl/8", "Accept-Encoding: gzip", "Connection: keep-alive"
    ),
    request("/price?asset=ETH", GOOD, "Accept: application/json", "X-Request-Id: mine-1", "traceparent: 00-1-2-3"),
    request("/price?asset=BTC", GOOD, 'If-None-Match: "3-7-1"'),
    request("/price?asset=BTC", GOOD, 'If-None-Match: W/"3-7-1", "other"'),
    request("/price?asset=BTC", GOOD, "If-None-Match: *"),
    request("/price?asset=BTC", GOOD, 'If-None-Match: "9-9-9"'),
    request("/price?asset=BTC", BOUND, "X-Forwarded-For: 203.0.113.9"),
    request("/price?asset=BTC", BOUND, "X-Forwarded-For: 203.0.113.1, 203.0.113.9:4711"),
    request("/price?asset=ETH", ETH_ONLY),
    request("/price?asset=BTC", None, f"Authorization: Bearer  {GOOD.text}"),
    request("/price?asset=BTC", None, f"authorization:bearer {GOOD.text}"),
    request("/price?asset=BTC", None, f"AUTHORIZATION:\tBEARER {GOOD.text}"),
]
"""Requests that the lane answers."""

ODD = [
    request("/price?asset=BTC", BOUND),
    request("/price?asset=BTC", BOUND, "X-Forwarded-For: 198.51.100.1"),
    request("/price?asset=BTC", BOUND, "X-Forwarded-For: 203.0.113.9, 198.51.100.1"),
    request("/price?asset=BTC", BOUND, "X-Forwarded-For: nonsense"),
    request("/price?asset=BTC", SCOPELESS),
    request("/price?asset=BTC", UDP_ONLY),
    request("/price?asset=BTC", GONE),
    request("/price?asset=BTC", ETH_ONLY),
    request("/price?asset=BTC", make_key(99)),
    request("/price?asset=BTC", None),
    request("/price?asset=SOL"),
    request("/price?asset=DOGE"),
    request("/price?asset=NOPE"),
    request("/price?asset="),
    request("/price"),
    request("/price?asset=BTC&asset=ETH"),
    request("/price?asset=BTC&method=vwap"),
    request("/price?asset=B%54C"),
    request("/price?asset=BTC#x"),
    request("/price/?asset=BTC"),
    request("/v1/prices/B%54C"),
    request("/v1/prices/BTC?max_age=1s"),
    request("/v1/prices/BTC:explain"),
    request("http://prices.example/price?asset=BTC"),
    request(method="HEAD"),
    request(method="POST"),
    request(method="OPTIONS"),
    request(method="get"),
    request(version="1.0"),
    request(version="2.0"),
    request("/price?asset=BTC", GOOD, "Connection: close"),
    request("/price?asset=BTC", GOOD, "Accept: text/html"),
    request("/price?asset=BTC", GOOD, "Accept: application/json;q=0"),
    request("/price?asset=BTC", GOOD, "Accept: */* "),
    request("/price?asset=BTC", GOOD, "Accept:"),
    request("/price?asset=BTC", GOOD, "Accept: */*", "Accept: text/html"),
    request("/price?asset=BTC", GOOD, "Origin: https://pages.example"),
    request("/price?asset=BTC", GOOD, "X-Request-Timeout: soon"),
    request("/price?asset=BTC", GOOD, "grpc-timeout: 0m"),
    request("/price?asset=BTC", GOOD, "Content-Length: 0"),
    request("/price?asset=BTC", GOOD, "Content-Length: 3") + b"abc",
    request("/price?asset=BTC", GOOD, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    request("/price?asset=BTC", GOOD, "Expect: 100-continue"),
    request("/price?asset=BTC", GOOD, "Upgrade: h2c", "Connection: upgrade"),
    request("/price?asset=BTC", GOOD, f"Authorization: Bearer {GOOD.text}"),
    request("/price?asset=BTC", None, f"Authorization: bearer {GOOD.text} "),
    request("/price?asset=BTC", None, f"Authorization: Basic {GOOD.text}"),
    request("/price?asset=BTC", GOOD, "X-Request-Id: " + "i" * 65),
    request("/price?asset=BTC", GOOD, "X-Request-Id: a b"),
    request("/price?asset=BTC", GOOD, "X-Request-Id: a", "X-Request-Id: b"),
    request("/price?asset=BTC", GOOD, "Cookie: \x80"),
    request("/price?asset=BTC", GOOD, "Cookie: \x00"),
    request("/price?asset=BTC", GOOD, "Cookie: a\r\n b"),
    request("/price?asset=BTC", GOOD, "Cookie : a"),
    request("/price?asset=BTC", GOOD, ": a"),
    request("/price?asset=BTC", GOOD, "no colon"),
    request("/price?asset=BTC", GOOD, "Cookie: " + "c" * 5_000),
    request("/price?asset=BTC", GOOD, *(f"X-{number}: 1" for number in range(70))),
    request().replace(b"\r\n", b"\n"),
    b"\r\n" + request(),
    request() + b"\r\n",
    request()[:-2],
    request().replace(b" HTTP/1.1", b"  HTTP/1.1"),
    request().replace(b"GET /", b"GET\t/"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n\r\n\r\n",
    b"",
]
"""Requests that it must leave alone."""


async def compared(chunks: Sequence[tuple[bytes, bool]], *, rate: int = 1_000_000) -> tuple[Connection, int]:
    """Both ways must give the same; the lane's connection, and how much of it the lane answered."""
    async with both(shelf(), rate=rate) as (fast, slow):
        one, other = await exchange(fast, chunks), await exchange(slow, chunks)
        assert seen(one.sent) == seen(other.sent)
        assert one.closed == other.closed
        assert fast.counted == slow.counted
        return one, fast.lane.answered


async def test_a_plain_request_is_answered_on_the_lane_as_it_is_past_it() -> None:
    async with both(shelf()) as (fast, slow):
        for data in PLAIN:
            before = fast.lane.answered
            chunks = [(data, True), (data, True), (data, False)]
            one, other = await exchange(fast, chunks), await exchange(slow, chunks)
            assert fast.lane.answered - before == 3, data
            assert seen(one.sent) == seen(other.sent)
            assert one.sent.count(b"HTTP/1.1 ") == 3
        assert fast.counted == slow.counted


async def test_what_is_not_plain_is_left_to_the_full_parser() -> None:
    async with both(shelf()) as (fast, slow):
        for data in ODD:
            before = fast.lane.answered
            chunks = [(data, True), (request(), True)]
            one, other = await exchange(fast, chunks), await exchange(slow, chunks)
            assert fast.lane.answered - before <= 1, data
            assert seen(one.sent) == seen(other.sent), data
            assert one.closed == other.closed, data
        assert fast.counted == slow.counted


def test_the_odd_ones_are_read_as_such_where_it_is_their_bytes_that_are_odd() -> None:
    assert all(plain_request(data) for data in PLAIN)
    assert plain_request(request("/price?asset=BTC", GOOD, "Cookie: " + "c" * REQUEST_BYTES_MAX)) is None


async def test_a_spent_bucket_is_refused_alike() -> None:
    connection, answered = await compared([(request(), True)] * 5, rate=3)
    assert answered == 3
    assert connection.sent.count(b"HTTP/1.1 429 ") == 2


async def test_a_request_split_anywhere_is_answered_once() -> None:
    data = request()
    async with both(shelf()) as (fast, slow):
        for at in range(1, len(data)):
            chunks = [(data[:at], False), (data[at:], True), (data, True)]
            one, other = await exchange(fast, chunks), await exchange(slow, chunks)
            assert seen(one.sent) == seen(other.sent)
            assert one.sent.count(b"HTTP/1.1 200 ") == 2
            assert fast.lane.answered == at, "the second ones, which came whole"
        assert fast.counted == slow.counted


async def test_a_request_behind_one_that_is_under_way_waits_for_its_turn() -> None:
    doge, btc = request("/price?asset=DOGE"), request()
    connection, answered = await compared([(doge, False), (btc, False), (doge + btc, False), (btc, True), (btc, True)])
    bodies = [part[:3] for part in bytes(connection.sent).split(b'{"asset":"')[1:]]
    assert bodies == [b"DOG", b"BTC", b"DOG", b"BTC", b"BTC", b"BTC"]
    assert answered == 1


async def test_a_client_that_takes_no_answers_gets_no_more_from_the_lane() -> None:
    async with both(shelf()) as (fast, _):
        connection = fast.connect()
        connection.protocol.pause_writing()
        connection.feed(request())
        assert not connection.sent
        connection.protocol.resume_writing()
        await fast.settle()
        assert connection.sent.count(b"HTTP/1.1 200 ") == 1
        assert fast.lane.answered == 0


async def test_a_revoked_key_is_refused_at_its_next_request() -> None:
    async with both(shelf()) as (fast, slow):
        for gateway in (fast, slow):
            connection = await exchange(gateway, [(request(), True)])
            revoked = record_of(GOOD)
            revoked.revoked = True
            gateway.desk.say(change(revoked, version=2))
            connection.feed(request())
            await gateway.settle()
            assert connection.sent.count(b"HTTP/1.1 200 ") == 1
            assert connection.sent.count(b"HTTP/1.1 401 ") == 1
        assert fast.counted == slow.counted


async def test_a_changed_plan_holds_from_the_next_request_on() -> None:
    async with both(shelf()) as (fast, _):
        connection = await exchange(fast, [(request(), True)])
        fast.desk.say(change(record_of(GOOD, assets=["ETH"]), version=2))
        connection.feed(request())
        await fast.settle()
        assert connection.sent.count(b"HTTP/1.1 403 ") == 1
        connection.feed(request("/price?asset=ETH"))
        assert fast.lane.answered == 2


async def test_a_new_price_and_a_new_state_show_at_once() -> None:
    prices = shelf()
    async with both(prices) as (fast, slow):
        connections = [await exchange(gateway, [(request(), True)]) for gateway in (fast, slow)]
        for state, value in (
            (price_pb2.STATE_FRESH, "67001"),
            (price_pb2.STATE_DELAYED, "67001"),
            (price_pb2.STATE_STALE, "1"),
        ):
            prices["BTC"] = make_price("BTC", value, state=state, sequence=10, epoch=3)
            for connection, gateway in zip(connections, (fast, slow), strict=True):
                connection.feed(request())
                await gateway.settle()
            assert seen(connections[0].sent) == seen(connections[1].sent)
        assert fast.lane.answered == 3, "a stale price is for the price service to judge"


async def test_a_server_that_drains_lets_the_full_parser_close_the_connection() -> None:
    async with both(shelf()) as (fast, slow):
        for gateway in (fast, slow):
            connection = await exchange(gateway, [(request(), True)])
            gateway.guard.draining = True
            connection.protocol.shutdown()
            assert not connection.closed
            connection.feed(request())
            await gateway.settle()
            assert b"connection: close\r\n" in connection.sent
            assert connection.closed
        assert fast.counted == slow.counted


async def test_a_full_ledger_answers_nothing_on_either_way() -> None:
    async with both(shelf()) as (fast, slow):
        for gateway in (fast, slow):
            gateway.desk.counts.full = True
            connection = await exchange(gateway, [(request(), True)])
            assert connection.sent.startswith(b"HTTP/1.1 503 ")


async def test_plans_are_bounded_however_many_requests_differ() -> None:
    async with both(shelf()) as (fast, _):
        connection = fast.connect()
        for number in range(PLANS_MAX + 100):
            connection.feed(request("/price?asset=BTC", GOOD, f"User-Agent: {number}"))
        assert fast.lane.answered == PLANS_MAX + 100
        assert len(fast.lane._plans) <= PLANS_MAX
        assert len(connection.protocol._plans) <= 16


_TARGETS = st.sampled_from(
    [
        "/price?asset=BTC",
        "/price?asset=eth",
        "/v1/prices/ETH",
        "/price?asset=DOGE",
        "/price?asset=SOL",
        "/price?asset=NO",
        "/price?asset=BTC&quote=USD",
        "/v1/prices/B%54C",
        "/price",
        "/",
        "/v1/prices/BTC:explain",
        "/price?asset=BTC&x=1",
    ]
)
_NAMES = st.sampled_from(
    [
        *("Accept", "User-Agent", "X-Request-Id", "If-None-Match", "Connection", "X-Forwarded-For", "Cookie"),
        *("Origin", "Content-Length", "X-Request-Timeout", "Expect", "accept-encoding", "Authorization", "Host"),
        *("traceparent", "x-odd"),
    ]
)
_VALUES = st.one_of(
    st.sampled_from(
        ["*/*", "application/json", "keep-alive", "close", "203.0.113.7", '"3-7-1"', "*", "", " ", "0", "1s"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
)
_KEYS = st.sampled_from([GOOD, GOOD, GOOD, *KEYS, make_key(77), None])


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) < 6:
        return draw(st.sampled_from(PLAIN))
    headers = [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=3))]
    method = draw(st.sampled_from(["GET"] * 8 + ["HEAD", "POST", "OPTIONS"]))
    version = draw(st.sampled_from(["1.1"] * 8 + ["1.0"]))
    data = bytearray(request(draw(_TARGETS), draw(_KEYS), *headers, method=method, version=version))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


@st.composite
def _conversations(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Requests on one connection: whole, cut anywhere, or several in one piece; sent at once or after the answer."""
    stream = draw(st.lists(_requests(), min_size=1, max_size=5))
    match draw(st.sampled_from(["whole", "whole", "cut", "piled"])):
        case "whole":
            pieces = stream
        case "cut":
            data = b"".join(stream)
            cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
            pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        case _:
            pieces = [b"".join(stream)]
    return [(piece, draw(st.booleans())) for piece in pieces if piece]


@pytest.fixture(scope="module")
def generous_and_strict() -> Iterator[tuple[asyncio.Runner, list[tuple[Gateway, Gateway]]]]:
    """Both ways with a rate that nobody reaches, and with one of three a second."""
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:

        async def open_all() -> list[tuple[Gateway, Gateway]]:
            return [await stack.enter_async_context(both(shelf(), rate=rate)) for rate in (1_000_000, 3)]

        yield runner, runner.run(open_all())
        runner.run(stack.aclose())


@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(st.lists(_conversations(), min_size=1, max_size=4), st.integers(0, 1))
def test_no_client_can_tell_the_lane_from_the_long_way(
    generous_and_strict: tuple[asyncio.Runner, list[tuple[Gateway, Gateway]]],
    conversations: list[list[tuple[bytes, bool]]],
    which: int,
) -> None:
    runner, worlds = generous_and_strict
    fast, slow = worlds[which]

    async def run() -> None:
        for gateway in (fast, slow):
            # Every bucket is full again, so that one example does not know of another.
            gateway.desk.clock.move(2)
        for number, chunks in enumerate(conversations):
            peer = PEER if number % 2 else "198.51.100.7"
            one, other = await exchange(fast, chunks, peer), await exchange(slow, chunks, peer)
            assert seen(one.sent) == seen(other.sent)
            assert one.closed == other.closed
        assert fast.counted == slow.counted

    runner.run(run())


def test_the_generated_requests_are_of_both_kinds(
    generous_and_strict: tuple[asyncio.Runner, list[tuple[Gateway, Gateway]]],
) -> None:
    _, worlds = generous_and_strict
    for fast, slow in worlds:
        assert 100 < fast.lane.answered < sum(fast.counted.values())
        assert sum(slow.counted.values()) > 100
