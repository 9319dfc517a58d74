"""The sandbox as a whole: addresses, headers, limits, slow readers, the control endpoint, anything clients say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from feeds.sandbox_stage import GENEROUS_S, HandDrive, stage
from price.virtual_clock import VirtualClock
from trinity_core.assets import load_assets
from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import FaultBoard
from trinity_feeds.sandbox.coinbase import CoinbaseVenue
from trinity_feeds.sandbox.cryptocom import CryptocomVenue
from trinity_feeds.sandbox.gateio import GateioVenue
from trinity_feeds.sandbox.gemini import GeminiVenue
from trinity_feeds.sandbox.kraken import KrakenVenue
from trinity_feeds.sandbox.okx import OkxVenue
from trinity_feeds.sandbox.rest import parse_request
from trinity_feeds.sandbox.server import serve_sandbox
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_feeds.sandbox.stamps import Moment
from trinity_feeds.sandbox.venue import SandboxVenue
from trinity_mesh.clock import SystemClock

TABLE = load_assets()
QUIET = SandboxSettings(assets=("BTC",), rate_limits=False)
OPENING = HandDrive(QUIET).opening()
KINDS: tuple[type[SandboxVenue], ...] = (
    CoinbaseVenue,
    GeminiVenue,
    KrakenVenue,
    GateioVenue,
    CryptocomVenue,
    OkxVenue,
)
PATHS = {
    Venue.COINBASE: "/products/stats",
    Venue.GEMINI: "/v1/symbols",
    Venue.KRAKEN: "/0/public/SystemStatus",
    Venue.GATEIO: "/api/v4/spot/tickers",
    Venue.CRYPTOCOM: "/exchange/v1/public/get-tickers",
    Venue.OKX: "/api/v5/market/tickers?instType=SPOT",
}


async def test_every_venue_has_its_own_path_and_loopback_only() -> None:
    async with stage() as at:
        assert set(at.servers.urls) == set(Venue)
        assert at.servers.urls[Venue.KRAKEN].ws_url.endswith("/v2")
        assert at.servers.urls[Venue.OKX].ws_url.endswith("/ws/v5/public")
        for urls in at.servers.urls.values():
            assert urls.ws_url.startswith("ws://127.0.0.1:")
            assert urls.rest_url == "http://" + urls.ws_url.removeprefix("ws://").partition("/")[0]


@pytest.mark.parametrize("venue", list(Venue))
async def test_every_response_names_the_sandbox(venue: Venue) -> None:
    async with stage() as at:
        answer = await at.get(venue, PATHS[venue])
        assert (answer.status_code, answer.headers["server"]) == (200, "trinity-sandbox")
        client = await at.connect(venue)
        assert client.socket.response is not None
        assert client.socket.response.headers["Server"] == "trinity-sandbox"
        missing = await at.get(venue, "/nowhere/at/all")
        assert (missing.status_code, missing.headers["server"]) == (404, "trinity-sandbox")
        assert (await at.control("/stats")).headers["server"] == "trinity-sandbox"


async def test_no_compression_is_negotiated() -> None:
    async with stage() as at:
        client = await at.connect(Venue.KRAKEN, compression="deflate")
        assert client.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in client.socket.response.headers


async def test_a_handshake_at_the_bare_origin_is_taken_and_at_another_path_is_not() -> None:
    async with stage() as at:
        from websockets.asyncio.client import connect

        origin = at.servers.urls[Venue.KRAKEN].rest_url.replace("http", "ws")
        async with connect(origin, proxy=None) as bare:
            assert json.loads(await bare.recv())["channel"] == "status"
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{origin}/v1", proxy=None)
        assert refused.value.response.status_code == 404


async def test_ports_can_be_chosen_and_a_taken_one_is_an_error_that_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = SandboxSettings(ports={Venue.OKX: taken.getsockname()[1]})
        with pytest.raises(OSError, match="address"):
            await serve_sandbox(settings=settings, clock=VirtualClock())
    servers = await serve_sandbox(settings=settings, clock=VirtualClock())
    assert servers.urls[Venue.OKX].rest_url.endswith(f":{settings.ports[Venue.OKX]}")
    await servers.close()
    await servers.close()


async def test_connections_beyond_the_limit_are_refused() -> None:
    async with stage(connections_max=2) as at:
        for _ in range(2):
            await at.connect(Venue.GATEIO)
        with pytest.raises(InvalidStatus) as refused:
            await at.connect(Venue.GATEIO)
        assert refused.value.response.status_code == 503
        assert at.servers.stats()["venues"]["gateio"]["refused"] == 1


async def test_a_reader_that_does_not_read_is_cut_and_the_others_are_not() -> None:
    async with stage(buffer_bytes_max=64 * 1024) as at:
        deaf, good = await at.connect(Venue.GATEIO, max_queue=1), await at.connect(Venue.GATEIO)
        for client in (deaf, good):
            await client.ask({"channel": "spot.tickers", "event": "subscribe", "payload": ["BTC_USDT"]})
        good_reads = asyncio.create_task(good.remaining())
        async with asyncio.timeout(GENEROUS_S):
            while at.servers.stats()["venues"]["gateio"]["open"] == 2:
                for _ in range(500):
                    at.drive.push(Venue.GATEIO)
                await at.move()
                await asyncio.sleep(0.001)  # lets the good reader's socket be read
        stats = at.servers.stats()["venues"]["gateio"]
        assert (stats["cut_slow"], stats["open"]) == (1, 1)
        assert await deaf.ended() == (1006, "")
        await at.fault(Venue.GATEIO, "disconnect")
        assert len(await good_reads) > 500


async def test_the_same_seed_puts_the_same_prices_on_the_wire() -> None:
    async def heard(seed: int) -> list[Any]:
        async with stage(generate=True, seed=seed, ticks_per_s=100) as at:
            client = await at.connect(Venue.KRAKEN)
            await client.hear()
            await client.ask({"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USD"]}})
            await at.move(5)
            await at.fault(Venue.KRAKEN, "disconnect")
            return await client.remaining()

    one, again, other = await heard(5), await heard(5), await heard(6)
    assert len(one) > 20
    assert one == again
    assert one != other


async def test_it_runs_by_itself_on_the_machines_clock() -> None:
    servers = await serve_sandbox(settings=SandboxSettings(assets=("BTC",), ticks_per_s=200), clock=SystemClock())
    try:
        from websockets.asyncio.client import connect

        async with asyncio.timeout(GENEROUS_S), connect(servers.urls[Venue.KRAKEN].ws_url, proxy=None) as kraken:
            await kraken.send(
                '{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo"}}'
            )
            frames = [json.loads(await kraken.recv()) for _ in range(8)]
            assert [frame.get("type") for frame in frames[3:]] == ["update"] * 5
    finally:
        await servers.close()


async def test_an_error_in_the_pump_is_not_swallowed() -> None:
    class Broken(HandDrive):
        def until(self, elapsed_ns: int) -> Any:
            raise ZeroDivisionError("broken drive")

    settings = SandboxSettings(assets=("BTC",))
    clock = VirtualClock()
    servers = await serve_sandbox(settings=settings, clock=clock, drive=Broken(settings))
    await clock.advance(1)
    assert servers.pump.done()
    with pytest.raises(ZeroDivisionError):
        await servers.close()


async def test_control_begins_lists_and_ends_faults() -> None:
    async with stage() as at:
        begun = (await at.control("/fault?venue=kraken&kind=freeze&for_s=20&asset=BTC")).json()["begun"]
        assert [(entry["venue"], entry["fault"], entry["asset"], entry["left_s"]) for entry in begun] == [
            ("kraken", "freeze", "BTC", 20.0)
        ]
        await at.control("/fault?venue=all&fault=slow&delay_s=0.5")
        await at.move(5)
        listed = (await at.control("/faults")).json()
        assert len(listed) == 7
        assert listed[0]["left_s"] < 10
        assert (await at.control("/clear?venue=kraken")).json() == {"ended": 2}
        assert (await at.control("/clear")).json() == {"ended": 5}
        assert (await at.control("/faults")).json() == []


@pytest.mark.parametrize(
    "path",
    [
        "/fault",
        "/fault?venue=mtgox&kind=cut",
        "/fault?venue=okx",
        "/fault?venue=okx&kind=nope",
        "/fault?venue=okx&kind=freeze&asset=BTCC",
        "/fault?venue=okx&kind=freeze&for_s=soon",
        "/fault?venue=okx&kind=freeze&colour=red",
        "/clear?venue=mtgox",
        "/truth?asset=BTCC",
    ],
)
async def test_control_refuses_what_makes_no_sense_and_says_why(path: str) -> None:
    async with stage() as at:
        answer = await at.control(path)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert (await at.control("/faults")).json() == []


async def test_control_tells_the_truth_even_when_a_venue_lies() -> None:
    async with stage() as at:
        prices = (await at.control("/truth")).json()["prices"]
        assert prices["BTC"] == "96500.0000"
        assert len(prices) == 150
        await at.fault(Venue.KRAKEN, "zero")
        one = (await at.control("/truth?asset=btc")).json()
        assert one["price"] == "96500.0000"
        assert one["venues"]["kraken"]["bid"] == "0.0"
        assert float(one["venues"]["gemini"]["bid"]) == pytest.approx(96500, rel=0.01)
        assert one["venues"]["okx"]["quote"] == "USDT"


async def test_control_counts() -> None:
    async with stage() as at:
        client = await at.connect(Venue.GATEIO)
        await client.ask({"channel": "spot.tickers", "event": "subscribe", "payload": ["BTC_USDT", "ETH_USDT"]})
        await at.push(Venue.GATEIO)
        await at.get(Venue.GATEIO, "/api/v4/spot/tickers")
        stats = (await at.control("/stats")).json()
        gateio = stats["venues"]["gateio"]
        assert gateio.pop("bytes") > 100
        assert gateio == {
            "open": 1,
            "subscriptions": 2,
            "connections": 1,
            "refused": 0,
            "messages": 1,
            "frames": 2,
            "data_frames": 1,
            "rest": 1,
            "cut_slow": 0,
        }
        assert stats["quotes"] == 1
        assert "/stats" in (await at.control("/")).json()
        assert (await at.control("/nope")).status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "subscribe",
        "unsubscribe",
        "ticker",
        "tickers",
        "spot.tickers",
        "public/respond-heartbeat",
        "ping",
        "heartbeats",
        "bbo",
        "conninfo",
        "BTC-USD",
        "BTC/USD",
        "BTC_USDT",
        "btcusd@bookTicker",
        "ticker.BTC_USD",
        "BTC-USDT",
    ]
)
NAMES = ["type", "channel", "product_ids", "id", "method", "params", "req_id", "event", "payload", "op", "args", "time"]
NEARLY = st.dictionaries(
    st.sampled_from(NAMES),
    JSON
    | WORDS
    | st.lists(JSON | WORDS, max_size=3)
    | st.dictionaries(st.sampled_from(["channel", "channels", "symbol", "instId", "event_trigger"]), JSON | WORDS),
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@hypothesis_settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_nothing_that_a_client_says_or_asks_breaks_a_venue(kind: type[SandboxVenue], data: st.DataObject) -> None:
    board = FaultBoard(script=(), started_ns=0)
    venue = kind(table=TABLE, settings=QUIET, faults=board, random=Random(1))
    venue.take([quote for quote in OPENING if quote.venue is venue.venue])
    now = Moment(10_000_000_000, 1_800_000_000_000_000_000)
    session = venue.session(Moment(0, now.unix_ns))
    said = data.draw(st.lists(st.text() | st.binary() | JSON.map(json.dumps) | NEARLY.map(json.dumps), max_size=6))
    for text in said:
        session.received(text, now)
    for frame in session.out:
        frame.data.decode()
        with contextlib.suppress(ValueError):
            assert isinstance(json.loads(frame.data), dict)
    words = ("api", "v4", "spot", "tickers", "0", "public", "v1", "products", "exchange")
    path = data.draw(st.lists(st.sampled_from([*"/?&=%,", *words])))
    assert venue.rest(parse_request("/" + "".join(path)), now).status in (200, 400, 404)
