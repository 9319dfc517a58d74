"""The bounds of the book are checked before anything starts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trinity_core.book_settings import BookSettings


def test_the_defaults_are_those_of_the_design() -> None:
    settings = BookSettings()
    assert (settings.fresh_ms, settings.quiet_ms, settings.stale_ms) == (10_000, 60_000, 60_000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fresh_ms", 100),
        ("quiet_ms", -1),
        ("stale_ms", 9_999),
        ("mad_k", Decimal(2)),
        ("mad_k", Decimal("Infinity")),
        ("mad_k", Decimal("NaN")),
        ("jump_bps", Decimal("sNaN")),
        ("floor_bps", Decimal(-1)),
        ("jump_bps", Decimal(0)),
        ("confirm_ms", 10_001),
        ("divergence_bps", Decimal(0)),
        ("future_ms", -1),
        ("past_ms", -1),
        ("live_lag_ms", -1),
        ("retry_ms", 0),
        ("workers_max", 0),
    ],
)
def test_a_bound_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BookSettings(**{name: value})
