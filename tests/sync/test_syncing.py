"""A sync brings the copy up to the database, and readers have a complete one all the while."""

from __future__ import annotations

import random

import pytest

from sync.sync_stage import HOUR, Stage, add_key
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_core.usage_log import UsageFilter
from trinity_storage.usage_cache import DAY_S, day_key, days_key, owners_key
from trinity_sync import syncing as module
from trinity_sync.syncing import Kind


async def test_the_first_sync_copies_everything(stage: Stage) -> None:
    await stage.use_some(3_000, rng=random.Random(1))
    done = await stage.syncing.once()
    truth = await stage.truth()
    assert (done.kind, done.rows) == (Kind.FULL, len(truth))
    assert await stage.copied() == truth
    coverage = await stage.log.coverage()
    assert coverage is not None
    assert (
        coverage.watermark == done.watermark == await stage.postgres.fetch_value("SELECT max(seq) FROM usage_changes")
    )


async def test_a_log_without_rows_is_copied_as_such(stage: Stage) -> None:
    await stage.syncing.once()
    assert await stage.copied() == []
    assert (await stage.syncing.once()).kind is Kind.INCREMENT
    await stage.use([("annannannann", HOUR, 1, "GetPrice", "BTC", 1, 3)])
    assert (await stage.syncing.once()).kind is Kind.INCREMENT
    assert await stage.copied() == await stage.truth() != []


async def test_later_syncs_copy_what_changed(stage: Stage) -> None:
    rng = random.Random(2)
    await stage.use_some(1_000, rng=rng)
    first = await stage.syncing.once()
    for _ in range(4):
        await stage.use_some(200, rng=rng, hours=80)
        done = await stage.syncing.once()
        assert (done.kind, done.generation) == (Kind.INCREMENT, first.generation)
        assert 0 < done.rows <= 200
        assert await stage.copied() == await stage.truth()
    assert (await stage.syncing.once()).rows == 0


async def test_changes_in_many_steps_are_all_copied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_ROWS", 7)
    await stage.syncing.once()
    await stage.use_some(100, rng=random.Random(3))
    assert (await stage.syncing.once()).kind is Kind.INCREMENT
    assert await stage.copied() == await stage.truth()


async def test_too_many_changes_make_a_new_copy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_ROWS", 10)
    monkeypatch.setattr(module, "INCREMENT_ROWS_MAX", 30)
    await stage.syncing.once()
    await stage.use_some(100, rng=random.Random(3))
    assert (await stage.syncing.once()).kind is Kind.FULL
    assert await stage.copied() == await stage.truth()


async def test_a_full_sync_leaves_one_copy(stage: Stage) -> None:
    await stage.use_some(300, rng=random.Random(4))
    first = await stage.syncing.once()
    second = await stage.syncing.once(full=True)
    assert first.generation != second.generation
    assert all(second.generation in name or name == "{usage}:current" for name in await stage.keys_of_copies())


async def test_what_a_killed_sync_left_is_removed(stage: Stage) -> None:
    await stage.syncing.once()
    for name in ("{usage}:dead", "{usage}:dead:20000", "{usage}:dead:owners"):
        await stage.valkey.call("HSET", name, "made", "1")
    assert (await stage.syncing.once()).kind is Kind.INCREMENT
    assert not any("dead" in name for name in await stage.keys_of_copies())


async def test_an_emptied_cache_is_noticed_and_filled(stage: Stage) -> None:
    await stage.use_some(300, rng=random.Random(5))
    await stage.syncing.once()
    await stage.empty_valkey()
    assert await stage.log.coverage() is None
    assert (await stage.syncing.once()).kind is Kind.FULL
    assert await stage.copied() == await stage.truth()


@pytest.mark.parametrize("part", ["day", "days", "owners"])
async def test_an_evicted_part_is_never_taken_for_no_usage(stage: Stage, part: str) -> None:
    await stage.use_some(300, rng=random.Random(6), hours=72)
    done = await stage.syncing.once()
    coverage = await stage.log.coverage()
    assert coverage is not None
    day = HOUR // DAY_S - 1
    lost = {
        "day": day_key(done.generation, day),
        "days": days_key(done.generation),
        "owners": owners_key(done.generation),
    }[part]
    assert await stage.valkey.call("UNLINK", lost) == 1
    if part != "owners":
        assert await stage.log.coverage() is None
        for wanted in (UsageFilter(), UsageFilter(associate="acme"), UsageFilter(associate="nobody")):
            with pytest.raises(TrinityError) as raised:
                async for _ in stage.log.rows(coverage, wanted):
                    pass
            assert raised.value.reason is Reason.STORE_UNAVAILABLE
        with pytest.raises(TrinityError):
            await stage.log.totals(coverage, start=0, end=2 * HOUR)
    await stage.use([("annannannann", day * DAY_S, 1, "GetPrice", "BTC", 1, 3)])
    assert (await stage.syncing.once()).kind is Kind.FULL
    assert await stage.copied() == await stage.truth()


