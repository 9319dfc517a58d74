"""Usage in a real database: absolute figures, exact sums, and a sequence that nobody who reads it misses a part of."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import date, timedelta

import pytest

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_storage.postgres import Postgres
from trinity_storage.usage import Count, UsageStore
from usage.usage_stage import FILE, HOUR, KEY, OTHER_FILE, OTHER_KEY, add_key, agrees, btc, eth, logged, moment


@pytest.fixture
def store(any_postgres: Postgres) -> UsageStore:
    return UsageStore(any_postgres)


async def test_of_two_figures_the_greater_is_right_however_they_come(any_postgres: Postgres, store: UsageStore) -> None:
    assert await store.record(FILE, [btc(5), eth(7)]) == 2
    assert await store.record(FILE, [btc(5), eth(7)]) == 2
    assert await store.record(FILE, [btc(3), eth(9)]) == 2
    assert await store.record(FILE, []) == 0
    assert await logged(any_postgres) == {(KEY, HOUR, "BTC", 1): 5, (KEY, HOUR, "ETH", 1): 9}
    await agrees(any_postgres)


async def test_ledgers_of_many_processes_add_up(any_postgres: Postgres, store: UsageStore) -> None:
    await store.record(FILE, [btc(5), btc(2, slot=1), btc(1, slot=2, hour=HOUR + HOUR_S), btc(4, slot=3, outcome=5)])
    await store.record(OTHER_FILE, [btc(10), btc(20, slot=1, key_id=OTHER_KEY)])
    assert await logged(any_postgres) == {
        (KEY, HOUR, "BTC", 1): 17,
        (KEY, HOUR, "BTC", 5): 4,
        (KEY, HOUR + HOUR_S, "BTC", 1): 1,
        (OTHER_KEY, HOUR, "BTC", 1): 20,
    }
    await agrees(any_postgres)


@pytest.mark.parametrize(
    "other",
    [
        eth(6, slot=0),
        btc(6, key_id=OTHER_KEY),
        btc(6, hour=HOUR + HOUR_S),
        btc(6, outcome=2),
        btc(6)._replace(transport=2),
        btc(6)._replace(method="WatchPrices"),
    ],
)
async def test_a_slot_that_would_count_something_else_is_an_error_and_changes_nothing(
    any_postgres: Postgres, store: UsageStore, other: Count
) -> None:
    await store.record(FILE, [btc(5)])
    for late in (False, True):
        if late:
            await store.close_hours(before=moment(HOUR + HOUR_S))
        with pytest.raises(TrinityError) as caught:
            await store.record(FILE, [other, eth(100)])
        assert caught.value.reason is Reason.INVALID_FIELD
        assert await logged(any_postgres) == {(KEY, HOUR, "BTC", 1): 5}


async def test_reports_see_whose_key_it_was_and_keys_that_nobody_knows(
    any_postgres: Postgres, store: UsageStore
) -> None:
    await add_key(any_postgres, KEY)
    await store.record(FILE, [btc(5), eth(2, key_id="anonymous.udp", outcome=6)])
    rows = await any_postgres.fetch("SELECT * FROM usage_log ORDER BY key_id")
    assert [dict(row) for row in rows] == [
        {
            "key_id": KEY,
            "associate": "acme",
            "key_name": f"desk of {KEY}",
            "hour": moment(HOUR),
            "transport": 1,
            "method": "GetPrice",
            "asset": "BTC",
            "outcome": 1,
            "n": 5,
            "billed": True,
            "seq": rows[0]["seq"],
        },
        {
            "key_id": "anonymous.udp",
            "associate": None,
            "key_name": None,
            "hour": moment(HOUR),
            "transport": 1,
            "method": "GetPrice",
            "asset": "ETH",
            "outcome": 6,
            "n": 2,
            "billed": False,
            "seq": rows[1]["seq"],
        },
    ]


async def test_only_rows_that_changed_get_a_new_seq(any_postgres: Postgres, store: UsageStore) -> None:
    async def seqs() -> dict[str, int]:
        return {row["asset"]: row["seq"] for row in await any_postgres.fetch("SELECT asset, seq FROM usage_log")}

    await store.record(FILE, [btc(1), eth(1)])
    first = await seqs()
    await store.record(FILE, [btc(1), eth(2)])
    second = await seqs()
    assert second["BTC"] == first["BTC"]
    assert second["ETH"] > max(first.values())
    await store.close_hours(before=moment(HOUR + HOUR_S))
    await store.record(FILE, [btc(1), eth(2)])
    assert await seqs() == second


async def test_who_reads_by_seq_while_others_write_misses_nothing(any_postgres: Postgres, store: UsageStore) -> None:
    dice = random.Random(7)
    writing = True
    seen: dict[tuple[str, str], int] = {}

    async def write(file: str) -> None:
        ns: Counter[int] = Counter()
        for _ in range(25):
            for slot in dice.sample(range(12), 4):
                ns[slot] += dice.randint(1, 5)
            await store.record(
                file, [Count(slot, KEY, HOUR, 1, "GetPrice", f"A{slot % 6}", 1, n) for slot, n in ns.items()]
            )

    async def read() -> None:
        watermark = 0
        while True:
            last = not writing
            rows = await any_postgres.fetch(
                "SELECT key_id, asset, n, seq FROM usage_log WHERE seq > $1 ORDER BY seq LIMIT 3", watermark
            )
            for row in rows:
                seen[row["key_id"], row["asset"]] = row["n"]
                watermark = row["seq"]
            if last and not rows:
                return

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(f"{FILE}{number}") for number in range(4)))
    writing = False
    await reading
    assert seen == {(key, asset): n for (key, _, asset, _), n in (await logged(any_postgres)).items()}


async def test_a_closed_hour_is_neither_revived_nor_counted_again(any_postgres: Postgres, store: UsageStore) -> None:
    await store.record(FILE, [btc(5), eth(7), btc(1, slot=2, hour=HOUR + HOUR_S)])
    await store.record(OTHER_FILE, [btc(10)])
    before = await logged(any_postgres)
    assert await store.close_hours(before=moment(HOUR + HOUR_S)) == 2
    assert await store.close_hours(before=moment(HOUR + HOUR_S)) == 0
    assert await any_postgres.fetch_value("SELECT count(*) FROM usage_counters") == 1
    assert await logged(any_postgres) == before
    assert await store.record(FILE, [btc(5), eth(6), btc(1, slot=2, hour=HOUR + HOUR_S)]) == 3
    assert await store.record(OTHER_FILE, [btc(10)]) == 1
    assert await logged(any_postgres) == before
    assert await any_postgres.fetch_value("SELECT count(*) FROM usage_counters") == 1
    await agrees(any_postgres)


async def test_what_comes_late_and_is_new_counts_once(any_postgres: Postgres, store: UsageStore) -> None:
    await store.record(FILE, [btc(5)])
    await store.close_hours(before=moment(HOUR + HOUR_S))
    for _ in range(2):
        await store.record(FILE, [btc(8), eth(3)])
        assert await logged(any_postgres) == {(KEY, HOUR, "BTC", 1): 8, (KEY, HOUR, "ETH", 1): 3}
    await store.close_hours(before=moment(HOUR + HOUR_S))
    await store.record(FILE, [btc(8), eth(3)])
    await store.record(FILE, [btc(9), eth(3)])
    assert await logged(any_postgres) == {(KEY, HOUR, "BTC", 1): 9, (KEY, HOUR, "ETH", 1): 3}
    await store.close_hours(before=moment(HOUR + HOUR_S))
    row = await any_postgres.fetch_row("SELECT slots, ns, slot_min, slot_max FROM usage_closed")
    assert tuple(row or ()) == ([0, 1], [9, 3], 0, 1)
    await agrees(any_postgres)


async def test_hours_are_closed_a_few_files_at_a_time(any_postgres: Postgres, store: UsageStore) -> None:
    for number in range(5):
        await store.record(f"{FILE}{number}", [btc(1)])
    closed = [await store.close_hours(before=moment(HOUR + HOUR_S), files_max=2) for _ in range(4)]
    assert closed == [2, 2, 1, 0]


async def test_a_final_hour_keeps_its_sums_and_takes_nothing_more(any_postgres: Postgres, store: UsageStore) -> None:
    old, new = HOUR - 3_000 * 24 * HOUR_S, HOUR
    await store.record(FILE, [btc(5, hour=old), eth(7, hour=new)])
    await store.close_hours(before=moment(old + HOUR_S))
    await store.make_final(before=moment(old + 24 * HOUR_S))
    assert await store.record(FILE, [btc(50, hour=old), eth(8, hour=new)]) == 1
    assert await store.record(OTHER_FILE, [btc(50, hour=old)]) == 0
    assert await logged(any_postgres) == {(KEY, old, "BTC", 1): 5, (KEY, new, "ETH", 1): 8}
    await store.make_final(before=moment(old))  # a clock that was set back
    assert await store.record(OTHER_FILE, [btc(50, hour=old)]) == 0


async def test_a_clock_far_ahead_does_not_end_hours_that_are_open(any_postgres: Postgres, store: UsageStore) -> None:
    now = await any_postgres.fetch_value("SELECT now()")
    hour = int(now.timestamp()) // HOUR_S * HOUR_S
    await store.make_final(before=now + timedelta(days=4_000))
    assert await store.record(FILE, [btc(5, hour=hour)]) == 1


async def test_a_quota_counts_what_is_billed_to_all_keys_of_an_associate(
    any_postgres: Postgres, store: UsageStore
) -> None:
    await add_key(any_postgres, KEY, quota=1_000)
    await add_key(any_postgres, OTHER_KEY)
    await add_key(any_postgres, "2c7bgy9rbydg", associate="else")
    day, month = date(2026, 9, 21), date(2026, 9, 1)
    yesterday, august = HOUR - 24 * HOUR_S, HOUR - 30 * 24 * HOUR_S
    await store.record(
        FILE,
        [
            btc(1, slot=0),
            btc(10, slot=1, key_id=OTHER_KEY),
            btc(100, slot=2, hour=yesterday),
            btc(1_000, slot=3, hour=august),
            btc(10_000, slot=4, key_id="2c7bgy9rbydg"),
            btc(100_000, slot=5, outcome=5),
            btc(1_000_000, slot=6, key_id="unknown-key"),
        ],
    )
    assert await store.quota_use("acme", month=month, today=day) == (1_000, 111, 11)
    assert await store.quota_use("else", month=month, today=day) == (1_000, 10_000, 10_000)
    assert await store.quota_use("nobody", month=month, today=day) is None


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_any_sendings_ends_at_the_same_sums(
    any_postgres: Postgres, store: UsageStore, seed: int
) -> None:
    dice = random.Random(seed)
    files = [f"{FILE}{number}" for number in range(3)]
    latest: dict[tuple[str, int], Count] = {}
    sent: list[tuple[str, list[Count]]] = []
    for _ in range(40):
        file = dice.choice(files)
        batch = []
        for slot in dice.sample(range(10), dice.randint(1, 6)):
            hour = HOUR + slot % 3 * HOUR_S
            n = latest[file, slot].n + dice.randint(0, 3) if (file, slot) in latest else dice.randint(1, 3)
            count = Count(slot, (KEY, OTHER_KEY)[slot % 2], hour, 1, "GetPrice", f"A{slot % 4}", 1 + slot % 6, n)
            latest[file, slot] = count
            batch.append(count)
        sent.append((file, batch))
    dice.shuffle(sent)
    for file, batch in [*sent, *dice.sample(sent, 10)]:
        await store.record(file, batch)
        if dice.random() < 0.2:
            await store.close_hours(before=moment(HOUR + dice.randint(0, 3) * HOUR_S))
    sums: Counter[tuple[str, int, str, int]] = Counter()
    for count in latest.values():
        sums[count.key_id, count.hour, count.asset, count.outcome] += count.n
    assert await logged(any_postgres) == sums
    await agrees(any_postgres)
