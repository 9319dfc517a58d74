"""The sandbox's Gemini, over real sockets: streams by name, whole frames refused, nanoseconds, padded prices."""

from __future__ import annotations

import pytest

from feeds.sandbox_stage import stage
from trinity_core.venues import Venue

V = Venue.GEMINI


def request(method: str, *params: str, number: object = 1) -> dict[str, object]:
    return {"id": number, "method": method, "params": list(params)}


async def test_the_first_book_ticker_comes_before_the_acknowledgement() -> None:
    async with stage() as at:
        client = await at.connect(V)
        frame = await client.ask(request("subscribe", "btcusd@bookTicker"))
        assert list(frame) == ["u", "E", "s", "b", "B", "a", "A", "c", "C"]
        assert await client.hear() == {"id": 1, "status": 200}


async def test_a_book_ticker_has_nanoseconds_and_padded_prices() -> None:
    async with stage() as at:
        client = await at.connect(V)
        first = await client.ask(request("subscribe", "btcusd@bookTicker"))
        await client.hear()
        quote = await at.push(V, bid=100_10, ask=100_50, last=100_25, bid_size=150_000_000)
        frame = await client.hear()
        assert frame["s"] == "btcusd"
        assert (frame["b"], frame["a"], frame["c"], frame["B"]) == ("100.1000", "100.5000", "100.2500", "1.50000000")
        assert frame["E"] == at.clock.unix_ns()
        assert isinstance(frame["u"], int)
        assert first["u"] < frame["u"] < 2**53
        assert quote.sequence > 0


async def test_update_ids_rise() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.say(request("subscribe", "btcusd@bookTicker", "ethusd@bookTicker"))
        frames = [await client.hear() for _ in range(3)]
        for asset in ("BTC", "ETH", "BTC"):
            await at.push(V, asset)
        frames += [await client.hear() for _ in range(3)]
        ids = [frame["u"] for frame in frames if "u" in frame]
        assert ids == sorted(set(ids))
        assert len(ids) == 5


async def test_one_bad_name_refuses_the_whole_frame() -> None:
    async with stage() as at:
        client = await at.connect(V)
        reply = await client.ask(request("subscribe", "btcusd@bookTicker", "nope@bookTicker", number=4))
        assert reply == {
            "id": 4,
            "status": 400,
            "error": {"code": -1013, "msg": "Invalid stream name: nope@bookTicker"},
        }
        await at.push(V)
        assert (await client.ask(request("list_subscriptions"))) == {"id": 1, "status": 200, "result": []}


async def test_a_delisted_pair_is_no_stream() -> None:
    async with stage(delisted=("gemini:BTC",)) as at:
        client = await at.connect(V)
        assert (await client.ask(request("subscribe", "btcusd@bookTicker")))["status"] == 400


@pytest.mark.parametrize("name", ["btcusd", "btcusd@nope", "@bookTicker", "", "btcusd@depth@100ms"])
async def test_names_that_are_no_stream_are_refused(name: str) -> None:
    async with stage() as at:
        client = await at.connect(V)
        assert (await client.ask(request("subscribe", name)))["error"]["code"] == -1013


async def test_upper_case_names_are_taken_and_answered_in_lower_case() -> None:
    async with stage() as at:
        client = await at.connect(V)
        assert (await client.ask(request("subscribe", "BTCUSD@bookTicker")))["s"] == "btcusd"


async def test_requests_are_answered_with_their_own_id() -> None:
    async with stage() as at:
        client = await at.connect(V)
        assert await client.ask({"id": "a", "method": "ping"}) == {"id": "a", "status": 200}
        assert (await client.ask(request("time", number=7)))["result"]["serverTime"] == at.clock.unix_ns() // 1_000_000
        assert (await client.ask(request("conninfo")))["result"]["rateLimits"]
        assert (await client.ask(request("nope", number=9)))["error"]["code"] == -1020
        assert (await client.ask({"id": 2, "method": "subscribe", "params": "btcusd@bookTicker"}))["status"] == 400
        assert (await client.ask("not json"))["status"] == 400


async def test_unsubscribing_ends_the_stream() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.ask(request("subscribe", "btcusd@bookTicker"))
        await client.hear()
        assert (await client.ask(request("unsubscribe", "btcusd@bookTicker", number=2))) == {"id": 2, "status": 200}
        await at.push(V)
        assert (await client.ask(request("ping", number=3))) == {"id": 3, "status": 200}


async def test_the_trade_stream_carries_trades_only() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.ask(request("subscribe", "btcusd@trade"))
        await at.push(V, traded=False, last=1_00)
        await at.push(V, last=2_50)
        frame = await client.hear()
        assert set(frame) == {"E", "s", "t", "p", "q", "m"}
        assert frame["p"] == "2.5000"


async def test_a_missing_side_has_no_field() -> None:
    async with stage() as at:
        client = await at.connect(V)
        await client.ask(request("subscribe", "btcusd@bookTicker"))
        await client.hear()
        await at.push(V, ask=None)
        frame = await client.hear()
        assert "a" not in frame
        assert "A" not in frame
        assert "b" in frame


async def test_protocol_pings_come_every_twenty_seconds_and_silence_is_no_reason_to_close() -> None:
    async with stage() as at:
        client = await at.connect(V)
        pings: list[bytes] = []
        answer = client.socket.protocol.receive_data

        def counted(data: bytes) -> None:
            pings.extend([data] if data[:1] == b"\x89" else [])
            answer(data)

        client.socket.protocol.receive_data = counted  # type: ignore[method-assign]
        await at.move(19)
        assert await client.is_open()
        assert len(pings) == 0
        await at.move(111)
        assert await client.is_open()
        assert len(pings) == 6


async def test_rest_answers_and_errors() -> None:
    async with stage(delisted=("gemini:ETH",)) as at:
        await at.push(V, bid=100_00, ask=100_50, last=100_25)
        ticker = (await at.get(V, "/v1/pubticker/btcusd")).json()
        assert (ticker["bid"], ticker["ask"], ticker["last"]) == ("100.00", "100.50", "100.25")
        assert set(ticker["volume"]) == {"BTC", "USD", "timestamp"}
        second = (await at.get(V, "/v2/ticker/BTCUSD")).json()
        assert (second["symbol"], second["close"], len(second["changes"])) == ("BTCUSD", "100.25", 24)
        feed = {row["pair"]: row["price"] for row in (await at.get(V, "/v1/pricefeed")).json()}
        assert feed["BTCUSD"] == "100.25"
        assert (await at.get(V, "/v1/symbols")).json() == ["btcusd", "usdtusd"]
        details = (await at.get(V, "/v1/symbols/details/btcusd")).json()
        assert (details["base_currency"], details["status"]) == ("BTC", "open")
        assert (await at.get(V, "/v1/symbols/details/ethusd")).json()["status"] == "closed"


async def test_rest_refuses_unknown_symbols_and_too_many_calls() -> None:
    async with stage() as at:
        unknown = await at.get(V, "/v1/pubticker/nope")
        assert (unknown.status_code, unknown.json()["result"]) == (400, "error")
        statuses = [(await at.get(V, "/v1/symbols")).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        assert (await at.get(V, "/v1/symbols")).json()["result"] == "error"