async def test_a_key_that_changed_hands_makes_a_new_copy(stage: Stage) -> None:
    await stage.use([("lostlostlost", HOUR, 1, "GetPrice", asset, 1, 3) for asset in ("BTC", "ETH")])
    await stage.syncing.once()
    await add_key(stage.postgres, "lostlostlost", associate="bolt")
    await stage.use([("lostlostlost", HOUR, 1, "GetPrice", "BTC", 1, 4)])
    assert (await stage.syncing.once()).kind is Kind.FULL
    assert await stage.copied() == await stage.truth()


async def test_a_copy_of_another_database_is_replaced(stage: Stage) -> None:
    await stage.use_some(50, rng=random.Random(7))
    await stage.syncing.once()
    await stage.postgres.execute("TRUNCATE usage_sums, usage_changes")
    assert (await stage.syncing.once()).kind is Kind.FULL
    assert await stage.copied() == []


async def test_only_one_sync_runs_at_a_time(stage: Stage) -> None:
    async with module.UsageSource(stage.postgres, lasts_ms=10_000).opened():
        with pytest.raises(TrinityError) as raised:
            await stage.syncing.once()
    assert raised.value.reason is Reason.STORE_CONFLICT
    await stage.syncing.once()


async def test_a_copy_of_some_days_says_so(stage: Stage) -> None:
    await stage.use([("annannannann", 400_000 * HOUR_S, 1, "GetPrice", "BTC", 1, 3)])
    now_h = int(await stage.postgres.fetch_value("SELECT extract(epoch FROM now())::bigint")) // HOUR_S
    await stage.use([("annannannann", now_h * HOUR_S, 1, "GetPrice", "BTC", 1, 5)])
    await stage.syncing_of(history_days=3).once()
    coverage = await stage.log.coverage()
    assert coverage is not None
    assert coverage.start == (now_h // 24 - 3) * DAY_S
    assert [row.count for row in await stage.copied()] == [5]
    await stage.use([("annannannann", 400_000 * HOUR_S, 1, "GetPrice", "ETH", 1, 3)])
    assert (await stage.syncing_of(history_days=3).once()).kind is Kind.INCREMENT
    assert [row.count for row in await stage.copied()] == [5]


async def test_totals_are_the_sums_of_the_rows(stage: Stage) -> None:
    rng = random.Random(8)
    await stage.use_some(1_000, rng=rng)
    await stage.syncing.once()
    await stage.use_some(500, rng=rng)
    await stage.syncing.once()
    coverage = await stage.log.coverage()
    assert coverage is not None
    sums: dict[tuple[int, str], list[int]] = {}
    for row in await stage.truth():
        sums.setdefault((row.hour // DAY_S * DAY_S, row.associate), [0, 0])[0 if row.billed else 1] += row.count
    totals = await stage.log.totals(coverage, start=0, end=HOUR + DAY_S)
    assert {(each.day, each.associate): [each.billed, each.unbilled] for each in totals} == sums
    ours = await stage.log.totals(coverage, start=HOUR - DAY_S, end=HOUR + DAY_S, associate="acme")
    assert {each.associate for each in ours} == {"acme"}


async def test_a_new_name_of_a_key_comes_with_its_next_use(stage: Stage) -> None:
    await stage.use([("annannannann", HOUR, 1, "GetPrice", asset, 1, 3) for asset in ("BTC", "ETH")])
    await stage.syncing.once()
    await stage.postgres.execute("UPDATE api_keys SET name = 'anew' WHERE key_id = 'annannannann'")
    await stage.use([("annannannann", HOUR, 1, "GetPrice", "BTC", 1, 3)])
    assert (await stage.syncing.once()).kind is Kind.INCREMENT
    assert {row.key_name for row in await stage.copied()} == {"anew"}
