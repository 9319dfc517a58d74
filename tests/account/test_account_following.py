"""The follower of the database, on the twin and a clock that stands still: outages, set-backs, bounds of age."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from price.virtual_clock import VirtualClock, settle
from trinity.account.v1 import account_pb2
from trinity_account.board import KeyBoard
from trinity_account.following import Following
from trinity_account.watching import Watching
from trinity_core.accounts import ApiKey, Associate, Author, KeyRecord, Plan
from trinity_core.accounts_memory import MemoryAccounts
from trinity_core.errors import Reason, TrinityError

PLAN = Plan(plan="gold", rate_per_s=10, burst=20, scopes=("prices.read",))


class Moody(MemoryAccounts):
    """The twin, away when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.looks = 0
        self.page_size = 1_000

    async def version(self) -> int:
        self.looks += 1
        self._check()
        return await super().version()

    async def read_records(self, *, since: int, now_ns: int, take: Callable[[Sequence[KeyRecord]], None]) -> int:
        self._check()
        return await super().read_records(since=since, now_ns=now_ns, take=take)

    async def read_plan_records(self, *, since: int, now_ns: int, after: str, limit: int) -> Sequence[KeyRecord]:
        self._check()
        return await super().read_plan_records(
            since=since, now_ns=now_ns, after=after, limit=min(limit, self.page_size)
        )

    def _check(self) -> None:
        if self.away:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "away")


