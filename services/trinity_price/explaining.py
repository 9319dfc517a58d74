"""An explanation as its message."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from trinity.price.v1 import price_pb2
from trinity_core.book import Explanation
from trinity_core.book_explain import Conversion, QuoteInput
from trinity_core.prices import plain
from trinity_mesh.wire import price_to_message, stamp

_MS: Final = 1_000_000


def explanation_to_message(
    explanation: Explanation, *, now_mono_ns: int, epoch: int, wall_offset_ns: int, sandbox: bool
) -> price_pb2.ExplainPriceResponse:
    """The explanation, made at a monotonic time, as its message; times are shown by the anchored wall clock."""
    now_unix_ns = now_mono_ns + wall_offset_ns
    message = price_pb2.ExplainPriceResponse(
        inputs=[_input(entry, now_unix_ns) for entry in explanation.inputs],
        median=_text(explanation.median),
        mad=_text(explanation.mad),
        threshold=_text(explanation.threshold),
        fresh_ms=explanation.fresh_ms,
        quiet_ms=explanation.quiet_ms,
        stale_ms=explanation.stale_ms,
        detail=explanation.detail,
    )
    price = explanation.price
    if price is not None:
        message.price.CopyFrom(price_to_message(price, epoch=epoch, wall_offset_ns=wall_offset_ns, sandbox=sandbox))
        message.price.receive_time.CopyFrom(stamp(price.receive_mono_ns + wall_offset_ns))
    return message


def _input(entry: QuoteInput, now_unix_ns: int) -> price_pb2.PriceInput:
    message = price_pb2.PriceInput(
        venue=entry.venue,
        symbol=entry.symbol,
        quote=entry.quote,
        last=_text(entry.last),
        bid=_text(entry.bid),
        ask=_text(entry.ask),
        volume_24h=_text(entry.volume_24h),
        value=_text(entry.value),
        conversion=_conversion(entry.conversion),
        value_usd=_text(entry.value_usd),
        age_ms=entry.age_ms,
        alive_ms=entry.alive_ms,
        fresh=entry.fresh,
        kept=entry.kept,
        exclusion=entry.exclusion.value,  # type: ignore[arg-type]
        detail=entry.detail,
        weight=plain(entry.weight),
        deviation_bps=_text(entry.deviation_bps),
        venue_sequence=entry.venue_sequence,
        venue_time_suspect=entry.venue_time_suspect,
    )
    if entry.venue_time_ns is not None:
        message.venue_time.CopyFrom(stamp(entry.venue_time_ns))
    if entry.receive_time_ns is not None:
        message.receive_time.CopyFrom(stamp(now_unix_ns - entry.age_ms * _MS))
    return message


def _conversion(conversion: Conversion | None) -> price_pb2.Conversion | None:
    if conversion is None:
        return None
    return price_pb2.Conversion(
        currency=conversion.currency,
        rate=_text(conversion.rate),
        state=conversion.state.value,  # type: ignore[arg-type]
        sequence=conversion.sequence,
    )


def _text(value: Decimal | None) -> str:
    return "" if value is None else plain(value)
