"""Leases in a real database: one associate's are given one after the other, whoever asks at once."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_storage.postgres import Postgres
from trinity_storage.quota_leases import Leased, QuotaLeases
from trinity_storage.usage import UsageStore
from usage.usage_stage import FILE, HOUR, KEY, OTHER_KEY, add_key, btc, moment

MONTH = date(2026, 9, 1)
NOW = moment(HOUR + 800)
TTL = timedelta(seconds=60)


@pytest.fixture
async def leases(any_postgres: Postgres) -> QuotaLeases:
    await add_key(any_postgres, KEY, quota=1_000)
    await add_key(any_postgres, OTHER_KEY)
    return QuotaLeases(any_postgres)


async def lease(
    leases: QuotaLeases,
    holder: str = "gateway-1",
    *,
    used: int = 0,
    wanted: int = 50,
    after_s: int = 0,
    key: str = KEY,
    month: date = MONTH,
) -> int:
    now = NOW + timedelta(seconds=after_s)
    leased = await leases.lease(
        holder=holder,
        key_id=key,
        wanted=wanted,
        used=used,
        now=now,
        month=month,
        expire_time=now + TTL,
        share=4,
        least=10,
    )
    assert not leased.unlimited
    return leased.allowed


async def test_asking_twice_is_asking_once(leases: QuotaLeases) -> None:
    assert [await lease(leases) for _ in range(3)] == [50, 50, 50]
    assert await lease(leases, used=40) == 90
    assert await lease(leases, used=40) == 90
    assert await lease(leases, used=20) == 90, "an older word that came late"


async def test_keys_of_one_associate_share_its_quota(leases: QuotaLeases) -> None:
    assert await lease(leases, wanted=1_000) == 250
    assert await lease(leases, wanted=1_000, key=OTHER_KEY) == 187
    assert await lease(leases, "gateway-2", wanted=1_000) == 140


async def test_many_that_ask_at_once_are_never_given_more_than_there_is(leases: QuotaLeases) -> None:
    given = await asyncio.gather(*(lease(leases, f"gateway-{number}", wanted=500) for number in range(60)))
    assert sum(given) <= 1_000
    assert sum(given) > 990


async def test_what_a_lease_did_not_use_comes_back_when_it_has_expired(leases: QuotaLeases) -> None:
    for number in range(60):
        await lease(leases, f"gateway-{number}", wanted=500)
    assert await lease(leases, "late", after_s=59) == 0
    assert await lease(leases, "late", after_s=60) == 50


async def test_a_lease_that_is_renewed_does_not_expire(leases: QuotaLeases) -> None:
    assert await lease(leases, wanted=250) == 250
    await lease(leases, wanted=1, after_s=50)
    assert await lease(leases, "gateway-2", wanted=1_000, after_s=100) == 187


async def test_what_the_ledgers_recorded_is_used_though_nobody_told(
    any_postgres: Postgres, leases: QuotaLeases
) -> None:
    await UsageStore(any_postgres).record(FILE, [btc(600), btc(380, slot=1, key_id=OTHER_KEY)])
    assert await lease(leases, wanted=500) == 10


async def test_last_months_use_is_no_use_of_this_month(any_postgres: Postgres, leases: QuotaLeases) -> None:
    august = HOUR - 30 * 24 * HOUR_S
    await UsageStore(any_postgres).record(FILE, [btc(5_000, hour=august)])
    assert await lease(leases, wanted=200) == 200


async def test_a_word_of_last_month_that_comes_late_uses_nothing_of_this_month(leases: QuotaLeases) -> None:
    august = date(2026, 8, 1)
    await lease(leases, month=august)
    await lease(leases, used=40, month=august)
    assert await lease(leases, used=45, wanted=10) == 10
    assert await lease(leases, "gateway-2", used=45, wanted=10) == 55, "one that had no lease before is believed"


async def test_without_a_bound_everything_is_allowed_and_nothing_is_kept(any_postgres: Postgres) -> None:
    await add_key(any_postgres, KEY, quota=0)
    leased = await QuotaLeases(any_postgres).lease(
        holder="gateway-1",
        key_id=KEY,
        wanted=70,
        used=7,
        now=NOW,
        month=MONTH,
        expire_time=NOW + TTL,
        share=4,
        least=10,
    )
    assert leased == Leased(77, unlimited=True)
    assert await any_postgres.fetch_value("SELECT count(*) FROM quota_leases") == 0


async def test_a_key_that_nobody_knows_gets_no_lease(leases: QuotaLeases) -> None:
    with pytest.raises(TrinityError) as caught:
        await lease(leases, key="9c7bgy9rbydg")
    assert caught.value.reason is Reason.UNKNOWN_KEY


async def test_leases_of_months_that_are_over_are_forgotten(any_postgres: Postgres, leases: QuotaLeases) -> None:
    await lease(leases)
    await leases.forget(before=MONTH)
    assert await any_postgres.fetch_value("SELECT count(*) FROM quota_leases") == 1
    await leases.forget(before=date(2026, 10, 1))
    assert await any_postgres.fetch_value("SELECT count(*) FROM quota_leases") == 0
