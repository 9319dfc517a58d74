"""The sandbox's Gate.io, over real sockets: spoilt requests, pings, drops without a close frame, REST."""

from __future__ import annotations

import pytest

from feeds.sandbox_stage import Client, Stage, stage
from trinity_core.venues import Venue

V = Venue.GATEIO


def request(event: str, *pairs: str, channel: str = "spot.tickers", number: int = 9) -> dict[str, object]:
    return {"time": 1, "id": number, "channel": channel, "event": event, "payload": list(pairs)}


async def following(at: Stage, *pairs: str, channel: str = "spot.tickers") -> Client:
    client = await at.connect(V)
    reply = await client.ask(request("subscribe", *(pairs or ("BTC_USDT",)), channel=channel))
    assert reply["result"] == {"status": "success"}
    return client


async def test_a_subscription_is_acknowledged_once_with_its_payload() -> None:
    async with stage() as at:
        client = await at.connect(V)
        reply = await client.ask(request("subscribe", "BTC_USDT", "ETH_USDT"))
        assert reply["result"] == {"status": "success"}
        assert (reply["id"], reply["event"], reply["payload"]) == (9, "subscribe", ["BTC_USDT", "ETH_USDT"])
        assert reply["requestId"] == reply["trace_id"]
        assert len(reply["conn_id"]) == 16
        assert reply["time_ms"] // 1000 == reply["time"]
        assert "error" not in reply


async def test_a_ticker_has_trimmed_strings_and_the_frames_time() -> None:
    async with stage() as at:
        client = await following(at)
        await at.push(V, bid=100_0, ask=100_5, last=101_0)
        frame = await client.hear()
        assert (frame["channel"], frame["event"]) == ("spot.tickers", "update")
        assert frame["time_ms"] == at.clock.unix_ns() // 1_000_000
        assert list(frame["result"]) == [
            "currency_pair",
            "last",
            "lowest_ask",
            "highest_bid",
            "change_percentage",
            "base_volume",
            "quote_volume",
            "high_24h",
            "low_24h",
        ]
        result = frame["result"]
        assert (result["last"], result["lowest_ask"], result["highest_bid"]) == ("101", "100.5", "100")


async def test_the_best_bid_and_ask_channel_has_rising_ids() -> None:
    async with stage() as at:
        client = await following(at, channel="spot.book_ticker")
        for bid in (100_0, 100_1):
            await at.push(V, bid=bid)
        one, other = [(await client.hear())["result"] for _ in range(2)]
        assert list(one) == ["t", "u", "s", "b", "B", "a", "A"]
        assert (one["b"], other["b"]) == ("100", "100.1")
        assert one["u"] < other["u"]


async def test_one_bad_pair_spoils_the_request() -> None:
    async with stage(delisted=("gateio:ETH",)) as at:
        client = await at.connect(V)
        for bad in ("NOPE_USD", "btc_usdt", "ETH_USDT"):
            reply = await client.ask(request("subscribe", "BTC_USDT", bad))
            assert reply["error"] == {"code": 2, "message": f"unknown currency pair: {bad}"}
            assert reply["result"] == {"status": "fail"}
        await at.push(V)
        assert (await client.ask({"time": 1, "channel": "spot.ping"}))["channel"] == "spot.pong"


async def test_a_ping_is_answered() -> None:
    async with stage() as at:
        client = await at.connect(V)
        pong = await client.ask({"time": 1, "channel": "spot.ping"})
        assert (pong["channel"], pong["event"], pong["result"]) == ("spot.pong", "", None)


@pytest.mark.parametrize("said", ["", "{", "[]", "ping"])
async def test_what_is_not_a_json_object_gets_no_reply(said: str) -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say(said)
        assert (await client.ask({"channel": "spot.ping"}))["channel"] == "spot.pong"


async def test_unknown_channels_are_refused() -> None:
    async with stage() as at:
        client = await at.connect(V)
        reply = await client.ask(request("subscribe", "BTC_USDT", channel="spot.nope"))
        assert reply["error"] == {"code": 2, "message": "Unknown channel spot.nope"}


async def test_unsubscribing_ends_the_data() -> None:
    async with stage() as at:
        client = await following(at)
        assert (await client.ask(request("unsubscribe", "BTC_USDT")))["result"] == {"status": "success"}
        await at.push(V)
        assert (await client.ask({"channel": "spot.ping"}))["channel"] == "spot.pong"


async def test_a_connection_without_traffic_is_dropped_without_a_close_frame() -> None:
    async with stage() as at:
        bare, quiet, pinging = await at.connect(V), await following(at), await at.connect(V)
        for _ in range(3):
            await at.move(9.8)
            await pinging.ask({"channel": "spot.ping"})
        assert await bare.is_open()
        await at.move(1)
        assert await bare.ended() == (1006, "")
        for _ in range(3):
            await at.move(9.5)
            await pinging.ask({"channel": "spot.ping"})
        assert await quiet.is_open()
        await at.move(2)
        assert await quiet.ended() == (1006, "")
        assert await pinging.is_open()


async def test_data_keeps_a_silent_client_alive_unless_keepalive_is_strict() -> None:
    async with stage() as lenient, stage(strict_keepalive=True) as strict:
        for at, outlives in ((lenient, True), (strict, False)):
            client = await following(at)
            for _ in range(4):
                await at.push(V)
                await at.move(16)
            assert await client.is_open() is outlives


async def test_missing_sides_are_empty_strings() -> None:
    async with stage() as at:
        client = await following(at)
        await at.push(V, bid=None)
        assert (await client.hear())["result"]["highest_bid"] == ""


async def test_rest_always_answers_a_list() -> None:
    async with stage() as at:
        await at.push(V, bid=100_0, ask=100_5, last=101_0)
        rows = (await at.get(V, "/api/v4/spot/tickers?currency_pair=BTC_USDT")).json()
        assert [(row["currency_pair"], row["last"], row["highest_bid"]) for row in rows] == [("BTC_USDT", "101", "100")]
        every = (await at.get(V, "/api/v4/spot/tickers")).json()
        assert {row["currency_pair"] for row in every} == {"BTC_USDT", "ETH_USDT"}


async def test_rest_errors_carry_a_label() -> None:
    async with stage(delisted=("gateio:ETH",)) as at:
        for pair, label in (
            ("NOPE_USDT", "INVALID_CURRENCY"),
            ("ETH_USDT", "INVALID_CURRENCY"),
            ("BTCUSDT", "INVALID_CURRENCY_PAIR"),
            ("BTC_USDT,ETH_USDT", "INVALID_CURRENCY_PAIR"),
        ):
            answer = await at.get(V, f"/api/v4/spot/tickers?currency_pair={pair}")
            assert (answer.status_code, answer.json()["label"]) == (400, label)
        pairs = {row["id"]: row["trade_status"] for row in (await at.get(V, "/api/v4/spot/currency_pairs")).json()}
        assert pairs == {"BTC_USDT": "tradable", "ETH_USDT": "untradable"}
        one = await at.get(V, "/api/v4/spot/currency_pairs/NOTACOIN_USDT")
        assert one.json() == {"label": "INVALID_CURRENCY", "message": "Invalid currency NOTACOIN"}


async def test_rest_is_limited_to_two_hundred_calls_in_ten_seconds() -> None:
    async with stage() as at:
        statuses = [(await at.get(V, "/api/v4/spot/tickers?currency_pair=BTC_USDT")).status_code for _ in range(201)]
        assert statuses == [200] * 200 + [429]
        answer = await at.get(V, "/api/v4/spot/tickers")
        assert answer.json()["label"] == "TOO_MANY_REQUESTS"
