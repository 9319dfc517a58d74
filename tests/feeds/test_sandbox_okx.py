"""The sandbox's OKX, over real sockets: acknowledgements an argument, text pings, pacing, notices, REST."""

from __future__ import annotations

import itertools

import pytest

from feeds.sandbox_stage import Client, Stage, stage
from trinity_core.venues import Venue

V = Venue.OKX


def subscribe(*names: str, op: str = "subscribe", channel: str = "tickers", **more: object) -> dict[str, object]:
    return {"op": op, "args": [{"channel": channel, "instId": name} for name in names], **more}


async def following(at: Stage) -> Client:
    """Subscribed to BTC-USDT and past the first ticker."""
    client = await at.connect(V)
    assert (await client.ask(subscribe("BTC-USDT")))["event"] == "subscribe"
    assert (await client.hear())["data"][0]["instId"] == "BTC-USDT"
    await at.move()
    return client


async def test_each_argument_is_acknowledged_before_its_first_data() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say(subscribe("BTC-USDT", "ETH-USDT", id="a1"))
        frames = [await client.hear() for _ in range(4)]
        assert frames[0] == {
            "event": "subscribe",
            "id": "a1",
            "arg": {"channel": "tickers", "instId": "BTC-USDT"},
            "connId": frames[0]["connId"],
        }
        assert [frame.get("event") for frame in frames] == ["subscribe", None, "subscribe", None]
        assert len(frames[0]["connId"]) == 8


