"""What a venue said of an asset, and that it is alive."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trinity_core.venues import Venue


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One venue's newest last trade, best bid and best ask of one asset, nothing converted.

    A msgspec.Struct rather than a frozen dataclass: thousands are made a second
    (docs/decisions/0003; benchmarks/structs.py prints what each costs).
    """

    venue: Venue
    asset: str
    """Asset id, upper case."""
    symbol: str
    """The venue's own spelling."""
    quote: str
    """Currency of the prices: "USD", "USDT" or "USDC"."""
    price: Decimal | None
    """Last trade; None where the venue gave none."""
    bid: Decimal | None
    ask: Decimal | None
    volume_24h: Decimal | None
    """Units of the asset traded in 24 hours; None where the venue gave none."""
    venue_time_ns: int | None
    """The venue's unix time, nanoseconds; shown, never judged by."""
    sequence: int | None
    """The venue's own ordering number for the symbol."""
    receive_time_ns: int
    """Our unix time of receipt, nanoseconds; shown, never judged by."""
    receive_mono_ns: int
    """Our monotonic time of receipt, nanoseconds; ages are judged by it."""
    live: bool = False
    """Read by REST for a caller, not pushed."""


class Liveness(msgspec.Struct, frozen=True, gc=False):
    """A sign of life of one venue's connection, or its end."""

    venue: Venue
    worker: str
    """Id of the worker that holds the connection."""
    alive_mono_ns: int
    """Monotonic time of the newest frame of any kind, nanoseconds."""
    connected: bool
