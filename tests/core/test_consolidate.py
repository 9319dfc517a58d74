"""How quotes become one price, and what a minority of liars cannot do to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.stage import make_tick
from trinity_core.assets import PRIORITY
from trinity_core.consolidate import Entry, Limits, band, by_volume, consolidate, fence, first
from trinity_core.exact import multiply, part

LIMITS = Limits(multiply(Decimal("3.5"), Decimal("1.4826")), part(Decimal(50)), Decimal(200))
LOOSEST = Limits(multiply(Decimal("2.5"), Decimal("1.4826")), part(Decimal(0)), Decimal(200))


def entries(values: Sequence[str | Decimal | int], volumes: Sequence[str | None] | None = None) -> list[Entry]:
    ticks = [make_tick(venue, "1") for venue in PRIORITY]
    return [
        Entry(
            value=Decimal(value),
            rank=rank,
            tick=ticks[rank],
            volume=Decimal(10) if volumes is None else None if volumes[rank] is None else Decimal(volumes[rank] or 0),
            receive=0,
            suspect=False,
            until=0,
        )
        for rank, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "price", "kept", "confidence", "spread_bps"),
    [
        (["100"], "100", 1, "0", "0.00"),
        (["100", "101"], "100.5", 2, "0.5", "99.50"),
        (["100", "100.1", "100.3"], "100.1", 3, "0.2", "29.97"),
        (["100", "100.1", "200"], "100.05", 2, "0.05", "10.00"),
        (["0.01", "100", "100.1"], "100.05", 2, "0.05", "10.00"),
        (["100", "100.1", "100.2", "100.4"], "100.15", 4, "0.25", "39.94"),
        (["100", "100.1", "100.2", "150"], "100.1", 3, "0.1", "19.98"),
        (["100", "100.1", "100.2", "100.3", "1e9"], "100.15", 4, "0.15", "29.96"),
        (["100", "100.1", "100.2", "100.3", "150", "150"], "100.15", 4, "0.15", "29.96"),
        (["50", "100", "100.1", "100.2", "100.3", "150"], "100.15", 4, "0.15", "29.96"),
        (["100", "100", "100", "100", "99.5", "100.51"], "100", 5, "0.5", "50.00"),
        (["1", "1", "1", "1", "1", "1"], "1", 6, "0", "0.00"),
    ],
)
def test_the_price_is_the_median_of_what_remains(
    values: list[str], price: str, kept: int, confidence: str, spread_bps: str
) -> None:
    made = consolidate(entries(values), LIMITS)
    assert (made.price, len(made.kept), made.confidence, str(made.spread_bps)) == (
        Decimal(price),
        kept,
        Decimal(confidence),
        spread_bps,
    )


def test_two_quotes_are_never_set_aside() -> None:
    assert len(consolidate(entries(["1", "1000000"]), LIMITS).kept) == 2


@pytest.mark.parametrize(
    ("values", "divergent"),
    [
        (["100", "101.9"], False),
        (["100", "102.1"], True),
        (["100", "100", "100", "150"], False),
        (["100", "100", "150", "150"], True),
        (["100", "100.6", "101.2", "101.8", "102.4"], True),
    ],
)
def test_a_price_is_divergent_when_its_own_quotes_disagree_and_not_for_an_outlier(
    values: list[str], *, divergent: bool
) -> None:
    assert consolidate(entries(values), LIMITS).divergent is divergent


def test_the_band_shows_median_deviation_and_threshold() -> None:
    fresh = sorted(entries(["100", "101", "103", "110"]), key=lambda entry: entry.value)
    within = band(fresh, LIMITS)
    assert within is not None
    assert (within.median, within.mad) == (Decimal(102), Decimal("1.5"))
    assert within.threshold == Decimal("1.5") * Decimal("3.5") * Decimal("1.4826")
    assert band(fresh[:2], LIMITS) is None


def test_the_mean_by_volume_leaves_out_quotes_without_volume() -> None:
    kept = entries(["100", "101", "102"], ["1", None, "3"])
    weighed = by_volume(kept[:2], kept[:2])
    assert weighed is not None
    assert (weighed[0], [entry.rank for entry in weighed[1]]) == (Decimal(100), [0])
    assert by_volume(entries(["100"], [None]), []) is None


def test_a_wild_volume_cannot_draw_the_mean_out_of_the_fence() -> None:
    fresh = entries(["100", "100", "100.01", "100.02", "100.4", "100.4"], ["1", "1", "1", "1", "1e20", "1e20"])
    made = consolidate(fresh, LIMITS)
    assert len(made.kept) == 6
    weighed = by_volume(made.kept, made.fresh)
    assert weighed is not None
    assert weighed[0] == Decimal("100.04")


def test_the_first_is_the_one_of_the_highest_priority() -> None:
    assert first(entries(["3", "2", "1"])[1:]).rank == 1


def test_equal_values_stand_in_the_order_of_priority() -> None:
    assert [entry.rank for entry in consolidate(entries(["1", "1", "1"]), LIMITS).kept] == [0, 1, 2]


VALUES = st.one_of(st.integers(1, 60), st.integers(980, 1020), st.integers(1, 10**6)).map(Decimal)


@given(values=st.lists(VALUES, min_size=1, max_size=6), data=st.data())
def test_which_venue_says_what_does_not_matter(values: list[Decimal], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    made = consolidate(entries(values), LIMITS)
    other = consolidate(entries([values[n] for n in order]), LIMITS)
    assert other.price == made.price
    assert (other.confidence, other.spread_bps, other.divergent) == (made.confidence, made.spread_bps, made.divergent)
    assert [entry.value for entry in other.kept] == [entry.value for entry in made.kept]
    if len(set(values)) == len(values):
        assert {order[entry.rank] for entry in other.kept} == {entry.rank for entry in made.kept}


@given(values=st.lists(VALUES, min_size=3, max_size=6))
def test_the_short_cut_for_close_quotes_keeps_what_the_band_keeps(values: list[Decimal]) -> None:
    made = consolidate(entries(values), LIMITS)
    within = band(made.fresh, LIMITS)
    assert within is not None
    assert [entry for entry in made.fresh if abs(entry.value - within.median) <= within.threshold] == list(made.kept)


@given(values=st.lists(VALUES, min_size=1, max_size=6))
def test_a_price_lies_within_its_kept_quotes_and_confidence_covers_them(values: list[Decimal]) -> None:
    made = consolidate(entries(values), LIMITS)
    assert made.kept[0].value <= made.price <= made.kept[-1].value
    assert all(abs(entry.value - made.price) <= made.confidence for entry in made.kept)
    assert 2 * len(made.kept) >= len(values)


HONEST = st.one_of(
    st.tuples(st.integers(900, 1100), st.integers(0, 40)).flatmap(
        lambda place: st.lists(st.integers(place[0], place[0] + place[1]), min_size=2, max_size=6)
    ),
    st.lists(st.sampled_from([900, 905, 1000, 1003, 1090]), min_size=2, max_size=6),
)
LIES = st.lists(st.tuples(st.integers(-120, 120), st.integers(0, 5), st.booleans()), min_size=1, max_size=2)
LIMITS_OF_SETTINGS = st.tuples(
    st.sampled_from(["2.5", "3", "3.5", "10"]), st.sampled_from(["0", "10", "50", "300", "2000"])
).map(lambda pair: Limits(multiply(Decimal(pair[0]), Decimal("1.4826")), part(Decimal(pair[1])), Decimal(200)))


def with_lies(honest: Sequence[int], lies: Sequence[tuple[int, int, bool]]) -> list[Decimal]:
    """Lies placed by an offset from some honest value, or anywhere."""
    return [Decimal(max(1, 50 * abs(offset) if wild else honest[n % len(honest)] + offset)) for offset, n, wild in lies]


@settings(max_examples=300)
@given(
    honest=HONEST,
    lies=LIES,
    limits=LIMITS_OF_SETTINGS,
    weights=st.permutations(["1", "1e15", "0.001", "7", "1e24", "3"]),
)
@example([1, 1, 12], [(0, 2, False), (40, 2, False)], LOOSEST, ["1"] * 6)
def test_a_lying_minority_moves_no_price_beyond_the_honest_range_and_its_width(
    honest: list[int], lies: list[tuple[int, int, bool]], limits: Limits, weights: list[str]
) -> None:
    """Up to two of five or six, or one of three or four: the median and the mean by volume."""
    honest = honest[: 6 - len(lies)]
    liars = with_lies(honest, lies)[: len(honest) - 1]
    values = [*map(Decimal, honest), *liars]
    made = consolidate(entries(values, weights), limits)
    low, high = Decimal(min(honest)), Decimal(max(honest))
    width = high - low
    assert low - width <= made.price <= high + width
    weighed = by_volume(made.kept, made.fresh)
    assert weighed is not None
    assert low - width <= weighed[0] <= high + width
    bounds = fence(made.fresh)
    assert bounds is not None
    assert bounds[0] <= made.price <= bounds[1]


@settings(max_examples=300)
@given(honest=HONEST.filter(lambda values: len(values) >= 4), lies=LIES, limits=LIMITS_OF_SETTINGS)
def test_two_of_six_move_the_median_no_further_than_the_honest_venues_lie_apart(
    honest: list[int], lies: list[tuple[int, int, bool]], limits: Limits
) -> None:
    honest = honest[:4]
    told = consolidate(entries([*map(Decimal, honest), *with_lies(honest, lies)]), limits)
    true = consolidate(entries(honest), limits)
    assert abs(told.price - true.price) <= max(honest) - min(honest)


def test_two_of_six_from_a_small_world_without_gaps() -> None:
    """Every placing of four honest and two lying quotes on a coarse scale."""
    scale = [1000, 1002, 1006, 1020, 1060]
    for honest in itertools.combinations_with_replacement(scale, 4):
        true = consolidate(entries(honest), LIMITS).price
        for lies in itertools.combinations_with_replacement([1, 990, *scale, 1061, 1200], 2):
            told = consolidate(entries([*honest, *lies]), LIMITS).price
            assert abs(told - true) <= honest[-1] - honest[0], (honest, lies)
