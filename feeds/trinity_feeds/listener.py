"""What the six venues' sessions share: the course of a connection and the watch for silence.

A venue's module adds its figures and what knows its frames, symbols and REST answers; every
one has the same shape, so that knowing one is knowing all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_feeds.answers import Quote, live_tick, refuse_status
from trinity_feeds.gaps import Gaps, Mend
from trinity_feeds.ledger import Ledger
from trinity_feeds.markets import Status
from trinity_feeds.pulse import Pulse, Verdict
from trinity_feeds.shapes import MisfitError, Shape
from trinity_feeds.subscriptions import MS, Ask
from trinity_feeds.terms import Close, Keepalive, SessionSettings, SessionState

_WATCH_NS: Final = 1_000 * MS
"""How often silence is looked for."""
_DATA_DOUBLINGS: Final = 5


class Listener(Ledger):
    """One venue's session but for what the venue alone knows."""

    shape: ClassVar[Shape[Any]]
    """What the venue's frames are decoded into."""
    keepalive: ClassVar[Keepalive]

    def __init__(
        self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings, replay: bool = False
    ) -> None:
        """As every session."""
        super().__init__(listings=listings, settings=settings, replay=replay)
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
        self._gaps = Gaps()

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
        self._gaps.start()
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
        dues = (self._watch_ns, self._pulse.due_ns(self._heard_ns), self._subscriptions.due_ns(), self._gaps.due_ns)
        return min(due for due in dues if due is not None)

    def on_time(self, mono_ns: int) -> None:
        """Do what is due: pings, subscriptions, retries, expiries. Harmless when called early."""
        if not self._open or (self._closing and not self.in_maintenance):
            return
        if self._gaps.due_ns is not None and mono_ns >= self._gaps.due_ns:
            self._mend_gap(mono_ns)
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

    # What a venue's module adds.

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

    def _opening(self) -> list[str]:
        """Frames to send as soon as the socket is open."""
        return []

    def _ping(self, mono_ns: int) -> str:
        """The frame that the venue answers; used where `keepalive.ping_ms` is set."""
        raise NotImplementedError

    @classmethod
    def parse_quote(
        cls,
        asset: str,
        listing: Listing,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        mono_ns: int,
        unix_ns: int,
    ) -> Tick:
        """As every session; what means the same everywhere is judged here."""
        refuse_status(listing, status, headers, wait_ms=cls.rest_limit.window_ms)
        return live_tick(asset, listing, cls._quote(listing, status, headers, body), mono_ns=mono_ns, unix_ns=unix_ns)

    @classmethod
    @abstractmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """What an answer to `quote_request` says. Raises TrinityError as `parse_quote` does."""

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
        if self.in_maintenance:
            self._data_ns = self._heard_ns  # nobody was to blame for the silence until now
        self.in_maintenance = False
        healthy = self.healthy_since_mono_ns is not None
        self.state = SessionState.LIVE if healthy else SessionState.SUBSCRIBING

    def _gap(self, mono_ns: int) -> None:
        """The venue's sequence shows that frames are missing."""
        self.counts.sequence_gaps += 1
        self._gaps.seen(mono_ns)

    def _gap_remains(self) -> bool:
        """Whether frames are still missing; a venue that can tell overrides it."""
        return True

    # What the base does in time.

    def _mend_gap(self, mono_ns: int) -> None:
        mend = self._gaps.mend(mono_ns, remains=self._gap_remains())
        if mend is Mend.RENEW:
            self._subscriptions.renew(each for each in self._subscriptions.markets if each.status is Status.ACTIVE)
        elif mend is Mend.GIVE_UP:
            self._close("frames are lost again and again")

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
