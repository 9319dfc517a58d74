"""Settings of the sandbox: what is simulated, how fast, and every venue's own timers and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from trinity_core.venues import Venue


@dataclass(frozen=True, slots=True)
class SandboxTimers:
    """How long each venue waits, seconds. The defaults are the venues' own; tests shorten them."""

    coinbase_subscribe_s: float = 5.0
    """A connection without a first subscription is closed after this."""
    coinbase_idle_s: float = 75.0
    """A connection to which nothing was sent for this long is closed; the heartbeats channel prevents it."""
    coinbase_heartbeat_s: float = 1.0
    """Pace of the heartbeats channel."""
    coinbase_batch_s: float = 5.0
    """Pace of the ticker_batch channel."""
    gemini_ping_s: float = 20.0
    """Pace of protocol pings."""
    kraken_heartbeat_s: float = 1.0
    """A heartbeat goes out when nothing else did for this long."""
    kraken_idle_s: float = 60.0
    """Silence after which a connection is closed."""
    gateio_unsubscribed_s: float = 30.0
    """Silence after which a connection without subscriptions is dropped."""
    gateio_idle_s: float = 60.0
    """Silence after which any connection is dropped."""
    cryptocom_settle_s: float = 0.9
    """Requests sooner than this after connecting are refused: the budget of the first second is not full yet.
    A tenth below the documented second, so that a client that counts a second from its own start of connecting
    is never refused."""
    cryptocom_heartbeat_s: float = 30.0
    """Pace of heartbeats that must be answered; the third unanswered one ends the connection."""
    cryptocom_ping_s: float = 5.0
    """Pace of protocol pings."""
    okx_idle_s: float = 30.0
    """Silence after which a connection is closed with 4004."""
    okx_push_s: float = 0.1
    """At most one ticker an instrument in this time."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"{each.name}: must be more than 0")


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Everything that can be set. Raises ValueError that names the field and says what to do."""

    ports: Mapping[Venue, int] = field(default_factory=dict)
    """Port of each venue on 127.0.0.1; 0 or absent picks a free one."""
    control_port: int = 0
    """Port of the control endpoint on 127.0.0.1; 0 picks a free one."""
    seed: int = 1
    """The same seed gives the same sequence of quotes."""
    ticks_per_s: float = 300.0
    """Quotes generated a second, all venues together. Below 190 or so, quiet markets are quiet for longer than
    `quiet_s_max`."""
    step_ms: int = 10
    """Pace of the market and of every timer, milliseconds."""
    quiet_s_max: float = 4.0
    """Mean pause of the quietest market, seconds; no pause is more than a quarter longer."""
    assets: tuple[str, ...] = ()
    """Assets that the venues list; empty means all of the table."""
    delisted: tuple[str, ...] = ()
    """Markets that a venue no longer trades, as "kraken:BTC": refused like a delisted market there."""
    replay_files: tuple[str, ...] = ()
    """Recordings to play instead of the generator: JSON Lines of raw frames or of ticks."""
    replay_gap_s_max: float = 5.0
    """Longer pauses in a recording are cut to this, seconds."""
    faults_file: str = ""
    """Script of faults, a JSON list; empty means none."""
    faults_per_minute: float = 0.0
    """Random faults on top, from the seed; 0 means none."""
    strict_keepalive: bool = False
    """Count only what the client sends as a sign of life, where the venue itself would count both directions.
    Harsher than Kraken, Gate.io and OKX are."""
    rate_limits: bool = True
    """Refuse requests and connection attempts beyond the venues' published limits; all clients count as one address."""
    connections_max: int = 64
    """Open connections a venue; further ones are refused with 503."""
    buffer_bytes_max: int = 4 * 1024 * 1024
    """Bytes that may wait for one reader; a reader that lets more wait is cut."""
    cryptocom_channels_max: int = 400
    """Subscriptions a connection at Crypto.com."""
    timers: SandboxTimers = field(default_factory=SandboxTimers)

    def __post_init__(self) -> None:
        ports = {"control_port": self.control_port, **{f"ports.{venue}": port for venue, port in self.ports.items()}}
        for name, port in ports.items():
            if not 0 <= port <= 65535:
                raise ValueError(f"{name}: must be between 0 and 65535")
        if not 0 < self.ticks_per_s <= 1_000_000:
            raise ValueError("ticks_per_s: must be more than 0 and at most 1,000,000")
        if not 1 <= self.step_ms <= 1000:
            raise ValueError("step_ms: must be between 1 and 1000")
        if not self.quiet_s_max > 0:
            raise ValueError("quiet_s_max: must be more than 0")
        if not self.replay_gap_s_max > 0:
            raise ValueError("replay_gap_s_max: must be more than 0")
        if not 0 <= self.faults_per_minute <= 600:
            raise ValueError("faults_per_minute: must be between 0 and 600")
        if not 1 <= self.connections_max <= 4096:
            raise ValueError("connections_max: must be between 1 and 4096")
        if self.buffer_bytes_max < 64 * 1024:
            raise ValueError("buffer_bytes_max: must be at least 65536")
        if not 1 <= self.cryptocom_channels_max <= 400:
            raise ValueError("cryptocom_channels_max: must be between 1 and 400")
        for market in self.delisted:
            venue, colon, asset = market.partition(":")
            if not colon or not asset or venue not in list(Venue):
                raise ValueError(f"delisted: {market!r} must look like kraken:BTC")
