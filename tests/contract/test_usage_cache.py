"""One suite, every adapter of UsageLog: the real Valkey and the twin in memory."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pytest

from price.valkey import ValkeyServer
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_core.usage_log import (
    BATCH_ROWS_MAX,
    HOURS_END,
    Coverage,
    MemoryUsageLog,
    Position,
    UsageFilter,
    UsageLog,
    UsageRow,
)
from trinity_mesh.clock import SystemClock
from trinity_storage.usage_cache import DAY_S, Stamp, ValkeyUsageLog, current, day_key
from trinity_storage.usage_copy import NewCopy, sweep
from trinity_storage.valkey import Valkey, ValkeyConfig

DAY = 20_000 * DAY_S


class Copy(Protocol):
    """A copy that the suite can fill and lose."""

    log: UsageLog

    async def fill(self, rows: Sequence[UsageRow], *, start: int = 0) -> Coverage: ...

    async def lose(self) -> None: ...


class MemoryCopy:
    def __init__(self) -> None:
        self.log = MemoryUsageLog()

    async def fill(self, rows: Sequence[UsageRow], *, start: int = 0) -> Coverage:
        coverage = Coverage(uuid.uuid4().hex, start, HOURS_END, 7)
        self.log.fill(coverage, rows)
        return coverage

    async def lose(self) -> None:
        self.log.lose()


@dataclass
class ValkeyCopy:
    valkey: Valkey
    log: ValkeyUsageLog

    async def fill(self, rows: Sequence[UsageRow], *, start: int = 0) -> Coverage:
        copy = NewCopy(self.valkey, uuid.uuid4().hex)
        raw, _ = await current(self.valkey)
        stamp = Stamp(copy._generation, start, 7, "", 1, 1)
        falling = sorted(rows, key=lambda row: row.position, reverse=True)
        ordered = sorted(falling, key=lambda row: (row.hour, row.associate))
        for first in range(0, len(ordered), 700):
            await copy.add([row for row in ordered[first : first + 700] if row.hour >= start])
        await copy.switch(former=raw, stamp=stamp)
        return stamp.coverage

    async def lose(self) -> None:
        await self.valkey.call("FLUSHDB")


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


@pytest.fixture(params=["valkey", "memory"])
async def copy(request: pytest.FixtureRequest) -> AsyncIterator[Copy]:
    if request.param == "memory":
        yield MemoryCopy()
        return
    url = request.getfixturevalue("server").url
    async with Valkey(ValkeyConfig(timeout_ms=20_000), url=url, clock=SystemClock()) as valkey:
        await valkey.call("FLUSHDB")
        yield ValkeyCopy(valkey, ValkeyUsageLog(valkey, step_ms=20_000))


def made(number: int, *, seed: int = 1, hours: int = 60) -> list[UsageRow]:
    rng = random.Random(seed)
    owners = {"annannannann": "acme", "bobbobbobbob": "acme", "cydcydcydcyd": "bolt", "lostlostlost": ""}
    rows: dict[Position, UsageRow] = {}
    for _ in range(number):
        key_id = rng.choice(tuple(owners))
        row = UsageRow(
            DAY + HOUR_S * rng.randrange(hours),
            owners[key_id],
            key_id,
            f"désk\t{key_id}" if owners[key_id] else "",
            rng.randint(1, 3),
            rng.choice(("GetPrice", "ListPrices", "getprice")),
            rng.choice(("", "BTC", "ETH")),
            rng.randint(1, 6),
            rng.randint(1, 9_000_000_000_000_000),
        )
        rows[row.position] = row
    return sorted(rows.values(), key=lambda row: row.position, reverse=True)


async def read(
    log: UsageLog, coverage: Coverage, wanted: UsageFilter | None = None, after: Position | None = None
) -> list[UsageRow]:
    found: list[UsageRow] = []
    async for batch in log.rows(coverage, wanted or UsageFilter(), after=after):
        assert 1 <= len(batch) <= BATCH_ROWS_MAX
        found += batch
    return found


async def test_where_nothing_was_copied_there_is_no_copy(copy: Copy) -> None:
    assert await copy.log.coverage() is None


async def test_a_copy_names_itself_and_what_it_holds(copy: Copy) -> None:
    coverage = await copy.fill(made(10))
    assert await copy.log.coverage() == coverage
    assert coverage.watermark == 7


async def test_a_copy_without_rows_is_a_copy(copy: Copy) -> None:
    coverage = await copy.fill([])
    assert await copy.log.coverage() == coverage
    assert await read(copy.log, coverage) == []


async def test_all_rows_come_newest_first_each_once(copy: Copy) -> None:
    rows = made(4_000)
    coverage = await copy.fill(rows)
    assert await read(copy.log, coverage) == rows


FILTERS = [
    UsageFilter(associate="acme"),
    UsageFilter(associate="nobody"),
    UsageFilter(start=DAY + 5 * HOUR_S, end=DAY + 30 * HOUR_S),
    UsageFilter(start=DAY + 5 * HOUR_S + 1, end=DAY + 30 * HOUR_S + 1, associate="bolt"),
    UsageFilter(end=DAY),
    UsageFilter(start=DAY + 30 * HOUR_S, end=DAY + 30 * HOUR_S),
    UsageFilter(key_ids=frozenset({"annannannann", "lostlostlost"})),
    UsageFilter(assets=frozenset({""}), transports=frozenset({1, 3})),
    UsageFilter(methods=frozenset({"GetPrice"}), outcomes=frozenset({5, 6}), associate="acme"),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=range(len(FILTERS)))
async def test_only_wanted_rows_come(copy: Copy, wanted: UsageFilter) -> None:
    rows = made(1_500)
    coverage = await copy.fill(rows)
    assert await read(copy.log, coverage, wanted) == [row for row in rows if wanted.takes(row)]


async def test_what_comes_after_a_position_is_what_is_below_it(copy: Copy) -> None:
    rows = made(1_500)
    coverage = await copy.fill(rows)
    for wanted in (UsageFilter(), UsageFilter(associate="acme")):
        for index in (0, 1, 250, 700, len(rows) - 1):
            after = rows[index].position
            assert await read(copy.log, coverage, wanted, after) == [
                row for row in rows[index + 1 :] if wanted.takes(row)
            ]


async def test_rows_of_hours_that_are_not_covered_do_not_come(copy: Copy) -> None:
    rows = made(500)
    start = DAY + 24 * HOUR_S
    coverage = await copy.fill(rows, start=start)
    assert coverage.start == start
    assert await read(copy.log, coverage) == [row for row in rows if row.hour >= start]


async def test_a_lost_copy_is_not_named_and_raises_instead_of_ending(copy: Copy) -> None:
    coverage = await copy.fill(made(100))
    await copy.lose()
    assert await copy.log.coverage() is None
    for wanted in (UsageFilter(), UsageFilter(associate="nobody"), UsageFilter(end=DAY)):
        with pytest.raises(TrinityError) as raised:
            await read(copy.log, coverage, wanted)
        assert raised.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_copy_that_was_lost_under_a_reader_raises(copy: Copy) -> None:
    if isinstance(copy, MemoryCopy):
        pytest.skip("the twin holds what an iteration found")
    coverage = await copy.fill(made(20_000, hours=200))
    iteration = copy.log.rows(coverage, UsageFilter())
    assert await anext(aiter(iteration))
    await copy.lose()
    with pytest.raises(TrinityError) as raised:
        async for _ in iteration:
            pass
    assert raised.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_later_copy_takes_the_place_of_the_former(copy: Copy) -> None:
    await copy.fill(made(300))
    rows = made(200, seed=2)
    coverage = await copy.fill(rows)
    assert await copy.log.coverage() == coverage
    assert await read(copy.log, coverage) == rows


async def test_a_broken_part_raises(server: ValkeyServer) -> None:
    async with Valkey(ValkeyConfig(timeout_ms=20_000), url=server.url, clock=SystemClock()) as valkey:
        await valkey.call("FLUSHDB")
        copied = ValkeyCopy(valkey, ValkeyUsageLog(valkey, step_ms=20_000))
        coverage = await copied.fill([row for row in made(50) if row.associate == "acme"])
        key = day_key(coverage.generation, DAY // DAY_S)
        part = next(name for name in await valkey.call("HKEYS", key) if name[2:3] == b":")
        for broken in (b"", b"x", b"\x78\x9c\x03\x00\x00\x00\x00\x01"):
            await valkey.call("HSET", key, part, broken)
            for wanted in (UsageFilter(), UsageFilter(associate="acme")):
                with pytest.raises(TrinityError) as raised:
                    await read(copied.log, coverage, wanted)
                assert raised.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_stamp_that_is_none_of_ours_is_no_copy(server: ValkeyServer) -> None:
    async with Valkey(ValkeyConfig(timeout_ms=20_000), url=server.url, clock=SystemClock()) as valkey:
        await valkey.call("SET", "{usage}:current", b"\xff{")
        assert await ValkeyUsageLog(valkey).coverage() is None
        await sweep(valkey, keep="")


async def test_a_server_that_is_away_is_told_as_unavailable() -> None:
    async with Valkey(ValkeyConfig(), url="unix:///nowhere/valkey.sock", clock=SystemClock()) as valkey:
        with pytest.raises(TrinityError) as raised:
            await ValkeyUsageLog(valkey).coverage()
        assert raised.value.reason is Reason.STORE_UNAVAILABLE
