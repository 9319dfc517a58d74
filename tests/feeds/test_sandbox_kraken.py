"""The sandbox's Kraken, over real sockets: status, acknowledgements a symbol, triggers, heartbeats, REST."""

from __future__ import annotations

import re

import pytest

from feeds.sandbox_stage import Client, Stage, stage
from trinity_core.venues import Venue

V = Venue.KRAKEN
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def subscribe(*symbols: str, method: str = "subscribe", **params: object) -> dict[str, object]:
    return {"method": method, "params": {"channel": "ticker", "symbol": list(symbols), **params}, "req_id": 42}


async def connected(at: Stage) -> Client:
    """Past the status frame."""
    client = await at.connect(V)
    assert (await client.hear())["channel"] == "status"
    return client


async def following(at: Stage, **params: object) -> Client:
    client = await connected(at)
    assert (await client.ask(subscribe("BTC/USD", snapshot=False, **params)))["success"] is True
    return client


async def test_the_first_frame_is_the_status() -> None:
    async with stage() as at:
        client = await at.connect(V)
        status = await client.hear()
        assert (status["channel"], status["type"]) == ("status", "update")
        state = status["data"][0]
        assert (state["system"], state["api_version"]) == ("online", "v2")
        assert state["connection_id"] >= 2**63


async def test_each_symbol_is_acknowledged_for_itself_and_followed_by_its_snapshot() -> None:
    async with stage() as at:
        client = await connected(at)
        await client.say(subscribe("BTC/USD", "XBT/USD", "ETH/USD", event_trigger="bbo"))
        frames = [await client.hear() for _ in range(5)]
        ack = frames[0]
        assert ack["result"] == {"channel": "ticker", "event_trigger": "bbo", "snapshot": True, "symbol": "BTC/USD"}
        assert (ack["success"], ack["req_id"], ack["method"]) == (True, 42, "subscribe")
        assert re.fullmatch(STAMP, ack["time_in"])
        assert ack["time_in"] < ack["time_out"]
        assert (frames[1]["type"], frames[1]["data"][0]["symbol"]) == ("snapshot", "BTC/USD")
        refusal = {name: value for name, value in frames[2].items() if not name.startswith("time_")}
        assert refusal == {
            "error": "Currency pair not supported XBT/USD",
            "method": "subscribe",
            "req_id": 42,
            "success": False,
            "symbol": "XBT/USD",
        }
        assert [frames[3]["result"]["symbol"], frames[4]["data"][0]["symbol"]] == ["ETH/USD", "ETH/USD"]


async def test_prices_are_json_numbers_in_their_shortest_form() -> None:
    async with stage() as at:
        client = await following(at)
        await at.push(V, decimals=5, bid=5, ask=100_00000, last=96_50010, open=96_50005)
        text = str(await client.hear_raw())
        assert '"bid":5e-05,' in text
        assert '"ask":100.0,' in text
        assert '"last":96.5001,' in text
        assert '"change":5e-05,' in text


async def test_the_default_trigger_sends_trades_only() -> None:
    async with stage() as at:
        trades, every = await following(at), await following(at, event_trigger="bbo")
        await at.push(V, traded=False, bid=1)
        await at.push(V, traded=True, bid=2)
        assert (await trades.hear())["data"][0]["bid"] == "0.2"
        assert [(await every.hear())["data"][0]["bid"] for _ in range(2)] == ["0.1", "0.2"]


async def test_heartbeats_come_only_after_a_subscription_and_only_when_nothing_else_does() -> None:
    async with stage() as at:
        idle, busy, quiet = await connected(at), await following(at), await connected(at)
        await quiet.ask(subscribe("ETH/USD", snapshot=False))
        for _ in range(30):
            await at.push(V, "BTC")
        updates = [await busy.hear() for _ in range(30)]
        assert {frame["channel"] for frame in updates} == {"ticker"}
        assert [await quiet.hear() for _ in range(2)] == [{"channel": "heartbeat"}] * 2
        assert (await idle.ask({"method": "ping"}))["method"] == "pong"


async def test_a_ping_is_answered_with_its_number() -> None:
    async with stage() as at:
        client = await connected(at)
        pong = await client.ask({"method": "ping", "req_id": 7})
        assert (pong["method"], pong["req_id"]) == ("pong", 7)
        assert "req_id" not in await client.ask({"method": "ping"})


async def test_a_silent_connection_is_closed_after_a_minute() -> None:
    async with stage() as at:
        silent, pinging = await connected(at), await connected(at)
        for _ in range(6):
            await at.move(9.9)
            assert (await pinging.ask({"method": "ping"}))["method"] == "pong"
        assert await silent.is_open()
        await at.move(1)
        assert (await silent.ended())[0] == 1000
        assert await pinging.is_open()