class Stage:
    """A follower and streams of its board."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.repo = Moody()
        self.board = KeyBoard(ended_max=2)
        self.changes: list[str] = []
        self.renewals = 0
        self.following = Following(
            repo=self.repo,
            board=self.board,
            clock=self.clock,
            poll_ms=250,
            gather_ms=20,
            silence_ms=5_000,
            copies_ms=900_000,
            changed=self._changed,
            renewed=self._renewed,
        )
        self.watching = Watching(
            board=self.board,
            following=self.following,
            clock=self.clock,
            heartbeat_ms=500,
            streams_max=3,
            batch_keys_max=2,
        )
        self._numbers = 0

    def _changed(self, key_ids: Sequence[str]) -> None:
        self.changes += key_ids
        self.watching.changed()

    def _renewed(self) -> None:
        self.renewals += 1
        self.watching.changed()

    @property
    def author(self) -> Author:
        return Author(self.clock.unix_ns())

    async def furnish(self) -> None:
        await self.repo.create_plan(PLAN, author=self.author)
        await self.repo.create_associate(Associate(associate="acme", plan="gold"), author=self.author)

    async def add(self, **changes: Any) -> str:
        self._numbers += 1
        key = ApiKey(
            key_id=f"{self._numbers:012d}",
            associate="acme",
            digest=self._numbers.to_bytes(32, "big"),
            create_time_ns=self.clock.unix_ns(),
            **changes,
        )
        await self.repo.create_key("acme", lambda _: key, author=self.author)
        return key.key_id

    async def revoke(self, key_id: str) -> None:
        await self.repo.revoke_key(key_id, lambda _: None, author=self.author)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.following.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def stage() -> Stage:
    made = Stage()
    await made.furnish()
    return made


class Reader:
    """Reads a stream as it comes."""

    def __init__(self, stage: Stage, resume_version: int = 0) -> None:
        self.batches: list[account_pb2.WatchKeysResponse] = []
        self.error: TrinityError | None = None
        self._stream = stage.watching.stream(resume_version)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for data in self._stream:
                self.batches.append(account_pb2.WatchKeysResponse.FromString(data))
        except TrinityError as error:
            self.error = error

    @property
    def reason(self) -> Reason | None:
        return None if self.error is None else self.error.reason

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_everything_is_read_once_and_then_only_what_changes(stage: Stage) -> None:
    first = await stage.add()
    async with stage.running():
        assert stage.following.loaded.is_set()
        assert (stage.renewals, stage.changes) == (1, [])
        second = await stage.add()
        await stage.clock.advance(0.26)
        assert stage.changes == [second]
        await stage.revoke(first)
        await stage.clock.advance(0.26)
        assert stage.changes == [second, first]
        assert stage.renewals == 1


async def test_an_announcement_is_heeded_at_once_and_many_are_gathered(stage: Stage) -> None:
    async with stage.running():
        looks = stage.repo.looks
        key_id = await stage.add()
        for _ in range(100):
            stage.following.wake()
            await settle(2)
        assert stage.changes == []
        await stage.clock.advance(0.021)
        assert stage.changes == [key_id]
        assert stage.repo.looks - looks <= 2


async def test_a_database_that_was_set_back_is_believed_and_keys_it_lacks_have_ended(stage: Stage) -> None:
    key_id = await stage.add()
    async with stage.running():
        for _ in range(5):
            await stage.add()
        await stage.clock.advance(0.26)
        reader = Reader(stage)
        await settle()
        restored = Moody()
        stage.repo = stage.following._repo = restored  # type: ignore[assignment]
        stage._numbers = 50
        await stage.furnish()
        survivor = await stage.add()
        assert await restored.version() < stage.board.version
        await stage.clock.advance(0.26)
        told = {record.key_id: record.revoked for batch in reader.batches[3:] for record in batch.keys}
        assert told[key_id] is True
        assert told[survivor] is False
        assert sorted(told.values()) == [False] + [True] * 6
        await reader.end()


async def test_while_the_database_is_away_the_board_ages_and_then_catches_up(stage: Stage) -> None:
    async with stage.running():
        stage.repo.away = True
        await stage.clock.advance(4.9)
        assert stage.following.is_current
        await stage.clock.advance(0.4)
        assert not stage.following.is_current
        assert stage.following.failures > 10
        key_id = await stage.add()
        stage.repo.away = False
        await stage.clock.advance(0.26)
        assert stage.following.is_current
        assert stage.following.failures == 0
        assert stage.changes == [key_id]


async def test_a_stream_ends_when_its_board_is_old(stage: Stage) -> None:
    await stage.add()
    async with stage.running():
        reader = Reader(stage)
        await stage.clock.advance(1)
        assert reader.error is None
        stage.repo.away = True
        await stage.clock.advance(4)
        assert reader.error is None
        beats = len(reader.batches)
        await stage.clock.advance(2)
        assert reader.reason is Reason.STORE_UNAVAILABLE
        assert len(reader.batches) - beats <= 3


async def test_who_resumes_from_an_old_board_is_told_so_and_who_has_nothing_gets_what_there_is(stage: Stage) -> None:
    key_id = await stage.add()
    async with stage.running():
        version = stage.board.version
        stage.repo.away = True
        await stage.clock.advance(6)
        resuming, empty = Reader(stage, version), Reader(stage)
        await settle()
        assert (resuming.reason, resuming.batches) == (Reason.STORE_UNAVAILABLE, [])
        assert empty.reason is Reason.STORE_UNAVAILABLE
        (batch,) = empty.batches
        assert [record.key_id for record in batch.keys] == [key_id]
        assert batch.snapshot_complete


async def test_what_was_known_last_is_given_for_a_while_only(stage: Stage) -> None:
    await stage.add()
    async with stage.running():
        stage.repo.away = True
        await stage.clock.advance(901)
        reader = Reader(stage)
        await settle()
        assert (reader.reason, reader.batches) == (Reason.STORE_UNAVAILABLE, [])


async def test_a_stream_waits_for_the_first_reading_but_not_for_a_database_that_is_away(stage: Stage) -> None:
    await stage.add()
    early = Reader(stage)
    await settle()
    assert early.batches == []
    async with stage.running():
        await settle()
        assert early.batches[0].snapshot_complete
    await early.end()
    other = Stage()
    other.repo.away = True
    async with other.running():
        reader = Reader(other)
        await settle()
        assert (reader.reason, reader.batches) == (Reason.STORE_UNAVAILABLE, [])


async def test_heartbeats_come_twice_a_second(stage: Stage) -> None:
    async with stage.running():
        reader = Reader(stage)
        await stage.clock.advance(3)
        assert 6 <= len(reader.batches) <= 8
        assert {batch.version for batch in reader.batches} == {stage.board.version}
        await reader.end()


async def test_a_slow_reader_is_sent_the_newest_state_of_each_key_once(stage: Stage) -> None:
    keys = [await stage.add() for _ in range(3)]
    async with stage.running():
        stream = stage.watching.stream(0)
        for _ in range(2):
            await anext(stream)
        for _ in range(10):
            plan = replace(PLAN, burst=stage.clock.monotonic_ns() % 1_000_000 + 1)
            await stage.repo.update_plan("gold", lambda _, plan=plan: plan, author=stage.author)
            await stage.clock.advance(0.26)
        await stage.revoke(keys[0])
        await stage.clock.advance(0.26)
        batches = [account_pb2.WatchKeysResponse.FromString(await anext(stream)) for _ in range(2)]
        told = [record.key_id for batch in batches for record in batch.keys]
        assert sorted(told) == sorted(keys)
        assert {record.key_id for batch in batches for record in batch.keys if record.revoked} == {keys[0]}
        assert batches[0].version < batches[1].version == stage.board.version
        await stream.aclose()
    assert stage.watching.streams == 0


async def test_streams_have_a_bound_and_none_opens_once_the_service_stops(stage: Stage) -> None:
    async with stage.running():
        readers = [Reader(stage) for _ in range(4)]
        await settle()
        assert [reader.reason for reader in readers] == [None, None, None, Reason.TOO_MANY_STREAMS]
        stage.watching.close()
        await settle()
        assert [reader.reason for reader in readers[:3]] == [Reason.STOPPING] * 3
        late = Reader(stage)
        await settle()
        assert late.reason is Reason.STOPPING


async def test_ended_keys_are_forgotten_in_time(stage: Stage) -> None:
    async with stage.running():
        for _ in range(5):
            await stage.revoke(await stage.add())
            await stage.clock.advance(0.26)
        await stage.add(expire_time_ns=stage.clock.unix_ns() + 10**9)
        await stage.clock.advance(0.26)
        assert len(stage.board) == 6
        await stage.clock.advance(61)
        assert len(stage.board) == 2


async def test_a_plan_with_many_keys_holds_up_nobody(stage: Stage) -> None:
    keys = [await stage.add() for _ in range(9)]
    stage.repo.page_size = 2
    gate = asyncio.Event()
    async with stage.running():
        reader = Reader(stage)
        await settle()
        version = stage.board.version
        slow = stage.following._repo.read_plan_records

        async def gated(**where: Any) -> Sequence[KeyRecord]:
            if where["after"]:
                await gate.wait()
            return await slow(**where)

        stage.following._repo.read_plan_records = gated  # type: ignore[method-assign]
        await stage.repo.update_plan("gold", lambda old: replace(old, burst=5), author=stage.author)
        await stage.clock.advance(0.26)
        assert stage.changes == keys[:2], "the others are not read yet"
        await stage.revoke(keys[8])
        await stage.clock.advance(0.26)
        assert stage.changes == [*keys[:2], keys[8]]
        assert stage.board.version == version, "something up to there is still missing"
        gate.set()
        await settle()
        assert sorted(stage.changes) == sorted(keys)
        await stage.clock.advance(0.26)
        assert stage.board.version == await stage.repo.version()
        await stage.clock.advance(0.6)
        told = {record.key_id: record for batch in reader.batches for record in batch.keys}
        assert [told[key_id].revoked for key_id in keys] == [False] * 8 + [True]
        assert [told[key_id].burst for key_id in keys] == [5] * 9
        assert reader.batches[-1].version == stage.board.version
        await reader.end()


async def test_a_plans_keys_are_read_again_when_the_database_fell_in_between(stage: Stage) -> None:
    keys = [await stage.add() for _ in range(5)]
    stage.repo.page_size = 2
    async with stage.running():
        pages = stage.following._repo.read_plan_records
        calls = 0

        async def falling(**where: Any) -> Sequence[KeyRecord]:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise TrinityError(Reason.STORE_UNAVAILABLE, "away")
            return await pages(**where)

        stage.following._repo.read_plan_records = falling  # type: ignore[method-assign]
        await stage.repo.update_plan("gold", lambda old: replace(old, burst=5), author=stage.author)
        await stage.clock.advance(0.26)
        assert stage.board.version < await stage.repo.version()
        await stage.clock.advance(0.6)
        assert sorted(stage.changes) == sorted(keys)
        assert stage.board.version == await stage.repo.version()
