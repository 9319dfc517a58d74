"""Coinbase's own: one sequence a connection, heartbeats to subscribe, lists of what is active, two feeds, aliases."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.venue_accents import CoinbaseAccent
from feeds.venue_stage import Stage, figures, frames
from trinity_core.venues import Venue
from trinity_feeds.venues.coinbase import CoinbaseSession

V = Venue.COINBASE
FRAMES = frames(V)
PAIR = CoinbaseAccent.pair


def ready(*symbols: str, **settings: Any) -> Stage:
    stage = Stage(V, *(symbols or PAIR), **settings)
    stage.connect(CoinbaseAccent().answer)
    return stage


def numbered(number: int, symbol: str = "BTC-USD") -> dict[str, Any]:
    frame: dict[str, Any] = CoinbaseAccent().ticker(symbol)
    return frame | {"sequence_num": number}


def test_heartbeats_and_tickers_are_subscribed_as_soon_as_the_socket_is_open() -> None:
    stage = Stage(V, *PAIR)
    assert stage.connect() == [
        {"type": "subscribe", "channel": "heartbeats"},
        {"type": "subscribe", "channel": "ticker", "product_ids": list(PAIR)},
    ]


def test_the_time_is_the_envelopes_to_the_nanosecond() -> None:
    [tick] = ready().hear(FRAMES["ticker"])
    assert tick.venue_time_ns == 1_790_000_000_123_456_789
    assert figures(tick) == ("64210.10", "64210.1", "64210.2", "6345.12000000")


def test_every_ticker_of_every_event_is_read() -> None:
    ticks = ready().hear(FRAMES["many_tickers"])
    assert [(tick.asset, figures(tick)[0]) for tick in ticks] == [("BTC", "64211"), ("ETH", "2500"), ("BTC", "64213")]


@pytest.mark.parametrize("kind", ["subscriptions", "heartbeats", "market_trades", "l2_data"])
@pytest.mark.parametrize("feed", ["", "exchange_"])
def test_known_frames_without_prices_are_ignored(kind: str, feed: str) -> None:
    name = feed + kind if feed + kind in FRAMES else {"market_trades": "exchange_match"}.get(kind, "exchange_heartbeat")
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES[name]) == []
    assert stage.session.counts.frames_ignored == 1
    assert stage.session.counts.venue_errors == 0


@pytest.mark.parametrize("kind", ["subscriptions", "exchange_subscriptions"])
def test_the_list_of_what_is_active_acknowledges(kind: str) -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES[kind])
    assert stage.session.subscribed == 1


def test_a_repeated_list_does_not_make_a_silent_symbol_look_alive() -> None:
    stage = ready()
    stage.hear(CoinbaseAccent().ticker(PAIR[1]))
    both = CoinbaseAccent().answer({"type": "subscribe", "channel": "ticker", "product_ids": list(PAIR)})[0]
    asked = []
    for _ in range(130):
        for frame in stage.run(1_000):
            asked.append(frame)
        stage.hear(CoinbaseAccent().ticker(PAIR[0]))
        stage.hear(both)
    assert [(frame["type"], frame["product_ids"]) for frame in asked] == [
        ("unsubscribe", [PAIR[1]]),
        ("subscribe", [PAIR[1]]),
    ]


# The sequence.


def test_the_sequence_of_a_connection_reaches_no_tick() -> None:
    [tick] = ready().hear(FRAMES["ticker"])
    assert tick.sequence is None
    [tick] = ready(replay=True).hear(FRAMES["ticker"])
    assert tick.sequence == 5


def test_a_sequence_without_gaps_is_fine_over_all_channels() -> None:
    stage = ready()
    for kind in ("ticker", "many_tickers", "heartbeats", "market_trades", "l2_data"):
        stage.hear(FRAMES[kind])
    assert stage.session.counts.sequence_gaps == 0
    assert stage.session.counts.frames_out_of_order == 0


def test_a_gap_is_counted_and_every_symbol_subscribed_anew() -> None:
    stage = ready()
    stage.hear(numbered(0))
    assert len(stage.hear(numbered(3))) == 1
    assert stage.session.counts.sequence_gaps == 1
    assert stage.run(499) == []
    assert [frame["type"] for frame in stage.run(500)] == ["unsubscribe", "subscribe"]
    assert stage.session.counts.resubscriptions == 2
    assert stage.close is None


def test_a_late_frame_counts_for_symbols_that_have_nothing_newer() -> None:
    stage = ready()
    for number, symbol in ((0, "BTC-USD"), (3, "BTC-USD")):
        stage.hear(numbered(number, symbol))
    assert stage.hear(numbered(2, "BTC-USD")) == []
    assert [tick.asset for tick in stage.hear(numbered(1, "ETH-USD"))] == ["ETH"]
    assert stage.hear(numbered(1, "ETH-USD")) == []
    assert stage.session.counts.frames_out_of_order == 3


def test_frames_that_come_late_are_not_taken_for_lost() -> None:
    stage = ready()
    for number in (0, 2, 1, 5, 4, 3):
        stage.hear(numbered(number))
    assert stage.run(2_000) == []
    counts = stage.session.counts
    assert (counts.ticks, counts.sequence_gaps, counts.frames_out_of_order, counts.resubscriptions) == (3, 2, 3, 0)


def test_a_gap_of_a_million_frames_costs_no_more_than_one() -> None:
    stage = ready()
    stage.hear(numbered(0))
    stage.hear(numbered(9_000_000_000_000_000_000))
    assert [frame["type"] for frame in stage.run(1_000)] == ["unsubscribe", "subscribe"]


def test_gaps_again_and_again_end_the_connection() -> None:
    stage = ready()
    number = 0
    for _ in range(30):
        stage.hear(numbered(number))
        number += 2
        stage.run(1_000)
    assert stage.close is not None
    assert "lost" in stage.close.reason
    assert stage.session.counts.resubscriptions == 4


def test_gaps_far_apart_do_not() -> None:
    stage = ready()
    number = 0
    for _ in range(8):
        stage.hear(numbered(number))
        number += 2
        for _ in range(30):
            stage.run(1_000)
            stage.hear(numbered(number))
            number += 1
    assert stage.session.counts.sequence_gaps == 8
    assert stage.close is None


def test_frames_from_the_past_are_dropped() -> None:
    stage = ready()
    assert len(stage.hear(numbered(7))) == 1
    assert stage.hear(numbered(7)) == []
    assert stage.hear(numbered(3)) == []
    assert len(stage.hear(numbered(8))) == 1
    assert stage.session.counts.frames_out_of_order == 2
    assert stage.session.counts.sequence_gaps == 0


def test_each_connection_counts_from_zero() -> None:
    stage = ready()
    stage.hear(numbered(700))
    stage.drop()
    stage.connect()
    assert len(stage.hear(numbered(0))) == 1
    assert stage.session.counts.sequence_gaps == stage.session.counts.frames_out_of_order == 0


def test_a_replay_takes_any_order() -> None:
    stage = ready(replay=True)
    assert all(len(stage.hear(numbered(number))) == 1 for number in (5, 1, 9, 9))
    assert stage.session.counts.sequence_gaps == 0


# The Exchange feed.


def test_a_ticker_of_the_exchange_feed_is_read_too() -> None:
    [tick] = ready().hear(FRAMES["exchange_ticker"])
    assert figures(tick) == ("64210.10", "64210.1", "64210.2", "6345.12000000")
    assert (tick.sequence, tick.venue_time_ns) == (4100, 1_790_000_000_123_456_000)


def test_a_time_of_the_year_one_is_no_time() -> None:
    [tick] = ready().hear(FRAMES["exchange_year_one"])
    assert tick.venue_time_ns is None
    assert figures(tick)[0] == "64210.10"


def test_its_sequence_orders_each_product() -> None:
    stage = ready()
    stage.hear(FRAMES["exchange_ticker"])
    assert stage.hear(FRAMES["exchange_ticker"]) == []
    assert stage.session.counts.frames_out_of_order == 1


# Errors.


def test_an_error_names_its_product() -> None:
    stage = ready()
    stage.hear(FRAMES["error"])
    assert stage.session.refused == ("ETH-USD",)
    assert stage.session.subscribed == 1
    assert stage.session.detail == "Failed to subscribe: ETH-USD is delisted"


def test_a_rate_limit_refuses_nobody() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["rate_error"])
    assert stage.run(1_900) == []
    [again] = stage.run(200)
    assert again["product_ids"] == list(PAIR)


def test_an_error_without_a_name_is_narrowed_down_by_halves() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["nameless_error"])
    assert [frame["product_ids"] for frame in stage.run(1_000)] == [[PAIR[0]], [PAIR[1]]]


# Names.


def test_the_usdc_alias_is_asked_for_and_read_under_the_usd_label() -> None:
    stage = Stage(V, "BTC-USDC")
    assert stage.connect()[1]["product_ids"] == ["BTC-USDC"]
    [tick] = stage.hear(FRAMES["ticker"])
    assert (tick.asset, tick.symbol, tick.quote) == ("BTC", "BTC-USD", "USD")
    assert stage.session.subscribed == 1


def test_own_names_of_assets_are_understood() -> None:
    assert CoinbaseSession.market_of("MANTLE-USD") == ("MNT", "USD")
    assert CoinbaseSession.market_of("BAND-GBP") == ("BAND", "GBP")
    assert CoinbaseSession.market_of("BTC-PERP-INTX") is None
    assert CoinbaseSession.market_of("btc-usd") is None


def test_rest_rows_that_name_their_product_are_read_in_a_replay() -> None:
    ticks = Stage(V, replay=True).session.read_answer(FRAMES["rest_products"], 0, 0)
    assert [(tick.asset, tick.symbol, figures(tick)) for tick in ticks] == [
        ("BTC", "BTC-USD", ("64210.10", None, None, "6345.12")),
        ("MNT", "MANTLE-USD", ("0.75", None, None, "10")),
    ]