async def test_strict_keepalive_counts_what_the_client_says_only() -> None:
    async with stage() as lenient, stage(strict_keepalive=True) as strict:
        for at, outlives in ((lenient, True), (strict, False)):
            client = await following(at)
            await at.move(61)
            assert await client.is_open() is outlives


@pytest.mark.parametrize("said", ["{", "[]", "{}", {"method": "subscribe"}, {"method": "subscribe", "params": []}])
async def test_what_makes_no_sense_is_refused_and_the_connection_stays(said: object) -> None:
    async with stage() as at:
        client = await connected(at)
        assert (await client.ask(said))["success"] is False
        assert (await client.ask({"method": "ping"}))["method"] == "pong"


async def test_other_channels_and_double_subscriptions_are_refused() -> None:
    async with stage() as at:
        client = await following(at)
        assert (await client.ask(subscribe("BTC/USD", channel="nope")))["success"] is False
        assert (await client.ask(subscribe("BTC/USD")))["error"] == "Already subscribed"


async def test_unsubscribing_is_acknowledged_and_ends_the_data() -> None:
    async with stage() as at:
        client = await following(at)
        ack = await client.ask(subscribe("BTC/USD", method="unsubscribe"))
        assert (ack["success"], ack["method"]) == (True, "unsubscribe")
        await at.push(V)
        assert (await client.ask({"method": "ping"}))["method"] == "pong"
        assert (await client.ask(subscribe("BTC/USD", method="unsubscribe")))["success"] is False


async def test_too_many_messages_are_refused() -> None:
    async with stage() as at:
        client = await connected(at)
        answers = [await client.ask({"method": "ping"}) for _ in range(61)]
        assert [answer["method"] for answer in answers[:60]] == ["pong"] * 60
        assert answers[60]["error"] == "Exceeded msg rate"


async def test_maintenance_is_announced_then_begins_then_ends() -> None:
    async with stage() as at:
        client = await following(at)
        await at.fault(V, "maintenance", notice_s=5, for_s=3)
        announced = (await client.hear())["data"][0]
        assert announced["system"] == "online"
        assert re.fullmatch(STAMP, announced["upcoming_maintenance"][0]["expected_start_utc"])
        await at.push(V, last=1)
        assert (await client.hear())["channel"] == "ticker"
        await at.move(5)
        frames = [await client.hear() for _ in range(5)]
        assert next(frame for frame in frames if frame["channel"] == "status")["data"][0]["system"] == "maintenance"
        late = await at.connect(V)
        assert (await late.hear())["data"][0]["system"] == "maintenance"
        assert (await at.get(V, "/0/public/SystemStatus")).json()["result"]["status"] == "maintenance"
        assert (await at.get(V, "/0/public/Ticker")).json() == {"error": ["EService:Unavailable"]}
        await at.push(V, last=2)
        await at.move(3)
        assert (await late.hear())["data"][0]["system"] == "online"
        await at.push(V, last=3_0)
        seen = [await client.hear()]
        while seen[-1]["channel"] != "ticker":
            seen.append(await client.hear())
        assert seen[-1]["data"][0]["last"] == "3.0"


async def test_rest_uses_its_own_names() -> None:
    async with stage(assets=("BTC", "DOGE", "USDT", "NEAR"), rate_limits=False) as at:
        await at.push(V, bid=100_0, ask=100_5, last=100_3)
        result = (await at.get(V, "/0/public/Ticker?pair=XBTUSD,DOGEUSD,XDGUSD,USDTUSD,NEARUSD")).json()["result"]
        assert set(result) == {"XXBTZUSD", "XDGUSD", "USDTZUSD", "NEARUSD"}
        assert result["XXBTZUSD"]["a"][0] == "100.50000"
        assert result["XXBTZUSD"]["c"][0] == "100.30000"
        assert set((await at.get(V, "/0/public/Ticker?pair=BTC/USD&assetVersion=1")).json()["result"]) == {"BTC/USD"}
        assert len((await at.get(V, "/0/public/Ticker")).json()["result"]) == 4
        pairs = (await at.get(V, "/0/public/AssetPairs")).json()["result"]
        assert (pairs["XXBTZUSD"]["altname"], pairs["XXBTZUSD"]["wsname"]) == ("XBTUSD", "XBT/USD")


async def test_rest_errors_are_http_200() -> None:
    async with stage() as at:
        answer = await at.get(V, "/0/public/Ticker?pair=XBTUSD,NOPEUSD")
        assert (answer.status_code, answer.json()) == (200, {"error": ["EQuery:Unknown asset pair"]})
        for _ in range(2):
            assert (await at.get(V, "/0/public/Time")).json()["error"] == []
        answer = await at.get(V, "/0/public/Time")
        assert (answer.status_code, answer.json()) == (200, {"error": ["EGeneral:Too many requests"]})
        await at.move(1)
        assert (await at.get(V, "/0/public/Time")).json()["error"] == []
