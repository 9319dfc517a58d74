"""The sandbox's Crypto.com, over real sockets: the first second, first frames as acknowledgement, heartbeats."""

from __future__ import annotations

import itertools

import pytest

from feeds.sandbox_stage import Client, Stage, stage
from trinity_core.venues import Venue

V = Venue.CRYPTOCOM


def subscribe(*channels: str, method: str = "subscribe", number: object = 11) -> dict[str, object]:
    return {"id": number, "method": method, "params": {"channels": list(channels)}, "nonce": 1}


async def settled(at: Stage) -> Client:
    """A connection past its first second."""
    client = await at.connect(V)
    await at.move(1)
    return client


async def test_the_first_frame_of_a_channel_carries_the_requests_number_and_the_others_minus_one() -> None:
    async with stage() as at:
        client = await settled(at)
        await client.say(subscribe("ticker.BTC_USD", "ticker.ETH_USD"))
        first, second = await client.hear(), await client.hear()
        assert [first["id"], second["id"]] == [11, 11]
        assert first["result"]["subscription"] == "ticker.BTC_USD"
        assert (first["method"], first["code"], first["result"]["channel"]) == ("subscribe", 0, "ticker")
        await at.push(V, bid=100_00, ask=100_50, last=100_25)
        update = await client.hear()
        assert update["id"] == -1
        data = update["result"]["data"][0]
        assert set(data) == {"h", "l", "a", "c", "b", "bs", "k", "ks", "i", "v", "vv", "oi", "t"}
        assert (data["b"], data["k"], data["a"], data["i"]) == ("100.00", "100.50", "100.25", "BTC_USD")
        assert data["t"] == at.clock.unix_ns() // 1_000_000


async def test_the_change_is_a_ratio() -> None:
    async with stage() as at:
        client = await settled(at)
        await client.ask(subscribe("ticker.BTC_USD"))
        await at.push(V, open=100_00, last=101_00)
        assert (await client.hear())["result"]["data"][0]["c"] == "0.0100"


async def test_missing_prices_are_null() -> None:
    async with stage() as at:
        client = await settled(at)
        await client.ask(subscribe("ticker.BTC_USD"))
        await at.push(V, bid=None, ask=None, last=None)
        data = (await client.hear())["result"]["data"][0]
        assert (data["a"], data["b"], data["k"]) == (None, None, None)


async def test_a_request_within_the_first_second_is_too_many() -> None:
    async with stage() as at:
        client = await at.connect(V)
        refusal = await client.ask(subscribe("ticker.BTC_USD"))
        assert (refusal["id"], refusal["code"]) == (11, 42901)
        await at.move(1)
        assert (await client.ask(subscribe("ticker.BTC_USD")))["code"] == 0


async def test_more_than_a_hundred_requests_a_second_are_too_many() -> None:
    async with stage() as at:
        client = await settled(at)
        codes = [(await client.ask(subscribe(method="unsubscribe")))["code"] for _ in range(101)]
        assert codes == [0] * 100 + [42901]


async def test_a_bad_channel_is_refused_and_the_others_are_subscribed() -> None:
    async with stage(delisted=("cryptocom:ETH",)) as at:
        client = await settled(at)
        await client.say(subscribe("ticker.NOPE_USD", "nope.BTC_USD", "ticker.ETH_USD", "ticker.BTC_USD"))
        refusals = [await client.hear() for _ in range(3)]
        assert refusals[0] == {
            "id": 11,
            "method": "subscribe",
            "code": 40003,
            "channel": "ticker.NOPE_USD",
            "message": "Unknown symbol",
        }
        assert refusals[1]["message"] == "Unrecognized channel"
        assert refusals[2]["channel"] == "ticker.ETH_USD"
        assert (await client.hear())["result"]["instrument_name"] == "BTC_USD"


async def test_an_unknown_method_is_refused_several_times_over() -> None:
    async with stage() as at:
        client = await settled(at)
        await client.say({"id": 3, "method": "public/nope"})
        frames = [await client.hear() for _ in range(8)]
        assert frames == [{"id": 3, "method": "public/nope", "code": 40003, "message": "No such method"}] * 8


