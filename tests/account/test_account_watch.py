"""Streams of keys on a real database: changes reach replicas at once, whatever falls and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from account.databases import Databases
from account.small_account import Replica, SmallAccount, Switch
from processes import until
from stores import MISSING, programs, running_stores
from trinity.account.v1 import account_pb2 as pb
from trinity_account.ensure import ensure_key
from trinity_core.errors import Reason, TrinityError


async def made_key(account: SmallAccount, associate: str = "demo") -> str:
    key_id: str = (await account.key(associate)).key.key_id
    return key_id


async def revoke(account: SmallAccount, key_id: str) -> None:
    await account.caller()(pb.RevokeKeyRequest(key_id=key_id))


async def test_a_stream_opens_with_every_valid_key_and_says_that_it_is_complete(account: SmallAccount) -> None:
    keys = [await made_key(account) for _ in range(3)]
    await revoke(account, keys[0])
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(keys[2]) and not replica.knows(keys[0]))
        assert replica.complete.is_set()
        assert replica.batches[0].snapshot


async def test_an_empty_mesh_has_a_complete_snapshot_too(account: SmallAccount) -> None:
    async with Replica().following(account.caller()) as replica:
        await replica.until(replica.complete.is_set)
        assert replica.keys == {}
        assert replica.version > 0


async def test_a_revoked_key_is_pushed_and_not_polled_for(database_url: str, tmp_path: Path) -> None:
    slow: dict[str, Any] = {"poll_ms": 10_000, "silence_ms": 60_000}
    async with (
        SmallAccount(tmp_path, database_url, name="a", **slow).running() as account,
        SmallAccount(tmp_path, database_url, name="b", **slow).running() as author,
        Replica().following(account.caller()) as replica,
    ):
        await until(lambda: account.part.notices.connected, "announcements are heard")
        key_id = await made_key(author)
        await replica.until(lambda: replica.knows(key_id))
        began = time.monotonic()
        await revoke(author, key_id)
        await replica.until(lambda: not replica.knows(key_id))
        # Far less than the pace of the poll, and far more than a busy machine needs.
        assert time.monotonic() - began < 5


async def test_a_suspended_associates_keys_stop_and_come_back(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    theirs, others = await made_key(account, "acme"), await made_key(account, "demo")
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(theirs) and replica.knows(others))
        suspend = pb.UpdateAssociateRequest(associate=pb.Associate(associate="acme", suspended=True))
        await account.caller()(suspend)
        await replica.until(lambda: not replica.knows(theirs))
        assert replica.knows(others)
        suspend.associate.suspended = False
        suspend.update_mask.paths.append("suspended")
        await account.caller()(suspend)
        await replica.until(lambda: replica.knows(theirs))


async def test_silence_is_broken_by_heartbeats(account: SmallAccount) -> None:
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: len(replica.batches) >= 4)
        beats = replica.batches[1:]
        assert all(not batch.keys and not batch.snapshot and batch.version == replica.version for batch in beats)


async def test_a_replica_resumes_and_is_told_only_what_it_missed(account: SmallAccount) -> None:
    first, second = await made_key(account), await made_key(account)
    replica = Replica()
    async with replica.following(account.caller()):
        await replica.until(lambda: replica.knows(first) and replica.knows(second))
    await revoke(account, first)
    replica.batches.clear()
    async with replica.following(account.caller(), resume=True):
        await replica.until(lambda: not replica.knows(first))
        assert replica.knows(second)
        assert not any(batch.snapshot for batch in replica.batches)
        assert {record.key_id for batch in replica.batches for record in batch.keys} == {first}


async def test_a_version_that_nobody_gave_begins_anew(account: SmallAccount) -> None:
    key_id = await made_key(account)
    replica = Replica()
    replica.version = 1 << 40
    async with replica.following(account.caller(), resume=True):
        await replica.until(replica.complete.is_set)
        await replica.until(lambda: replica.knows(key_id))


async def test_a_large_snapshot_comes_in_parts(database_url: str, tmp_path: Path) -> None:
    async with SmallAccount(tmp_path, database_url, batch_keys_max=10).running() as account:
        await account.part.postgres.execute(
            "INSERT INTO trinity.api_keys "
            "(key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
            "SELECT lpad(n::text, 12, '0'), 'demo', '', sha256(n::text::bytea), '{}', '{}', now(), 2 "
            "FROM generate_series(1, 95) n; UPDATE trinity.account_version SET version = 2"
        )
        await account.part.following.look()
        async with Replica().following(account.caller()) as replica:
            await replica.until(replica.complete.is_set)
            parts = [batch for batch in replica.batches if batch.snapshot]
            assert [len(batch.keys) for batch in parts] == [10] * 9 + [5]
            assert [batch.snapshot_complete for batch in parts] == [False] * 9 + [True]
            assert len(replica.keys) == 95
            replica.batches.clear()
            await account.caller()(pb.UpdatePlanRequest(plan=pb.Plan(plan="demo", burst=5)))
            await replica.until(lambda: all(record.burst == 5 for record in replica.keys.values()))
            assert all(len(batch.keys) <= 10 for batch in replica.batches)
            await replica.until(lambda: replica.version == 3)
            told = [batch for batch in replica.batches if batch.version < 3]
            assert sum(len(batch.keys) for batch in told) >= 85, "only the last batch tells of the new version"


async def test_changes_of_another_service_on_the_same_database_arrive(database_url: str, tmp_path: Path) -> None:
    async with (
        SmallAccount(tmp_path, database_url, name="a").running() as one,
        SmallAccount(tmp_path, database_url, name="b").running() as two,
        Replica().following(one.caller()) as first,
        Replica().following(two.caller()) as second,
    ):
        for author in (one, two):
            key_id = await made_key(author)
            await first.until(lambda key_id=key_id: first.knows(key_id))
            await second.until(lambda key_id=key_id: second.knows(key_id))
        await revoke(one, key_id)
        await first.until(lambda: not first.knows(key_id))
        await second.until(lambda: not second.knows(key_id))


async def test_a_replica_moves_between_services_without_beginning_anew(database_url: str, tmp_path: Path) -> None:
    # It hears of nothing by itself for a long time.
    behind = SmallAccount(tmp_path, database_url, name="b", poll_ms=10_000, silence_ms=60_000)
    behind.part.notices._channels = ()
    async with SmallAccount(tmp_path, database_url, name="a").running() as ahead, behind.running():
        await until(lambda: behind.part.notices.connected, "it has looked for the last time")
        replica = Replica()
        async with replica.following(ahead.caller()):
            key_id = await made_key(ahead)
            await replica.until(lambda: replica.knows(key_id))
        replica.batches.clear()
        async with replica.following(behind.caller(), resume=True):
            await replica.until(lambda: len(replica.batches) > 0)
            assert not replica.batches[0].snapshot
            assert replica.knows(key_id)


async def test_changes_arrive_without_announcements_too(database_url: str, tmp_path: Path) -> None:
    """As behind a pooler that shares connections between transactions."""
    account = SmallAccount(tmp_path, database_url, name="deaf")
    account.part.notices._channels = ()
    async with (
        account.running(),
        SmallAccount(tmp_path, database_url, name="author").running() as author,
        Replica().following(account.caller()) as replica,
    ):
        key_id = await made_key(author)
        await replica.until(lambda: replica.knows(key_id))


async def test_changes_made_by_hand_in_the_database_arrive(account: SmallAccount) -> None:
    from account.small_account import SECRETS
    from trinity_core.keys import mint

    text = mint(env="test", random_bytes=os.urandom)
    async with Replica().following(account.caller()) as replica:
        await replica.until(replica.complete.is_set)
        await ensure_key(
            account.part.repo,
            key_text=text.text,
            associate="demo",
            name="demo",
            scopes=["prices.read"],
            pepper=SECRETS.pepper,
            now_ns=time.time_ns(),
        )
        await replica.until(lambda: replica.knows(text.key_id))


@pytest.fixture
def own_databases() -> Iterator[Databases]:
    """Databases on a server that a test may kill."""
    if programs("wheels") is None:
        pytest.skip(MISSING["wheels"])
    with running_stores("wheels") as stores:
        yield Databases(stores)


async def test_a_watcher_outlives_a_restart_of_the_database_and_misses_nothing(
    own_databases: Databases, tmp_path: Path
) -> None:
    async with (
        own_databases.fresh() as database_url,
        SmallAccount(tmp_path, database_url, silence_ms=60_000).running() as account,
    ):
        first, second = await made_key(account), await made_key(account)
        async with Replica().following(account.caller()) as replica:
            await replica.until(lambda: replica.knows(first) and replica.knows(second))
            admin = await asyncpg.connect(own_databases.stores.admin_url)
            postmaster = int((await admin.fetchval("SELECT pg_read_file('postmaster.pid')")).splitlines()[0])
            os.kill(postmaster, signal.SIGKILL)
            admin.terminate()
            # The supervisor brings it back; a change waits for that, up to its patience.
            await until_done(lambda: account.caller()(pb.RevokeKeyRequest(key_id=first)))
            await replica.until(lambda: not replica.knows(first))
            third = await made_key(account)
            await replica.until(lambda: replica.knows(third))
            assert replica.knows(second)
            assert replica.ended is None, "the stream itself has not noticed"
            assert sum(batch.snapshot_complete for batch in replica.batches) == 1


async def until_done(call: Any) -> Any:
    """Call again while the store is away; the calls here may be repeated."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except TrinityError as error:
                assert error.reason is Reason.STORE_UNAVAILABLE
                await asyncio.sleep(0.05)


