"""The cache on real servers: quick answers or quick refusals, never a storm."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from processes import GENEROUS_S
from stores import Stores
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError
from trinity_storage.valkey import Valkey, ValkeyConfig


@pytest.fixture
async def valkey(stores: Stores) -> AsyncIterator[Valkey]:
    async with Valkey(ValkeyConfig(timeout_ms=5_000), url=stores.valkey_url, clock=SystemClock()) as opened:
        yield opened


async def reason_of(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def test_commands_answer_in_bytes_numbers_and_none(valkey: Valkey) -> None:
    assert await valkey.call("SET", "valkey:a", b"\x00\xff", "PX", 60_000) == b"OK"
    assert await valkey.call("GET", "valkey:a") == b"\x00\xff"
    assert await valkey.call("GET", "valkey:none") is None
    assert await valkey.call("DEL", "valkey:a") == 1


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_pipeline_answers_in_order(valkey: Valkey, atomic: bool) -> None:
    commands = [("SET", "valkey:p", 1), ("INCR", "valkey:p"), ("GET", "valkey:p"), ("DEL", "valkey:p")]
    assert (await valkey.pipeline(commands, atomic=atomic))[1:] == [2, b"2", 1]
    assert await valkey.pipeline([]) == []


async def test_a_refused_command_is_a_mistake_of_ours_and_the_server_is_still_asked(valkey: Valkey) -> None:
    await valkey.call("SET", "valkey:text", "secret")
    for call in (valkey.call("INCR", "valkey:text"), valkey.call("FLUSHALL"), valkey.pipeline([("HGET", "x")])):
        error = await reason_of(call)
        assert error.reason is Reason.INTERNAL
        assert "secret" not in error.message
    assert await valkey.call("PING") == b"PONG"
    await valkey.call("DEL", "valkey:text")


async def test_the_server_tells_a_version_that_will_do(valkey: Valkey) -> None:
    assert int((await valkey.version()).split(".")[0]) >= 7


async def test_more_callers_than_connections_are_all_answered(stores: Stores) -> None:
    config = ValkeyConfig(pool_size_max=2, timeout_ms=5_000)
    async with Valkey(config, url=stores.valkey_url, clock=SystemClock()) as valkey:
        answers = await asyncio.gather(*(valkey.call("ECHO", number) for number in range(200)))
        assert answers == [str(number).encode() for number in range(200)]


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="trinity-") as directory:
        yield Path(directory)


async def test_a_server_that_is_away_is_refused_at_once_and_found_when_it_comes(stores: Stores, home: Path) -> None:
    link = home / "valkey.sock"
    async with Valkey(ValkeyConfig(timeout_ms=5_000), url=f"unix://{link}", clock=SystemClock()) as valkey:
        error = await reason_of(valkey.call("PING"))
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert error.retry_after_ms is not None
        link.symlink_to(unquote(stores.valkey_url.removeprefix("unix://")))
        await eventually_answers(valkey)


async def test_a_server_that_never_answers_costs_no_more_than_the_timeout_and_is_seldom_asked(home: Path) -> None:
    connections = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_unix_server(silent, home / "s")
    async with server, Valkey(ValkeyConfig(timeout_ms=50), url=f"unix://{home}/s", clock=SystemClock()) as valkey:
        started = asyncio.get_running_loop().time()
        for _ in range(500):
            assert (await reason_of(valkey.call("PING"))).reason is Reason.STORE_UNAVAILABLE
        assert asyncio.get_running_loop().time() - started < GENEROUS_S, "most calls were refused at once"
        assert connections <= 50


async def test_a_call_that_was_given_up_never_answers_another(valkey: Valkey) -> None:
    for number in range(50):
        given_up = asyncio.create_task(valkey.call("ECHO", "wrong"))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert await valkey.call("ECHO", number) == str(number).encode()


async def eventually_answers(valkey: Valkey) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while True:
            try:
                assert await valkey.call("PING") == b"PONG"
            except TrinityError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_a_closed_cache_says_so(valkey: Valkey) -> None:
    await valkey.close()
    assert (await reason_of(valkey.call("PING"))).reason is Reason.STORE_UNAVAILABLE


def test_an_address_that_cannot_be_used_says_why() -> None:
    with pytest.raises(ConfigError, match="valkey.url cannot be used: Port"):
        Valkey(ValkeyConfig(), url="redis://:hunter2@host:port/0", clock=SystemClock())


@pytest.mark.parametrize("wrong", [{"url": "http://x"}, {"pool_size_max": 0}, {"timeout_ms": 0}])
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"valkey.{next(iter(wrong))}"):
        ValkeyConfig(**wrong)  # type: ignore[arg-type]


def test_a_password_in_the_address_is_never_shown() -> None:
    assert "hunter2" not in repr(ValkeyConfig(url="redis://:hunter2@h/0"))
