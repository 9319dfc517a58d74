"""The usage service over its real socket: who may record, what is refused, and what a quota says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from admission.ledger_stage import BTC, ETH
from trinity.usage.v1 import usage_pb2
from trinity_admission.ledger_config import CollectorConfig, LedgerConfig
from trinity_admission.metering import metering
from trinity_admission.recording import record_by
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import PostgresConfig
from usage.conftest import opened
from usage.small_usage import ACME, ADMIN, PRICES_ONLY, STRANGER, serving
from usage.usage_stage import FILE, HOUR, KEY, OTHER_KEY, add_key, logged

LEFT_OF_MONTH_S = 1_790_812_800 - 1_790_000_000
"""From the start of the wall clock of `serving` to 1 October 2026, 00:00 UTC."""


def counter(**fields: Any) -> usage_pb2.Counter:
    known = {
        "slot": 0,
        "key_id": KEY,
        "hour_unix": HOUR,
        "transport": 1,
        "method": "GetPrice",
        "asset": "BTC",
        "outcome": 1,
        "count": 5,
    }
    return usage_pb2.Counter(**{**known, **fields})


def sent(*counters: usage_pb2.Counter, incarnation: str = FILE) -> usage_pb2.RecordUsageRequest:
    return usage_pb2.RecordUsageRequest(incarnation=incarnation, counters=counters)


async def refusal(made: Any) -> Reason:
    with pytest.raises(TrinityError) as caught:
        await call(made)
    return caught.value.reason


async def test_what_was_recorded_is_committed_when_the_answer_comes(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        answer = await call(usage.stub.RecordUsage(sent(counter(), counter(slot=1, asset="ETH", count=0))))
        assert answer.recorded == 2
        assert await logged(postgres) == {(KEY, HOUR, "BTC", 1): 5}, "nothing is kept of what counts nothing"
        assert (await call(usage.stub.RecordUsage(sent()))).recorded == 0


async def test_a_slot_may_stand_in_a_message_twice_if_it_counts_the_same(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        answer = await call(usage.stub.RecordUsage(sent(counter(count=7), counter(count=9), counter(count=8))))
        assert answer.recorded == 3
        assert await logged(postgres) == {(KEY, HOUR, "BTC", 1): 9}
        assert await refusal(usage.stub.RecordUsage(sent(counter(), counter(asset="ETH")))) is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_id": ""},
        {"key_id": "no key"},
        {"hour_unix": HOUR + 1},
        {"hour_unix": -HOUR_S},
        {"transport": 0},
        {"transport": 9},
        {"method": ""},
        {"asset": "btc"},
        {"outcome": 0},
        {"outcome": 7},
        {"count": 1 << 63},
        {"slot": 1 << 31},
    ],
)
async def test_a_counter_that_breaks_a_rule_is_refused(
    tmp_path: Path, database_url: str, wrong: dict[str, Any]
) -> None:
    async with serving(tmp_path, database_url) as usage:
        assert await refusal(usage.stub.RecordUsage(sent(counter(**wrong)))) is Reason.INVALID_FIELD


async def test_only_the_mesh_itself_records_and_leases(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        lease = usage_pb2.LeaseQuotaRequest(holder="gateway-1", key_id=KEY, wanted=1)
        for principal in (ACME, ADMIN, STRANGER):
            metadata = usage.as_(principal)
            for made in (
                usage.stub.RecordUsage(sent(counter()), metadata=metadata),
                usage.stub.LeaseQuota(lease, metadata=metadata),
            ):
                assert await refusal(made) is Reason.MISSING_SCOPE
        assert await logged(postgres) == {}
    async with serving(tmp_path, database_url, listen="127.0.0.1:0") as usage:
        assert await refusal(usage.stub.RecordUsage(sent(counter()))) is Reason.MISSING_KEY


async def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    nowhere = f"postgresql://trinity@/trinity?host={tmp_path}"
    # How long one waits for what never comes is not what this is about.
    async with serving(tmp_path, nowhere, postgres=PostgresConfig(acquire_timeout_ms=50)) as usage:
        assert await refusal(usage.stub.RecordUsage(sent(counter()), timeout=30)) is Reason.STORE_UNAVAILABLE


async def test_more_messages_than_may_wait_are_sent_away(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url, waiting_max=2) as usage, opened(database_url) as postgres:
        async with postgres.transaction() as session:
            await session.execute("SELECT pg_advisory_xact_lock($1)", 0x7573_6167_65)  # nobody else can write now
            calls = [asyncio.ensure_future(call(usage.stub.RecordUsage(sent(counter())))) for _ in range(3)]
            done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            (refused,) = done
            error = refused.exception()
            assert isinstance(error, TrinityError)
            assert error.reason is Reason.STORE_UNAVAILABLE
        assert [answer.recorded for answer in await asyncio.gather(*waiting)] == [1, 1]


async def test_a_quota_tells_ones_own_and_to_admins_anybodys(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        await add_key(postgres, KEY, quota=100)
        await add_key(postgres, OTHER_KEY, associate="else", quota=0)
        yesterday = HOUR - 24 * HOUR_S
        await call(
            usage.stub.RecordUsage(
                sent(
                    counter(count=30),
                    counter(slot=1, count=20, hour_unix=yesterday),
                    counter(slot=2, count=7, key_id=OTHER_KEY),
                    counter(slot=3, count=1_000, outcome=5),
                )
            )
        )
        own = await call(usage.stub.GetQuota(usage_pb2.GetQuotaRequest(), metadata=usage.as_(ACME)))
        assert (own.associate, own.monthly_quota, own.used, own.used_today, own.remaining) == ("acme", 100, 50, 30, 50)
        assert not own.unlimited
        assert own.reset_time.ToSeconds() == 1_790_812_800
        ask = usage_pb2.GetQuotaRequest(associate="else")
        for metadata in (usage.as_(ADMIN), usage.as_(STRANGER), ()):
            other = await call(usage.stub.GetQuota(ask, metadata=metadata))
            assert (other.used, other.remaining, other.unlimited) == (7, 0, True)
        await call(usage.stub.RecordUsage(sent(counter(count=300))))
        spent = await call(usage.stub.GetQuota(usage_pb2.GetQuotaRequest(), metadata=usage.as_(ACME)))
        assert (spent.used, spent.remaining) == (320, 0)


async def test_anothers_quota_is_like_one_that_does_not_exist(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        await add_key(postgres, OTHER_KEY, associate="else")
        said = []
        for name in ("else", "nobody"):
            with pytest.raises(TrinityError) as caught:
                await call(usage.stub.GetQuota(usage_pb2.GetQuotaRequest(associate=name), metadata=usage.as_(ACME)))
            said.append((caught.value.reason, caught.value.message.replace(name, "it")))
        assert said[0] == said[1]
        assert said[0][0] is Reason.UNKNOWN_ASSOCIATE
        ask = usage_pb2.GetQuotaRequest()
        assert await refusal(usage.stub.GetQuota(ask, metadata=usage.as_(PRICES_ONLY))) is Reason.MISSING_SCOPE
        assert await refusal(usage.stub.GetQuota(ask)) is Reason.INVALID_FIELD


async def test_a_quota_begins_anew_with_the_month(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        await add_key(postgres, KEY, quota=100)
        await call(usage.stub.RecordUsage(sent(counter(count=100))))
        ask = usage_pb2.LeaseQuotaRequest(holder="gateway-1", key_id=KEY, wanted=10)
        lease = await call(usage.stub.LeaseQuota(ask))
        assert (lease.allowed, lease.unlimited) == (0, False)
        usage.wall.jump_wall(LEFT_OF_MONTH_S - 1)
        last = await call(usage.stub.LeaseQuota(ask))
        assert last.allowed == 0
        assert last.expire_time == last.reset_time, "no lease outlives its month"
        usage.wall.jump_wall(1)
        first = await call(usage.stub.LeaseQuota(ask))
        assert first.allowed == 10
        assert first.reset_time.ToSeconds() == 1_790_812_800 + 31 * 86_400
        own = await call(usage.stub.GetQuota(usage_pb2.GetQuotaRequest(), metadata=usage.as_(ACME)))
        assert (own.used, own.used_today, own.remaining) == (0, 0, 100)


async def test_a_lease_of_a_key_that_nobody_knows_is_refused(tmp_path: Path, database_url: str) -> None:
    async with serving(tmp_path, database_url) as usage:
        ask = usage_pb2.LeaseQuotaRequest(holder="gateway-1", key_id=KEY, wanted=10)
        assert await refusal(usage.stub.LeaseQuota(ask)) is Reason.UNKNOWN_KEY


async def test_hours_are_closed_while_the_service_runs(tmp_path: Path, database_url: str) -> None:
    clock = SystemClock()
    async with serving(tmp_path, database_url, clock=clock, tidy_s=1), opened(database_url) as postgres:
        async with open_channel(f"unix:{tmp_path / 'usage.sock'}") as channel:
            record = record_by(channel, timeout_ms=5_000)
            now_hour = clock.unix_ns() // 10**9 // HOUR_S * HOUR_S
            await record(sent(counter(hour_unix=now_hour - 5 * HOUR_S), counter(slot=1, hour_unix=now_hour)))
        async with asyncio.timeout(30):
            while await postgres.fetch_value("SELECT count(*) FROM usage_counters") != 1:  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.05)
        assert await postgres.fetch_value("SELECT count(*) FROM usage_closed") == 1
        assert sum((await logged(postgres)).values()) == 10


async def test_what_a_ledger_counts_is_billed(tmp_path: Path, database_url: str) -> None:
    clock, spool = SystemClock(), tmp_path / "spool"
    async with serving(tmp_path, database_url) as usage, opened(database_url) as postgres:
        settings = CollectorConfig(flush_ms=20, drain_ms=30_000)
        async with metering(
            spool=spool, channel=usage.channel, ledger=LedgerConfig(), collector=settings, clock=clock
        ) as ledger:
            for number in range(1_000):
                ledger.count(ledger.slot(*(BTC if number % 4 else ETH)))
                if number % 100 == 0:
                    await asyncio.sleep(0)
        rows = await postgres.fetch("SELECT key_id, asset, sum(n)::bigint FROM usage_log GROUP BY 1, 2 ORDER BY 2")
        assert [tuple(row) for row in rows] == [(BTC[0], "BTC", 750), (ETH[0], "ETH", 250)]
    assert [path.parent.name for path in spool.rglob("*.uctr")] == ["done"]
