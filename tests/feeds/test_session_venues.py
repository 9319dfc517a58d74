"""What every venue's session does alike: ticks, dirty values, subscriptions, silence, reconnects, quotes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from feeds.venue_accents import ACCENTS, MISSING, TIME_MS, Accent, CoinbaseAccent, CryptocomAccent, GateioAccent
from feeds.venue_stage import ASSETS, DIRTY, SECOND, Answer, Stage, figures, listings
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.listener import Listener
from trinity_feeds.subscriptions import REFUSAL_MS
from trinity_feeds.terms import SessionSettings, SessionState
from trinity_feeds.venues import VENUES

ROLES = ("price", "bid", "ask", "volume", "time")
ZEROS = ("0", "0.00000000", 0, 0.0)


@pytest.fixture(params=ACCENTS, ids=lambda kind: kind.venue.value)
def accent(request: pytest.FixtureRequest) -> Accent:
    made: Accent = request.param()
    return made


def silent(accent: Accent, *symbols: str, **settings: Any) -> Stage:
    """Connected, nothing answered yet."""
    stage = Stage(accent.venue, *(symbols or accent.pair), **settings)
    stage.connect()
    stage.run(1_000)
    return stage


def ready(accent: Accent, *symbols: str, **settings: Any) -> Stage:
    """Connected, every subscription answered, a first tick of every symbol taken."""
    stage = Stage(accent.venue, *(symbols or accent.pair), **settings)
    stage.connect(accent.answer)
    stage.run(1_500, accent.answer)
    for symbol in symbols or accent.pair:
        assert len(stage.hear(accent.ticker(symbol))) == 1
    return stage


def pongs(accent: Accent) -> Answer:
    """Answers everything but subscriptions."""
    return lambda frame: [] if accent.asked(frame) else accent.answer(frame)


def expected(accent: Accent, **changed: str | None) -> tuple[str | None, ...]:
    values = {role: value if role in accent.fields else None for role, value in accent.values.items()} | changed
    return tuple(values[role] for role in ROLES[:4])


# Ticks.


def test_a_ticker_becomes_a_tick_digit_for_digit(accent: Accent) -> None:
    stage = silent(accent)
    symbol = accent.pair[0]
    [tick] = stage.hear(accent.ticker(symbol))
    asset, quote = ASSETS.symbols(accent.venue)[symbol]
    assert (tick.venue, tick.asset, tick.symbol, tick.quote) == (accent.venue, asset, symbol, quote)
    assert figures(tick) == expected(accent)
    assert tick.venue_time_ns == TIME_MS * 1_000_000
    assert (tick.receive_mono_ns, tick.receive_time_ns, tick.live) == (stage.now_ns, stage.unix_ns, False)
    assert stage.session.lag_ms == (stage.unix_ns - TIME_MS * 1_000_000) // 1_000_000
    assert stage.session.counts.ticks == 1


def test_text_and_bytes_read_the_same(accent: Accent) -> None:
    frame = accent.ticker(accent.pair[0])
    text = frame if isinstance(frame, str) else json.dumps(frame)
    first, second = silent(accent).hear(text), silent(accent).hear(text.encode())
    assert first == second
    assert first != []


@pytest.mark.parametrize("role", ROLES)
def test_a_dirty_value_costs_only_its_field(accent: Accent, role: str) -> None:
    stage = silent(accent)
    for value in (MISSING, *DIRTY):
        if role == "time" and accent.venue is Venue.COINBASE and value is MISSING:
            continue
        if role == "volume" and not isinstance(value, bool) and value in ZEROS:
            continue
        [tick] = stage.hear(accent.ticker(accent.pair[0], **{role: value}))
        if role == "time":
            assert (figures(tick), tick.venue_time_ns) == (expected(accent), None), value
        else:
            assert figures(tick) == expected(accent, **{role: None}), value
    assert stage.session.counts.frames_invalid == 0


def test_no_dirty_value_ever_makes_a_tick_of_its_own(accent: Accent) -> None:
    stage = silent(accent)
    for value in (MISSING, *DIRTY):
        assert stage.hear(accent.ticker(accent.pair[0], price=value, bid=value, ask=value)) == [], value
    assert stage.session.counts.frames_invalid == 0
    assert stage.session.counts.ticks == 0


def test_exponents_are_read_exactly(accent: Accent) -> None:
    [tick] = silent(accent).hear(accent.ticker(accent.pair[0], price="1.20e-8", bid="1E-8"))
    assert figures(tick)[:2] == ("0.0000000120", "0.00000001")


def test_a_crossed_book_is_passed_on_as_the_venue_said_it(accent: Accent) -> None:
    [tick] = silent(accent).hear(accent.ticker(accent.pair[0], bid="2.5", ask="2.4"))
    assert (tick.bid, tick.ask) == (Decimal("2.5"), Decimal("2.4"))


def test_symbols_not_wanted_make_no_tick(accent: Accent) -> None:
    stage = silent(accent, accent.pair[0])
    ignored = stage.session.counts.frames_ignored
    assert stage.hear(accent.ticker(accent.stranger)) == []
    assert stage.hear(accent.ticker(accent.pair[1])) == []
    assert stage.session.counts.frames_ignored == ignored + 2


def test_a_replay_reads_symbols_that_no_table_has(accent: Accent) -> None:
    stage = silent(accent, replay=True)
    [tick] = stage.hear(accent.ticker(accent.stranger))
    assert tick.symbol == accent.stranger
    assert (tick.asset + tick.quote).lower() == "".join(filter(str.isalnum, accent.stranger)).lower()


def test_frames_that_are_no_json_are_counted_and_survived(accent: Accent) -> None:
    stage = silent(accent)
    bad: tuple[str | bytes, ...] = (
        b"", b"\x00", b"\xff\xfe", b"{", b'{"a":', b"NaN", b'{"a":NaN}', "[" * 100_000, b"[" * 3 + b"]", "\ud800",
        b"\xef\xbb\xbf{}", b'{"a":1}{"b":2}', b'"\xff"',
    )  # fmt: skip
    for frame in bad:
        assert stage.hear(frame) == []
    counts = stage.session.counts
    assert counts.frames_invalid + counts.frames_unknown == len(bad)
    assert counts.frames_invalid >= len(bad) - 3
    assert len(stage.hear(accent.ticker(accent.pair[0]))) == 1


def test_json_of_no_known_kind_is_unknown(accent: Accent) -> None:
    stage = silent(accent)
    strange: tuple[Any, ...] = ({}, {"weather": "fine"}, [], "null", "5", '"text"', "true")
    for frame in strange:
        assert stage.hear(frame) == []
    assert stage.session.counts.frames_unknown == len(strange)
    assert stage.session.counts.frames_invalid == 0


def test_a_frame_above_the_bound_is_not_read(accent: Accent) -> None:
    frame = accent.ticker(accent.pair[0])
    text = frame if isinstance(frame, str) else json.dumps(frame)
    stage = silent(accent, frame_bytes_max=len(text))
    assert len(stage.hear(text)) == 1
    assert stage.hear(text + " ") == []
    assert stage.session.counts.frames_invalid == 1


# Subscriptions.


def test_every_symbol_is_asked_for_once_in_batches_no_faster_than_the_pace(accent: Accent) -> None:
    stage = Stage(accent.venue)
    stage.connect(accent.answer)
    stage.run(4_500, accent.answer)
    pace = VENUES[accent.venue].pace  # type: ignore[attr-defined]
    requests = [(at, accent.asked(json.loads(text))) for at, text in stage.sent if text != "ping"]
    requests = [(at, symbols) for at, symbols in requests if symbols]
    assert sorted(symbol for _, symbols in requests for symbol in symbols) == sorted(ASSETS.symbols(accent.venue))
    assert all(len(symbols) <= pace.batch_max for _, symbols in requests)
    times = [at for at, _ in requests]
    assert times[0] == pace.open_wait_ms
    assert all(later - earlier >= pace.interval_ms for earlier, later in pairwise(times))
    assert stage.session.subscribed == stage.session.wanted == len(ASSETS.symbols(accent.venue))


def test_data_counts_as_an_acknowledgement(accent: Accent) -> None:
    stage = silent(accent)
    stage.hear(accent.ticker(accent.pair[0]))
    assert stage.session.subscribed == 1
    assert stage.session.state is SessionState.LIVE


@pytest.mark.parametrize("position", range(5))
def test_one_bad_symbol_costs_no_other(accent: Accent, position: int) -> None:
    symbols = list(ASSETS.symbols(accent.venue))[:4]
    bad = accent.stranger
    symbols.insert(position, bad)

    def picky(frame: Any) -> list[Any]:
        return accent.refuse(frame, bad) if accent.asked(frame) else accent.answer(frame)

    stage = Stage(accent.venue, *symbols)
    stage.connect(picky)
    stage.run(9_000, picky)
    assert stage.session.refused == (bad,)
    assert stage.session.subscribed == 4
    assert stage.session.counts.venue_errors >= 1
    assert stage.close is None


def test_what_is_not_answered_is_asked_again_and_then_the_connection_is_given_up(accent: Accent) -> None:
    stage = silent(accent)
    stage.beat(120_000, accent.silent_frame, pongs(accent))
    asked = [symbol for frame in stage.sent_as_json() for symbol in accent.asked(frame)]
    assert asked.count(accent.pair[0]) == 4
    assert stage.close is not None
    assert "answered" in stage.close.reason


def test_one_unanswered_symbol_costs_no_other(accent: Accent) -> None:
    good, mute = accent.pair

    def deaf(frame: Any) -> list[Any]:
        asked = accent.asked(frame)
        return [accent.ticker(symbol) for symbol in asked if symbol == good] if asked else accent.answer(frame)

    stage = Stage(accent.venue, good, mute)
    stage.connect(deaf)
    stage.run(1_000, deaf)
    for _ in range(90):
        stage.run(1_000, deaf)
        stage.hear(accent.ticker(good))
        stage.hear(accent.silent_frame)
    assert stage.close is None
    assert stage.session.subscribed == 1


# Silence.


def test_a_connection_without_any_frame_is_given_up(accent: Accent) -> None:
    stage = ready(accent)
    stage.run(60_000)
    assert stage.close is not None
    assert stage.session.deadline_ns() is None


def test_heartbeats_do_not_hide_that_no_symbol_has_data(accent: Accent) -> None:
    stage = ready(accent)
    stage.beat(59_000, accent.silent_frame, pongs(accent))
    assert stage.close is None
    stage.beat(4_000, accent.silent_frame, pongs(accent))
    assert stage.close is not None
    assert "no symbol has data" in stage.close.reason


def test_a_silent_symbol_is_subscribed_anew_and_then_the_connection_is_given_up(accent: Accent) -> None:
    lively, mute = accent.pair
    stage = ready(accent)
    stage.hear(accent.ticker(mute))
    asked_at = None
    for second in range(300):
        for frame in stage.run(1_000):
            if mute in accent.asked(frame):
                asked_at = second if asked_at is None else asked_at
                assert lively not in accent.asked(frame)
            for reply in accent.answer(frame) if accent.venue is not Venue.CRYPTOCOM else ():
                stage.hear(reply)
        if stage.close is not None:
            break
        stage.hear(accent.silent_frame)
        stage.hear(accent.ticker(lively))
    assert asked_at is not None
    assert 118 <= asked_at <= 121
    assert stage.close is not None
    assert mute in stage.close.reason
    assert 235 <= second <= 245
    assert stage.session.counts.resubscriptions == 1


def test_a_symbol_that_wakes_when_asked_is_merely_quiet_and_gets_more_and_more_patience(accent: Accent) -> None:
    lively, quiet = accent.pair
    stage = ready(accent)
    asked_at = []
    for second in range(2_000):
        for frame in stage.run(1_000):
            for reply in accent.answer(frame):
                stage.hear(reply)
            if quiet in accent.asked(frame):
                asked_at.append(second)
                if accent.venue is not Venue.CRYPTOCOM:  # there the answer was the ticker
                    stage.hear(accent.ticker(quiet))
        stage.hear(accent.silent_frame)
        stage.hear(accent.ticker(lively))
    assert stage.close is None
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    assert len(gaps) >= 2
    assert all(later > earlier * 1.5 for earlier, later in pairwise(gaps))


# Connections.


def test_states_follow_the_connection(accent: Accent) -> None:
    stage = Stage(accent.venue, *accent.pair)
    session = stage.session
    assert session.state is SessionState.CLOSED
    session.connecting(stage.now_ns)
    assert session.state is SessionState.CONNECTING
    stage.connect()
    assert session.state is SessionState.SUBSCRIBING
    assert session.healthy_since_mono_ns is None
    stage.hear(accent.silent_frame)
    assert session.state is SessionState.SUBSCRIBING
    stage.hear(accent.ticker(accent.pair[0]))
    assert session.state is SessionState.LIVE
    assert session.healthy_since_mono_ns == stage.now_ns
    stage.drop(1006, "lost")
    assert session.state is SessionState.CLOSED
    assert session.healthy_since_mono_ns is None
    assert session.subscribed == 0
    assert session.deadline_ns() is None
    assert "lost" in session.detail


def test_a_new_connection_subscribes_everything_anew(accent: Accent) -> None:
    stage = ready(accent)
    stage.drop()
    stage.now_ns += SECOND
    stage.connect(accent.answer)
    stage.run(2_000, accent.answer)
    asked = [symbol for frame in stage.sent_as_json() for symbol in accent.asked(frame)]
    assert sorted(asked) == sorted(accent.pair)
    assert stage.session.subscribed == 2
    assert len(stage.hear(accent.ticker(accent.pair[0]))) == 1


def test_a_refused_symbol_is_tried_again_alone_after_an_hour(accent: Accent) -> None:
    good, bad = accent.pair

    def picky(frame: Any) -> list[Any]:
        return accent.refuse(frame, bad) if accent.asked(frame) else accent.answer(frame)

    stage = Stage(accent.venue, good, bad)
    stage.connect(picky)
    stage.run(5_000, picky)
    assert stage.session.refused == (bad,)
    for wait_ms, batches in ((1_000, [[good]]), (REFUSAL_MS, [[good], [bad]])):
        stage.drop()
        stage.now_ns += wait_ms * 1_000_000
        stage.connect(accent.answer)
        stage.run(2_000, accent.answer)
        assert [accent.asked(frame) for frame in stage.sent_as_json() if accent.asked(frame)] == batches
    assert stage.session.refused == ()
    assert stage.session.subscribed == 2


def test_too_many_symbols_for_one_connection_are_refused_at_the_start(accent: Accent) -> None:
    kind = VENUES[accent.venue]
    many = listings(accent.venue, accent.pair[0]) * (kind.subscriptions_max + 1)
    with pytest.raises(ValueError, match="at most"):
        kind(listings=many, settings=SessionSettings())


def test_fresh_counts_symbols_by_the_age_of_their_data(accent: Accent) -> None:
    stage = ready(accent)
    assert stage.session.fresh(stage.now_ns) == 2
    assert stage.session.fresh(stage.now_ns + 10 * SECOND) == 2
    assert stage.session.fresh(stage.now_ns + 11 * SECOND) == 0
    stage.drop()
    assert stage.session.fresh(stage.now_ns + SECOND) == 2


# REST.


def quote(accent: Accent, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Tick:
    [(asset, listing)] = listings(accent.venue, accent.pair[0])
    kind = VENUES[accent.venue]
    return kind.parse_quote(
        asset, listing, status=status, headers=headers or {}, body=body, mono_ns=5, unix_ns=6
    )  # fmt: skip


def test_a_rest_answer_becomes_a_live_tick_digit_for_digit(accent: Accent) -> None:
    tick = quote(accent, json.dumps(accent.rest(accent.pair[0])).encode())
    asset, currency = ASSETS.symbols(accent.venue)[accent.pair[0]]
    assert (tick.asset, tick.symbol, tick.quote, tick.live) == (asset, accent.pair[0], currency, True)
    assert figures(tick) == ("1.50", "1.4", "1.60", "3.000")
    assert (tick.receive_mono_ns, tick.receive_time_ns, tick.sequence) == (5, 6, None)
    timeless = accent.venue in (Venue.KRAKEN, Venue.GATEIO)
    assert tick.venue_time_ns == (None if timeless else TIME_MS * 1_000_000)


@pytest.mark.parametrize("value", DIRTY, ids=repr)
def test_a_rest_answer_without_a_price_is_no_quote(accent: Accent, value: Any) -> None:
    body = accent.rest(accent.pair[0], price=value, bid=value, ask=value)
    with pytest.raises(TrinityError) as caught:
        quote(accent, json.dumps(body).encode())
    assert caught.value.reason is Reason.VENUE_UNAVAILABLE


def test_every_rest_error_has_its_reason(accent: Accent) -> None:
    for status, body, reason in accent.rest_errors:
        with pytest.raises(TrinityError) as caught:
            quote(accent, body, status)
        assert caught.value.reason is reason, (status, body)
        assert (caught.value.retry_after_ms is not None) == (reason is Reason.VENUE_RATE_LIMITED)


def test_a_rest_answer_that_is_no_answer_is_no_crash(accent: Accent) -> None:
    for body in (
        b"",
        b"\xff",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b"[" * 50_000,
        b'{"data":5}',
        b"NaN",
        b"[[]]",
        b"[null]",
    ):
        with pytest.raises(TrinityError):
            quote(accent, body)


def test_the_venue_says_when_to_come_back(accent: Accent) -> None:
    for text, milliseconds in (("7", 7_000), ("99999999", 3_600_000)):
        with pytest.raises(TrinityError) as caught:
            quote(accent, b"", 429, {"retry-after": text})
        assert caught.value.retry_after_ms == milliseconds
    for text in ("soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 50, "٧"):
        with pytest.raises(TrinityError) as caught:
            quote(accent, b"", 429, {"retry-after": text})
        assert caught.value.retry_after_ms == VENUES[accent.venue].rest_limit.window_ms


def test_the_quote_request_names_one_symbol(accent: Accent) -> None:
    [(_, listing)] = listings(accent.venue, accent.pair[0])
    request = VENUES[accent.venue].quote_request(listing)
    whole = request.path + "".join(request.params.values())
    assert request.path.startswith("/")
    assert listing.symbol in whole or listing.symbol.replace("BTC/", "XBT") in whole


def test_every_venue_has_a_session_of_its_own() -> None:
    assert set(VENUES) == set(Venue)
    assert all(kind.venue is venue and issubclass(kind, Listener) for venue, kind in VENUES.items())
    assert {accent.venue for accent in ACCENTS} == set(Venue)
    assert len({CoinbaseAccent, CryptocomAccent, GateioAccent}) == 3
