"""What a tick costs in the book, beside the least that any consolidation must do: a median of six decimals."""

from __future__ import annotations

import json
import platform
import random
import statistics
import timeit
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from time import process_time

from trinity_core.assets import load_assets
from trinity_core.book import Book, BookSettings
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

ROUNDS = 5
TICKS = 40_000
MS = 1_000_000
TABLE = load_assets()
CENT = Decimal("0.01")
USD_RATE = Decimal("0.9998")


def main() -> None:
    """Print ticks a second of each load and their ratio to the bare median; write benchmarks/results/book.json."""
    loads = {
        "BTC, six venues, two of them converted": ["BTC"],
        "the same with USDT moving, 145 assets converted": ["BTC", "USDT"],
        "150 assets, every market": [asset.asset for asset in TABLE.assets],
    }
    values = [Decimal(65_000) + CENT * n for n in (7, 2, 9, 4, 1, 8)]
    bare = (
        min(timeit.repeat(lambda: statistics.median(values), timer=process_time, number=20_000, repeat=ROUNDS)) / 20_000
    )
    rows = [{"name": "statistics.median of six decimals", "cpu_us": bare * 1e6, "per_second": 1 / bare}]
    costs = {name: statistics.median(cost_of(assets, seed) for seed in range(ROUNDS)) for name, assets in loads.items()}
    rows += [{"name": name, "cpu_us": cost * 1e6, "per_second": 1 / cost} for name, cost in costs.items()]
    for row in rows:
        print(f"{row['name']:48} {row['cpu_us']:8.2f} us {row['per_second']:10,.0f}/s")
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": rows,
        "ratios": {f"{name}/bare median": cost / bare for name, cost in costs.items()},
    }
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("book.json").write_text(json.dumps(result, indent=2) + "\n")


def cost_of(assets: Sequence[str], seed: int) -> float:
    """Seconds of processor time a tick; every market has a quote, and signs of life and time's own work count too."""
    book = Book(assets=TABLE, settings=BookSettings())
    now = 10**12
    for asset in TABLE.assets:
        for tick in opening(asset.asset, now):
            book.apply(tick, now)
    steps = list(stream(assets, seed, now))
    started = process_time()
    for now, event in steps:
        if isinstance(event, Tick):
            book.apply(event, now)
        else:
            book.alive(event, now)
    cost = (process_time() - started) / TICKS
    assert book.sequence > TICKS / 4, "the ticks must have changed prices"
    return cost


def opening(asset: str, now: int) -> Iterator[Tick]:
    """A first quote of each market."""
    for listing in TABLE.get(asset).listings:
        yield tick_of(listing.venue, asset, listing.symbol, listing.quote, price_of(asset), now, 0)


def price_of(asset: str) -> Decimal:
    """Where an asset's price begins, USD."""
    return USD_RATE if asset.startswith("USD") else Decimal(65_000)


def stream(assets: Sequence[str], seed: int, start: int) -> Iterator[tuple[int, Tick | Liveness]]:
    """Two thousand ticks a virtual second that change their venue's quote, and a sign of life a venue and second."""
    dice = random.Random(seed)
    markets = [(asset, listing) for asset in assets for listing in TABLE.get(asset).listings]
    for n in range(TICKS):
        now = start + n * MS // 2
        if n % 2_000 == 0:
            for venue in Venue:
                yield now, Liveness(venue, "worker", now, connected=True)
        asset, listing = dice.choice(markets)
        middle = price_of(asset)
        step = Decimal("0.0001") if asset.startswith("USD") else CENT
        value = middle + step * dice.randint(-3, 3)
        yield now, tick_of(listing.venue, asset, listing.symbol, listing.quote, value, now, n)


def tick_of(venue: Venue, asset: str, symbol: str, quote: str, value: Decimal, now: int, sequence: int) -> Tick:
    """A quote around a value in USD."""
    value = value if quote == "USD" else (value / USD_RATE).quantize(Decimal("0.0001"))
    step = Decimal("0.0001")
    return Tick(
        venue=venue,
        asset=asset,
        symbol=symbol,
        quote=quote,
        price=value,
        bid=value - step,
        ask=value + step,
        volume_24h=Decimal("1234.5"),
        venue_time_ns=None,
        sequence=sequence,
        receive_time_ns=now,
        receive_mono_ns=now,
    )


if __name__ == "__main__":
    main()