@pytest.mark.parametrize("said", ["", "{", "[]", "ping"])
async def test_what_is_not_a_json_object_gets_no_reply(said: str) -> None:
    async with stage() as at:
        client = await settled(at)
        await client.say(said)
        assert (await client.ask(subscribe("ticker.BTC_USD")))["code"] == 0


async def test_channels_beyond_the_limit_are_refused() -> None:
    async with stage(cryptocom_channels_max=2) as at:
        client = await settled(at)
        await client.say(subscribe("ticker.BTC_USD", "ticker.ETH_USD", "ticker.USDT_USD"))
        assert [(await client.hear())["code"] for _ in range(10)] == [0] * 2 + [40107] * 8


async def test_unsubscribing_is_acknowledged_and_ends_the_data() -> None:
    async with stage() as at:
        client = await settled(at)
        await client.ask(subscribe("ticker.BTC_USD"))
        ack = await client.ask(subscribe("ticker.BTC_USD", method="unsubscribe", number=22))
        assert ack == {"id": 22, "method": "unsubscribe", "code": 0}
        await at.push(V)
        assert (await client.ask(subscribe("ticker.ETH_USD")))["result"]["instrument_name"] == "ETH_USD"


async def test_heartbeats_come_every_thirty_seconds_and_the_third_unanswered_one_is_the_end() -> None:
    async with stage() as at:
        deaf, answering = await settled(at), await settled(at)
        numbers = []
        for _ in range(3):
            await at.move(30)
            beat = await answering.hear()
            assert (beat["method"], beat["code"]) == ("public/heartbeat", 0)
            numbers.append(beat["id"])
            await answering.say({"id": beat["id"], "method": "public/respond-heartbeat"})
            assert await answering.is_open()
        assert [round((later - sooner) / 1000) for sooner, later in itertools.pairwise(numbers)] == [30, 30]
        assert [(await deaf.hear())["id"] for _ in range(3)] == numbers
        assert (await deaf.ended())[0] == 1000
        await at.move(60)
        assert await answering.is_open()


async def test_an_answer_with_another_number_does_not_count() -> None:
    async with stage() as at:
        client = await settled(at)
        for _ in range(2):
            await at.move(30)
            await client.say({"id": 1, "method": "public/respond-heartbeat"})
            assert await client.is_open()
        await at.move(30)
        assert (await client.ended())[0] == 1000


async def test_maintenance_is_a_close_code_and_nothing_else() -> None:
    async with stage() as at:
        client = await settled(at)
        await at.fault(V, "maintenance", for_s=5)
        assert await client.ended() == (1013, "Server restarting -- try again later")
        assert (await (await at.connect(V)).ended())[0] == 1013
        await at.move(5)
        assert await (await settled(at)).is_open()


async def test_rest_answers_rows_and_codes() -> None:
    async with stage(delisted=("cryptocom:ETH",)) as at:
        await at.push(V, bid=100_00, ask=100_50, last=None)
        base = "/exchange/v1/public"
        answer = (await at.get(V, f"{base}/get-tickers?instrument_name=BTC_USD")).json()
        assert (answer["id"], answer["method"], answer["code"]) == (-1, "public/get-tickers", 0)
        row = answer["result"]["data"][0]
        assert (row["i"], row["b"], row["k"], row["a"]) == ("BTC_USD", "100.00", "100.50", None)
        every = (await at.get(V, f"{base}/get-tickers")).json()["result"]["data"]
        assert {row["i"] for row in every} == {"BTC_USD", "USDT_USD"}
        for name in ("NOPE_USD", "ETH_USD"):
            assert (await at.get(V, f"{base}/get-tickers?instrument_name={name}")).json()["code"] == 30002
        instruments = (await at.get(V, f"{base}/get-instruments")).json()["result"]["data"]
        tradable = {row["symbol"]: row["tradable"] for row in instruments}
        assert tradable == {"BTC_USD": True, "USDT_USD": True, "ETH_USD": False}
        assert (await at.get(V, f"{base}/nope")).json()["code"] == 40003


async def test_rest_is_limited_to_a_hundred_calls_a_second() -> None:
    async with stage() as at:
        path = "/exchange/v1/public/get-tickers?instrument_name=BTC_USD"
        statuses = [(await at.get(V, path)).status_code for _ in range(101)]
        assert statuses == [200] * 100 + [429]
        assert (await at.get(V, path)).json()["code"] == 42901
