"""One suite, every adapter of PriceMirror: the real Valkey and the twin in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio

from price.valkey import ValkeyServer
from price.virtual_clock import VirtualClock
from trinity_core.errors import Reason, TrinityError
from trinity_core.price_mirror import VALUE_BYTES_MAX, MemoryPriceMirror, PriceMirror
from trinity_storage.price_mirror import ValkeyPriceMirror

TTL_MS = 60_000


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(params=["valkey", "memory"])
async def mirror(request: pytest.FixtureRequest) -> AsyncIterator[PriceMirror]:
    if request.param == "memory":
        yield MemoryPriceMirror(monotonic_ns=VirtualClock().monotonic_ns, ttl_ms=TTL_MS)
        return
    server = request.getfixturevalue("valkey")
    made = ValkeyPriceMirror(url=server.url, ttl_ms=TTL_MS, timeout_ms=5_000)
    client = redis.asyncio.Redis.from_url(server.url)
    await client.flushall()
    await client.aclose()
    yield made
    await made.close()


async def test_what_was_stored_is_loaded(mirror: PriceMirror) -> None:
    value = bytes(range(256))
    await mirror.store({"BTC": value, "ETH": b"e"})
    found = await mirror.load(["ETH", "BTC", "DOGE"])
    assert {asset: entry.value for asset, entry in found.items()} == {"BTC": value, "ETH": b"e"}
    assert all(0 <= entry.stored_ms_ago < TTL_MS for entry in found.values())


async def test_a_later_value_replaces_an_earlier_one(mirror: PriceMirror) -> None:
    await mirror.store({"BTC": b"1", "ETH": b"1"})
    await mirror.store({"BTC": b"2"})
    found = await mirror.load(["BTC", "ETH"])
    assert (found["BTC"].value, found["ETH"].value) == (b"2", b"1")


async def test_nothing_stored_and_nothing_asked_is_nothing(mirror: PriceMirror) -> None:
    await mirror.store({})
    assert dict(await mirror.load([])) == {}
    assert dict(await mirror.load(["BTC"])) == {}


async def test_a_value_that_is_too_long_is_left_out(mirror: PriceMirror) -> None:
    await mirror.store({"BTC": b"x" * (VALUE_BYTES_MAX + 1), "ETH": b"x" * VALUE_BYTES_MAX})
    assert list(await mirror.load(["BTC", "ETH"])) == ["ETH"]


async def test_a_closed_mirror_raises(mirror: PriceMirror) -> None:
    await mirror.close()
    with pytest.raises(TrinityError) as raised:
        await mirror.store({"BTC": b"1"})
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    with pytest.raises(TrinityError):
        await mirror.load(["BTC"])


async def test_a_value_lives_no_longer_than_its_time_in_memory() -> None:
    clock = VirtualClock()
    mirror = MemoryPriceMirror(monotonic_ns=clock.monotonic_ns, ttl_ms=TTL_MS)
    await mirror.store({"BTC": b"1"})
    clock.move(59.9991)
    assert (await mirror.load(["BTC"]))["BTC"].stored_ms_ago == 60_000
    clock.move(0.0009)
    assert dict(await mirror.load(["BTC"])) == {}


async def test_a_value_lives_no_longer_than_its_time_in_valkey(valkey: ValkeyServer) -> None:
    mirror = ValkeyPriceMirror(url=valkey.url, ttl_ms=30, timeout_ms=5_000)
    started = time.monotonic_ns()
    await mirror.store({"BTC": b"1"})
    while found := await mirror.load(["BTC"]):
        assert found["BTC"].stored_ms_ago <= (time.monotonic_ns() - started) / 1e6 + 2
    assert time.monotonic_ns() - started >= 25_000_000
    await mirror.close()


async def test_an_age_is_never_told_too_small_by_valkey(valkey: ValkeyServer) -> None:
    mirror = ValkeyPriceMirror(url=valkey.url, ttl_ms=TTL_MS, timeout_ms=5_000)
    await mirror.store({"BTC": b"1"})
    stored = time.monotonic_ns()
    for _ in range(50):
        before = time.monotonic_ns()
        found = await mirror.load(["BTC"])
        assert found["BTC"].stored_ms_ago >= (before - stored) // 1_000_000
    await mirror.close()


async def test_a_key_that_is_not_ours_is_absent(valkey: ValkeyServer) -> None:
    mirror = ValkeyPriceMirror(url=valkey.url, ttl_ms=TTL_MS, timeout_ms=5_000)
    client: Any = redis.asyncio.Redis.from_url(valkey.url)
    await client.set("price:EVER", b"1")
    await client.set("price:LONGER", b"1", px=TTL_MS * 10)
    assert dict(await mirror.load(["EVER", "LONGER"])) == {}
    await client.aclose()
    await mirror.close()


async def test_a_store_that_is_not_there_is_named_at_once() -> None:
    mirror = ValkeyPriceMirror(url="unix:///nowhere/valkey.sock", ttl_ms=TTL_MS, timeout_ms=5_000)
    with pytest.raises(TrinityError) as raised:
        await mirror.load(["BTC"])
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    await mirror.close()


async def test_a_store_that_hangs_is_given_up_in_time_and_serves_again() -> None:
    with ValkeyServer() as server:
        mirror = ValkeyPriceMirror(url=server.url, ttl_ms=TTL_MS, timeout_ms=100)
        await stored(mirror, {"BTC": b"1"})
        server.freeze()
        for attempt in (mirror.store({"BTC": b"2"}), mirror.load(["BTC"])):
            with pytest.raises(TrinityError) as raised:
                async with asyncio.timeout(30):
                    await attempt
            assert raised.value.reason is Reason.STORE_UNAVAILABLE
        server.thaw()
        await stored(mirror, {"BTC": b"3"})
        patient = ValkeyPriceMirror(url=server.url, ttl_ms=TTL_MS, timeout_ms=5_000)
        assert (await patient.load(["BTC"]))["BTC"].value == b"3"
        await patient.close()
        await mirror.close()


async def stored(mirror: PriceMirror, values: dict[str, bytes]) -> None:
    """Store with a bound that a busy machine may miss: again until it is done."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await mirror.store(values)
            except TrinityError:
                await asyncio.sleep(0.01)


async def test_a_store_that_was_killed_serves_again_once_it_is_back() -> None:
    with ValkeyServer() as server:
        mirror = ValkeyPriceMirror(url=server.url, ttl_ms=TTL_MS, timeout_ms=5_000)
        await mirror.store({"BTC": b"1"})
        server.kill()
        with pytest.raises(TrinityError):
            await mirror.load(["BTC"])
        server.start()
        assert dict(await mirror.load(["BTC"])) == {}
        await mirror.store({"BTC": b"2"})
        assert (await mirror.load(["BTC"]))["BTC"].value == b"2"
        await mirror.close()


async def test_a_store_that_refuses_writes_is_a_failure() -> None:
    with ValkeyServer() as server:
        client: Any = redis.asyncio.Redis.from_url(server.url)
        await client.config_set("maxmemory", "1")
        await client.aclose()
        mirror = ValkeyPriceMirror(url=server.url, ttl_ms=TTL_MS, timeout_ms=5_000)
        with pytest.raises(TrinityError) as raised:
            await mirror.store({"BTC": b"1"})
        assert raised.value.reason is Reason.STORE_UNAVAILABLE
        await mirror.close()
