"""The sandbox's Coinbase, over real sockets: envelope, sequence, acknowledgements, deadlines, REST."""

from __future__ import annotations

import re

import pytest

from feeds.sandbox_stage import Client, stage
from trinity_core.venues import Venue

V = Venue.COINBASE


def subscribe(channel: str, *products: str, kind: str = "subscribe") -> dict[str, object]:
    return {"type": kind, "channel": channel, **({"product_ids": list(products)} if products else {})}


async def following(client: Client) -> Client:
    """Subscribed to BTC-USD and past the acknowledgement."""
    assert (await client.ask(subscribe("ticker", "BTC-USD")))["channel"] == "ticker"
    assert (await client.hear())["channel"] == "subscriptions"
    return client


async def test_a_snapshot_comes_first_and_then_the_acknowledgement_and_then_updates() -> None:
    async with stage() as at:
        client = await at.connect(V)
        first = await client.ask(subscribe("ticker", "BTC-USD"))
        assert list(first) == ["channel", "timestamp", "sequence_num", "events"]
        assert first["events"][0]["type"] == "snapshot"
        ack = await client.hear()
        assert ack["channel"] == "subscriptions"
        assert ack["events"] == [{"subscriptions": {"ticker": ["BTC-USD"]}}]
        await at.push(V, bid=100_00, ask=100_50, last=100_25, volume=3_50000000)
        update = await client.hear()
        assert update["events"][0]["type"] == "update"
        assert update["events"][0]["tickers"] == [
            {
                **first["events"][0]["tickers"][0],
                "price": "100.25",
                "best_bid": "100",
                "best_ask": "100.5",
                "volume_24_h": "3.5",
                "price_percent_chg_24_h": update["events"][0]["tickers"][0]["price_percent_chg_24_h"],
            }
        ]


async def test_one_sequence_counts_every_channel_of_a_connection() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say(subscribe("heartbeats"))
        await client.say(subscribe("ticker", "BTC-USD", "ETH-USD"))
        frames = [await client.hear() for _ in range(4)]
        for _ in range(3):
            at.drive.push(V, "BTC")
            at.drive.push(V, "ETH")
            await at.move(1.1)
        frames += [await client.hear() for _ in range(8)]
        assert [frame["sequence_num"] for frame in frames] == list(range(12))
        assert {frame["channel"] for frame in frames} == {"subscriptions", "ticker", "heartbeats"}


async def test_two_connections_count_for_themselves() -> None:
    async with stage() as at:
        one, other = await at.connect(V), await at.connect(V)
        await following(one)
        assert (await other.ask(subscribe("heartbeats")))["sequence_num"] == 0


async def test_some_frames_carry_more_than_one_ticker() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say(subscribe("ticker", "BTC-USD", "ETH-USD", "USDT-USD"))
        for _ in range(4):
            await client.hear()
        for _ in range(8):
            for asset in ("BTC", "ETH", "USDT"):
                at.drive.push(V, asset)
        await at.move()
        tickers: list[str] = []
        sizes = set()
        while len(tickers) < 24:
            entries = (await client.hear())["events"][0]["tickers"]
            sizes.add(len(entries))
            tickers += [entry["product_id"] for entry in entries]
        assert sizes == {1, 2}
        assert tickers == ["BTC-USD", "ETH-USD", "USDT-USD"] * 8


async def test_the_acknowledgement_lists_everything_subscribed_so_far() -> None:
    async with stage() as at:
        client = await following(await at.connect(V))
        ack = await client.ask(subscribe("heartbeats"))
        assert ack["events"] == [{"subscriptions": {"heartbeats": ["heartbeats"], "ticker": ["BTC-USD"]}}]
        ack = await client.ask(subscribe("ticker", "BTC-USD", kind="unsubscribe"))
        assert ack["events"] == [{"subscriptions": {"heartbeats": ["heartbeats"]}}]
        await at.push(V)
        await at.move(1)
        assert (await client.hear())["channel"] == "heartbeats"


async def test_a_bad_product_gets_an_error_and_the_others_are_subscribed() -> None:
    async with stage(delisted=("coinbase:ETH",)) as at:
        client = await at.connect(V)
        error = await client.ask(subscribe("ticker", "NOPE-USD", "ETH-USD", "BTC-USD"))
        assert error == {
            "type": "error",
            "message": "Failed to subscribe",
            "reason": "NOPE-USD is not a valid product",
        }
        assert (await client.hear())["reason"] == "ETH-USD is delisted"
        assert (await client.hear())["events"][0]["tickers"][0]["product_id"] == "BTC-USD"
        assert (await client.hear())["events"] == [{"subscriptions": {"ticker": ["BTC-USD"]}}]


