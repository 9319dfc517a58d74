"""Gate.io's own: the frame's time, a ping of ours, a bad pair that spoils its request, best prices with an order."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.venue_accents import GateioAccent
from feeds.venue_stage import Stage, figures, frames
from trinity_core.venues import Venue

V = Venue.GATEIO
FRAMES = frames(V)
ACCENT = GateioAccent()
PAIR = ACCENT.pair


def ready(**settings: Any) -> Stage:
    stage = Stage(V, *PAIR, **settings)
    stage.connect(ACCENT.answer)
    return stage


def test_the_time_is_the_frames_in_milliseconds_or_else_in_seconds() -> None:
    stage = ready()
    [tick] = stage.hear(FRAMES["ticker"])
    assert tick.venue_time_ns == 1790000000123 * 1_000_000
    [tick] = stage.hear(FRAMES["old_ticker"])
    assert tick.venue_time_ns == 1790000001 * 1_000_000_000
    assert figures(tick) == ("64210.10", "64210.1", None, "1")


def test_best_prices_are_taken_in_the_order_of_their_ids() -> None:
    stage = ready()
    [tick] = stage.hear(FRAMES["book_ticker"])
    assert figures(tick) == (None, "64210.1", None, None)
    assert (tick.sequence, tick.venue_time_ns) == (48733182, 1790000002123 * 1_000_000)
    assert stage.hear(FRAMES["book_ticker"]) == []
    assert stage.session.counts.frames_out_of_order == 1
    stage.drop()
    stage.connect(ACCENT.answer)
    assert len(stage.hear(FRAMES["book_ticker"])) == 1


def test_ids_beyond_63_bits_order_nothing() -> None:
    frame = FRAMES["book_ticker"].replace(b"48733182", b"99999999999999999999999")
    [tick] = ready().hear(frame)
    assert tick.sequence is None


@pytest.mark.parametrize("kind", ["ack", "old_ack", "unsubscribed", "pong", "trades", "order_book_update"])
def test_known_frames_without_prices_are_ignored(kind: str) -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES[kind]) == []
    assert stage.session.counts.frames_ignored == 1
    assert stage.session.counts.venue_errors == 0


def test_requests_carry_the_time_and_an_id() -> None:
    stage = Stage(V, *PAIR)
    [request] = stage.connect()
    assert request == {
        "time": stage.unix_ns // 1_000_000_000,
        "id": 1,
        "channel": "spot.tickers",
        "event": "subscribe",
        "payload": list(PAIR),
    }


def test_an_acknowledgement_without_an_id_answers_the_oldest_request() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["old_ack"])
    assert stage.session.subscribed == 2


def test_the_named_pair_is_refused_and_the_others_are_asked_for_again() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["refusal"])
    [again] = stage.run(1_000)
    assert again["payload"] == [PAIR[0]]
    assert stage.session.refused == (PAIR[1],)
    assert "unknown currency pair" in stage.session.detail


def test_a_refusal_without_a_name_is_narrowed_down_by_halves() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["nameless_refusal"])
    assert [frame["payload"] for frame in stage.run(1_000)] == [[PAIR[0]], [PAIR[1]]]
    assert stage.session.refused == ()


def test_a_server_error_refuses_nobody() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["server_error"])
    assert stage.run(1_900) == []
    [again] = stage.run(200, ACCENT.answer)
    assert again["payload"] == list(PAIR)
    assert stage.session.subscribed == 2


def test_a_ping_goes_out_at_least_every_ten_seconds() -> None:
    stage = ready()
    sent = stage.beat(30_000, FRAMES["ticker"], ACCENT.answer)
    assert [frame["channel"] for frame in sent] == ["spot.ping"] * 3
    assert sent[0]["time"] == 1_790_001_010
    assert stage.close is None


def test_rows_of_a_rest_answer_are_read_in_a_replay() -> None:
    ticks = Stage(V, replay=True).session.read_answer(FRAMES["rest"], 0, 0)
    assert [(tick.asset, figures(tick)) for tick in ticks] == [
        ("BTC", ("64209.5", None, "64209.6", "6300.5")),
        ("BTC3L", ("0.02", "0.019", "0.021", "5")),
    ]
