"""Crypto.com's own: a second's wait, heartbeats answered by their id, acknowledgements by data, close code 1013."""

from __future__ import annotations

from typing import Any

import pytest

from feeds.venue_accents import CryptocomAccent
from feeds.venue_stage import Stage, figures, frames
from trinity_core.venues import Venue
from trinity_feeds.venues.cryptocom import CryptocomSession

V = Venue.CRYPTOCOM
FRAMES = frames(V)
ACCENT = CryptocomAccent()
PAIR = ACCENT.pair


def ready(*symbols: str, **settings: Any) -> Stage:
    stage = Stage(V, *(symbols or PAIR), **settings)
    stage.connect()
    stage.run(1_000)
    return stage


def test_nothing_is_asked_within_a_second_of_connecting() -> None:
    stage = Stage(V, *PAIR)
    assert stage.connect() == []
    assert stage.run(999) == []
    [request] = stage.run(1)
    assert request == {
        "id": 1,
        "method": "subscribe",
        "params": {"channels": [f"ticker.{symbol}" for symbol in PAIR]},
        "nonce": stage.unix_ns // 1_000_000,
    }


def test_a_heartbeat_is_answered_at_once_with_its_id() -> None:
    stage = ready()
    stage.sent.clear()
    stage.hear(FRAMES["heartbeat"])
    assert stage.sent_as_json() == [{"id": 1790000000456, "method": "public/respond-heartbeat"}]


@pytest.mark.parametrize("number", [b'"x"', b"null", b"-1", b"[1]", b'{"a":1}', b"1.5"])
def test_a_heartbeat_with_a_strange_id_is_not_echoed(number: bytes) -> None:
    stage = ready()
    stage.sent.clear()
    stage.hear(b'{"id":' + number + b',"method":"public/heartbeat","code":0}')
    assert stage.sent == []
    assert stage.session.counts.frames_invalid == 0


def test_nulls_are_missing_sides() -> None:
    [tick] = ready().hear(FRAMES["nulls"])
    assert figures(tick) == ("64210.10", None, None, "0")


def test_the_old_apis_numbers_keep_their_digits() -> None:
    [tick] = ready().hear(FRAMES["old_numbers"])
    assert figures(tick) == ("64210.10", "64210.10", "64210.20", "6345.1200")


def test_every_ticker_of_a_frame_is_read() -> None:
    assert [tick.asset for tick in ready().hear(FRAMES["two_tickers"])] == ["BTC", "ETH"]


def test_derivatives_make_no_tick() -> None:
    assert ready(replay=True).hear(FRAMES["perpetual"]) == []
    assert CryptocomSession.market_of("BTCUSD-241227") is None
    assert CryptocomSession.market_of("BTC_USD") == ("BTC", "USD")


@pytest.mark.parametrize("kind", ["result_ack", "bare_ack", "unsubscribed", "heartbeat", "trade", "book"])
def test_known_frames_without_prices_are_ignored(kind: str) -> None:
    stage = ready()
    assert stage.hear(FRAMES[kind]) == []
    assert stage.session.counts.frames_ignored == 1
    assert stage.session.counts.venue_errors == 0


@pytest.mark.parametrize("kind", ["result_ack", "bare_ack", "ticker"])
def test_each_kind_of_acknowledgement_counts(kind: str) -> None:
    stage = ready()
    stage.hear(FRAMES[kind])
    assert stage.session.subscribed == 1


@pytest.mark.parametrize("kind", ["unknown_symbol", "full"])
def test_a_refusal_concerns_its_channel_only(kind: str) -> None:
    stage = ready()
    stage.hear(FRAMES["ticker"])
    stage.hear(FRAMES[kind])
    stage.hear(FRAMES[kind])
    assert (stage.session.subscribed, stage.session.refused) == (1, ("ETH_USD",))
    assert stage.session.counts.venue_errors == 2


def test_too_many_requests_are_repeated_after_a_pause() -> None:
    stage = ready()
    stage.hear(FRAMES["too_many"])
    assert stage.run(1_900) == []
    [again] = stage.run(200, ACCENT.answer)
    assert ACCENT.asked(again) == list(PAIR)


def test_another_error_is_noted_and_harms_nobody() -> None:
    stage = ready()
    stage.hear(FRAMES["error"])
    assert stage.session.counts.venue_errors == 1
    assert "50001" in stage.session.detail
    assert stage.session.refused == ()


def test_a_restarting_server_is_maintenance() -> None:
    stage = ready()
    stage.drop(1013, "Server restarting -- try again later")
    assert stage.session.in_maintenance
    stage.session.connecting(stage.now_ns)
    stage.drop(None, "could not connect")
    assert stage.session.in_maintenance
    stage.connect()
    assert not stage.session.in_maintenance
    stage.drop(1000, "")
    assert not stage.session.in_maintenance


def test_rest_rows_are_read_in_a_replay_with_and_without_what_surrounds_them() -> None:
    session = Stage(V, replay=True).session
    rows = FRAMES["rest"][FRAMES["rest"].index(b"[") : FRAMES["rest"].rindex(b"]") + 1]
    for body in (FRAMES["rest"], rows):
        [tick] = session.read_answer(body, 0, 0)
        assert figures(tick) == ("64209.50", "64209.50", "64209.60", "6300.5")
