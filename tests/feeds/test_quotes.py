"""REST quotes against a real HTTP server: one call for equal askers, limits, breakers, failover, bounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from feeds.plain_venue import PlainSession
from trinity_core.assets import Asset, AssetTable, Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.limits import Circuit
from trinity_feeds.quotes import Quotes
from trinity_feeds.terms import RateLimit
from trinity_feeds.venue_quotes import QuoteSettings, VenueQuotes
from trinity_mesh.clock import SystemClock

BTC = Listing(Venue.KRAKEN, "BTC", "USD")
MS = 1_000_000


class SetClock(SystemClock):
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def monotonic_ns(self) -> int:
        return self.now_ns


def answer(body: str = "100.5", status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Exchange:
    """An HTTP server that answers what a test tells it to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[bytes] = []
        """Sent in their order; the last again and again. Empty bytes: hang up."""
        self.open = asyncio.Event()
        """Answers wait for it."""
        self.open.set()
        self.arrived = asyncio.Event()
        self.url = ""
        self.tasks: set[asyncio.Task[Any]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(request.split(b" ")[1].decode())
                self.arrived.set()
                await self.open.wait()
                body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(body)
                await writer.drain()
                if not body:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def exchange(*answers: bytes) -> AsyncIterator[Exchange]:
    serving = Exchange()
    serving.answers = list(answers) or [answer()]
    server = await asyncio.start_server(serving.handle, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base"
    try:
        yield serving
    finally:
        serving.open.set()
        server.close()
        if serving.tasks:
            await asyncio.wait(serving.tasks, timeout=20)


def session(venue: Venue = Venue.KRAKEN, calls: int = 1_000) -> type[PlainSession]:
    """A plain session of another venue or limit."""
    return type("Other", (PlainSession,), {"venue": venue, "rest_limit": RateLimit(calls, 1_000)})


@asynccontextmanager
async def quotes_of(
    url: str, *, clock: SystemClock | None = None, kind: type[PlainSession] | None = None, **settings: Any
) -> AsyncIterator[VenueQuotes]:
    quotes = VenueQuotes(
        session=kind or session(),
        url=url,
        clock=clock or SystemClock(),
        settings=QuoteSettings(**({"timeout_ms": 20_000, "failures_max": 2} | settings)),
        random_source=random.Random(1),
    )
    try:
        yield quotes
    finally:
        await quotes.close()


async def refused(call: Callable[[], Any]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call()
    return caught.value


async def test_a_quote_is_asked_for_and_read_as_the_venues_module_says() -> None:
    async with exchange() as venue, quotes_of(venue.url) as quotes:
        tick = await quotes.fetch("BTC", BTC)
        assert (tick.asset, tick.price, tick.live) == ("BTC", Decimal("100.5"), True)
        assert venue.asked == ["/base/quote?pair=BTC"]
        assert (quotes.fetched, quotes.failed) == (1, 0)


async def test_equal_askers_at_one_time_share_one_call_and_later_ones_do_not() -> None:
    async with exchange() as venue, quotes_of(venue.url) as quotes:
        venue.open.clear()
        askers = [asyncio.create_task(quotes.fetch("BTC", BTC)) for _ in range(20)]
        other = asyncio.create_task(quotes.fetch("ETH", Listing(Venue.KRAKEN, "ETH", "USD")))
        await venue.arrived.wait()
        venue.open.set()
        ticks = await asyncio.gather(*askers)
        await other
        assert len({id(tick) for tick in ticks}) == 1
        assert sorted(venue.asked) == ["/base/quote?pair=BTC", "/base/quote?pair=ETH"]
        await quotes.fetch("BTC", BTC)
        assert len(venue.asked) == 3


async def test_an_asker_that_leaves_does_not_take_the_answer_from_the_others() -> None:
    async with exchange() as venue, quotes_of(venue.url) as quotes:
        venue.open.clear()
        first, second = (asyncio.create_task(quotes.fetch("BTC", BTC)) for _ in range(2))
        await venue.arrived.wait()
        first.cancel()
        venue.open.set()
        assert (await second).price == Decimal("100.5")
        assert first.cancelled()


async def test_a_failed_call_that_nobody_waits_for_any_more_makes_no_noise() -> None:
    async with exchange(answer("x", "500 No")) as venue, quotes_of(venue.url) as quotes:
        venue.open.clear()
        asker = asyncio.create_task(quotes.fetch("BTC", BTC))
        await venue.arrived.wait()
        asker.cancel()
        call = quotes._under_way["BTC"]
        venue.open.set()
        await asyncio.wait([call])
        assert quotes.failed == 1
        assert not quotes._under_way


async def test_a_venue_is_asked_no_more_often_than_it_allows() -> None:
    clock = SetClock()
    async with exchange() as venue, quotes_of(venue.url, clock=clock, kind=session(calls=4)) as quotes:
        await quotes.fetch("BTC", BTC)
        await quotes.fetch("BTC", BTC)
        error = await refused(lambda: quotes.fetch("BTC", BTC))
        assert error.reason is Reason.VENUE_RATE_LIMITED
        assert error.retry_after_ms is not None
        clock.now_ns += error.retry_after_ms * MS
        await quotes.fetch("BTC", BTC)
        assert len(venue.asked) == 3


async def test_a_share_of_the_limit_smaller_than_one_call_stretches_the_window() -> None:
    clock = SetClock()
    kind = session(calls=1)
    async with exchange() as venue, quotes_of(venue.url, clock=clock, kind=kind, rate_share=0.25) as quotes:
        await quotes.fetch("BTC", BTC)
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).retry_after_ms == 4_000


async def test_a_429_pauses_the_venue_as_long_as_it_asks_and_is_no_failure_of_the_circuit() -> None:
    clock = SetClock()
    too_many = answer("", "429 Too Many Requests", **{"Retry-After": "30"})
    async with exchange(too_many, answer()) as venue, quotes_of(venue.url, clock=clock, failures_max=1) as quotes:
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).retry_after_ms == 30_000
        again = await refused(lambda: quotes.fetch("BTC", BTC))
        assert (again.reason, again.retry_after_ms) == (Reason.VENUE_RATE_LIMITED, 30_000)
        assert len(venue.asked) == 1
        assert quotes.circuit is Circuit.CLOSED
        clock.now_ns += 30_000 * MS
        await quotes.fetch("BTC", BTC)


async def test_a_venues_retry_after_is_obeyed_up_to_its_bound() -> None:
    clock = SetClock()
    too_many = answer("", "429 Too Many Requests", **{"Retry-After": "86400"})
    async with exchange(too_many) as venue, quotes_of(venue.url, clock=clock, retry_after_ms_max=5_000) as quotes:
        await refused(lambda: quotes.fetch("BTC", BTC))
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).retry_after_ms == 5_000


