"""Recorded frames to ticks: JSON Lines in, JSON Lines out, for `trinity feeds decode --venue NAME`.

A line of input is a bare frame, or an object with the frame under `raw` (a JSON string there is a
text frame) and optionally `kind`, where "rest" marks a REST answer. A line of output is one tick:

    {"venue","asset","symbol","quote","price","bid","ask","volume_24h","venue_time","sequence"}

Decimals are strings with the venue's own digits, never in exponent notation; `venue_time` is RFC 3339
in UTC with all digits the venue gave; what the frame does not hold is null. No line stops it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import BinaryIO, Final, TextIO

import msgspec

from trinity_core.assets import AssetTable, load_assets
from trinity_core.prices import plain
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.session import Session, SessionSettings
from trinity_feeds.venues import VENUES

LINE_BYTES_MAX: Final = 16 << 20
"""Longer lines are cut there, and so counted invalid."""
_NS: Final = 1_000_000_000


class _Line(msgspec.Struct):
    raw: msgspec.Raw
    kind: str | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


def decode_lines(
    venue: Venue, lines: Iterable[bytes], out: TextIO, err: TextIO, *, assets: AssetTable | None = None
) -> int:
    """Print the ticks of `lines` to `out`, one at a time, and the counts to `err`; returns the exit status, 0.

    Memory does not grow with the input. A reader of `out` that goes away ends the work quietly.
    """
    session = _session(venue, assets or load_assets())
    seen = with_ticks = 0
    try:
        for line in lines:
            seen += 1
            text = line.strip()
            if not text:
                continue
            ticks = _ticks(session, text)
            with_ticks += bool(ticks)
            out.writelines(_render(tick) for tick in ticks)
        out.flush()
    except BrokenPipeError:
        return 0
    counts = session.counts
    other = counts.frames_unknown + counts.frames_invalid
    summary = {
        "lines": seen,
        "frames": counts.frames,
        "ticks": counts.ticks,
        "ignored": counts.frames - with_ticks - other,
        "unknown": counts.frames_unknown,
        "invalid": counts.frames_invalid,
    }
    err.write(json.dumps(summary) + "\n")
    return 0


def bounded_lines(stream: BinaryIO, *, bytes_max: int = LINE_BYTES_MAX) -> Iterator[bytes]:
    """The stream's lines, of each at most `bytes_max` bytes; the rest of a longer one is dropped."""
    while line := stream.readline(bytes_max):
        rest = line
        while len(rest) == bytes_max and not rest.endswith(b"\n"):
            rest = stream.readline(bytes_max)
        yield line


def _session(venue: Venue, assets: AssetTable) -> Session:
    listings = [(asset.asset, listing) for asset in assets.assets if (listing := asset.listing(venue)) is not None]
    settings = SessionSettings(frame_bytes_max=LINE_BYTES_MAX)
    return VENUES[venue](listings=listings, settings=settings, replay=True)


def _ticks(session: Session, line: bytes) -> list[Tick]:
    try:
        entry = _LINE.decode(line)
    except (ValueError, RecursionError):
        return session.receive(_text_or_frame(line), 0, 0)
    raw = bytes(entry.raw)
    if entry.kind == "rest":
        return session.read_answer(raw, 0, 0)
    return session.receive(_text_or_frame(raw), 0, 0)


def _text_or_frame(frame: bytes) -> str | bytes:
    """The content of a JSON string, which stands for a text frame; everything else as it is."""
    if frame[:1] != b'"':
        return frame
    try:
        return msgspec.json.decode(frame, type=str)
    except (ValueError, RecursionError):
        return frame


def _render(tick: Tick) -> str:
    row = {
        "venue": tick.venue.value,
        "asset": tick.asset,
        "symbol": tick.symbol,
        "quote": tick.quote,
        "price": _plain(tick.price),
        "bid": _plain(tick.bid),
        "ask": _plain(tick.ask),
        "volume_24h": _plain(tick.volume_24h),
        "venue_time": None if tick.venue_time_ns is None else rfc3339(tick.venue_time_ns),
        "sequence": tick.sequence,
    }
    return json.dumps(row) + "\n"


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def rfc3339(unix_ns: int) -> str:
    """UTC time to the nanosecond, without trailing zeros of the fraction: `2026-08-09T21:05:48.228568804Z`."""
    seconds, fraction = divmod(unix_ns, _NS)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"