async def test_a_stream_ends_when_the_database_is_silent_for_too_long_and_then_resumes(
    databases: Databases, database_url: str, tmp_path: Path
) -> None:
    with Switch(database_url, databases.stores.admin_url) as switch:
        settings: dict[str, Any] = {"silence_ms": 1_000, "acquire_timeout_ms": 200}
        async with SmallAccount(tmp_path, switch.url, **settings).running() as account:
            key_id = await made_key(account)
            replica = Replica()
            async with replica.following(account.caller()):
                await replica.until(lambda: replica.knows(key_id))
                await switch.off()
                await replica.until(lambda: replica.ended is not None)
            assert isinstance(replica.ended, TrinityError)
            assert replica.ended.reason is Reason.STORE_UNAVAILABLE
            assert replica.ended.retry_after_ms
            with pytest.raises(TrinityError, match="silent"):
                await anext(account.caller().watch(replica.version))
            fresh = Replica()
            async with fresh.following(account.caller()):
                await fresh.until(lambda: fresh.ended is not None)
            assert fresh.knows(key_id), "who has nothing is given what was known last"
            assert isinstance(fresh.ended, TrinityError)
            assert fresh.ended.reason is Reason.STORE_UNAVAILABLE
            switch.on()
            await until_done(lambda: account.caller()(pb.RevokeKeyRequest(key_id=key_id)))
            await until_done(lambda: anext(account.caller().watch(replica.version)))
            replica.batches.clear()
            async with replica.following(account.caller(), resume=True):
                await replica.until(lambda: not replica.knows(key_id))
            assert not any(batch.snapshot for batch in replica.batches)