async def test_a_ticker_has_strings_only() -> None:
    async with stage() as at:
        client = await following(at)
        await at.push(V, bid=100_0, ask=100_5, last=None)
        frame = await client.hear()
        assert frame["arg"] == {"channel": "tickers", "instId": "BTC-USDT"}
        data = frame["data"][0]
        assert list(data) == [
            "instType",
            "instId",
            "last",
            "lastSz",
            "askPx",
            "askSz",
            "bidPx",
            "bidSz",
            "open24h",
            "high24h",
            "low24h",
            "sodUtc0",
            "sodUtc8",
            "volCcy24h",
            "vol24h",
            "ts",
        ]
        assert all(isinstance(value, str) for value in data.values())
        assert (data["bidPx"], data["askPx"], data["last"]) == ("100", "100.5", "")
        assert data["ts"] == str(at.clock.unix_ns() // 1_000_000)


async def test_an_unknown_instrument_is_refused_in_words_and_the_others_are_subscribed() -> None:
    async with stage(delisted=("okx:ETH",)) as at:
        client = await at.connect(V)
        await client.say(subscribe("X-USDT", "ETH-USDT", "BTC-USDT"))
        error = await client.hear()
        assert error["event"] == "error"
        assert error["code"] == "60018"
        assert error["msg"].startswith("Wrong URL or channel:tickers,instId:X-USDT doesn't exist. ")
        assert "arg" not in error
        assert "instId:ETH-USDT" in (await client.hear())["msg"]
        assert (await client.hear())["event"] == "subscribe"


async def test_another_channel_is_refused() -> None:
    async with stage() as at:
        client = await at.connect(V)
        error = await client.ask(subscribe("BTC-USDT", channel="nope"))
        assert "channel:nope,instId:BTC-USDT doesn't exist" in error["msg"]


@pytest.mark.parametrize("said", ["{", "[]", "PING", {"op": "nope"}, {"op": "subscribe", "args": []}])
async def test_what_makes_no_sense_is_illegal_and_the_connection_stays(said: object) -> None:
    async with stage() as at:
        client = await at.connect(V)
        error = await client.ask(said)
        assert (error["code"], error["msg"][:17]) == ("60012", "Illegal request: ")
        assert await client.ask("ping") == "pong"


async def test_a_ping_is_four_letters_and_so_is_the_pong() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say("ping")
        assert await client.hear_raw() == "pong"


async def test_an_instrument_is_pushed_at_most_every_hundred_milliseconds_and_then_its_newest() -> None:
    async with stage(step_ms=20) as at:
        client = await following(at)
        for last in range(1, 11):
            at.drive.push(V, last=last)
            await at.move(0.02)
        await at.move(0.1)
        at.drive.push(V, last=99)
        await at.move(0.1)
        seen = [(await client.hear())["data"][0] for _ in range(4)]
        assert [entry["last"] for entry in seen] == ["0.1", "0.6", "1", "9.9"]
        times = [int(entry["ts"]) for entry in seen]
        assert all(later - sooner >= 100 for sooner, later in itertools.pairwise(times))


async def test_unsubscribing_is_acknowledged_and_ends_the_data() -> None:
    async with stage() as at:
        client = await following(at)
        at.drive.push(V)
        assert (await client.ask(subscribe("BTC-USDT", op="unsubscribe")))["event"] == "unsubscribe"
        await at.move()
        assert await client.ask("ping") == "pong"


async def test_subscribing_twice_is_acknowledged_without_another_snapshot() -> None:
    async with stage() as at:
        client = await following(at)
        assert (await client.ask(subscribe("BTC-USDT")))["event"] == "subscribe"
        assert await client.ask("ping") == "pong"


async def test_thirty_seconds_of_silence_are_the_end() -> None:
    async with stage() as at:
        silent, pinging = await at.connect(V), await at.connect(V)
        for _ in range(3):
            await at.move(9.9)
            assert await pinging.ask("ping") == "pong"
        assert await silent.is_open()
        await at.move(0.4)
        assert await silent.ended() == (4004, "No data received in 30s.")
        assert await pinging.is_open()


async def test_data_keeps_a_silent_client_alive_unless_keepalive_is_strict() -> None:
    async with stage() as lenient, stage(strict_keepalive=True) as strict:
        for at, outlives in ((lenient, True), (strict, False)):
            client = await following(at)
            for _ in range(2):
                await at.push(V)
                await at.move(16)
            assert await client.is_open() is outlives


async def test_a_connection_has_480_operations() -> None:
    async with stage() as at:
        client = await at.connect(V)
        for _ in range(480):
            await client.say(subscribe("BTC-USDT", op="unsubscribe"))
        answers = [await client.hear() for _ in range(480)]
        assert {answer["event"] for answer in answers} == {"unsubscribe"}
        assert (await client.ask(subscribe("BTC-USDT")))["code"] == "60014"


async def test_a_message_of_more_than_64_kilobytes_ends_the_connection() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say('{"op":"' + "x" * 65_536 + '"}')
        assert (await client.ended())[0] == 1009


async def test_maintenance_is_noticed_and_then_cuts_the_old_connections_only() -> None:
    async with stage() as at:
        old = await following(at)
        await at.fault(V, "maintenance", notice_s=20, for_s=30)
        notice = await old.hear()
        assert (notice["event"], notice["code"]) == ("notice", "64008")
        assert "service upgrade" in notice["msg"]
        new = await following(at)
        await at.push(V, last=7)
        assert (await old.hear())["data"][0]["last"] == "0.7"
        await at.move(20)
        assert (await old.ended())[0] == 1001
        assert (await new.hear())["data"][0]["last"] == "0.7"
        assert await new.is_open()


async def test_more_than_three_connections_a_second_are_refused() -> None:
    async with stage() as at:
        for _ in range(3):
            await at.connect(V)
        answer = await at.http.get(
            at.servers.urls[V].ws_url.replace("ws:", "http:"),
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )
        assert answer.status_code == 429
        await at.move(1)
        await at.connect(V)


async def test_rest_answers_and_errors_are_http_200() -> None:
    async with stage(delisted=("okx:ETH",)) as at:
        await at.push(V, bid=100_0, ask=100_5, last=101_0)
        market = "/api/v5/market"
        answer = (await at.get(V, f"{market}/ticker?instId=BTC-USDT")).json()
        assert (answer["code"], answer["msg"]) == ("0", "")
        row = answer["data"][0]
        assert (row["bidPx"], row["askPx"], row["last"]) == ("100", "100.5", "101")
        every = (await at.get(V, f"{market}/tickers?instType=SPOT")).json()["data"]
        assert {row["instId"] for row in every} == {"BTC-USDT", "USDT-USD"}
        for path in ("ticker?instId=NOPE-USDT", "ticker?instId=ETH-USDT", "ticker"):
            answer = await at.get(V, f"{market}/{path}")
            assert answer.status_code == 200
            assert (answer.json()["code"], answer.json()["data"]) == ("51001", [])
        assert (await at.get(V, f"{market}/tickers")).json()["code"] == "51000"
        instruments = (await at.get(V, "/api/v5/public/instruments?instType=SPOT")).json()["data"]
        states = {row["instId"]: row["state"] for row in instruments}
        assert states == {"BTC-USDT": "live", "USDT-USD": "live", "ETH-USDT": "suspend"}


async def test_rest_is_limited_to_twenty_calls_in_two_seconds() -> None:
    async with stage() as at:
        statuses = [(await at.get(V, "/api/v5/public/time")).status_code for _ in range(21)]
        assert statuses == [200] * 20 + [429]
        assert (await at.get(V, "/api/v5/public/time")).json()["code"] == "50011"
