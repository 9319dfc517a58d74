"""A keyring that follows a real server: revocations arrive, lost streams are resumed, nothing known is forgotten."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from admission.scripted_account import ScriptedAccount, account_server
from admission.stage import DAY_MS, PEPPER, change, make_key, record_of, snapshot
from price.virtual_clock import VirtualClock, until, until_moving
from trinity_admission.key_watch import KeyWatch
from trinity_admission.keyring import Keyring
from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError

A, B = make_key(1), make_key(2)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.account = ScriptedAccount()
        self.keyring = Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=100)
        self.told = 0

    def watch(self) -> KeyWatch:
        def changed() -> None:
            self.told += 1

        return KeyWatch(
            f"unix:{self.folder}/account.sock",
            keyring=self.keyring,
            clock=self.clock,
            backoff=Backoff(rng=random.Random(1)),
            on_change=changed,
        )

    def knows(self, key_text: str) -> bool:
        try:
            self.keyring.find(key_text, mono_ns=self.clock.monotonic_ns(), unix_ns=self.clock.unix_ns())
        except TrinityError:
            return False
        return True


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def stage(folder: Path) -> AsyncIterator[Stage]:
    made = Stage(folder)
    async with account_server(made.account, folder):
        yield made


async def test_the_first_stream_begins_with_a_snapshot_and_then_changes_come(stage: Stage) -> None:
    async with stage.watch() as watch:
        await until(lambda: stage.account.streams)
        stream = stage.account.streams[0]
        assert stream.resume == 0
        stream.say(snapshot(record_of(A), complete=False))
        stream.say(snapshot(record_of(B)))
        async with asyncio.timeout(20):
            await watch.ready()
        assert stage.knows(A.text)
        assert stage.knows(B.text)
        assert watch.state.connected
        assert watch.state.keys == 2
        stream.say(change(record_of(A, revoked=True), version=8))
        await until(lambda: not stage.knows(A.text))
        assert stage.knows(B.text)
        assert stage.told == 2


async def test_a_lost_stream_is_resumed_and_what_is_known_goes_on_meanwhile(stage: Stage) -> None:
    stage.account.opening = snapshot(record_of(A))
    async with stage.watch() as watch:
        await until(lambda: watch.state.connected)
        stage.account.opening = None
        stage.account.streams[0].fail(TrinityError(Reason.STORE_UNAVAILABLE, "no store"))
        await until(lambda: not watch.state.connected)
        assert stage.knows(A.text)
        assert "no store" in watch.state.detail
        await until_moving(stage.clock, lambda: len(stage.account.streams) == 2)
        assert stage.account.streams[1].resume == 7
        stage.account.streams[1].say(change(record_of(A, revoked=True), version=8))
        await until(lambda: not stage.knows(A.text))
        assert watch.state.failures == 0


async def test_a_silent_stream_is_cut_and_opened_again(stage: Stage) -> None:
    stage.account.opening = snapshot(record_of(A))
    async with stage.watch() as watch:
        await until(lambda: watch.state.connected)
        await stage.clock.advance(2.9)
        assert watch.state.connected
        stage.account.streams[0].say(change(version=7))
        await until(lambda: watch.state.age_ms == 0)
        await stage.clock.advance(2.9)
        assert watch.state.connected, "a heartbeat gives it time"
        await stage.clock.advance(0.5)
        await until_moving(stage.clock, lambda: len(stage.account.streams) == 2)
        assert watch.state.detail == "nothing came for 3 s"
        await until(lambda: stage.account.streams[0].closed)


async def test_a_stream_that_breaks_its_rules_is_followed_by_a_whole_snapshot(stage: Stage) -> None:
    stage.account.opening = snapshot(record_of(A), record_of(B))
    async with stage.watch() as watch:
        await until(lambda: watch.state.connected)
        stage.account.opening = None
        stage.account.streams[0].say(change(record_of(B, revoked=True), version=3))
        await until_moving(stage.clock, lambda: len(stage.account.streams) == 2)
        assert "broke its rules" in watch.state.detail
        assert stage.account.streams[1].resume == 0
        assert not watch.state.connected
        assert stage.knows(A.text)
        stage.account.streams[1].say(snapshot(record_of(A)))
        await until(lambda: not stage.knows(B.text))
        assert watch.state.connected


async def test_a_server_that_starts_later_is_found(folder: Path) -> None:
    stage = Stage(folder)
    stage.account.opening = snapshot(record_of(A))
    async with stage.watch() as watch:
        await until_moving(stage.clock, lambda: watch.state.failures > 2)
        async with account_server(stage.account, folder):
            await until_moving(stage.clock, lambda: watch.state.connected)
            assert stage.knows(A.text)


async def test_a_refusal_is_asked_again(stage: Stage) -> None:
    async with stage.watch() as watch:
        await until(lambda: stage.account.streams)
        stage.account.streams[0].fail(TrinityError(Reason.MISSING_SCOPE, "not you"))
        stage.account.opening = snapshot(record_of(A))
        await until_moving(stage.clock, lambda: watch.state.connected)
        assert stage.knows(A.text)
