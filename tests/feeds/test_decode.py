"""Decoding recorded frames: exact output, honest counts, no line that stops it, no memory that grows."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from feeds.venue_stage import frames
from trinity_core.venues import Venue
from trinity_feeds.decode import LINE_BYTES_MAX, bounded_lines, decode_lines, rfc3339

FIELDS = ["venue", "asset", "symbol", "quote", "price", "bid", "ask", "volume_24h", "venue_time", "sequence"]


def decode(venue: Venue, *lines: bytes) -> tuple[list[dict[str, Any]], dict[str, int]]:
    out, err = io.StringIO(), io.StringIO()
    assert decode_lines(venue, [line + b"\n" for line in lines], out, err) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()], json.loads(err.getvalue())


def test_a_tick_is_one_object_with_every_field_in_order() -> None:
    [tick], counts = decode(Venue.COINBASE, frames(Venue.COINBASE)["ticker"])
    assert list(tick) == FIELDS
    assert list(tick.values()) == [
        "coinbase", "BTC", "BTC-USD", "USD", "64210.10", "64210.1", "64210.2", "6345.12000000",
        "2026-09-21T14:13:20.123456789Z", 5,
    ]  # fmt: skip
    assert counts == {"lines": 1, "frames": 1, "ticks": 1, "ignored": 0, "unknown": 0, "invalid": 0}


def test_number_literals_keep_their_zeros_and_lose_their_exponent() -> None:
    line = frames(Venue.KRAKEN)["exact"].replace(b'"ask":0.99990', b'"ask":9.9990e-1')
    [tick], _ = decode(Venue.KRAKEN, line)
    assert (tick["price"], tick["bid"], tick["ask"]) == ("0.99980", "0.99980", "0.99990")
    assert (tick["venue_time"], tick["sequence"]) == (None, None)


def test_symbols_outside_the_table_are_decoded_by_their_spelling() -> None:
    result = b'{"currency_pair":"NEO_BTC","last":"0.0018716"}'
    line = b'{"channel":"spot.tickers","event":"update","time":1619093533,"result":' + result + b"}"
    [tick], _ = decode(Venue.GATEIO, line)
    assert [tick[name] for name in ("asset", "symbol", "quote", "price", "bid")] == [
        "NEO",
        "NEO_BTC",
        "BTC",
        "0.0018716",
        None,
    ]
    assert tick["venue_time"] == "2021-04-22T12:12:13Z"


def test_a_line_may_hold_the_frame_under_raw() -> None:
    frame = frames(Venue.OKX)["ticker"]
    wrapped = b'{"source":"x","kind":"ws","channel":"tickers","raw":' + frame + b',"recv_ts":1.5}'
    text = json.dumps({"raw": frame.decode()}).encode()
    ticks, counts = decode(Venue.OKX, frame, wrapped, text, b'{"kind":"ws","raw":"pong"}', b'"pong"', b"pong")
    assert len(ticks) == 3
    assert ticks[0] == ticks[1] == ticks[2]
    assert counts == {"lines": 6, "frames": 6, "ticks": 3, "ignored": 3, "unknown": 0, "invalid": 0}


def test_rest_answers_are_decoded_where_they_hold_tickers() -> None:
    rest = b'{"kind":"rest","raw":' + frames(Venue.OKX)["rest"] + b"}"
    other = b'{"kind":"rest","raw":["btcusd"]}'
    ticks, counts = decode(Venue.OKX, rest, other)
    assert [tick["price"] for tick in ticks] == ["64209.5"]
    assert counts["frames"] == 2
    assert counts["unknown"] + counts["ignored"] == 1


def test_no_line_stops_it() -> None:
    good = frames(Venue.KRAKEN)["ticker"]
    bad = [
        *(b"", b"   ", b"\x00", b"\x00" * 100, b"\xff\xfe\xfd", b"{", b'{"raw":', b'{"raw":}', b'{"raw":"\xff"}'),
        *(b"[" * 200_000, b'{"raw":' + b"[" * 200_000, b"null", b"5", b"[]", b'{"raw":null}', b'{"raw":5,"kind":5}'),
        *(b'"' + b"a" * 1_000, b'"\\ud800"', b"{}" * 5, b'{"raw":' + good[:-1]),
        b'{"channel":"ticker","data":' + b"9" * 5_000 + b"}",
    ]
    ticks, counts = decode(Venue.KRAKEN, *(line for each in bad for line in (each, good)))
    assert len(ticks) == len(bad)
    assert counts["lines"] == 2 * len(bad)
    assert counts["frames"] == 2 * len(bad) - 2
    assert counts["ticks"] == len(bad)
    assert counts["frames"] == counts["ticks"] + counts["ignored"] + counts["unknown"] + counts["invalid"]
    assert counts["invalid"] >= 10


def test_a_line_of_many_megabytes_is_survived() -> None:
    good = frames(Venue.OKX)["ticker"]
    ticks, counts = decode(Venue.OKX, b"x" * 10_000_000, good, b'{"a":"' + b"b" * 10_000_000 + b'"}', good)
    assert len(ticks) == 2
    assert (counts["invalid"], counts["unknown"]) == (1, 1)


def test_endless_lines_are_read_in_bounded_pieces() -> None:
    stream = io.BytesIO(b"short\n" + b"x" * 1_000 + b"\n" + b"y" * 100 + b"\nlast")
    assert list(bounded_lines(stream, bytes_max=100)) == [b"short\n", b"x" * 100, b"y" * 100, b"last"]
    assert LINE_BYTES_MAX >= 10_000_000


def test_memory_does_not_grow_with_the_input() -> None:
    template = frames(Venue.GATEIO)["ticker"].decode()

    def endless(count: int) -> Iterator[bytes]:
        for number in range(count):
            text = template.replace("BTC_USDT", f"X{number}_USDT").replace("64210.10", f"{number}.10")
            yield text.encode()

    class Sink(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    peaks = []
    for count in (5_000, 8_000):
        tracemalloc.start()
        decode_lines(Venue.GATEIO, endless(count), Sink(), io.StringIO())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_it_stops_quietly_when_nobody_reads() -> None:
    script = (
        "import itertools, sys\n"
        "from trinity_core.venues import Venue\n"
        "from trinity_feeds.decode import decode_lines\n"
        f"frame = {frames(Venue.OKX)['ticker']!r}\n"
        "sys.exit(decode_lines(Venue.OKX, itertools.repeat(frame), sys.stdout, sys.stderr))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": ""},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"64210.10" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (1_786_309_548_228_568_804, "2026-08-09T21:05:48.228568804Z"),
        (1_786_309_548_228_568_000, "2026-08-09T21:05:48.228568Z"),
        (1_786_309_548_200_000_000, "2026-08-09T21:05:48.2Z"),
        (1_786_309_548_000_000_000, "2026-08-09T21:05:48Z"),
        (1_786_309_548_000_000_001, "2026-08-09T21:05:48.000000001Z"),
    ],
)
def test_times_are_rfc_3339_to_the_nanosecond(unix_ns: int, text: str) -> None:
    assert rfc3339(unix_ns) == text
