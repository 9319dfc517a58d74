"""Copies of keys in a real Valkey: there when the database is away, never better than the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from account.databases import Databases
from account.small_account import SECRETS, Replica, SmallAccount, Switch, until_true
from price.valkey import ValkeyServer
from processes import until
from trinity.account.v1 import account_pb2 as pb
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import parse
from trinity_mesh.clock import SystemClock
from trinity_storage.account_cache import LIFE_S, AccountCache
from trinity_storage.valkey import Valkey, ValkeyConfig

SECRET = b"s" * 32


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as running:
        yield running


@pytest.fixture
async def valkey(server: ValkeyServer) -> AsyncIterator[Valkey]:
    async with Valkey(ValkeyConfig(timeout_ms=5_000), url=server.url, clock=SystemClock()) as opened:
        yield opened


async def stored_keys(valkey: Valkey) -> set[str]:
    found: list[bytes] = await valkey.call("KEYS", "*")
    return {name.decode() for name in found}


async def test_copies_come_back_and_live_for_a_day(valkey: Valkey) -> None:
    cache = AccountCache(valkey, secret=SECRET)
    records = {f"{number:012d}": bytes([number % 256]) * (number % 50) for number in range(1_200)}
    await cache.store_keys(records)
    await cache.store_keys({})
    assert await cache.load_keys() == records
    assert 0 < await valkey.call("TTL", "apikey:000000000007") <= LIFE_S


async def test_a_copy_that_we_did_not_write_is_none(valkey: Valkey) -> None:
    cache = AccountCache(valkey, secret=SECRET)
    await cache.store_keys({"000000000001": b"one", "000000000002": b"two"})
    one: bytes = await valkey.call("GET", "apikey:000000000001")
    for name, value in (
        ("apikey:000000000002", one),
        ("apikey:000000000003", one),
        ("apikey:000000000004", b""),
        ("apikey:000000000005", one[:16] + b"other"),
        ("apikey:\xff", one),
        ("apikey:", one),
    ):
        await valkey.call("SET", name.encode("latin-1"), value)
    assert await cache.load_keys() == {"000000000001": b"one"}
    assert await AccountCache(valkey, secret=b"o" * 32).load_keys() == {}


async def test_copies_of_strangers_are_dropped_and_nothing_else(valkey: Valkey) -> None:
    cache = AccountCache(valkey, secret=SECRET)
    await cache.store_keys({f"{number:012d}": b"x" for number in range(700)})
    await valkey.call("SET", "price:BTC", b"1")
    assert await cache.drop_keys(lambda key_id: key_id == "000000000005") == 699
    assert await stored_keys(valkey) == {"apikey:000000000005", "price:BTC"}


async def test_a_cache_that_is_away_is_said_to_be(server: ValkeyServer, valkey: Valkey) -> None:
    cache = AccountCache(valkey, secret=SECRET)
    server.kill()
    for call in (cache.load_keys(), cache.store_keys({"a": b"b"}), cache.drop_keys(lambda _: True)):
        with pytest.raises(TrinityError) as caught:
            await call
        assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def copies(valkey: Valkey) -> dict[str, pb.KeyRecord]:
    found = await AccountCache(valkey, secret=SECRETS.pepper).load_keys()
    return {key_id: pb.KeyRecord.FromString(record) for key_id, record in found.items()}


async def test_keys_are_copied_as_they_change(
    server: ValkeyServer, valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    await AccountCache(valkey, secret=SECRETS.pepper).store_keys({"000000000000": b"of an earlier mesh"})
    async with SmallAccount(tmp_path, database_url, valkey_url=server.url).running() as account:
        made = await account.key("demo")
        caching = account.part.caching
        assert caching is not None

        async def copied(condition: Any) -> None:
            async def holds() -> bool:
                return bool(condition(await copies(valkey)))

            await until_true(holds)

        await copied(lambda found: set(found) == {made.key.key_id})
        digest = (await copies(valkey))[made.key.key_id].digest
        assert digest == parse(made.secret).digest(SECRETS.pepper)
        await account.caller()(pb.RevokeKeyRequest(key_id=made.key.key_id))
        await copied(lambda found: found[made.key.key_id].revoked)
        await until(lambda: caching.waiting == 0, "everything is copied")


async def test_a_cache_that_falls_costs_nothing_and_has_everything_when_it_is_back(
    server: ValkeyServer, valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    async with SmallAccount(tmp_path, database_url, valkey_url=server.url).running() as account:
        server.kill()
        keys = [(await account.key("demo")).key.key_id for _ in range(3)]
        async with Replica().following(account.caller()) as replica:
            await replica.until(lambda: all(replica.knows(key_id) for key_id in keys))
        server.start()

        async def all_are_copied() -> bool:
            try:
                return set(await copies(valkey)) == set(keys)
            except TrinityError:
                return False

        await until_true(all_are_copied)


async def test_a_service_that_starts_without_its_database_gives_copies_to_who_has_nothing(
    server: ValkeyServer, valkey: Valkey, databases: Databases, database_url: str, tmp_path: Path
) -> None:
    with Switch(database_url, databases.stores.admin_url) as switch:
        async with SmallAccount(tmp_path, switch.url, valkey_url=server.url).running() as account:
            kept, gone = [(await account.key("demo")).key.key_id for _ in range(2)]

            async def both_are_copied() -> bool:
                return set(await copies(valkey)) == {kept, gone}

            await until_true(both_are_copied)
        await switch.off()
        starting = SmallAccount(tmp_path, switch.url, valkey_url=server.url, acquire_timeout_ms=200)
        async with starting.running(loaded=False) as account:
            await until(lambda: len(account.part.board) == 2, "copies are known")
            replica = Replica()
            async with replica.following(account.caller()):
                await replica.until(lambda: replica.ended is not None)
            assert isinstance(replica.ended, TrinityError)
            assert replica.ended.reason is Reason.STORE_UNAVAILABLE
            assert replica.knows(kept)
            assert replica.knows(gone)
            # Meanwhile another service on the database revokes one.
            async with SmallAccount(tmp_path, database_url, name="b").running() as other:
                await other.caller()(pb.RevokeKeyRequest(key_id=gone))
            switch.on()
            await asyncio.wait_for(account.part.following.loaded.wait(), 30)
            replica = Replica()
            async with replica.following(account.caller()):
                await replica.until(replica.complete.is_set)
            assert replica.knows(kept)
            assert not replica.knows(gone)

            async def the_copy_has_ended() -> bool:
                return (await copies(valkey))[gone].revoked

            await until_true(the_copy_has_ended)
