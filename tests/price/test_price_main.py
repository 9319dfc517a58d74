"""The price service as a process of its own: ready when it serves, streams ended before it goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from price.fake_feed import FakeFeed, made_tick
from price.virtual_clock import until
from trinity_client import PriceBook
from trinity_core.prices import State
from trinity_core.venues import Venue
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock, clock_id
from trinity_mesh.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


async def started(folder: Path, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trinity_price",
        str(folder / "ready.json"),
        env={
            **os.environ,
            "TRINITY_PRICE_LISTEN": f"unix:{folder}/price.sock",
            "TRINITY_PRICE_FEEDS": f'["unix:{folder}/feed.sock"]',
            **environ,
        },
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_a_process_serves_follows_its_feed_and_ends_in_order(folder: Path) -> None:
    feed = FakeFeed(clock_id=clock_id())
    now = SystemClock().monotonic_ns
    feed.snapshot = lambda: feed.batch(
        [made_tick(Venue.KRAKEN, "BTC", "67000.10", at_ns=now())], sent_ns=now(), snapshot=True
    )
    async with feed.server(folder):
        process = await started(folder)
        try:
            await until((folder / "ready.json").exists, within_s=60)
            ready = json.loads((folder / "ready.json").read_text())
            assert ready["address"] == f"unix:{folder}/price.sock"
            assert ready["pid"] == process.pid
            async with open_channel(ready["address"]) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                for name in ("", "trinity.price.v1.PriceService"):
                    answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
            async with PriceBook(ready["address"]) as book:
                await book.ready()
                view = book.get("BTC")
                assert view is not None
                assert str(view.price) == "67000.10"
                assert view.state in (State.FRESH, State.DELAYED)
                process.send_signal(signal.SIGTERM)
                await until(lambda: "STOPPING" in book.connection.detail, within_s=60)
            code, errors = await ended(process)
        finally:
            if process.returncode is None:
                process.kill()
    assert code == EXIT_OK, errors
    assert not (folder / "price.sock").exists()
    assert "Traceback" not in errors


async def test_a_wrong_setting_ends_the_process_and_is_named(folder: Path) -> None:
    code, errors = await ended(await started(folder, TRINITY_PRICE_FLUSH_MS="soon"))
    assert code == EXIT_CONFIG
    assert "flush_ms" in errors


async def test_an_address_that_cannot_be_had_is_named(folder: Path) -> None:
    environ = {"TRINITY_PRICE_LISTEN": "203.0.113.1:1", "TRINITY_PRICE_TLS_PLAINTEXT": "true"}
    code, errors = await ended(await started(folder, **environ))
    assert code == EXIT_FAILED
    assert "cannot listen on 203.0.113.1:1" in errors
    assert "Traceback" not in errors


async def test_an_address_that_other_hosts_reach_needs_certificates(folder: Path) -> None:
    code, errors = await ended(await started(folder, TRINITY_PRICE_LISTEN="203.0.113.1:1"))
    assert code == EXIT_CONFIG
    assert "will not listen on 203.0.113.1:1 without TLS" in errors
    assert "Traceback" not in errors
