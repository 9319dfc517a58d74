"""A venue session on a clock that tests turn, and the frames written after each venue's documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from trinity_core.assets import AssetTable, Listing, load_assets
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.listener import Listener
from trinity_feeds.terms import Close, SessionSettings
from trinity_feeds.venues import VENUES

MS = 1_000_000
SECOND = 1_000 * MS
UNIX_NS = 1_790_000_000_000_000_000
"""The stage's wall clock at its monotonic zero."""
ASSETS: AssetTable = load_assets()

Answer = Callable[[Any], Iterable[Any]]
"""What the venue replies to a frame, given as JSON."""


class _Entry(msgspec.Struct):
    kind: str
    frame: msgspec.Raw


def frames(venue: Venue) -> dict[str, bytes]:
    """The venue's frames by kind, byte for byte."""
    lines = (Path(__file__).parent / "frames" / f"{venue}.jsonl").read_bytes().splitlines()
    entries = [msgspec.json.decode(line, type=_Entry) for line in lines]
    return {entry.kind: bytes(entry.frame) for entry in entries}


def listings(venue: Venue, *symbols: str) -> list[tuple[str, Listing]]:
    """Table entries of the symbols, or of all the venue's; strangers are entered by what their spelling tells."""
    table = ASSETS.symbols(venue)
    chosen = symbols or tuple(table)
    found = []
    for symbol in chosen:
        kind = VENUES[venue]
        assert issubclass(kind, Listener)
        asset, quote = table.get(symbol) or kind.market_of(symbol) or (symbol, "USD")
        found.append((asset, Listing(venue, symbol, quote)))
    return found


class Stage:
    """One session, its virtual clock, and everything it sent."""

    def __init__(self, venue: Venue, *symbols: str, replay: bool = False, **settings: Any) -> None:
        chosen = listings(venue, *symbols)
        session = VENUES[venue](listings=chosen, settings=SessionSettings(**settings), replay=replay)
        assert isinstance(session, Listener)
        self.session = session
        self.frames = frames(venue)
        self.now_ns = 1_000 * SECOND
        self.sent: list[tuple[int, str]] = []
        """Frames the session sent, each with the milliseconds since it connected."""
        self.close: Close | None = None
        self._connected_ns = self.now_ns

    def connect(self, answer: Answer | None = None) -> list[Any]:
        """Open a connection; the frames sent at once, as JSON, and answered where `answer` is given."""
        self.session.connecting(self.now_ns)
        self._connected_ns = self.now_ns
        self.sent.clear()
        self.close = None
        self.session.connected(self.now_ns, self.unix_ns)
        return self._converse(answer)

    @property
    def unix_ns(self) -> int:
        return UNIX_NS + self.now_ns

    def hear(self, frame: str | bytes | dict[str, Any] | list[Any]) -> list[Tick]:
        """Receive one frame now."""
        text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        ticks = self.session.receive(text, self.now_ns, self.unix_ns)
        self._take()
        return ticks

    def run(self, milliseconds: int, answer: Answer | None = None) -> list[Any]:
        """Let time pass, deadline by deadline; `answer` gives the venue's replies. What was sent, as JSON."""
        end_ns = self.now_ns + milliseconds * MS
        sent = []
        steps = 0
        while (due_ns := self.session.deadline_ns()) is not None and due_ns <= end_ns:
            steps += 1
            assert steps < 200_000, "the session asks to be called again and again"
            self.now_ns = max(self.now_ns, due_ns)
            self.session.on_time(self.now_ns)
            sent += self._converse(answer)
        self.now_ns = end_ns
        return sent

    def beat(self, milliseconds: int, frame: Any, answer: Answer | None = None, every_ms: int = 1_000) -> list[Any]:
        """Let time pass with the same frame coming in again and again."""
        sent = []
        for _ in range(0, milliseconds, every_ms):
            sent += self.run(every_ms, answer)
            self.hear(frame)
            if self.close is not None:
                break
        return sent

    def drop(self, code: int | None = 1006, reason: str = "") -> None:
        """The socket is gone."""
        self.session.disconnected(self.now_ns, code, reason)

    def _converse(self, answer: Answer | None) -> list[Any]:
        sent = []
        for _, text in self._take():
            sent.append(loose(text))
            for reply in answer(sent[-1]) if answer is not None else ():
                self.hear(reply)
        return sent

    def sent_as_json(self) -> list[Any]:
        return [loose(text) for _, text in self.sent]

    def _take(self) -> list[tuple[int, str]]:
        taken = []
        for item in self.session.outgoing():
            if isinstance(item, Close):
                assert self.close is None, "closed twice"
                self.close = item
            else:
                taken.append(((self.now_ns - self._connected_ns) // MS, item))
        self.sent += taken
        return taken


def loose(text: str) -> Any:
    """JSON, or the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def figures(tick: Tick) -> tuple[str | None, ...]:
    """Price, bid, ask and volume, digit for digit."""
    values: Sequence[Decimal | None] = (tick.price, tick.bid, tick.ask, tick.volume_24h)
    return tuple(None if value is None else format(value, "f") for value in values)


RECORDED = Path(__file__).parents[3] / "shared" / "exchanges" / "recorded"
"""Frames recorded from the venues; not part of the project, so tests skip where they are absent."""
DIRTY: tuple[Any, ...] = (
    *("", None, "0", "0.00000000", "-1", "-0", "NaN", "Infinity", "-inf", "sNaN", "1e999999", "1E-999999"),
    *("1_000", " 1", "1 ", "0x10", "١٢", "1,000", "1.2.3", ".", "--1", "0.-10000", "9" * 60, "\u0000", "null"),
    *(True, False, [], {}, ["1"], {"a": 1}, 0, -5, 0.0, 10**400),
)
"""What venues were seen to send for a price, and worse."""