async def test_calls_say_that_the_database_is_away_and_sessions_open_all_the_same(
    databases: Databases, database_url: str, tmp_path: Path
) -> None:
    with Switch(database_url, databases.stores.admin_url) as switch:
        async with SmallAccount(tmp_path, switch.url, acquire_timeout_ms=200).running() as account:
            _, demo = await account.tenant("acme")
            await account.part.following.look()
            await switch.off()
            for request in (pb.ListKeysRequest(), pb.CreateKeyRequest(), pb.GetAssociateRequest(associate="acme")):
                with pytest.raises(TrinityError) as caught:
                    await demo(request)
                assert caught.value.reason is Reason.STORE_UNAVAILABLE
            assert (await demo(pb.CreateUdpSessionRequest())).session_id


async def test_streams_are_bounded_and_end_with_the_service(database_url: str, tmp_path: Path) -> None:
    account = SmallAccount(tmp_path, database_url, streams_max=2)
    async with account.running():
        async with Replica().following(account.caller()) as one, Replica().following(account.caller()) as two:
            await one.until(one.complete.is_set)
            await two.until(two.complete.is_set)
            with pytest.raises(TrinityError) as caught:
                await anext(account.caller().watch())
            assert caught.value.reason is Reason.TOO_MANY_STREAMS
        last = Replica()
        await until(lambda: not account.part.watching.streams, "both streams are closed")
        following = last.following(account.caller())
        await following.__aenter__()
        await last.until(last.complete.is_set)
        account.part.watching.close()
        await last.until(lambda: last.ended is not None)
        assert isinstance(last.ended, TrinityError)
        assert last.ended.reason is Reason.STOPPING
        await following.__aexit__(None, None, None)
