"""The tick log: what reached a book and when, one JSON object a line, for `trinity replay`.

    {"t": 1000000000, "tick": {"venue": "kraken", "asset": "BTC", …, "live": false}}
    {"t": 1000200000, "alive": {"venue": "kraken", "worker": "w1", "alive_mono_ns": 1000100000, "connected": true}}
    {"t": 2000000000}

`t` is the book's monotonic time of arrival in nanoseconds and never goes back. The second
member holds every field of trinity_core.ticks.Tick or Liveness by its name, decimals as
strings; a line with `t` alone says that time passed. Reading is strict: an unknown or missing
field is an error, and every error names its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from trinity_core.ticks import Liveness, Tick

LINE_MAX: Final = 16_384
"""Longest line that is read, bytes."""

_TIME_MAX: Final = 1 << 62
_ENCODER: Final = msgspec.json.Encoder(decimal_format="string")


class TickLogError(ValueError):
    """A line is not a record of the log; the text names the line and what is wrong."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One line: what reached the book, or nothing but time."""

    t: int
    """Monotonic time of arrival, nanoseconds."""
    event: Tick | Liveness | None = None


class _Tick(Tick, frozen=True, gc=False, forbid_unknown_fields=True):
    pass


class _Liveness(Liveness, frozen=True, gc=False, forbid_unknown_fields=True):
    pass


class _Line(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    t: int
    tick: _Tick | msgspec.UnsetType = msgspec.UNSET
    alive: _Liveness | msgspec.UnsetType = msgspec.UNSET


_DECODER: Final = msgspec.json.Decoder(_Line)


def write(record: Record) -> bytes:
    """The record's line, with its line feed."""
    line: dict[str, object] = {"t": record.t}
    if record.event is not None:
        line["tick" if isinstance(record.event, Tick) else "alive"] = record.event
    return _ENCODER.encode(line) + b"\n"


def read(lines: Iterable[bytes | str]) -> Iterator[Record]:
    """The records of a log's lines, in their order.

    Raises TickLogError, naming the line, at the first that is not a record or whose time goes back.
    """
    newest = -_TIME_MAX
    for number, line in enumerate(lines, start=1):
        try:
            record = _read(line.encode() if isinstance(line, str) else line)
        except (msgspec.MsgspecError, ValueError) as error:
            raise TickLogError(f"line {number}: {error}") from error
        if record.t < newest:
            raise TickLogError(f"line {number}: t is {record.t}, which is before {newest} of the line before")
        newest = record.t
        yield record


def _read(line: bytes) -> Record:
    if len(line) > LINE_MAX:
        raise ValueError(f"longer than {LINE_MAX} bytes")
    if not line.strip():
        raise ValueError("empty")
    found = _DECODER.decode(line)
    if not -_TIME_MAX <= found.t <= _TIME_MAX:
        raise ValueError(f"t is {found.t}, which is no time")
    if msgspec.UNSET not in (found.tick, found.alive):
        raise ValueError("holds both `tick` and `alive`")
    if isinstance(found.tick, Tick):
        return Record(found.t, Tick(*[getattr(found.tick, name) for name in Tick.__struct_fields__]))
    if isinstance(found.alive, Liveness):
        return Record(found.t, Liveness(*[getattr(found.alive, name) for name in Liveness.__struct_fields__]))
    return Record(found.t)
