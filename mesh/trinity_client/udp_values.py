"""What binary datagrams say, as values: prices, totals, and reasons why there are none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State, Tier

_OWN_REASONS: Final = {
    "SESSION": Reason.MISSING_KEY,
    "PRICES": Reason.UNKNOWN_PATH,
    "REPORTS": Reason.UNKNOWN_PATH,
}
"""Reasons that datagrams alone have."""
AT_PRICES: Final = ("field=assets", "only the port for reports answers that, and this is the one for prices")
AT_REPORTS: Final = ("field=payload", "only the port for prices answers that, and this is the one for reports")
"""How either port refuses what only the other answers, and what that means."""


@dataclass(frozen=True, slots=True)
class UdpPrice:
    """One price, as a datagram tells it."""

    asset: str
    price: Decimal
    """In USD, exactly as computed."""
    state: State
    """How far it can be trusted; judged when the datagram left."""
    tier: Tier
    """Where the answer came from."""
    source_count: int
    receive_time: datetime
    """When the newest quote in it was received, UTC."""
    sequence: int
    server_time: datetime
    """When the datagram left, UTC, in whole seconds."""
    sandbox: bool
    """The price is simulated and must not be used as a market price."""


@dataclass(frozen=True, slots=True)
class UdpUsage:
    """Totals of the key that opened the session."""

    billed_today: int
    billed_this_month: int
    remaining: int | None
    """What is left of the month's quota; None where nothing bounds it."""
    read_time: datetime


def outcome_of(result: price_pb2.UdpResult, reply: price_pb2.UdpReply) -> UdpPrice | TrinityError:
    """What a reply says of one asset. Raises ValueError and InvalidOperation for nonsense."""
    if result.reason:
        return error_of(result.reason, result.detail)
    return UdpPrice(
        asset=result.asset,
        price=Decimal(result.price),
        state=State(result.state),
        tier=Tier(result.tier),
        source_count=result.source_count,
        receive_time=datetime.fromtimestamp(result.receive_unix_ms / 1_000, UTC),
        sequence=result.sequence,
        server_time=time_of(reply.server_unix),
        sandbox=reply.sandbox,
    )


def error_of(reason: str, detail: str, *, elsewhere: tuple[str, str] | None = None) -> TrinityError:
    """What the gateway says; `elsewhere` is the detail by which the other port refuses, and what that means."""
    if elsewhere is not None and (reason, detail) == (Reason.INVALID_FIELD, elsewhere[0]):
        return TrinityError(Reason.UNKNOWN_PATH, elsewhere[1])
    known = _OWN_REASONS.get(reason)
    if known is None:
        try:
            known = Reason(reason)
        except ValueError:
            known = Reason.BACKEND_ERROR
    name, _, value = detail.partition("=")
    return TrinityError(
        known,
        f"{reason} {detail}".strip(),
        metadata={name: value} if value else {},
        retry_after_ms=int(value) * 1_000 if name == "retry" and value.isdecimal() else None,
    )


def time_of(unix_s: int) -> datetime:
    """The moment of a unix time."""
    return datetime.fromtimestamp(unix_s, UTC)
