"""A whole feed worker beside the sandbox: six protocols over real sockets, faults, an announced cut, an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from feeds.test_feed_servicer import Stream
from price.virtual_clock import until
from trinity.feed.v1 import feed_pb2, feed_service_pb2, feed_service_pb2_grpc
from trinity_core.assets import AssetTable, load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.backoff import BackoffSettings
from trinity_feeds.config import FeedsConfig, Mode
from trinity_feeds.link import SocketSettings
from trinity_feeds.main import run
from trinity_feeds.sandbox.faults import Fault, Kind
from trinity_feeds.sandbox.server import SandboxServers, serve_sandbox
from trinity_feeds.sandbox.settings import SandboxSettings, SandboxTimers
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import load
from trinity_mesh.process import EXIT_CONFIG, EXIT_OK

PATIENCE_S = 30
LIVE = feed_pb2.CONNECTION_STATE_LIVE
SERVICE = feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"].full_name
BTC_ETH = AssetTable(asset for asset in load_assets().assets if asset.asset in ("BTC", "ETH"))


class Scene:
    """A worker that holds the six sandbox venues, and a caller of it."""

    def __init__(self, *, sandbox: SandboxServers, stub: Any, channel: Any, stopping: asyncio.Event) -> None:
        self.sandbox = sandbox
        self.stub = stub
        self.channel = channel
        self.stopping = stopping

    def stream(self) -> Stream:
        return Stream(self.stub.StreamTicks(feed_pb2.StreamTicksRequest()))

    async def venues(self) -> Mapping[str, feed_pb2.VenueStatus]:
        response = await call(self.stub.ListVenues(feed_pb2.ListVenuesRequest()))
        return {status.venue: status for status in response.venues}

    def inject(self, venue: Venue, kind: Kind, **fields: Any) -> None:
        self.sandbox.faults.inject(Fault(venue=venue, fault=kind, **fields), SystemClock().monotonic_ns())


@asynccontextmanager
async def scene(folder: Path, *, sandbox: Mapping[str, Any] | None = None, **changes: Any) -> AsyncIterator[Scene]:
    settings = {"assets": ("BTC", "ETH"), "ticks_per_s": 200, "timers": SandboxTimers(cryptocom_settle_s=0.001)}
    servers = await serve_sandbox(settings=SandboxSettings(**(settings | dict(sandbox or {}))), clock=SystemClock())
    stopping, facts = asyncio.Event(), asyncio.get_running_loop().create_future()
    config = FeedsConfig(
        **{
            "listen": f"unix:{folder}/feeds.sock",
            "mode": Mode.SANDBOX,
            "ws_urls": {venue: urls.ws_url for venue, urls in servers.urls.items()},
            "rest_urls": {venue: urls.rest_url for venue, urls in servers.urls.items()},
            "stagger_ms": 0,
            "heartbeat_ms": 100,
            "backoff": BackoffSettings(first_ms=1, cap_ms=10),
            "socket": SocketSettings(close_timeout_ms=200),
        }
        | changes
    )
    running = asyncio.create_task(
        run(config, clock=SystemClock(), stopping=stopping, ready=facts.set_result, assets=BTC_ETH)
    )
    try:
        await asyncio.wait({facts, running}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        async with open_channel(facts.result()["address"]) as channel:
            stub = feed_service_pb2_grpc.FeedServiceStub(channel)
            yield Scene(sandbox=servers, stub=stub, channel=channel, stopping=stopping)
        stopping.set()
        await asyncio.wait_for(running, PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await servers.close()


async def seen(stream: Stream, wanted: set[tuple[str, str]]) -> list[feed_pb2.Tick]:
    """Read until every (venue, asset) wanted has shown; the ticks."""
    missing, ticks = set(wanted), list[feed_pb2.Tick]()
    async with asyncio.timeout(PATIENCE_S):
        while missing:
            batch = await stream.next()
            ticks += batch.ticks
            missing -= {(tick.venue, tick.asset) for tick in batch.ticks}
    return ticks


ALL = {(venue.value, asset) for venue in Venue for asset in ("BTC", "ETH")}


async def test_six_venues_are_heard_each_in_its_own_protocol(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        reading = of.stream()
        ticks = await seen(reading, ALL)
        for tick in ticks:
            assert Decimal(tick.price) > 0
            assert Decimal(tick.bid) < Decimal(tick.ask)
            assert tick.quote == ("USDT" if tick.venue in ("gateio", "okx") else "USD")
            assert not tick.live
        for status in (await of.venues()).values():
            assert status.state == LIVE
            assert (status.symbols_wanted, status.symbols_subscribed, status.symbols_fresh) == (2, 2, 2)
            assert (status.frames_invalid, status.frames_unknown, status.venue_errors) == (0, 0, 0)
            assert (status.reconnects, list(status.symbols_refused)) == (0, [])
            assert status.sandbox
            assert status.url.startswith("ws://127.0.0.1:")


async def test_every_venue_gives_a_quote_over_rest_near_what_its_socket_says(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        pushed = {(tick.venue, tick.asset): Decimal(tick.price) for tick in await seen(of.stream(), ALL)}
        for venue in Venue:
            answer = await call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="BTC", venue=venue)))
            assert answer.tick.live
            assert answer.sandbox
            assert abs(Decimal(answer.tick.price) / pushed[venue.value, "BTC"] - 1) < Decimal("0.05")
        first = await call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="ETH")))
        assert first.tick.venue == "coinbase"


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.DISCONNECT])
async def test_a_venue_that_drops_its_connections_is_back_with_every_symbol(tmp_path: Path, kind: Kind) -> None:
    async with scene(tmp_path) as of:
        reading = of.stream()
        await seen(reading, ALL)
        for venue in Venue:
            of.inject(venue, kind)
        async with asyncio.timeout(PATIENCE_S):
            while not all(status.reconnects for status in (await of.venues()).values()):
                await reading.next()
        await seen(reading, ALL)
        async with asyncio.timeout(PATIENCE_S):
            while not all(
                status.symbols_fresh == 2 and status.state == LIVE for status in (await of.venues()).values()
            ):
                await reading.next()


async def test_a_rest_interface_that_fails_lets_the_next_venue_answer(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        await seen(of.stream(), ALL)
        of.inject(Venue.COINBASE, Kind.REFUSE, status=503, for_s=600)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="BTC")))
                if answer.tick.venue != "coinbase":
                    break
        assert answer.tick.venue == "kraken"


async def test_garbage_from_a_venue_is_counted_and_costs_the_others_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        reading = of.stream()
        await seen(reading, ALL)
        for venue in Venue:
            of.inject(venue, Kind.GARBAGE, every_s=0.001, for_s=0.5)
        async with asyncio.timeout(PATIENCE_S):
            while not all(s.frames_invalid + s.frames_unknown for s in (await of.venues()).values()):
                await reading.next()
        await seen(reading, ALL)


async def test_the_cut_that_okx_announces_leaves_no_moment_without_data(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        reading = of.stream()
        await seen(reading, ALL)
        of.inject(Venue.OKX, Kind.MAINTENANCE, notice_s=600, for_s=1)
        downs: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while of.sandbox.stats()["venues"]["okx"]["connections"] < 2:
                downs += [life.venue for life in (await reading.next()).liveness if not life.connected]
            while (await of.venues())["okx"].state != LIVE:
                downs += [life.venue for life in (await reading.next()).liveness if not life.connected]
        await seen(reading, {("okx", "BTC"), ("okx", "ETH")})
        status = (await of.venues())["okx"]
        assert downs == []
        assert status.reconnects == 0


async def test_one_worker_may_hold_some_venues_and_names_no_others(tmp_path: Path) -> None:
    async with scene(tmp_path, venues=(Venue.OKX, Venue.GEMINI)) as of:
        await seen(of.stream(), {("okx", "BTC"), ("gemini", "BTC")})
        assert list(await of.venues()) == ["gemini", "okx"]


async def test_stopping_ends_streams_with_stopping_and_closes_every_socket(tmp_path: Path) -> None:
    async with scene(tmp_path) as of:
        reading = of.stream()
        await seen(reading, ALL)
        health = health_pb2_grpc.HealthStub(of.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        of.stopping.set()
        with pytest.raises(TrinityError) as caught:
            while True:
                await reading.next()
        assert caught.value.reason is Reason.STOPPING
        await until(lambda: all(each["open"] == 0 for each in of.sandbox.stats()["venues"].values()))


async def test_an_address_that_is_taken_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = load(FeedsConfig, section="feeds", values={"listen": address}, environ={})
        with pytest.raises(TrinityError, match=address):
            await run(config, clock=SystemClock(), stopping=asyncio.Event(), ready=lambda facts: None)


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """A worker whose venues cannot be reached."""
    nowhere = {venue.value: "ws://127.0.0.1:9" for venue in Venue}
    settings = {
        "LISTEN": f"unix:{folder}/feeds.sock",
        "MODE": "sandbox",
        "WS_URLS": json.dumps(nowhere),
        "REST_URLS": json.dumps({name: url.replace("ws:", "http:") for name, url in nowhere.items()}),
        **changes,
    }
    return os.environ | {f"TRINITY_FEEDS_{name}": value for name, value in settings.items()}


def test_a_worker_without_any_venue_serves_says_so_and_ends_cleanly_by_signal(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "trinity_feeds", str(ready)]
    with subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:

        async def ask() -> tuple[dict[str, Any], feed_pb2.ListVenuesResponse]:
            await until(ready.exists, within_s=PATIENCE_S)
            facts = json.loads(ready.read_text())
            async with open_channel(facts["address"]) as channel:
                stub = feed_service_pb2_grpc.FeedServiceStub(channel)
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        listed = await call(stub.ListVenues(feed_pb2.ListVenuesRequest(), wait_for_ready=True))
                        if all(status.reconnects for status in listed.venues):
                            return facts, listed

        try:
            facts, listed = asyncio.run(ask())
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == EXIT_OK
    assert facts["pid"] == process.pid
    assert facts["sandbox"] is True
    assert facts["venues"] == [venue.value for venue in Venue]
    assert facts["worker"].startswith("feeds-")
    assert all("could not connect" in status.detail for status in listed.venues)
    assert {status.worker for status in listed.venues} == {facts["worker"]}
    assert "simulated" in log
    assert "Traceback" not in log


def test_a_wrong_setting_ends_the_process_with_words_instead_of_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trinity_feeds"],
        env=environment(tmp_path, MODE="live"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == EXIT_CONFIG
    assert "simulated prices must never be taken for real" in done.stderr
    assert "Traceback" not in done.stderr
