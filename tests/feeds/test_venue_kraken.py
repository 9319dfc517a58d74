"""Kraken's own: numbers with their zeros, states of the system, one acknowledgement a symbol, the old generation."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.venue_accents import KrakenAccent
from feeds.venue_stage import Stage, figures, frames, listings
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.terms import SessionState
from trinity_feeds.venues.kraken import KrakenSession

V = Venue.KRAKEN
FRAMES = frames(V)
ACCENT = KrakenAccent()
PAIR = ACCENT.pair


def ready(*symbols: str, **settings: Any) -> Stage:
    stage = Stage(V, *(symbols or PAIR), **settings)
    stage.connect(ACCENT.answer)
    return stage


def test_numbers_keep_every_digit() -> None:
    [tick] = ready("USDT/USD").hear(FRAMES["exact"])
    assert figures(tick) == ("0.99980", "0.99980", "0.99990", "270638277.50461280")
    assert tick.venue_time_ns is None


def test_every_ticker_of_a_frame_is_read() -> None:
    assert [tick.asset for tick in ready().hear(FRAMES["two_tickers"])] == ["BTC", "ETH"]


def test_a_pair_that_never_traded_has_no_price() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES["never_traded"]) == []
    assert stage.session.subscribed == 1


def test_tickers_are_asked_for_on_every_change_of_the_best_prices() -> None:
    stage = Stage(V, *PAIR)
    [request] = stage.connect()
    assert request["method"] == "subscribe"
    assert request["params"] == {"channel": "ticker", "symbol": list(PAIR), "event_trigger": "bbo", "snapshot": True}


@pytest.mark.parametrize(
    "kind",
    [
        "status_online",
        "heartbeat",
        "ack",
        "pong",
        "trade",
        "book",
        "old_book",
        "old_heartbeat",
        "old_status",
        "old_ack",
    ],
)
def test_known_frames_without_prices_are_ignored(kind: str) -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES[kind]) == []
    assert stage.session.counts.frames_ignored == 1
    assert stage.session.counts.venue_errors == 0


def test_a_refused_symbol_is_named() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["ack"])
    stage.hear(FRAMES["refusal"])
    assert (stage.session.subscribed, stage.session.refused) == (1, ("ETH/USD",))
    assert stage.run(4_000) == []


def test_being_subscribed_already_is_no_refusal() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["already"])
    assert (stage.session.subscribed, stage.session.refused) == (1, ())


def test_an_exceeded_rate_refuses_nobody() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["rate"])
    assert stage.run(1_900) == []
    [again] = stage.run(200, ACCENT.answer)
    assert again["params"]["symbol"] == list(PAIR)
    assert stage.session.refused == ()


@pytest.mark.parametrize("kind", ["status_maintenance", "status_cancel_only"])
def test_a_restricted_system_is_maintenance_until_it_is_online_again(kind: str) -> None:
    stage = ready()
    stage.hear(FRAMES["ticker"])
    stage.hear(FRAMES[kind])
    assert stage.session.state is SessionState.MAINTENANCE
    assert stage.session.in_maintenance
    assert len(stage.hear(FRAMES["ticker"])) == 1
    assert stage.session.state is SessionState.MAINTENANCE
    stage.hear(FRAMES["status_online"])
    assert stage.session.state is SessionState.LIVE
    assert not stage.session.in_maintenance


def test_silence_is_expected_during_maintenance() -> None:
    stage = ready()
    stage.hear(FRAMES["ticker"])
    stage.hear(FRAMES["status_maintenance"])
    sent = stage.beat(600_000, FRAMES["heartbeat"], ACCENT.answer)
    assert stage.close is None
    assert all(frame["method"] == "ping" for frame in sent)


def test_after_maintenance_every_silent_symbol_is_subscribed_anew_on_the_same_connection() -> None:
    stage = ready()
    stage.hear(FRAMES["two_tickers"])
    stage.hear(FRAMES["status_maintenance"])
    stage.beat(600_000, FRAMES["heartbeat"], ACCENT.answer)
    stage.hear(FRAMES["status_online"])
    sent = stage.beat(5_000, FRAMES["heartbeat"], ACCENT.answer)
    assert [(frame["method"], frame["params"]["symbol"]) for frame in sent if frame["method"] != "ping"] == [
        ("unsubscribe", list(PAIR)),
        ("subscribe", list(PAIR)),
    ]
    assert stage.close is None


def test_maintenance_outlives_the_connection_that_told_of_it() -> None:
    stage = ready()
    stage.hear(FRAMES["status_maintenance"])
    stage.drop(1001, "CloudFlare WebSocket proxy restarting")
    assert stage.session.in_maintenance
    stage.connect()
    assert not stage.session.in_maintenance
    assert stage.session.connect_limit.maintenance_floor_ms == 5_000


def test_an_announcement_is_shown_and_changes_nothing() -> None:
    stage = ready()
    stage.hear(FRAMES["ticker"])
    stage.hear(FRAMES["status_announcement"])
    assert stage.session.state is SessionState.LIVE
    assert "2026-10-01T09:00:00Z" in stage.session.detail


def test_a_silent_connection_is_pinged() -> None:
    stage = ready()
    assert [frame["method"] for frame in stage.run(5_000)] == ["ping"]
    stage.hear(FRAMES["pong"])
    stage.run(4_000)
    assert stage.close is None


def test_the_old_generation_is_read_from_the_end_of_its_lists() -> None:
    stage = Stage(V, *PAIR, replay=True)
    [tick] = stage.hear(FRAMES["old_ticker"])
    assert (tick.asset, tick.symbol, tick.quote) == ("BTC", "XBT/USD", "USD")
    assert figures(tick) == ("64210.10000", "64210.10000", "64210.20000", "6345.12000000")
    for frame in ([1, 2, "ticker", "XBT/USD"], [1, {}, "ticker", 5], [1, {"a": 5}, "ticker", "XBT/USD"], ["ticker"]):
        assert stage.hear(frame) == []


def test_symbols_of_every_generation_are_understood() -> None:
    assert KrakenSession.market_of("BTC/USD") == ("BTC", "USD")
    assert KrakenSession.market_of("XBT/EUR") == ("BTC", "EUR")
    assert KrakenSession.market_of("XDG/USD") == ("DOGE", "USD")
    assert KrakenSession.market_of("ALGO/XBT") == ("ALGO", "BTC")
    assert KrakenSession.market_of("XXBTZUSD") == ("BTC", "USD")
    assert KrakenSession.market_of("XETHZEUR") == ("ETH", "EUR")
    assert KrakenSession.market_of("XBTUSDT") == ("BTC", "USDT")
    assert KrakenSession.market_of("NEARUSD") == ("NEAR", "USD")
    assert KrakenSession.market_of("AIOZUSD") == ("AIOZ", "USD")
    assert KrakenSession.market_of("USD") is None
    assert KrakenSession.market_of("") is None


def quote(body: bytes, symbol: str = "BTC/USD") -> Any:
    [(asset, listing)] = listings(V, symbol)
    return KrakenSession.parse_quote(asset, listing, status=200, headers={}, body=body, mono_ns=5, unix_ns=6)


def test_the_answer_may_be_keyed_by_the_venues_own_name() -> None:
    assert figures(quote(FRAMES["rest"])) == ("64210.10000", "64210.10000", "64210.20000", "6345.12")


def test_a_last_price_of_zero_is_no_price_and_no_midpoint_replaces_it() -> None:
    assert figures(quote(FRAMES["rest_no_last"])) == (None, "1.0", "9.0", "0")


def test_an_answer_of_two_pairs_is_no_answer_to_one() -> None:
    body = FRAMES["rest"].replace(b'"result":{', b'"result":{"OTHER":{},')
    with pytest.raises(TrinityError) as caught:
        quote(body)
    assert caught.value.reason is Reason.VENUE_UNAVAILABLE


def test_pairs_are_asked_for_by_the_rest_interfaces_own_names() -> None:
    for symbol, pair in (("BTC/USD", "XBTUSD"), ("DOGE/USD", "XDGUSD"), ("ETH/USD", "ETHUSD"), ("USDT/USD", "USDTUSD")):
        [(_, listing)] = listings(V, symbol)
        request = KrakenSession.quote_request(listing)
        assert (request.path, request.params) == ("/0/public/Ticker", {"pair": pair, "assetVersion": "1"})


def test_rest_answers_are_read_in_a_replay() -> None:
    session = Stage(V, replay=True).session
    [tick] = session.read_answer(FRAMES["rest"], 0, 0)
    assert (tick.asset, tick.symbol, tick.quote) == ("BTC", "XXBTZUSD", "USD")
    assert session.read_answer(b'{"error":["EQuery:Unknown asset pair"]}', 0, 0) == []