async def test_a_usdc_alias_is_delivered_under_the_usd_name() -> None:
    async with stage() as at:
        client = await at.connect(V)
        frame = await client.ask(subscribe("ticker", "BTC-USDC"))
        assert frame["events"][0]["tickers"][0]["product_id"] == "BTC-USD"


@pytest.mark.parametrize(
    "said", ["{", "[]", '{"type":"hello"}', {"type": "subscribe", "channels": ["ticker"]}, subscribe("level9", "X")]
)
async def test_what_it_does_not_understand_gets_an_error_and_the_connection_stays(said: object) -> None:
    async with stage() as at:
        client = await at.connect(V)
        assert (await client.ask(said))["type"] == "error"
        await following(client)


async def test_a_connection_that_does_not_subscribe_is_closed_after_five_seconds() -> None:
    async with stage() as at:
        silent, speaking = await at.connect(V), await at.connect(V)
        await following(speaking)
        await at.move(4.9)
        assert await silent.is_open()
        await at.move(0.2)
        assert (await silent.ended())[0] == 1008
        assert await speaking.is_open()


async def test_heartbeats_come_once_a_second_and_keep_a_quiet_connection_open() -> None:
    async with stage() as at:
        beating, quiet = await at.connect(V), await at.connect(V)
        await following(quiet)
        await beating.ask(subscribe("heartbeats"))
        await at.move(80)
        assert (await quiet.ended())[0] == 1001
        beats = [await beating.hear() for _ in range(70)]
        counters = [beat["events"][0]["heartbeat_counter"] for beat in beats]
        assert counters == list(range(counters[0], counters[0] + 70))
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC m=\+\d+\.\d{9}",
            beats[0]["events"][0]["current_time"],
        )
        assert await beating.is_open()


async def test_the_batch_channel_is_slow_and_has_no_best_prices() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.ask(subscribe("ticker_batch", "BTC-USD"))
        await client.hear()
        for _ in range(3):
            await at.push(V, last=5)
        frame = await client.hear()
        assert frame["channel"] == "ticker_batch"
        await at.push(V, last=7_00)
        await at.move(5)
        frame = await client.hear()
        entry = frame["events"][0]["tickers"][0]
        assert entry["price"] == "7"
        assert "best_bid" not in entry


async def test_more_than_eight_messages_a_second_are_refused() -> None:
    async with stage() as at:
        client = await at.connect(V)
        for _ in range(8):
            assert (await client.ask(subscribe("heartbeats")))["channel"] == "subscriptions"
        assert (await client.ask(subscribe("heartbeats")))["type"] == "error"
        await at.move(1)
        assert (await client.ask(subscribe("heartbeats")))["channel"] in ("heartbeats", "subscriptions")


async def test_missing_prices_are_empty_strings() -> None:
    async with stage() as at:
        client = await following(await at.connect(V))
        await at.push(V, bid=None, last=None)
        entry = (await client.hear())["events"][0]["tickers"][0]
        assert (entry["best_bid"], entry["price"]) == ("", "")


async def test_rest_answers_like_both_apis() -> None:
    async with stage(delisted=("coinbase:ETH",)) as at:
        await at.push(V, bid=100_00, ask=100_50, last=100_25)
        ticker = (await at.get(V, "/products/BTC-USD/ticker")).json()
        assert (ticker["bid"], ticker["ask"], ticker["price"]) == ("100", "100.5", "100.25")
        gone = await at.get(V, "/products/ETH-USD/ticker")
        assert (gone.status_code, list(gone.json())) == (400, ["message"])
        unknown = await at.get(V, "/products/NOPE-USD/ticker")
        assert (unknown.status_code, unknown.json()) == (404, {"message": "NotFound"})
        stats = (await at.get(V, "/products/stats")).json()
        assert set(stats) == {"BTC-USD", "USDT-USD"}
        assert stats["BTC-USD"]["stats_24hour"]["last"] == "100.25"
        assert {product["id"] for product in (await at.get(V, "/products")).json()} == {"BTC-USD", "USDT-USD"}
        market = "/api/v3/brokerage/market/products"
        listing = (await at.get(V, market)).json()["products"]
        aliases = {product["product_id"]: product["alias"] for product in listing}
        assert aliases["BTC-USDC"] == "BTC-USD"
        assert aliases["BTC-USD"] == ""
        one = (await at.get(V, f"{market}/BTC-USD/ticker?limit=1")).json()
        assert (one["best_bid"], one["best_ask"], one["trades"][0]["price"]) == ("100", "100.5", "100.25")
        assert one["trades"][0]["bid"] == ""
        assert (await at.get(V, f"{market}/NOPE-USD")).status_code == 404


async def test_rest_is_limited_to_ten_calls_a_second() -> None:
    async with stage() as at:
        statuses = [(await at.get(V, "/time")).status_code for _ in range(16)]
        assert statuses == [200] * 15 + [429]
        await at.move(1)
        assert (await at.get(V, "/time")).status_code == 200
