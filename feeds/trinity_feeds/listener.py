"""What the six venues' sessions share: the course of a connection, the watch for silence, the counts.

A venue's module adds its figures and what knows its frames, symbols and REST answers; every
one has the same shape, so that knowing one is knowing all.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_feeds.literals import Prices, Times, Volumes
from trinity_feeds.pulse import Pulse, Verdict
from trinity_feeds.session import Session
from trinity_feeds.shapes import MisfitError, Shape
from trinity_feeds.subscriptions import MS, Ask, Market, Pace, Status, Subscriptions
from trinity_feeds.terms import Close, Keepalive, SessionSettings, SessionState

_WATCH_NS: Final = 1_000 * MS
"""How often silence is looked for."""
_DATA_DOUBLINGS: Final = 5
_DETAIL_MAX: Final = 300
_STRANGERS_MAX: Final = 4096
_WORDS_MAX: Final = 2_000
_GAP_RENEW_NS: Final = 10_000 * MS
"""Lost frames twice within this: the connection is given up."""
_WORD: Final = re.compile(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*")


class Listener(Session):
    """One venue's session but for what the venue alone knows."""

    shape: ClassVar[Shape[Any]]
    """What the venue's frames are decoded into."""
    pace: ClassVar[Pace]
    keepalive: ClassVar[Keepalive]

    def __init__(
        self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings, replay: bool = False
    ) -> None:
        """As every session."""
        super().__init__(listings=listings, settings=settings, replay=replay)
        markets = [self._listed(asset, listing) for asset, listing in listings]
        self._subscriptions = Subscriptions(
            markets=markets, pace=self.pace, ack_ms=settings.ack_ms, silent_ms=settings.symbol_silent_ms
        )
        self._markets: dict[str | None, Market] = {market.symbol: market for market in markets}
        """By the venue's spelling; a replay adds the strangers it meets."""
        self._markets |= {market.label: market for market in markets}
        self._prices = Prices()
        self._volumes = Volumes()
        self._times = Times()
        self._lag_ns: int | None = None
        self._outgoing: list[str | Close] = []
        self._decode = self.shape.decode
        self._frame_bytes_max = settings.frame_bytes_max
        self._pulse = Pulse(self.keepalive)
        self._open = False
        self._opened_ns = 0
        self._closing = False
        self._unix_offset_ns = 0
        self._watch_ns = 0
        self._data_ns = 0
        self._data_doublings = 0
        self._gap_ns = -_GAP_RENEW_NS

    # What the caller does, in order.

    def connecting(self, mono_ns: int) -> None:
        """An attempt to open the socket begins."""
        self.state = SessionState.CONNECTING

    def connected(self, mono_ns: int, unix_ns: int) -> None:
        """The socket has just opened; `unix_ns` is for the requests that carry the time."""
        self.state = SessionState.SUBSCRIBING
        self.healthy_since_mono_ns = None
        self.in_maintenance = False
        self._open = True
        self._closing = False
        self._outgoing.clear()
        self._opened_ns = self._data_ns = mono_ns
        self._unix_offset_ns = unix_ns - mono_ns
        self._pulse.start(mono_ns)
        self._watch_ns = mono_ns + _WATCH_NS
        self._subscriptions.start(mono_ns)
        self._outgoing.extend(self._opening())
        self.on_time(mono_ns)

    def receive(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Take one frame; never raises, whatever it holds."""
        counts = self.counts
        counts.frames += 1
        self.last_frame_mono_ns = mono_ns
        if len(frame) > self._frame_bytes_max:
            return self._invalid(f"a frame of {len(frame)} bytes")
        try:
            try:
                message = self._decode(frame)
            except (ValueError, RecursionError) as error:
                message = self._odd(frame, error)
                if message is None:
                    return self._ignored()
            ticks = self._read(message, mono_ns, unix_ns)
        except MisfitError:
            return self._unknown()
        except Exception as error:  # whatever a venue sends, the next frame must still be read
            return self._invalid(f"unreadable frame: {str(error) or type(error).__name__}")
        if ticks:
            counts.ticks += len(ticks)
            self._data_ns = mono_ns
            if self.healthy_since_mono_ns is None:
                self._first_tick(mono_ns)
        return ticks

    def outgoing(self) -> list[str | Close]:
        """Text frames to send now, in order, each once; a Close comes last."""
        if not self._outgoing:
            return []
        drained = self._outgoing
        self._outgoing = []
        return drained

    def deadline_ns(self) -> int | None:
        """The next monotonic time at which `on_time` must be called; None while nothing is due."""
        if not self._open or (self._closing and not self.in_maintenance):
            return None
        due = min(self._watch_ns, self._pulse.due_ns(self._heard_ns))
        asks = self._subscriptions.due_ns()
        return due if asks is None else min(due, asks)

    def on_time(self, mono_ns: int) -> None:
        """Do what is due: pings, subscriptions, retries, expiries. Harmless when called early."""
        if not self._open or (self._closing and not self.in_maintenance):
            return
        if self._subscriptions.expire(mono_ns):
            self._close("no subscription was answered")
        while (ask := self._subscriptions.next_ask(mono_ns)) is not None:
            if ask.renew:
                self._outgoing.extend(self._unsubscribe(ask))
            self._outgoing.extend(self._subscribe(ask))
        verdict = self._pulse.beat(mono_ns, self._heard_ns)
        if verdict is Verdict.PING:
            self._outgoing.append(self._ping(mono_ns))
        elif verdict is Verdict.DEAD:
            self._close("no answer to our ping")
        self.counts.resubscriptions = self._subscriptions.renewed
        if mono_ns >= self._watch_ns:
            self._watch_ns = mono_ns + _WATCH_NS
            self._watch(mono_ns)

    def disconnected(self, mono_ns: int, code: int | None, reason: str) -> None:
        """The socket is gone or could not be opened; `code` is the close code where there was one."""
        self.state = SessionState.CLOSED
        self._open = False
        self._outgoing.clear()
        self._subscriptions.stop()
        self.healthy_since_mono_ns = None
        if reason or code is not None:
            self._note(f"closed ({code}): {reason}" if code is not None else reason)

    # What the caller may ask.

    @property
    def wanted(self) -> int:
        """Symbols asked for."""
        return len(self._subscriptions.markets)

    @property
    def subscribed(self) -> int:
        """Symbols acknowledged or with data on the present connection."""
        return self._subscriptions.active

    @property
    def refused(self) -> tuple[str, ...]:
        """Symbols the venue refused, in its own spelling."""
        return tuple(each.symbol for each in self._subscriptions.markets if each.status is Status.REFUSED)

    @property
    def lag_ms(self) -> int | None:
        """Our time less the venue's at the newest tick that had one."""
        return None if self._lag_ns is None else self._lag_ns // MS

    def fresh(self, mono_ns: int) -> int:
        """Symbols with data within `fresh_ms`."""
        since = mono_ns - self.settings.fresh_ms * MS
        return sum(each.data_ns is not None and each.data_ns >= since for each in self._subscriptions.markets)

    # What a venue's module adds: its WebSocket frames.

    @abstractmethod
    def _read(self, message: Any, mono_ns: int, unix_ns: int) -> list[Tick]:
        """The ticks of a message of the venue's shape. May raise anything; the frame then counts as invalid."""

    def _odd(self, frame: str | bytes, error: Exception) -> Any:
        """The message in a frame that the fast decoder refused; None for a known one without data, else raises."""
        if isinstance(error, msgspec.ValidationError):
            return self.shape.soften(frame)
        raise error

    @abstractmethod
    def _subscribe(self, ask: Ask) -> list[str]:
        """Frames that subscribe the ask's markets; the ask's number is the request id."""

    @abstractmethod
    def _unsubscribe(self, ask: Ask) -> list[str]:
        """Frames that unsubscribe them."""

    def _listed(self, asset: str, listing: Listing) -> Market:
        return Market(symbol=listing.symbol, label=listing.symbol, asset=asset, quote=listing.quote)

    def _opening(self) -> list[str]:
        """Frames to send as soon as the socket is open."""
        return []

    def _ping(self, mono_ns: int) -> str:
        """The frame that the venue answers; used where `keepalive.ping_ms` is set."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """Asset and quote currency that a symbol's spelling tells, in our names; None for a derivative or a riddle."""

    def read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Ticks of a recorded REST answer whose shape tells that it holds tickers; never raises."""
        self.counts.frames += 1
        try:
            ticks = self._read_answer(body, mono_ns, unix_ns)
        except MisfitError:
            return self._unknown()
        except Exception as error:  # as in `receive`
            return self._invalid(f"unreadable answer: {str(error) or type(error).__name__}")
        self.counts.ticks += len(ticks)
        return ticks

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Ticks of a REST answer; empty, and counted as ignored or unknown, where it holds none."""
        return self._unknown()

    # What a venue's module uses.

    def _stranger(self, symbol: str | None) -> Market | None:
        """The market of a symbol that is not wanted: None, or in a replay what its spelling tells."""
        if not self.replay or symbol is None:
            return None
        found = self.market_of(symbol)
        if found is None:
            return None
        asset, quote = found
        market = Market(symbol=symbol, label=symbol, asset=asset, quote=quote)
        if len(self._markets) < _STRANGERS_MAX:
            self._markets[symbol] = market
        return market

    def _note_data(self, market: Market, mono_ns: int) -> None:
        """One of a symbol's first frames since it was subscribed; to be called while `market.early` is not 0."""
        self._subscriptions.data(market, mono_ns)

    def _is_late(self, market: Market, sequence: int | None) -> bool:
        """Whether a frame is no newer than one already taken, by an ordering number of the symbol; counted."""
        if sequence is None or self.replay:
            return False
        if sequence <= market.sequence:
            self.counts.frames_out_of_order += 1
            return True
        market.sequence = sequence
        return False

    def _ignored(self) -> list[Tick]:
        """A frame of a known kind that holds no tick."""
        self.counts.frames_ignored += 1
        return []

    def _unknown(self) -> list[Tick]:
        """Well-formed, but of no kind that this version knows."""
        self.counts.frames_unknown += 1
        return []

    def _invalid(self, why: str) -> list[Tick]:
        self.counts.frames_invalid += 1
        self._note(why)
        return []

    def _venue_error(self, words: str) -> None:
        """The venue sent an error; what follows of it is the caller's."""
        self.counts.venue_errors += 1
        self._note(words)

    def _note(self, words: str) -> None:
        cut = words[:_DETAIL_MAX]
        self.detail = "".join(char if char.isprintable() else " " for char in cut)

    def _wanted_in(self, words: str) -> list[Market]:
        """Wanted markets that an error text names in the venue's spelling."""
        found = (self._markets.get(word) for word in _WORD.findall(words[:_WORDS_MAX]))
        return [market for market in found if market is not None]

    def _close(self, reason: str, code: int = 1000) -> None:
        """Ask for another connection, once."""
        if not self._closing:
            self._closing = True
            self._note(reason)
            self._outgoing.append(Close(code, reason[:120]))

    def _maintenance_began(self, words: str) -> None:
        self.in_maintenance = True
        self.state = SessionState.MAINTENANCE
        self._note(words)

    def _maintenance_ended(self) -> None:
        self.in_maintenance = False
        healthy = self.healthy_since_mono_ns is not None
        self.state = SessionState.LIVE if healthy else SessionState.SUBSCRIBING

    def _gap(self, mono_ns: int) -> None:
        """The venue's sequence shows that frames were lost: fetch every symbol's newest state again."""
        self.counts.sequence_gaps += 1
        if mono_ns - self._gap_ns < _GAP_RENEW_NS:
            self._close("frames were lost again and again")
            return
        self._gap_ns = mono_ns
        self._subscriptions.renew(each for each in self._subscriptions.markets if each.status is Status.ACTIVE)

    # What the base does in time.

    def _first_tick(self, mono_ns: int) -> None:
        self.healthy_since_mono_ns = mono_ns
        if self._open and not self.in_maintenance:
            self.state = SessionState.LIVE

    @property
    def _heard_ns(self) -> int:
        """When anything last came on this connection; its opening counts."""
        return max(self._opened_ns, self.last_frame_mono_ns or 0)

    def _watch(self, mono_ns: int) -> None:
        """Look for silence: of the connection, of all its data, of single symbols."""
        if self._pulse.silent(mono_ns, self._heard_ns):
            self._close(f"silent for {self.keepalive.silent_ms} ms")
            return
        if self.in_maintenance:
            return
        if self._subscriptions.flowing:
            self._data_doublings = 0
        patience = (self.settings.data_silent_ms << self._data_doublings) * MS
        if self._subscriptions.active and mono_ns - self._data_ns >= patience:
            self._data_doublings = min(self._data_doublings + 1, _DATA_DOUBLINGS)
            self._close("no symbol has data, though the connection lives")
            return
        if silent := self._subscriptions.wake_silent(mono_ns):
            self._close(f"{silent} stays silent, though the connection lives")