async def test_a_venue_that_fails_again_and_again_is_left_alone_then_probed_then_trusted() -> None:
    clock = SetClock()
    bad = answer("", "503 Unavailable")
    async with exchange(bad, bad, answer()) as venue, quotes_of(venue.url, clock=clock) as quotes:
        for _ in range(2):
            assert (await refused(lambda: quotes.fetch("BTC", BTC))).reason is Reason.VENUE_UNAVAILABLE
        assert quotes.circuit is Circuit.OPEN
        error = await refused(lambda: quotes.fetch("BTC", BTC))
        assert error.reason is Reason.VENUE_UNAVAILABLE
        assert error.retry_after_ms is not None
        assert 5_000 <= error.retry_after_ms <= 6_000
        assert len(venue.asked) == 2, "refused without a call"
        clock.now_ns += error.retry_after_ms * MS
        assert quotes.circuit is Circuit.HALF_OPEN
        await quotes.fetch("BTC", BTC)
        assert quotes.circuit is Circuit.CLOSED


async def test_a_probe_that_the_rate_limit_refuses_leaves_the_circuit_to_the_next() -> None:
    clock = SetClock()
    too_many = answer("", "429 Too Many Requests", **{"Retry-After": "60"})
    bad = answer("", "503 Unavailable")
    async with exchange(bad, bad, too_many, answer()) as venue, quotes_of(venue.url, clock=clock) as quotes:
        for _ in range(2):
            await refused(lambda: quotes.fetch("BTC", BTC))
        clock.now_ns += 6_000 * MS
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).reason is Reason.VENUE_RATE_LIMITED
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).reason is Reason.VENUE_RATE_LIMITED
        clock.now_ns += 60_000 * MS
        assert (await quotes.fetch("BTC", BTC)).price == Decimal("100.5")


@pytest.mark.parametrize(
    "wire",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", answer("9" * 300)],
    ids=["hangs up", "no HTTP", "cut short", "too long"],
)
async def test_whatever_a_venue_does_to_the_connection_the_caller_sees_venue_unavailable(wire: bytes) -> None:
    async with exchange(wire) as venue, quotes_of(venue.url, body_bytes_max=200, timeout_ms=300) as quotes:
        error = await refused(lambda: quotes.fetch("BTC", BTC))
        assert error.reason is Reason.VENUE_UNAVAILABLE
        assert error.metadata == {"venue": "kraken"}
        assert quotes.failed == 1


async def test_a_venue_that_cannot_be_reached_or_stays_silent_is_unavailable() -> None:
    async with exchange() as venue, quotes_of(venue.url, timeout_ms=30) as quotes:
        venue.open.clear()
        assert "did not answer within 30 ms" in (await refused(lambda: quotes.fetch("BTC", BTC))).message
    async with quotes_of("http://127.0.0.1:1") as quotes:
        assert (await refused(lambda: quotes.fetch("BTC", BTC))).reason is Reason.VENUE_UNAVAILABLE


