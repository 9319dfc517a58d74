"""Gemini's own: frames known by their fields, rising ids, a bad stream that fails its whole request, glued symbols."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.venue_accents import GeminiAccent
from feeds.venue_stage import Stage, figures, frames, listings
from trinity_core.venues import Venue
from trinity_feeds.venues.gemini import GeminiSession

V = Venue.GEMINI
FRAMES = frames(V)
ACCENT = GeminiAccent()
PAIR = ACCENT.pair


def ready(*symbols: str, **settings: Any) -> Stage:
    stage = Stage(V, *(symbols or PAIR), **settings)
    stage.connect(ACCENT.answer)
    return stage


def test_a_book_ticker_has_nanoseconds_and_an_id() -> None:
    [tick] = ready().hear(FRAMES["ticker"])
    assert figures(tick) == ("64210.1000", "64210.1000", "64210.2000", None)
    assert (tick.venue_time_ns, tick.sequence) == (1790000000123456789, 1764560000000007)


def test_a_side_may_be_missing() -> None:
    [tick] = ready().hear(FRAMES["one_sided"])
    assert figures(tick) == ("64210.1000", None, "64210.2000", None)


def test_a_frame_whose_id_does_not_rise_is_dropped() -> None:
    stage = ready()
    assert len(stage.hear(ACCENT.ticker(PAIR[0], sequence=50))) == 1
    for number in (50, 49, 1):
        assert stage.hear(ACCENT.ticker(PAIR[0], sequence=number)) == []
    assert len(stage.hear(ACCENT.ticker(PAIR[1], sequence=10))) == 1
    assert len(stage.hear(ACCENT.ticker(PAIR[0], sequence=51))) == 1
    assert stage.session.counts.frames_out_of_order == 3
    stage.drop()
    stage.connect(ACCENT.answer)
    assert len(stage.hear(ACCENT.ticker(PAIR[0], sequence=40))) == 1


def test_a_replay_drops_nothing() -> None:
    stage = ready(replay=True)
    assert all(len(stage.hear(FRAMES["ticker"])) == 1 for _ in range(2))


@pytest.mark.parametrize(
    "kind",
    ["ack", "pong", "trade", "depth", "funding", "contract_status", "old_heartbeat", "old_trade", "old_l2"],
)
def test_known_frames_without_best_prices_are_ignored(kind: str) -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES[kind]) == []
    assert stage.session.counts.frames_ignored == 1
    assert stage.session.counts.venue_errors == 0


@pytest.mark.parametrize("frame", [{"e": "weather", "s": "btcusd"}, {"type": "weather"}, {"s": "btcusd"}])
def test_frames_with_unknown_fields_are_unknown(frame: dict[str, str]) -> None:
    stage = ready()
    stage.hear(frame)
    assert stage.session.counts.frames_unknown == 1


def test_streams_are_asked_for_by_name_in_small_frames() -> None:
    stage = Stage(V)
    [request] = stage.connect()
    assert (request["id"], request["method"], len(request["params"])) == (1, "subscribe", 16)
    assert request["params"][0] == "btcusd@bookTicker"


def test_an_acknowledgement_answers_its_own_request_only() -> None:
    stage = Stage(V)
    stage.connect()
    stage.run(300)
    stage.hear({"id": 2, "status": 200})
    assert stage.session.subscribed == 16
    stage.hear({"id": 77, "status": 200})
    assert stage.session.subscribed == 16


def test_a_stream_named_in_the_error_is_refused_at_once() -> None:
    stage = Stage(V, "btcusd", "nopeusd", "ethusd")
    stage.connect()
    stage.hear(FRAMES["bad_stream"])
    [again] = stage.run(300)
    assert ACCENT.asked(again) == ["btcusd", "ethusd"]
    assert stage.session.refused == ("nopeusd",)


def test_a_rate_limit_refuses_nobody() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["rate"])
    assert stage.run(1_900) == []
    [again] = stage.run(200)
    assert ACCENT.asked(again) == list(PAIR)


def test_a_ping_is_answered_by_its_id() -> None:
    stage = ready()
    assert stage.run(5_000) == [{"id": 1_000_000_000, "method": "ping"}]
    stage.hear({"id": 5, "status": 200})
    stage.run(8_000)
    stage.run(8_000)
    assert stage.close is not None


def test_the_old_error_is_noted() -> None:
    stage = ready()
    stage.hear(FRAMES["old_error"])
    assert stage.session.counts.venue_errors == 1
    assert stage.session.detail == "NoValidTradingPairs"


@pytest.mark.parametrize(
    ("symbol", "market"),
    [
        ("btcusd", ("BTC", "USD")),
        ("btcrlusd", ("BTC", "RLUSD")),
        ("btcgusd", ("BTC", "GUSD")),
        ("btcusdc", ("BTC", "USDC")),
        ("paxgusd", ("PAXG", "USD")),
        ("omgusd", ("OMG", "USD")),
        ("rlusdusd", ("RLUSD", "USD")),
        ("usdtusd", ("USDT", "USD")),
        ("ethbtc", ("ETH", "BTC")),
        ("2zusd", ("2Z", "USD")),
        ("ETHEUR", ("ETH", "EUR")),
        ("rndrusd", ("RENDER", "USD")),
        ("btcgusdperp", None),
        ("gemi-btc1h-hi", None),
        ("usd", None),
        ("", None),
    ],
)
def test_glued_symbols_are_taken_apart_with_care(symbol: str, market: tuple[str, str] | None) -> None:
    assert GeminiSession.market_of(symbol) == market


def test_the_volume_of_a_quote_is_the_base_currencys() -> None:
    [(asset, listing)] = listings(V, "rndrusd")
    assert asset == "RENDER"
    tick = GeminiSession.parse_quote(
        asset, listing, status=200, headers={}, body=FRAMES["rest_pubticker"], mono_ns=0, unix_ns=0
    )
    assert figures(tick) == ("64209.90", "64209.8", "64210.0", "7.5")


def test_rest_answers_that_tell_their_symbol_are_read_in_a_replay() -> None:
    session = Stage(V, replay=True).session
    [tick] = session.read_answer(FRAMES["rest_v2"], 0, 0)
    assert (tick.symbol, figures(tick)) == ("BTCUSD", ("64209.90", "64209.8", "64210.0", None))
    [tick] = session.read_answer(FRAMES["rest_pubticker"], 0, 0)
    assert (tick.asset, tick.quote, figures(tick)[3]) == ("RENDER", "USD", "7.5")
    assert session.read_answer(b'["btcusd","ethusd"]', 0, 0) == []
