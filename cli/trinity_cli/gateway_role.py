"""A gateway worker as a process: one replica, read by HTTP and by datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trinity_client import PriceBook, PriceClient
from trinity_core.assets import load_assets
from trinity_http.auth import SettingsFileKeys
from trinity_http.main import BookReplica, make_price_app, open_price_channel
from trinity_http.server import listen_http, serve_http
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import load
from trinity_mesh.process import Ready, run_process
from trinity_udp.config import UdpConfig
from trinity_udp.main import make_endpoint

SECTION = "gateway"
"""Configuration section of this part; its environment variables begin with TRINITY_GATEWAY_."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything that may be set about one gateway worker. Raises ValueError, naming the setting, for a wrong one."""

    price: str = "127.0.0.1:50051"
    """gRPC address of the price service: "unix:/path" or "host:port"."""
    http: str = "127.0.0.1:8080"
    """Address of prices over HTTP; shared with other workers (SO_REUSEPORT)."""
    keys_file: str = "keys.json"
    """JSON file with the hashes and scopes of the keys that may ask; see docs/operations.md."""
    ready_wait_ms: int = 10_000
    """Longest that the worker waits for a complete replica before it serves without one."""
    bridge: GatewaySettings = field(default_factory=GatewaySettings)
    limits: HttpLimits = field(default_factory=HttpLimits)
    udp: UdpConfig = field(default_factory=lambda: UdpConfig(reuse_port=True))

    def __post_init__(self) -> None:
        for name in ("price", "http", "keys_file"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if not 0 <= self.ready_wait_ms <= 60_000:
            raise ValueError(f"ready_wait_ms is {self.ready_wait_ms}; it must lie between 0 and 60000")


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None) -> int:
    """Run a gateway worker as this process; returns its exit code."""

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(GatewayConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


async def run(config: GatewayConfig, *, clock: Clock, stopping: asyncio.Event, ready: Ready) -> None:
    """Serve until `stopping` is set, then end streams and let requests under way finish.

    `ready` is told {"http", "udp"} once both answer from a complete replica, or after
    `ready_wait_ms`. Raises TrinityError when an address cannot be bound.
    """
    assets = load_assets()
    async with (
        open_price_channel(config.price) as channel,
        PriceClient(config.price) as client,
        PriceBook(config.price, clock=clock) as book,
    ):
        app = make_price_app(
            channel=channel,
            replica=BookReplica(book),
            authenticate=SettingsFileKeys(Path(config.keys_file), clock=clock),
            clock=clock,
            ready=lambda: _missing(book),
            settings=config.bridge,
        )
        await _replica(book, stopping, clock, config.ready_wait_ms / 1_000)
        endpoint = make_endpoint(config=config.udp, book=book, client=client, assets=assets.ids, clock=clock)
        listener = listen_http(config.http, reuse_port=True, backlog=config.limits.backlog)
        host, port = listener.getsockname()[:2]
        async with endpoint:
            facts = {"http": f"{host}:{port}", "udp": list(endpoint.addresses)}
            await serve_http(
                app,
                sockets=[listener],
                stopping=stopping,
                clock=clock,
                limits=config.limits,
                on_serving=lambda _: ready(facts),
            )


async def _replica(book: PriceBook, stopping: asyncio.Event, clock: Clock, wait_s: float) -> None:
    """Return once the replica is complete, the worker stops, or it has been waited for long enough."""
    waits = [
        asyncio.ensure_future(book.ready()),
        asyncio.ensure_future(stopping.wait()),
        asyncio.ensure_future(clock.sleep(wait_s)),
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def _missing(book: PriceBook) -> Sequence[str]:
    connection = book.connection
    return () if connection.connected else (f"the replica of the prices is not connected: {connection.detail}",)
