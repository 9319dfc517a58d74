"""What a caller who asks for a price is told: a price that meets every wish, or an error that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from trinity_core import exact
from trinity_core.book_page import Page, judge
from trinity_core.consolidate import Consolidated, Entry, by_volume, consolidate, cover, first
from trinity_core.errors import Reason, TrinityError
from trinity_core.exact import subtract
from trinity_core.freshness import MS
from trinity_core.prices import Method, Price, State
from trinity_core.quote_board import QuoteBoard
from trinity_core.venues import Venue


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller wants of a price."""

    method: Method = Method.MEDIAN
    source: Venue | None = None
    """A venue whose own price is wanted."""
    max_age_ms: int | None = None
    """Oldest receipt of a quote that may count; None accepts what is not STALE."""
    min_sources: int = 0


@dataclass(frozen=True, slots=True)
class Basis:
    """The quotes that an answer is made of, and what they allow to be said."""

    made: Consolidated
    state: State
    until: int | None
    """Until when they are fresh; None where each quote has its own end."""
    stale_at: int


def answer(board: QuoteBoard, page: Page, question: Question, now: int) -> Price:
    """The price that the question asks for, judged at a monotonic time, nanoseconds.

    The plain question is answered with the published price itself, so that every replica
    of the book gives the same answer. Raises TrinityError NOT_LISTED, NO_PRICE, STALE_PRICE
    or TOO_FEW_SOURCES.
    """
    current = _published(board, page)
    if question.source is not None:
        return _of_venue(board, page, question.source, question, now)
    if question.method is Method.MEDIAN and question.max_age_ms is None:
        state = judge(current, now)
        if state is State.STALE:
            raise _stale(board, page, question, now, current.receive_mono_ns)
        _check_sources(board, page, question, len(current.sources))
        return current if state is current.state else msgspec.structs.replace(current, state=state)
    price = answer_now(board, page, question, now)
    same = question.method is Method.MEDIAN and (price.price, price.sources) == (current.price, current.sources)
    return msgspec.structs.replace(current, state=judge(current, now)) if same else price


def answer_now(board: QuoteBoard, page: Page, question: Question, now: int) -> Price:
    """The price made of the quotes as they stand now, `source` left aside. Raises as `answer` does."""
    current = _published(board, page)
    basis = basis_of(board, page, now)
    kept = basis.made.kept
    if basis.state is State.STALE and question.max_age_ms is None:
        raise _stale(board, page, question, now, max(entry.receive for entry in kept))
    young = _young(kept, question, now)
    if not young:
        raise _stale(board, page, question, now, max(entry.receive for entry in kept))
    value, used = _by_method(board, page, question, young, basis.made.fresh)
    _check_sources(board, page, question, len(used))
    until = max(entry.until for entry in used) if basis.until is None else basis.until
    ascending = sorted(used, key=lambda entry: entry.value)
    return page.describe(
        value,
        ascending,
        confidence=cover(value, ascending),
        spread_bps=exact.in_bps(subtract(ascending[-1].value, ascending[0].value), value),
        state=basis.state,
        until=until,
        stale_at=until + _grace_ns(board) if basis.until is None else basis.stale_at,
        sequence=current.sequence,
        method=question.method,
    )


def basis_of(board: QuoteBoard, page: Page, now: int) -> Basis:
    """The fresh quotes of a page that has a price or, where none is fresh, those of its last price."""
    entries = board.entries(page, now)
    if entries:
        made = consolidate(entries, board.limits)
        return Basis(made, State.DIVERGENT if made.divergent else State.FRESH, None, 0)
    assert page.made is not None
    until = min(page.until, now - 1)
    stale_at = until + _grace_ns(board)
    return Basis(page.made, State.STALE if now >= stale_at else State.DELAYED, until, stale_at)


def _published(board: QuoteBoard, page: Page) -> Price:
    if page.current is None:
        raise TrinityError(
            Reason.NO_PRICE,
            f"no venue has given a price of {page.asset.asset} yet",
            metadata={"asset": page.asset.asset, "listings": str(len(page.markets))},
            retry_after_ms=board.settings.retry_ms,
        )
    return page.current


