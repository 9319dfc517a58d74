"""The same log gives the same prices, bit for bit, in any process."""

from __future__ import annotations

import decimal
import hashlib
import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from core.stage import REAL, S, at, make_tick
from trinity_core.book import Book, BookSettings
from trinity_core.prices import Price
from trinity_core.replay import replay
from trinity_core.ticklog import Record, TickLogError, write
from trinity_core.ticks import Liveness

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ("BTC", "ETH", "USDT", "USDC", "SOL")
SCRIPT = """
import hashlib, sys
from trinity_core.assets import load_assets
from trinity_core.book import Book, BookSettings
from trinity_core.replay import replay
book = Book(assets=load_assets(), settings=BookSettings())
digest = hashlib.sha256()
for price in replay(sys.stdin.buffer, book):
    digest.update(repr(price).encode())
print(digest.hexdigest())
"""


def day(seed: int, count: int = 1_500) -> list[bytes]:
    """A log with quiet spells, crossed books, jumps, dead connections and REST quotes."""
    dice = random.Random(seed)
    now = 0.0
    level = {asset: 1.0 if asset.startswith("USD") else 100.0 for asset in ASSETS}
    lines = []
    for n in range(count):
        now += dice.choice([0.0, 0.001, 0.02, 0.1, 0.25, 1.0, 9.0]) if dice.random() < 0.9 else dice.uniform(0, 80)
        asset = dice.choice(ASSETS)
        listing = dice.choice(REAL.get(asset).listings)
        level[asset] *= dice.choice([1, 1.0001, 0.9999, 1.002, 0.998])
        value = Decimal(f"{level[asset] * dice.choice([1, 1, 1, 1.0004, 0.9, 1.3]):.6f}")
        if dice.random() < 0.2:
            event: object = Liveness(listing.venue, dice.choice(["a", "b"]), at(now), dice.random() < 0.9)
        else:
            event = make_tick(
                listing.venue,
                value,
                asset=asset,
                received=now - dice.choice([0, 0, 0, 0.3, 5, 70]),
                half_spread=dice.choice(["0.0001", "0.0001", "-0.01"]),
                sequence=None if dice.random() < 0.3 else n - dice.choice([0, 0, 0, 3]),
                venue_time_ns=dice.choice([None, at(now)]),
                volume_24h=Decimal(dice.randint(0, 9)),
                live=dice.random() < 0.05,
            )
        lines.append(write(Record(at(now), event)))  # type: ignore[arg-type]
    lines.append(write(Record(at(now + 500))))
    return lines


def prices(lines: list[bytes]) -> list[Price]:
    return list(replay(lines, Book(assets=REAL, settings=BookSettings())))


@pytest.mark.parametrize("seed", range(3))
def test_a_log_gives_the_same_prices_again_whatever_the_threads_decimal_context(seed: int) -> None:
    lines = day(seed)
    first = prices(lines)
    with decimal.localcontext() as context:
        context.prec = 4
        context.rounding = decimal.ROUND_CEILING
        second = prices(lines)
    assert repr(first) == repr(second)
    assert len(first) > 300
    assert {price.state.name for price in first} >= {"FRESH", "DELAYED", "STALE"}


def test_a_log_gives_the_same_prices_in_processes_with_other_hash_seeds() -> None:
    lines = day(11)
    digest = hashlib.sha256()
    for price in prices(lines):
        digest.update(repr(price).encode())
    for seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            input=b"".join(lines),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "mesh")},
            check=True,
        )
        assert done.stdout.decode().strip() == digest.hexdigest()


def test_prices_come_as_their_lines_are_read_and_a_bad_line_is_named() -> None:
    lines = [write(Record(at(0), make_tick(REAL.get("BTC").listings[0].venue, "1"))), b"nonsense\n"]
    found = replay(lines, Book(assets=REAL, settings=BookSettings()))
    assert next(found).price == 1
    with pytest.raises(TickLogError, match="line 2"):
        next(found)


def test_a_line_of_time_alone_lets_prices_grow_old() -> None:
    lines = [write(Record(at(0), make_tick(REAL.get("BTC").listings[0].venue, "1"))), write(Record(at(0) + 100 * S))]
    assert [price.state.name for price in prices(lines)] == ["FRESH", "DELAYED", "STALE"]
