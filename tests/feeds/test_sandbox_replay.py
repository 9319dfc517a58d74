"""Recordings instead of the generator: frames of six venues and ticks, in their own time."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from feeds.sandbox_stage import stage
from trinity_core.assets import load_assets
from trinity_core.errors import TrinityError
from trinity_core.ticklog import Record
from trinity_core.ticklog import write as write_record
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_feeds.sandbox.digits import fixed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.recorded import tickers
from trinity_feeds.sandbox.replay import ReplayDrive

TABLE = load_assets()
SECOND = 1_000_000_000
RECORDED = Path(__file__).resolve().parents[3] / "shared/exchanges/recorded"


def frame(venue: str, raw: Any, when: float | None = None) -> dict[str, Any]:
    return {"exchange": venue, "kind": "ws", "raw": raw, **({} if when is None else {"recv_ts": when})}


def gate(last: str, when: float | None = None) -> dict[str, Any]:
    result = {"currency_pair": "BTC_USDT", "last": last, "lowest_ask": "", "highest_bid": "90.5"}
    return frame("gateio", {"channel": "spot.tickers", "event": "update", "result": result}, when)


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def drive(path: Path, *lines: Any, gap_s_max: float = 5.0) -> ReplayDrive:
    return ReplayDrive(table=TABLE, gap_s_max=gap_s_max).read([write(path, *lines)])


def last(quote: Quote) -> str:
    assert quote.last is not None
    return fixed(quote.last, quote.decimals)


FRAMES: dict[Venue, list[Any]] = {
    Venue.COINBASE: [
        {
            "channel": "ticker",
            "sequence_num": 3,
            "events": [
                {"tickers": [{"product_id": "BTC-USD", "price": "100.25", "best_bid": "100", "best_ask": "100.50"}]}
            ],
        },
        {"type": "ticker", "product_id": "BTC-USD", "price": "100.25", "best_bid": "100", "best_ask": "100.50"},
    ],
    Venue.GEMINI: [{"u": 1, "E": 2, "s": "btcusd", "b": "100", "a": "100.50", "c": "100.25"}],
    Venue.KRAKEN: [
        {"channel": "ticker", "data": [{"symbol": "BTC/USD", "bid": 100, "ask": Decimal("100.50"), "last": "100.25"}]},
        [7, {"a": ["100.50", 1, "1"], "b": ["100", 1, "1"], "c": ["100.25", "1"]}, "ticker", "XBT/USD"],
    ],
    Venue.GATEIO: [
        {
            "channel": "spot.tickers",
            "event": "update",
            "result": {"currency_pair": "BTC_USDT", "last": "100.25", "lowest_ask": "100.50", "highest_bid": "100"},
        }
    ],
    Venue.CRYPTOCOM: [
        {"result": {"channel": "ticker", "data": [{"i": "BTC_USD", "b": "100", "k": "100.50", "a": "100.25"}]}}
    ],
    Venue.OKX: [
        {
            "arg": {"channel": "tickers"},
            "data": [{"instId": "BTC-USDT", "bidPx": "100", "askPx": "100.50", "last": "100.25"}],
        }
    ],
}


@pytest.mark.parametrize(("venue", "raw"), [(venue, raw) for venue, frames in FRAMES.items() for raw in frames])
def test_the_tickers_of_every_venue_are_read(venue: Venue, raw: Any) -> None:
    shown = tickers(venue, raw)
    assert [(each.bid, each.ask, each.last) for each in shown] == [(Decimal(100), Decimal("100.50"), Decimal("100.25"))]
    assert TABLE.symbols(venue)[shown[0].symbol][0] == "BTC"


@pytest.mark.parametrize(
    ("venue", "raw"),
    [
        (Venue.COINBASE, {"channel": "heartbeats", "events": []}),
        (Venue.GEMINI, {"id": 1, "status": 200}),
        (Venue.KRAKEN, {"channel": "heartbeat"}),
        (Venue.KRAKEN, [1, {"as": []}, "book-10", "XBT/USD"]),
        (Venue.GATEIO, {"channel": "spot.tickers", "event": "subscribe", "result": {"status": "success"}}),
        (Venue.GATEIO, {"channel": "spot.trades", "event": "update", "result": {}}),
        (Venue.CRYPTOCOM, {"id": 1, "method": "public/heartbeat"}),
        (Venue.OKX, "pong"),
        (Venue.OKX, {"event": "subscribe", "arg": {"channel": "tickers"}}),
    ],
)
def test_other_frames_have_no_tickers(venue: Venue, raw: Any) -> None:
    assert tickers(venue, raw) == []


def test_quotes_come_in_their_recorded_time(tmp_path: Path) -> None:
    replay = drive(tmp_path / "r", gate("1", 100.0), gate("2", 101.5), gate("3", 102.0))
    assert [last(quote) for quote in replay.until(0)] == ["1.0"]
    assert replay.until(SECOND) == []
    assert [last(quote) for quote in replay.until(2 * SECOND)] == ["2.0", "3.0"]


def test_long_pauses_and_jumps_back_are_cut(tmp_path: Path) -> None:
    lines = (gate("1", 100.0), gate("2", 9_000_000.0), gate("3", 50.0), gate("4"))
    replay = drive(tmp_path / "r", *lines, gap_s_max=2.0)
    assert [last(quote) for quote in replay.until(2 * SECOND)] == ["1.0", "2.0", "3.0"]
    assert [last(quote) for quote in replay.until(2 * SECOND + 10_000_000)] == ["4.0"]


def test_at_the_end_everything_starts_again_with_numbers_that_go_on(tmp_path: Path) -> None:
    replay = drive(tmp_path / "r", gate("1", 0.0), gate("2", 0.5))
    seen = [quote for tenth in range(31) for quote in replay.until(tenth * SECOND // 10)]
    assert [last(quote) for quote in seen] == ["1.0", "2.0"] * 2 + ["1.0"]
    assert [quote.sequence for quote in seen] == [1, 2, 3, 4, 5]


def test_after_a_long_pause_the_rounds_in_between_are_skipped(tmp_path: Path) -> None:
    replay = drive(tmp_path / "r", gate("1", 0.0), gate("2", 0.5))
    replay.until(0)
    assert len(replay.until(3_600 * SECOND)) <= 2


def test_prices_keep_their_digits_and_missing_ones_stay_missing(tmp_path: Path) -> None:
    quote = drive(tmp_path / "r", gate("0.00000123450")).opening()[0]
    assert last(quote) == "0.00000123450"
    assert quote.ask is None
    assert quote.bid is not None
    assert fixed(quote.bid, quote.decimals) == "90.50000000000"


def test_ticks_are_read_too(tmp_path: Path) -> None:
    tick = {"venue": "kraken", "asset": "BTC", "price": "100.25", "bid": "100", "ask": None, "volume_24h": "3.5"}
    replay = drive(tmp_path / "r", {**tick, "receive_time_ns": 5 * SECOND}, {**tick, "receive_time_ns": 6 * SECOND})
    first = replay.until(0)
    assert [(quote.symbol, last(quote), quote.volume) for quote in first] == [("BTC/USD", "100.25", 350_000_000)]
    assert len(replay.until(SECOND)) == 1
    assert replay.truth() == {"BTC": "100.25"}


def test_a_tick_log_is_read_by_its_own_times(tmp_path: Path) -> None:
    ticks = [
        Tick(Venue.OKX, "BTC", "BTC-USDT", "USDT", Decimal(price), None, None, None, None, None, 0, 0)
        for price in (1, 2)
    ]
    lines = [write_record(Record(t, tick)).decode() for t, tick in zip((-5, 2 * SECOND - 5), ticks, strict=True)]
    alive = write_record(Record(0, Liveness(Venue.OKX, "w", 0, connected=True))).decode()
    replay = drive(tmp_path / "r", *(line.rstrip("\n") for line in (lines[0], alive, lines[1])))
    assert [last(quote) for quote in replay.until(0)] == ["1"]
    assert replay.until(2 * SECOND - 1) == []
    assert [last(quote) for quote in replay.until(2 * SECOND)] == ["2"]
    assert replay.passed_over == 1


def test_decoded_ticks_are_paced_by_the_venues_time(tmp_path: Path) -> None:
    tick = {"venue": "okx", "asset": "BTC", "symbol": "BTC-USDT", "price": "1"}
    times = ("2026-05-13T16:27:04.956Z", "2026-05-13T16:27:05.956123456Z")
    replay = drive(tmp_path / "r", *({**tick, "venue_time": time} for time in times))
    assert [len(replay.until(at * SECOND // 10)) for at in (0, 9, 11)] == [1, 0, 1]


def test_lines_without_use_are_passed_over_and_counted(tmp_path: Path) -> None:
    replay = drive(
        tmp_path / "r",
        "not json",
        "[1]",
        "null",
        frame("mtgox", {}),
        frame("okx", "pong"),
        {"exchange": "okx", "kind": "rest", "raw": {}},
        frame("kraken", [1]),
        frame("gateio", {"channel": "spot.tickers", "event": "update", "result": {"currency_pair": "BTC_USDT"}}),
        {"venue": "kraken", "asset": "THETA", "price": "1"},
        {"venue": "kraken", "asset": "BTCC", "price": "1"},
        gate("NaN"),
        gate("nonsense"),
        gate("7"),
    )
    assert replay.passed_over == 12
    assert [last(quote) for quote in replay.opening()] == ["7.0"]


def test_recordings_without_a_quote_or_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrinityError, match="no ticker"):
        drive(tmp_path / "r", "{}")
    with pytest.raises(TrinityError, match="cannot read"):
        ReplayDrive(table=TABLE).read([tmp_path / "absent"])


async def test_a_recording_is_heard_on_the_wire(tmp_path: Path) -> None:
    path = write(tmp_path / "r", *(gate(str(price), float(price)) for price in range(1, 4)))
    replay = ReplayDrive(table=TABLE).read([path])
    async with stage(drive=replay) as at:
        client = await at.connect(Venue.GATEIO)
        await client.ask({"channel": "spot.tickers", "event": "subscribe", "payload": ["BTC_USDT"]})
        await at.move(2.2)
        results = [(await client.hear())["result"] for _ in range(3)]
        assert [(row["last"], row["highest_bid"], row["lowest_ask"]) for row in results] == [
            ("1", "90.5", ""),
            ("2", "90.5", ""),
            ("3", "90.5", ""),
        ]


@pytest.mark.parametrize("venue", [venue for venue in Venue if venue is not Venue.GEMINI])
def test_real_recordings_can_be_played(venue: Venue) -> None:
    path = RECORDED / f"{venue}.jsonl"
    if not path.exists():
        pytest.skip(f"no recordings at {path}")
    replay = ReplayDrive(table=TABLE).read([path])
    opening = replay.opening()
    assert opening
    for quote in opening:
        assert quote.venue is venue
        assert quote.last is None or quote.last > 0