def _grace_ns(board: QuoteBoard) -> int:
    return (board.settings.stale_ms - board.settings.fresh_ms) * MS


def _young(entries: Sequence[Entry], question: Question, now: int) -> list[Entry]:
    """The entries that are within the age that the caller accepts."""
    if question.max_age_ms is None:
        return list(entries)
    oldest = now - question.max_age_ms * MS
    return [entry for entry in entries if entry.receive >= oldest]


def _by_method(
    board: QuoteBoard, page: Page, question: Question, kept: Sequence[Entry], fresh: Sequence[Entry]
) -> tuple[Decimal, Sequence[Entry]]:
    """The price and the quotes that make it."""
    if question.method is Method.PRIMARY:
        entry = first(kept)
        return entry.value, [entry]
    if question.method is Method.VWAP:
        weighed = by_volume(kept, fresh)
        if weighed is None:
            raise TrinityError(
                Reason.NO_PRICE,
                f"no venue gives a 24-hour volume of {page.asset.asset} to weigh its price by; ask for the median",
                metadata={"asset": page.asset.asset, "method": "vwap"},
                retry_after_ms=board.settings.retry_ms,
            )
        return weighed
    return exact.median([entry.value for entry in kept]), kept


def _of_venue(board: QuoteBoard, page: Page, source: Venue, question: Question, now: int) -> Price:
    """One venue's own price; another venue's, marked as failover, where that one is not fresh.

    Only where no venue is fresh may an older price answer, the asked venue's before others'.
    """
    market = page.by_venue.get(source)
    if market is None:
        raise TrinityError(
            Reason.NOT_LISTED,
            f"{source} has no market of {page.asset.asset}",
            metadata={
                "asset": page.asset.asset,
                "venue": source.value,
                "venues": ",".join(sorted(page.by_venue)),
            },
        )
    current = _published(board, page)
    grace_ns = _grace_ns(board)
    found = _young(board.entries(page, now), question, now)
    if not found:
        wide_ns = grace_ns - 1 if question.max_age_ms is None else max(grace_ns, question.max_age_ms * MS)
        found = _young(board.entries(page, now, max(0, wide_ns)), question, now)
    if not found:
        raise _stale(board, page, question, now, market.receive if market.tick is not None else None)
    _check_sources(board, page, question, 1)
    own = next((entry for entry in found if entry.rank == market.rank), None)
    entry = own or found[0]
    state = State.FRESH
    if entry.until < now:
        state = State.STALE if now >= entry.until + grace_ns else State.DELAYED
    return page.describe(
        entry.value,
        [entry],
        confidence=exact.ZERO,
        spread_bps=exact.NO_BPS,
        state=state,
        until=entry.until,
        stale_at=entry.until + grace_ns,
        sequence=current.sequence,
        failover=own is None,
    )


def _check_sources(board: QuoteBoard, page: Page, question: Question, count: int) -> None:
    if count < question.min_sources:
        raise TrinityError(
            Reason.TOO_FEW_SOURCES,
            f"{page.asset.asset}: {count} of the {question.min_sources} venues asked for",
            metadata={
                "asset": page.asset.asset,
                "sources": str(count),
                "min_sources": str(question.min_sources),
                "listings": str(len(page.markets)),
            },
            retry_after_ms=None if question.min_sources > len(page.markets) else board.settings.retry_ms,
        )


def _stale(board: QuoteBoard, page: Page, question: Question, now: int, receive: int | None) -> TrinityError:
    bound_ms = board.settings.stale_ms if question.max_age_ms is None else question.max_age_ms
    metadata = {"asset": page.asset.asset, "max_age_ms": str(bound_ms)}
    newest = "there is none"
    if receive is not None:
        age_ms = max(0, (now - receive) // MS)
        metadata["age_ms"] = str(age_ms)
        newest = f"the newest is {age_ms} ms old"
    if question.source is not None:
        metadata["venue"] = question.source.value
    return TrinityError(
        Reason.STALE_PRICE,
        f"{page.asset.asset}: no quote within {bound_ms} ms; {newest}",
        metadata=metadata,
        retry_after_ms=board.settings.retry_ms,
    )