async def test_a_redirect_is_not_followed() -> None:
    away = answer("", "302 Found", Location="http://127.0.0.1:1/")
    async with exchange(away) as venue, quotes_of(venue.url) as quotes:
        assert "status 302" in (await refused(lambda: quotes.fetch("BTC", BTC))).message


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with exchange() as venue, quotes_of(venue.url) as quotes:
        await quotes.fetch("BTC", BTC)


async def test_closing_ends_what_is_under_way_with_stopping() -> None:
    async with exchange() as venue, quotes_of(venue.url) as quotes:
        venue.open.clear()
        asker = asyncio.create_task(quotes.fetch("BTC", BTC))
        await venue.arrived.wait()
        await quotes.close()
        assert (await refused(lambda: asker)).reason is Reason.STOPPING


# Several venues.

TABLE = AssetTable(
    [
        Asset("BTC", "Bitcoin", (Listing(Venue.COINBASE, "BTC-USD", "USD"), Listing(Venue.KRAKEN, "BTC/USD", "USD"))),
        Asset("OKB", "OKB", (Listing(Venue.OKX, "OKB-USDT", "USDT"),)),
        Asset("CRO", "Cronos", (Listing(Venue.KRAKEN, "CRO/USD", "USD"),)),
    ]
)


@asynccontextmanager
async def both(coinbase: Sequence[bytes], kraken: Sequence[bytes]) -> AsyncIterator[tuple[Quotes, Exchange, Exchange]]:
    async with (
        exchange(*coinbase) as first,
        exchange(*kraken) as second,
        quotes_of(first.url, kind=session(Venue.COINBASE)) as one,
        quotes_of(second.url) as two,
    ):
        yield Quotes(assets=TABLE, venues={Venue.COINBASE: one, Venue.KRAKEN: two}), first, second


async def test_the_first_venue_in_the_assets_priority_is_asked_and_the_asset_may_be_in_lower_case() -> None:
    async with both([answer("1")], [answer("2")]) as (quotes, _, kraken):
        assert (await quotes.fetch("btc")).venue is Venue.COINBASE
        assert kraken.asked == []


@pytest.mark.parametrize("status", ["500 No", "429 Too Many Requests", "404 Not Found"])
async def test_the_next_venue_answers_when_the_first_does_not(status: str) -> None:
    async with both([answer("", status)], [answer("2")]) as (quotes, _, _kraken):
        tick = await quotes.fetch("BTC")
        assert (tick.venue, tick.price) == (Venue.KRAKEN, Decimal(2))


async def test_a_named_venue_is_asked_alone() -> None:
    async with both([answer("1")], [answer("", "500 No")]) as (quotes, coinbase, _):
        assert (await refused(lambda: quotes.fetch("BTC", Venue.KRAKEN))).reason is Reason.VENUE_UNAVAILABLE
        assert coinbase.asked == []


@pytest.mark.parametrize(
    ("first", "second", "reason", "retry"),
    [
        ("500 No", "500 No", Reason.VENUE_UNAVAILABLE, None),
        ("500 No", "429 Too Many", Reason.VENUE_UNAVAILABLE, 9_000),
        ("429 Too Many", "429 Too Many", Reason.VENUE_RATE_LIMITED, 9_000),
        ("429 Too Many", "404 Not Found", Reason.VENUE_RATE_LIMITED, 9_000),
        ("404 Not Found", "404 Not Found", Reason.NOT_LISTED, None),
    ],
)
async def test_when_no_venue_answers_the_error_says_why(
    first: str, second: str, reason: Reason, retry: int | None
) -> None:
    later = {"Retry-After": "9"}
    async with both([answer("", first, **later)], [answer("", second, **later)]) as (quotes, _, _kraken):
        error = await refused(lambda: quotes.fetch("BTC"))
        assert (error.reason, error.retry_after_ms) == (reason, retry)
        assert error.metadata["tried"] == "coinbase,kraken"


async def test_what_cannot_be_asked_at_all_is_refused_without_a_call() -> None:
    async with both([answer()], [answer()]) as (quotes, coinbase, kraken):
        unknown = await refused(lambda: quotes.fetch("BTX"))
        assert (unknown.reason, unknown.metadata["nearest"]) == (Reason.UNKNOWN_ASSET, "BTC")
        assert (await refused(lambda: quotes.fetch("BTC", Venue.OKX))).reason is Reason.UNKNOWN_VENUE
        nowhere = await refused(lambda: quotes.fetch("OKB"))
        assert (nowhere.reason, nowhere.metadata["listed_on"]) == (Reason.NOT_LISTED, "okx")
        assert (await refused(lambda: quotes.fetch("CRO", Venue.COINBASE))).reason is Reason.NOT_LISTED
        assert coinbase.asked == kraken.asked == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_share": 0},
        {"rate_share": 1.5},
        {"timeout_ms": 0},
        {"connections_max": 0},
        {"body_bytes_max": 0},
        {"failures_max": 0},
        {"open_ms": 0},
        {"open_ms_max": 1},
        {"retry_after_ms_max": -1},
    ],
    ids=str,
)
def test_senseless_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QuoteSettings(**wrong)
