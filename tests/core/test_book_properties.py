"""What holds of the book whatever arrives: liars are bounded, order is kept, nothing is rounded."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.stage import SIX, Stage, at, make_tick
from trinity_core.assets import PRIORITY
from trinity_core.book import Book, BookSettings
from trinity_core.errors import TrinityError
from trinity_core.prices import Method, State
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

WINDOW_S = 2.2
"""How long a jump may wait, and a grid point."""


class Market:
    """Six venues of which two lie; the honest ones follow one price."""

    def __init__(self, liars: tuple[Venue, Venue]) -> None:
        self.told = Stage(table=SIX, asset="XYZ")
        self.true = Stage(table=SIX, asset="XYZ")
        self.liars = liars
        self.honest = [venue for venue in PRIORITY if venue not in liars]
        self.level = Decimal(1_000)
        self.said: dict[Venue, list[tuple[float, Decimal]]] = {venue: [] for venue in self.honest}

    def pass_time(self, seconds: float) -> None:
        now = self.told.now + seconds
        self.told.until(now)
        self.true.until(now)

    def speak(self, venue: Venue, offset: int) -> None:
        """An honest venue says the level, a little off."""
        value = self.level + Decimal(offset) / 100
        self.said[venue].append((self.told.now, value))
        for stage in (self.told, self.true):
            stage.quote(venue, value)

    def lie(self, n: int, value: Decimal, volume: Decimal) -> None:
        self.told.quote(self.liars[n], value, volume_24h=volume)

    def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("time", seconds):
                self.pass_time(seconds)
                for venue in self.honest:
                    if self.told.now - self.said[venue][-1][0] > 7:
                        self.speak(venue, 0)
            case ("speak", n, offset):
                self.speak(self.honest[n], offset)
            case ("all speak", offset):
                for n, venue in enumerate(self.honest):
                    self.speak(venue, offset + n)
            case ("move", amount):
                self.level = max(Decimal(900), self.level + amount)
            case ("lie", n, value, volume):
                self.lie(n, value, volume)
            case ("lie near", offset, volume):
                for n in (0, 1):
                    self.lie(n, self.level + Decimal(offset) / 100, volume)

    def same_honest_quotes(self) -> bool:
        """No honest jump waits in one book that is believed in the other: lies may confirm a jump sooner."""
        return all(self.told.value(source=venue) == self.true.value(source=venue) for venue in self.honest)

    def honest_range(self) -> tuple[Decimal, Decimal]:
        """Everything that honest venues said and that may count now."""
        since = self.told.now - WINDOW_S
        values = []
        for said in self.said.values():
            recent = [value for when, value in said if when >= since]
            before = [value for when, value in said if when < since]
            values += recent + before[-1:]
        return min(values), max(values)


STEP = st.one_of(
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.1, 0.5, 1.9])),
    st.tuples(st.just("speak"), st.integers(0, 3), st.integers(-50, 50)),
    st.tuples(st.just("all speak"), st.integers(-50, 50)),
    st.tuples(st.just("move"), st.sampled_from([-40, -10, -1, 1, 10, 40])),
    st.tuples(
        st.just("lie"),
        st.integers(0, 1),
        st.one_of(
            st.integers(1, 10**7).map(lambda cents: Decimal(cents) / 100),
            st.sampled_from(["1e-20", "9e15", "1000", "999.5", "1004.9", "1005", "1005.1", "995"]).map(Decimal),
        ),
        st.sampled_from(["1", "1e24", "0", "NaN", "1e-24"]).map(Decimal),
    ),
    st.tuples(st.just("lie near"), st.integers(-600, 600), st.sampled_from(["1e24", "1"]).map(Decimal)),
)


@settings(max_examples=100)
@given(
    liars=st.permutations(PRIORITY).map(lambda order: (order[0], order[1])),
    steps=st.lists(STEP, min_size=10, max_size=60),
)
def test_two_lying_venues_of_six_stay_within_the_honest_range_and_its_width(
    liars: tuple[Venue, Venue], steps: list[tuple[Any, ...]]
) -> None:
    market = Market(liars)
    for venue in market.honest:
        market.speak(venue, 0)
    for step in steps:
        market.play(step)
        low, high = market.honest_range()
        width = high - low
        for price in (
            market.told.current().price,
            market.told.value(method=Method.VWAP, max_age_ms=60_000),
        ):
            assert low - width <= price <= high + width
        assert market.told.current().state in {State.FRESH, State.DIVERGENT}
        if market.same_honest_quotes():
            assert abs(market.told.current().price - market.true.current().price) <= width


DELIVERIES = st.lists(st.integers(0, 29), min_size=1, max_size=60)


@given(order=DELIVERIES)
def test_in_whatever_order_they_come_the_highest_sequence_counts(order: list[int]) -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.now = 30
    for n, sequence in enumerate(order):
        value = Decimal(1_000) + Decimal(sequence) / 100
        stage.quote(Venue.KRAKEN, value, sequence=sequence, received=25 + sequence / 10)
        newest = max(order[: n + 1])
        assert stage.value(source=Venue.KRAKEN) == Decimal(1_000) + Decimal(newest) / 100


@given(order=DELIVERIES, live=st.sets(st.integers(0, 29)))
def test_without_sequences_the_newest_receipt_counts_and_rest_counts_as_older(order: list[int], live: set[int]) -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.now = 30

    def age_order(n: int) -> int:
        return n - (20 if n in live else 0)

    for count, n in enumerate(order, start=1):
        value = Decimal(1_000) + Decimal(n) / 100
        stage.quote(Venue.KRAKEN, value, received=25 + n / 10, live=n in live)
        newest = max(map(age_order, order[:count]))
        counting = (stage.value(source=Venue.KRAKEN) - 1_000) * 100
        assert age_order(int(counting)) == newest


@given(values=st.permutations(["100", "100.1", "100.2", "100.3", "103", "70"]))
def test_which_venue_says_what_does_not_matter_for_the_price(values: list[str]) -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.quotes(dict(zip(PRIORITY, values, strict=True)))
    said = dict(zip(PRIORITY, values, strict=True))
    assert stage.current().price == Decimal("100.15")
    assert {said[venue] for venue in stage.current().sources} == {"100", "100.1", "100.2", "100.3"}


FIGURE = (
    st.none()
    | st.decimals(places=6, min_value=-1, max_value=10**6)
    | st.sampled_from(
        [
            Decimal(text)
            for text in ("NaN", "sNaN", "Infinity", "-Infinity", "1e400", "1e-400", "0", "-0", "1e15", "1e-24")
        ]
    )
)
EVENT = st.one_of(
    st.builds(
        lambda venue, price, bid, ask, volume, sequence, late, live, quote: make_tick(
            venue,
            None,
            asset="XYZ",
            table=SIX,
            price=price,
            bid=bid,
            ask=ask,
            volume_24h=volume,
            sequence=sequence,
            receive_mono_ns=late,
            live=live,
            quote=quote,
        ),
        st.sampled_from(PRIORITY),
        FIGURE,
        FIGURE,
        FIGURE,
        FIGURE,
        st.none() | st.integers(0, (1 << 64) - 1),
        st.integers(-(1 << 62), 1 << 62) | st.integers(at(0), at(100)),
        st.booleans(),
        st.sampled_from(["USD", "USD", "USD", "EUR"]),
    ),
    st.builds(
        Liveness,
        venue=st.sampled_from(PRIORITY),
        worker=st.sampled_from(["a", "b", ""]),
        alive_mono_ns=st.integers(-(1 << 62), 1 << 62) | st.integers(at(0), at(100)),
        connected=st.booleans(),
    ),
)


@settings(max_examples=100)
@given(events=st.lists(st.tuples(EVENT, st.floats(0, 30)), max_size=60))
def test_whatever_arrives_the_book_stands_and_explains_its_price(
    events: list[tuple[Tick | Liveness, float]],
) -> None:
    book = Book(assets=SIX, settings=BookSettings())
    now, sequence = 0.0, 0
    for event, seconds in events:
        now += seconds
        out = book.apply(event, at(now)) if isinstance(event, Tick) else book.alive(event, at(now))
        for price in out:
            assert price.sequence == sequence + 1
            sequence = price.sequence
            assert price.price > 0
            assert price.confidence >= 0
            assert price.sources
        for method in Method:
            explanation = book.explain("XYZ", at(now), method=method)
            kept = [entry for entry in explanation.inputs if entry.kept]
            try:
                price = book.price("XYZ", at(now), method=method, max_age_ms=86_400_000)
            except TrinityError:
                continue
            if method is Method.MEDIAN and explanation.price is not None and kept:
                values = sorted(Fraction(entry.value_usd) for entry in kept if entry.value_usd is not None)
                middle = values[(len(values) - 1) // 2] + values[len(values) // 2]
                assert Fraction(explanation.price.price) == middle / 2
            assert price.sequence == sequence
