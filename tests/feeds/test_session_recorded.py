"""Frames recorded from the venues themselves, old generations included: every one is accepted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from feeds.venue_stage import RECORDED, UNIX_NS, Stage, figures
from trinity_core.ticks import Tick
from trinity_core.venues import Venue

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded frames are not on this machine")


class Line(msgspec.Struct):
    raw: msgspec.Raw
    kind: str
    channel: str


def lines(venue: Venue) -> Iterator[tuple[str, str, str | bytes]]:
    """Kind, channel and frame of every recorded line."""
    with (RECORDED / f"{venue}.jsonl").open("rb") as file:
        for text in file:
            line = msgspec.json.decode(text, type=Line)
            raw = bytes(line.raw)
            yield line.kind, line.channel, json.loads(raw) if raw.startswith(b'"') else raw


def replay(venue: Venue) -> tuple[Stage, Counter[tuple[str, str]], list[Tick]]:
    stage = Stage(venue, replay=True, frame_bytes_max=1 << 24)
    made: Counter[tuple[str, str]] = Counter()
    ticks = []
    for kind, channel, frame in lines(venue):
        found = (
            stage.session.read_answer(frame.encode() if isinstance(frame, str) else frame, 0, UNIX_NS)
            if kind == "rest"
            else stage.session.receive(frame, 0, UNIX_NS)
        )
        made[kind, channel] += len(found)
        ticks += found
    return stage, made, ticks


@pytest.mark.parametrize("venue", Venue)
def test_no_recorded_frame_is_unknown_or_unreadable(venue: Venue) -> None:
    stage = Stage(venue, replay=True, frame_bytes_max=1 << 24)
    for kind, channel, frame in lines(venue):
        if kind == "ws":
            stage.session.receive(frame, 0, UNIX_NS)
            assert stage.session.counts.frames_unknown == 0, (channel, frame)
            assert stage.session.counts.frames_invalid == 0, (channel, frame)


@pytest.mark.parametrize("venue", Venue)
def test_the_same_frames_make_no_trouble_for_a_live_session(venue: Venue) -> None:
    stage = Stage(venue, frame_bytes_max=1 << 24)
    stage.connect()
    for kind, _, frame in lines(venue):
        if kind == "ws":
            stage.session.receive(frame, stage.now_ns, stage.unix_ns)
    assert stage.session.counts.frames_invalid == 0


@pytest.mark.parametrize(
    ("venue", "channel", "count"),
    [
        (Venue.COINBASE, "advanced:ticker", 101),
        (Venue.COINBASE, "exchange:ticker", 64),
        (Venue.GEMINI, "ws:bookTicker", 1),
        (Venue.KRAKEN, "v1:ticker", 24),
        (Venue.KRAKEN, "v2:ticker", 3),
        (Venue.GATEIO, "spot.tickers:update", 17),
        (Venue.GATEIO, "spot.book_ticker:update", 1),
        (Venue.CRYPTOCOM, "ticker", 891),
        (Venue.OKX, "tickers", 58),
    ],
)
def test_every_spot_ticker_becomes_a_tick(venue: Venue, channel: str, count: int) -> None:
    _, made, _ = replay(venue)
    assert made["ws", channel] == count


def test_ticks_of_recordings_are_exact() -> None:
    found = {}
    for venue in Venue:
        for tick in replay(venue)[2]:
            found.setdefault((venue, tick.symbol, tick.venue_time_ns), tick)
    chosen = [
        (Venue.COINBASE, "BTC-USD", 1786309548229198328, ("65086.18", "65083.66", "65083.67", "2867.54532609"), "BTC"),
        (Venue.COINBASE, "BAND-GBP", 1618677810244075000, ("14.7775", "14.7550", "14.8060", "94381.28000000"), "BAND"),
        (Venue.CRYPTOCOM, "BAND_USDT", 1637709517473000000, ("7.5328", "7.5248", "7.5328", "35912.66"), "BAND"),
        (Venue.CRYPTOCOM, "BTC_USD", 1782032455141000000, ("63958.47", "63962.64", "63962.65", "2657.5053"), "BTC"),
        (Venue.GATEIO, "NEO_BTC", 1619093533000000000, ("0.0018716", "0.0018697", "0.0018734", "1138.01640718"), "NEO"),
        (Venue.OKX, "FUN-BTC", 1626995753163000000, ("0.000000454", "0.000000452", "0.000000455", "302436.11"), "FUN"),
        (Venue.GEMINI, "xrpgusd", 1783981140076872200, ("1.0612500", "1.0614900", "1.0615000", None), "XRP"),
    ]
    for venue, symbol, time_ns, numbers, asset in chosen:
        tick = found[venue, symbol, time_ns]
        assert figures(tick) == numbers
        assert tick.asset == asset
    kraken = {tick.symbol: figures(tick) for tick in reversed(replay(Venue.KRAKEN)[2])}
    assert kraken["ALGO/XBT"] == ("0.000023620", "0.000023610", "0.000023630", "1125291.62001353")
    assert kraken["USDT/USD"][0] == "0.99981"


def test_a_whole_connection_has_no_gap_but_where_frames_were_left_out() -> None:
    stage = Stage(Venue.COINBASE, "BTC-USD", "ETH-USD", frame_bytes_max=1 << 24)
    stage.connect()
    with (RECORDED / "coinbase.jsonl").open("rb") as file:
        for text in file:
            entry = json.loads(text)
            if entry.get("conn") == "COINBASE.ws.2":
                stage.now_ns += 20_000_000_000
                raw = bytes(msgspec.json.decode(text, type=Line).raw)
                stage.session.receive(raw, stage.now_ns, stage.unix_ns)
    assert stage.session.counts.sequence_gaps == 2
    assert stage.session.counts.frames_out_of_order == 0
    assert stage.session.counts.ticks == 101
