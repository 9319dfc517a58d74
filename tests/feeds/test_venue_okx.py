"""OKX's own: tickers in lists, text pings, errors that name their symbol in words, a notice before a cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feeds.venue_accents import OkxAccent
from feeds.venue_stage import SECOND, Stage, figures, frames
from trinity_core.venues import Venue
from trinity_feeds.terms import SessionState
from trinity_feeds.venues.okx import OkxSession

V = Venue.OKX
FRAMES = frames(V)
ACCENT = OkxAccent()
PAIR = ACCENT.pair


def ready(*symbols: str, **settings: Any) -> Stage:
    stage = Stage(V, *(symbols or PAIR), **settings)
    stage.connect(ACCENT.answer)
    return stage


def test_every_ticker_of_a_frame_is_read() -> None:
    assert [tick.asset for tick in ready().hear(FRAMES["two_tickers"])] == ["ETH", "BTC"]


def test_empty_strings_are_missing_sides() -> None:
    [tick] = ready().hear(FRAMES["one_sided"])
    assert figures(tick) == (None, None, "2500.5", "0")


def test_derivatives_make_no_tick() -> None:
    assert ready().hear(FRAMES["swap"]) == []
    assert ready(replay=True).hear(FRAMES["swap"]) == []
    assert OkxSession.market_of("BTC-USD-241227-50000-C") is None
    assert OkxSession.market_of("BTC-USDT") == ("BTC", "USDT")


@pytest.mark.parametrize("kind", ["ack", "conn_count", "trades", "books"])
def test_known_frames_without_prices_are_ignored(kind: str) -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    assert stage.hear(FRAMES[kind]) == []
    assert stage.session.counts.frames_ignored == 1


def test_requests_stay_below_4096_bytes_and_say_what_they_are() -> None:
    stage = Stage(V)
    stage.connect(ACCENT.answer)
    stage.run(5_000, ACCENT.answer)
    assert len(stage.sent) >= 3
    assert all(len(text.encode()) <= 4_096 for _, text in stage.sent)
    first = stage.sent_as_json()[0]
    assert (first["op"], first["id"].isalnum(), len(first["id"]) <= 32) == ("subscribe", True, True)
    assert first["args"][0]["channel"] == "tickers"


def test_no_more_operations_an_hour_than_the_venue_allows() -> None:
    stage = Stage(V, *PAIR, ack_ms=1_000, symbol_silent_ms=2_000)
    stage.connect()
    operations = 0
    for _ in range(3_600):
        sent = stage.run(1_000)
        operations += sum(frame != "ping" for frame in sent)
        for _ in range(sent.count("ping")):
            stage.hear("pong")
        stage.hear(ACCENT.ticker(PAIR[0]))
    assert 100 < operations <= 480


def test_an_error_with_a_name_leaves_the_other_arguments_alone() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    stage.hear(FRAMES["refusal"])
    stage.hear(FRAMES["ack"])
    assert stage.run(4_900) == []
    assert (stage.session.subscribed, stage.session.refused) == (1, ("ETH-USDT",))


def test_an_error_without_a_name_is_narrowed_down_by_halves() -> None:
    def picky(frame: Any) -> list[Any]:
        return [FRAMES["illegal"]] if "NOPE-USDT" in json.dumps(frame) else ACCENT.answer(frame)

    stage = Stage(V, "BTC-USDT", "NOPE-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT")
    stage.connect(picky)
    stage.run(5_000, picky)
    assert stage.session.refused == ("NOPE-USDT",)
    assert stage.session.subscribed == 4


def test_too_many_requests_are_repeated_after_a_pause_that_doubles() -> None:
    stage = Stage(V, *PAIR)
    stage.connect()
    for pause_ms in (2_000, 4_000, 8_000):
        stage.hear(FRAMES["too_many"])
        assert [frame for frame in stage.run(pause_ms - 100, ACCENT.answer) if frame != "ping"] == []
        [again] = [frame for frame in stage.run(200) if frame != "ping"]
        assert [arg["instId"] for arg in again["args"]] == list(PAIR)


def test_a_text_ping_goes_out_well_before_25_seconds_of_silence_and_wants_its_pong() -> None:
    stage = ready()
    assert stage.run(5_000) == ["ping"]
    stage.hear("pong")
    assert stage.run(5_000) == ["ping"]
    stage.run(8_000)
    assert stage.close is not None
    assert "ping" in stage.close.reason


def test_a_busy_connection_is_pinged_too_and_given_up_after_two_missing_pongs() -> None:
    stage = ready()
    sent = stage.beat(60_000, FRAMES["ticker"])
    assert sent == ["ping", "ping"]
    assert stage.close is not None
    assert stage.now_ns < 1_060 * SECOND


def test_a_pong_may_be_text_or_bytes() -> None:
    stage = ready()
    for pong in ("pong", b"pong") * 10:
        stage.hear(FRAMES["two_tickers"])
        stage.run(6_000)
        stage.hear(pong)
    assert stage.close is None
    assert stage.session.counts.frames_invalid == 0


def test_a_notice_of_an_upgrade_asks_for_another_connection_and_reads_on() -> None:
    stage = ready()
    stage.hear(FRAMES["ticker"])
    stage.hear(FRAMES["notice"])
    assert stage.session.state is SessionState.MAINTENANCE
    assert stage.session.in_maintenance
    assert stage.close is not None
    assert "64008" in stage.session.detail or "upgrade" in stage.session.detail
    assert len(stage.hear(FRAMES["ticker"])) == 1
    assert stage.run(6_000) == ["ping"]
    stage.drop(1001, "gone")
    stage.connect()
    assert not stage.session.in_maintenance
    assert stage.session.state is SessionState.SUBSCRIBING


def test_a_rest_answer_of_many_rows_is_read_in_a_replay() -> None:
    session = Stage(V, replay=True).session
    assert [figures(tick) for tick in session.read_answer(FRAMES["rest"], 0, 0)] == [
        ("64209.5", "64209.5", "64209.6", "6300.5")
    ]
