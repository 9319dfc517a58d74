"""REST answers: what a status means at every venue, and when to come back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trinity_core.assets import Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, live_tick, rate_limited, refuse_status, unavailable

LISTING = Listing(Venue.OKX, "BTC-USDT", "USDT")


@pytest.mark.parametrize("status", [200, 201, 400, 404, 409, 422])
def test_some_statuses_are_left_to_the_venue(status: int) -> None:
    refuse_status(LISTING, status, {}, wait_ms=1)


@pytest.mark.parametrize("status", [0, 100, 301, 302, 401, 403, 407, 451, 500, 502, 503, 504, 520, 599])
def test_blocks_and_server_errors_are_unavailability(status: int) -> None:
    with pytest.raises(TrinityError) as caught:
        refuse_status(LISTING, status, {}, wait_ms=1)
    assert caught.value.reason is Reason.VENUE_UNAVAILABLE
    assert str(status) in caught.value.message


@pytest.mark.parametrize("status", [418, 429])
def test_limits_say_when_to_come_back(status: int) -> None:
    with pytest.raises(TrinityError) as caught:
        refuse_status(LISTING, status, {}, wait_ms=1_234)
    assert caught.value.reason is Reason.VENUE_RATE_LIMITED
    assert caught.value.retry_after_ms == 1_234
    assert rate_limited(Venue.OKX, {"retry-after": " 3 "}, wait_ms=1).retry_after_ms == 3_000


def test_foreign_words_are_cut_and_made_printable() -> None:
    error = unavailable(Venue.OKX, "a\x00b\n" + "c" * 1_000)
    assert error.message.startswith("okx: a b c")
    assert len(error.message) < 250


def test_a_quote_without_any_price_is_no_quote() -> None:
    with pytest.raises(TrinityError) as caught:
        live_tick("BTC", LISTING, Quote(None, None, None, Decimal(5)), mono_ns=0, unix_ns=0)
    assert caught.value.reason is Reason.VENUE_UNAVAILABLE
    tick = live_tick("BTC", LISTING, Quote(None, None, Decimal(5), None, 7), mono_ns=1, unix_ns=2)
    assert (tick.ask, tick.venue_time_ns, tick.live, tick.receive_mono_ns, tick.receive_time_ns) == (5, 7, True, 1, 2)
