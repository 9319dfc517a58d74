"""Settings of the running mesh: written by version, heard at once, copied to the cache, heeded without a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from account.databases import open_postgres
from account.small_account import SmallAccount, until_true
from price.valkey import ValkeyServer
from processes import until
from trinity.account.v1 import account_pb2 as pb
from trinity_account.shared import SharedSettings, settings_of
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_storage.app_config import AppConfig, Setting
from trinity_storage.valkey import Valkey, ValkeyConfig


@pytest.fixture
async def config(database_url: str) -> AsyncIterator[AppConfig]:
    async with open_postgres(database_url) as postgres:
        yield AppConfig(postgres)


async def reason_of(call: Awaitable[object]) -> Reason:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value.reason


async def test_a_setting_is_kept_with_its_version(config: AppConfig) -> None:
    assert await config.read() == {}
    assert await config.write("a.b", {"x": [1, "é", None]}) == Setting({"x": [1, "é", None]}, 1)
    assert await config.write("a.b", 7) == Setting(7, 2)
    assert await config.write("a", False) == Setting(False, 1)
    assert await config.read() == {"a": Setting(False, 1), "a.b": Setting(7, 2)}
    assert await config.remove("a.b") is True
    assert await config.remove("a.b") is False
    assert await config.read() == {"a": Setting(False, 1)}


async def test_of_two_who_read_the_same_version_one_writes(config: AppConfig) -> None:
    assert await config.write("a", 1, version=0) == Setting(1, 1)
    assert await reason_of(config.write("a", 2, version=0)) is Reason.STORE_CONFLICT
    done = await asyncio.gather(*(config.write("a", n, version=1) for n in range(5)), return_exceptions=True)
    written = [each for each in done if isinstance(each, Setting)]
    assert [each.version for each in written] == [2]
    assert await config.read() == {"a": written[0]}
    assert await reason_of(config.write("b", 1, version=3)) is Reason.STORE_CONFLICT


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", 1),
        ("A", 1),
        ("a..b", 1),
        ("_a", 1),
        ("a" * 201, 1),
        ("a", "\0"),
        ("a", {1, 2, object()}),
        ("a", "x" * 70_000),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_no_setting_is_refused(config: AppConfig, key: str, value: Any) -> None:
    assert await reason_of(config.write(key, value)) is Reason.INVALID_FIELD
    assert await config.read() == {}


def test_a_value_that_makes_no_sense_leaves_the_one_before() -> None:
    before = SharedSettings(keys_per_associate_max=7, key_lifetime_s_max=60)
    wrong: list[Any] = ["8", 0, -1, 1.5, True, None, [], 10**9]
    for value in wrong:
        found = {"account.keys_per_associate_max": Setting(value, 1), "other.thing": Setting("x", 1)}
        assert settings_of(found, before) == SharedSettings(keys_per_associate_max=7)
    assert settings_of({"account.key_lifetime_s_max": Setting(9, 1)}, before) == SharedSettings(key_lifetime_s_max=9)
    assert settings_of({}, before) == SharedSettings()


async def test_a_change_is_heeded_without_a_restart(account: SmallAccount, config: AppConfig) -> None:
    shared = account.part.shared
    assert shared.current == SharedSettings()
    await config.write("account.key_lifetime_s_max", 3_600)
    await until(lambda: shared.current.key_lifetime_s_max == 3_600, "the change is heard")
    made = (await account.key("demo")).key
    assert made.expire_time.seconds - made.create_time.seconds == 3_600
    long = pb.CreateKeyRequest(associate="demo", lifetime=Duration(seconds=3_601))
    assert await reason_of(account.caller()(long)) is Reason.INVALID_FIELD
    await config.remove("account.key_lifetime_s_max")
    await until(lambda: shared.current.key_lifetime_s_max == 0, "the default holds again")
    assert not (await account.key("demo")).key.HasField("expire_time")


async def test_a_new_bound_holds_for_successors_too(account: SmallAccount, config: AppConfig) -> None:
    endless = (await account.key("demo")).key
    long = (await account.key("demo", lifetime=Duration(seconds=9_000))).key
    short = (await account.key("demo", lifetime=Duration(seconds=100))).key
    await config.write("account.key_lifetime_s_max", 3_600)
    await account.part.shared.look()
    for key, lifetime_s in ((endless, 3_600), (long, 3_600), (short, 100)):
        new = (await account.caller()(pb.RotateKeyRequest(key_id=key.key_id))).key
        assert new.expire_time.seconds - new.create_time.seconds == lifetime_s


async def test_a_change_made_by_hand_is_seen(account: SmallAccount) -> None:
    await account.part.postgres.execute(
        "INSERT INTO trinity.app_config (key, value) VALUES ('account.keys_per_associate_max', '5')"
    )
    await until(lambda: account.part.shared.current.keys_per_associate_max == 5, "the poll sees it")


async def test_the_cache_has_a_copy_of_all_settings(config: AppConfig, database_url: str, tmp_path: Path) -> None:
    await config.write("other.thing", ["x"])
    with ValkeyServer() as server:
        async with (
            SmallAccount(tmp_path, database_url, valkey_url=server.url).running(),
            Valkey(ValkeyConfig(timeout_ms=5_000), url=server.url, clock=SystemClock()) as valkey,
        ):

            async def copied(expected: Any) -> None:
                async def holds() -> bool:
                    return bool(json.loads(await valkey.call("GET", "app:config") or b"null") == expected)

                await until_true(holds)

            await copied({"other.thing": {"value": ["x"], "version": 1}})
            await config.write("account.keys_per_associate_max", 9)
            await copied(
                {
                    "account.keys_per_associate_max": {"value": 9, "version": 1},
                    "other.thing": {"value": ["x"], "version": 1},
                }
            )
