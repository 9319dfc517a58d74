"""Scripted faults, each as a client sees it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from feeds.sandbox_stage import Client, Stage, stage
from trinity_core.assets import load_assets
from trinity_core.errors import TrinityError
from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import FaultBoard
from trinity_feeds.sandbox.faults import Fault, Kind, parse_script, random_faults

TABLE = load_assets()
SECOND = 1_000_000_000


async def coinbase(at: Stage, *products: str) -> Client:
    """Following products, past their snapshots and the acknowledgement."""
    client = await at.connect(Venue.COINBASE)
    wanted = products or ("BTC-USD",)
    await client.say({"type": "subscribe", "channel": "ticker", "product_ids": wanted})
    for _ in range(len(wanted) + 1):
        await client.hear()
    return client


def ticker(frame: Any) -> Any:
    return frame["events"][0]["tickers"][0]


async def gateio(at: Stage, *pairs: str) -> Client:
    client = await at.connect(Venue.GATEIO)
    await client.ask({"channel": "spot.tickers", "event": "subscribe", "payload": list(pairs or ("BTC_USDT",))})
    return client


async def until_pong(client: Client) -> list[Any]:
    """The results of the ticker frames that come before the answer to a ping."""
    await client.say({"channel": "spot.ping"})
    seen = []
    while (frame := await client.hear())["channel"] != "spot.pong":
        seen.append(frame["result"])
    return seen


async def test_a_frozen_venue_sends_no_data_and_goes_on_beating() -> None:
    async with stage() as at:
        client = await coinbase(at)
        await client.ask({"type": "subscribe", "channel": "heartbeats"})
        await at.fault(Venue.COINBASE, "freeze", for_s=5)
        for _ in range(4):
            await at.push(Venue.COINBASE, last=666)
            await at.move(1)
        assert (await at.get(Venue.COINBASE, "/products/BTC-USD/ticker")).json()["price"] == "6.66"
        await at.move(1)
        await at.push(Venue.COINBASE, last=777)
        seen = [await client.hear()]
        while seen[-1]["channel"] != "ticker":
            seen.append(await client.hear())
        assert ticker(seen[-1])["price"] == "7.77"
        assert len(seen) >= 5
        numbers = [frame["sequence_num"] for frame in seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(seen)))


async def test_a_frozen_asset_leaves_the_others_alone() -> None:
    async with stage() as at:
        client = await gateio(at, "BTC_USDT", "ETH_USDT")
        await at.fault(Venue.GATEIO, "freeze", asset="BTC")
        await at.push(Venue.GATEIO, "BTC")
        await at.push(Venue.GATEIO, "ETH")
        assert [row["currency_pair"] for row in await until_pong(client)] == ["ETH_USDT"]


async def test_a_frozen_market_has_no_snapshot_either() -> None:
    async with stage() as at:
        await at.fault(Venue.KRAKEN, "freeze")
        client = await at.connect(Venue.KRAKEN)
        await client.hear()
        await client.ask({"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USD"]}})
        assert (await client.ask({"method": "ping"}))["method"] == "pong"


async def test_a_silent_venue_answers_nothing_and_keeps_the_socket() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "silence", for_s=20)
        await client.say({"channel": "spot.ping"})
        protocol_ping = await client.socket.ping()
        await at.push(Venue.GATEIO)
        await at.move(18)
        assert not protocol_ping.done()
        assert client.socket.close_code is None
        await at.move(2)
        assert (await client.hear())["channel"] == "spot.pong"
        await protocol_ping


async def test_a_silent_venue_keeps_rest_callers_waiting() -> None:
    async with stage() as at:
        await at.fault(Venue.GATEIO, "silence", for_s=20)
        asking = at.clock.monotonic_ns()

        async def ask() -> int:
            await at.get(Venue.GATEIO, "/api/v4/spot/tickers")
            return at.clock.monotonic_ns() - asking

        call = asyncio.create_task(ask())
        while not call.done():
            await at.move(1)
        assert call.result() >= 19 * SECOND


async def test_a_gap_uses_up_sequence_numbers() -> None:
    async with stage() as at:
        client = await coinbase(at)
        await at.push(Venue.COINBASE)
        before = (await client.hear())["sequence_num"]
        await at.fault(Venue.COINBASE, "gap", count=3)
        for _ in range(4):
            await at.push(Venue.COINBASE)
        assert (await client.hear())["sequence_num"] == before + 4


@pytest.mark.parametrize(
    ("kind", "fields", "bid", "ask", "last"),
    [
        ("spike", {"factor": 2.0}, "200", "202", "201"),
        ("zero", {}, "0", "0", "0"),
        ("negative", {}, "-100", "-101", "-100.5"),
        ("null", {}, "", "", ""),
        ("crossed", {}, "101.202", "101", "100.5"),
    ],
)
async def test_a_lying_venue_lies_on_the_socket_and_by_rest(
    kind: str, fields: dict[str, Any], bid: str, ask: str, last: str
) -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, kind, for_s=5, **fields)
        await at.push(Venue.GATEIO, decimals=3, bid=100_000, ask=101_000, last=100_500)
        shown = (await client.hear())["result"]
        assert (shown["highest_bid"], shown["lowest_ask"], shown["last"]) == (bid, ask, last)
        row = (await at.get(Venue.GATEIO, "/api/v4/spot/tickers?currency_pair=BTC_USDT")).json()[0]
        assert (row["highest_bid"], row["lowest_ask"], row["last"]) == (bid, ask, last)
        await at.move(5)
        await at.push(Venue.GATEIO, decimals=3, bid=100_000, ask=101_000, last=100_500)
        assert (await client.hear())["result"]["last"] == "100.5"


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("kind", ["spike", "drift", "zero", "negative", "null", "crossed"])
async def test_every_venue_renders_every_lie(venue: Venue, kind: str) -> None:
    said: dict[Venue, Any] = {
        Venue.COINBASE: {"type": "subscribe", "channel": "ticker", "product_ids": ["BTC-USD"]},
        Venue.GEMINI: {"id": 1, "method": "subscribe", "params": ["btcusd@bookTicker"]},
        Venue.KRAKEN: {"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USD"]}},
        Venue.GATEIO: {"channel": "spot.book_ticker", "event": "subscribe", "payload": ["BTC_USDT"]},
        Venue.CRYPTOCOM: {"id": 1, "method": "subscribe", "params": {"channels": ["ticker.BTC_USD"]}},
        Venue.OKX: {"op": "subscribe", "args": [{"channel": "tickers", "instId": "BTC-USDT"}]},
    }
    rest = {
        Venue.COINBASE: "/products/BTC-USD/ticker",
        Venue.GEMINI: "/v1/pubticker/btcusd",
        Venue.KRAKEN: "/0/public/Ticker?pair=XBTUSD",
        Venue.GATEIO: "/api/v4/spot/tickers",
        Venue.CRYPTOCOM: "/exchange/v1/public/get-tickers",
        Venue.OKX: "/api/v5/market/ticker?instId=BTC-USDT",
    }
    async with stage(rate_limits=False) as at:
        client = await at.connect(venue)
        await client.say(said[venue])
        await client.is_open()
        await at.fault(venue, kind, bps_per_s=100.0, for_s=60)
        before = at.servers.stats()["venues"][venue]["data_frames"]
        await at.push(venue)
        await at.move(1)
        assert at.servers.stats()["venues"][venue]["data_frames"] == before + 1
        await at.fault(venue, "disconnect")
        assert all(isinstance(frame, dict) for frame in await client.remaining())
        answer = await at.get(venue, rest[venue])
        assert answer.status_code == 200
        json.loads(answer.text)


async def test_a_drifting_venue_lies_a_little_more_each_second() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "drift", bps_per_s=10.0, for_s=100)
        lies = []
        for _ in range(3):
            await at.move(10)
            await at.push(Venue.GATEIO, last=1_000_000_0)
            lies.append(float((await client.hear())["result"]["last"]) / 1_000_000)
        assert lies == pytest.approx([1.0102, 1.0203, 1.0304], abs=0.0004)


async def test_a_lie_about_one_asset_leaves_the_others_true() -> None:
    async with stage() as at:
        client = await gateio(at, "BTC_USDT", "ETH_USDT")
        await at.fault(Venue.GATEIO, "zero", asset="BTC")
        await at.push(Venue.GATEIO, "BTC", last=5_0)
        await at.push(Venue.GATEIO, "ETH", last=5_00)
        assert [row["last"] for row in await until_pong(client)] == ["0", "5"]


async def test_of_two_frames_the_newer_comes_first() -> None:
    async with stage() as at:
        client = await coinbase(at)
        await at.fault(Venue.COINBASE, "out_of_order", for_s=2)
        for _ in range(5):
            await at.push(Venue.COINBASE)
        numbers = [(await client.hear())["sequence_num"] for _ in range(4)]
        assert numbers == [numbers[1] + 1, numbers[1], numbers[1] + 3, numbers[1] + 2]
        await at.move(2)
        assert (await client.hear())["sequence_num"] == numbers[2] + 1


async def test_every_data_frame_comes_twice() -> None:
    async with stage() as at:
        client = await coinbase(at)
        await at.fault(Venue.COINBASE, "duplicate")
        await at.push(Venue.COINBASE)
        first = await client.hear()
        assert await client.hear() == first
        ack = await client.ask({"type": "subscribe", "channel": "heartbeats"})
        assert ack["sequence_num"] == first["sequence_num"] + 1


async def test_a_slow_venue_is_late_and_keeps_its_order() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "slow", delay_s=3, for_s=5)
        sent = at.clock.unix_ns()
        await at.push(Venue.GATEIO, last=1_0)
        await at.move(2.5)
        await client.is_open()
        await at.push(Venue.GATEIO, last=2_0)
        await at.move(4)
        await at.push(Venue.GATEIO, last=3_0)
        frames = [await client.hear() for _ in range(3)]
        assert [frame["result"]["last"] for frame in frames] == ["1", "2", "3"]
        assert frames[0]["time_ms"] < sent / 1_000_000 + 200


async def test_a_slow_venues_frames_do_not_come_early() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "slow", delay_s=3, for_s=60)
        await at.push(Venue.GATEIO)
        await at.move(2.7)
        before = at.servers.stats()["venues"]["gateio"]["data_frames"]
        await at.move(0.4)
        after = at.servers.stats()["venues"]["gateio"]["data_frames"]
        assert (before, after) == (0, 1)
        assert (await client.hear())["channel"] == "spot.tickers"


@pytest.mark.parametrize("form", ["truncated", "alien", "deep", "binary", "huge"])
async def test_garbage_arrives_at_once_and_again(form: str) -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "garbage", form=form, every_s=2.0, for_s=4, size_bytes=50_000)
        await at.move(3)
        frames = [await client.hear_raw() for _ in range(2)]
        assert type(frames[0]) is type(frames[1]) is (bytes if form == "binary" else str)
        if form == "huge":
            assert len(frames[0]) == 50_000
        if form in ("alien", "huge"):
            json.loads(frames[0])
        if form == "truncated":
            with pytest.raises(ValueError, match="Unterminated"):
                json.loads(frames[0])
        if form == "deep":
            assert str(frames[0]).count("{") == 5_000
        await at.move(4)
        assert await until_pong(client) == []


async def test_garbage_that_is_no_utf8_breaks_the_frame_itself() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "garbage", form="utf8")
        assert (await client.ended())[0] == 1006
        assert client.socket.close_code == 1006
        assert client.socket.protocol.close_sent is not None
        assert client.socket.protocol.close_sent.code == 1007


async def test_mixed_garbage_takes_turns() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "garbage", every_s=0.1, for_s=5)
        await at.move(1)
        frames = [await client.hear_raw() for _ in range(8)]
        assert len(set(frames[:4])) == 4
        assert frames[:3] == frames[4:7]


async def test_a_scripted_disconnect_has_its_code() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "disconnect", code=4321)
        assert await client.ended() == (4321, "")
        assert await (await gateio(at)).is_open()


async def test_a_cut_has_no_close_frame() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "cut")
        assert await client.ended() == (1006, "")


@pytest.mark.parametrize("status", [503, 429])
async def test_a_refusing_venue_takes_no_connection_and_no_call(status: int) -> None:
    async with stage() as at:
        open_before = await gateio(at)
        await at.fault(Venue.GATEIO, "refuse", status=status, for_s=5)
        with pytest.raises(InvalidStatus) as refused:
            await at.connect(Venue.GATEIO)
        assert refused.value.response.status_code == status
        answer = await at.get(Venue.GATEIO, "/api/v4/spot/tickers")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert await open_before.is_open()
        await at.move(5)
        assert await (await gateio(at)).is_open()


@pytest.mark.parametrize("venue", [Venue.COINBASE, Venue.GEMINI, Venue.GATEIO])
async def test_maintenance_without_notice_closes_and_refuses(venue: Venue) -> None:
    async with stage() as at:
        client = await at.connect(venue)
        await at.fault(venue, "maintenance", for_s=5)
        assert (await client.ended())[0] == 1001
        with pytest.raises(InvalidStatus):
            await at.connect(venue)
        await at.move(5)
        assert await (await at.connect(venue)).is_open()


async def test_a_script_happens_at_its_times() -> None:
    script = (
        Fault(venue=Venue.GATEIO, fault=Kind.ZERO, at_s=5, for_s=5),
        Fault(venue=Venue.GATEIO, fault=Kind.DISCONNECT, at_s=12, code=1012),
    )
    async with stage(script=script) as at:
        client = await gateio(at)
        last = []
        for _ in range(3):
            await at.push(Venue.GATEIO, last=5_0)
            last.append((await client.hear())["result"]["last"])
            await at.move(4)
        assert last == ["5", "5", "0"]
        assert (await client.ended())[0] == 1012


async def test_closing_the_sandbox_does_not_wait_for_silent_venues() -> None:
    async with stage() as at:
        client = await gateio(at)
        await at.fault(Venue.GATEIO, "silence", for_s=3600)
        await at.servers.close()
        assert (await client.ended())[0] == 1006


def test_a_script_is_put_in_order_of_time() -> None:
    script = parse_script('[{"at_s":9,"venue":"okx","fault":"cut"},{"at_s":1,"venue":"kraken","fault":"gap"}]', TABLE)
    assert [fault.at_s for fault in script] == [1, 9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "not a script"),
        ("[", "not a script"),
        ('[{"venue":"okx"}]', "fault"),
        ('[{"venue":"mtgox","fault":"cut"}]', "venue"),
        ('[{"venue":"okx","fault":"nope"}]', "fault"),
        ('[{"venue":"okx","fault":"cut","asset":"BTCC"}]', "BTCC"),
        ('[{"venue":"okx","fault":"cut","colour":"red"}]', "colour"),
        ('[{"venue":"okx","fault":"slow","delay_s":-1}]', "delay_s"),
        ('[{"venue":"okx","fault":"disconnect","code":1006}]', "1006"),
        ('[{"venue":"okx","fault":"disconnect","code":2000}]', "2000"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(TrinityError, match=words):
        parse_script(text, TABLE)


def test_random_faults_are_the_same_for_the_same_seed_and_in_order() -> None:
    def first(seed: int) -> list[Fault]:
        return list(itertools.islice(random_faults(seed=seed, per_minute=30, assets=("BTC", "ETH")), 600))

    assert first(3) == first(3)
    assert first(3) != first(4)
    times = [fault.at_s for fault in first(3)]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(1200, rel=0.15)
    counts = Counter(fault.fault for fault in first(3))
    assert set(counts) == set(Kind)
    hard = (Kind.SILENCE, Kind.DISCONNECT, Kind.CUT, Kind.REFUSE, Kind.MAINTENANCE)
    assert sum(counts[kind] for kind in hard) < 600 / 3


def test_a_fault_ends_by_itself_and_can_be_ended_before() -> None:
    board = FaultBoard(script=(), started_ns=0)
    board.inject(Fault(venue=Venue.OKX, fault=Kind.FREEZE, for_s=2), 0)
    board.inject(Fault(venue=Venue.KRAKEN, fault=Kind.FREEZE, for_s=9), 0)
    assert board.frozen(Venue.OKX, "BTC", 0)
    board.advance(2 * SECOND)
    assert not board.frozen(Venue.OKX, "BTC", 2 * SECOND)
    assert board.frozen(Venue.KRAKEN, "BTC", 2 * SECOND)
    assert board.clear() == 1
    assert board.at(Venue.KRAKEN) == ()
