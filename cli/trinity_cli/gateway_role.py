"""A gateway worker as a process: keys, quotas and the ledger, and before them prices and reports over HTTP and UDP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc.aio
from fastapi import FastAPI

from trinity_admission.main import AdmissionPart, admission_part
from trinity_admission.networks import Networks
from trinity_cli.gateway_config import GatewayConfig
from trinity_cli.gateway_sight import GatewaySight
from trinity_client import PriceBook, PriceClient
from trinity_client.messages import BookReplica
from trinity_core.assets import AssetTable, load_assets
from trinity_http.admitting import Admitting as HttpAdmitting
from trinity_http.guard import ConnectionGuard
from trinity_http.live_prices import LivePrices
from trinity_http.main import make_gateway_app, make_lane, open_upstream_channel
from trinity_http.metering import HttpMeter
from trinity_http.prices import PriceAnswers
from trinity_http.protocol import GuardedHttp
from trinity_http.proxied import behind_proxy
from trinity_http.reports import with_reports
from trinity_http.server import HttpProtocol, listen_http, serve_http
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import load
from trinity_mesh.identity import Identity
from trinity_mesh.process import Ready, run_process
from trinity_udp.admitting import Admitting as UdpAdmitting
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_endpoint, make_report_endpoint

SECTION: Final = "gateway"
"""Configuration section of this part; its environment variables begin with TRINITY_GATEWAY_."""

PRICE: Final = "trinity.price.v1.PriceService"
ACCOUNT: Final = "trinity.account.v1.AccountService"
USAGE: Final = "trinity.usage.v1.UsageService"
WEBHOOK: Final = "trinity.webhook.v1.WebhookService"
REPORT: Final = "trinity.report.v1.ReportService"
PRICE_PORT: Final = (PRICE, ACCOUNT, USAGE, WEBHOOK)
"""What the port of prices serves, by full name."""
REPORT_PORT: Final = (REPORT, ACCOUNT, USAGE)
"""What the port of reports serves."""


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None) -> int:
    """Run a gateway worker as this process; returns its exit code."""

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(GatewayConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


async def run(config: GatewayConfig, *, clock: Clock, stopping: asyncio.Event, ready: Ready) -> None:
    """Serve until `stopping` is set, then end streams, let requests under way finish, and hand over the last counts.

    `ready` is told the addresses of what is served ("http", "udp", "reports", "udp_reports") once
    all answer: with the keys known and, for prices, a complete replica, or when `ready_wait_ms` and
    `admission.ready_wait_ms` have passed. Raises TrinityError when an address cannot be
    bound, ConfigError when the mesh's secrets cannot be read.
    """
    assets = load_assets()
    async with contextlib.AsyncExitStack() as stack:
        # First in, last out: what was counted is recorded after the last answer has left.
        identity = await stack.enter_async_context(Identity(config.tls, service=SECTION, clock=clock))
        admission = await stack.enter_async_context(
            admission_part(config.admission, clock=clock, assets=assets.ids, identity=identity)
        )
        worker = _Worker(config, admission, assets, clock, stack, identity)
        doors, facts = await worker.open(stopping)
        proxies = Networks(config.bridge.trusted_proxies)
        async with worker.sight.telling(prices=bool(config.price), reports=bool(config.report)):
            await _serve(
                doors,
                facts,
                limits=config.limits,
                proxies=proxies,
                stopping=stopping,
                clock=clock,
                ready=ready,
                sight=worker.sight,
            )


@dataclass(frozen=True, slots=True)
class _Door:
    """One application and where it listens."""

    name: str
    """As `ready` is told its address."""
    app: FastAPI
    address: str
    http: HttpProtocol = GuardedHttp


class _Worker:
    """Puts one worker together on a stack that closes it."""

    def __init__(
        self,
        config: GatewayConfig,
        admission: AdmissionPart,
        assets: AssetTable,
        clock: Clock,
        stack: contextlib.AsyncExitStack,
        identity: Identity,
    ) -> None:
        self._identity = identity
        self._config = config
        self._admission = admission
        self._assets = assets
        self._clock = clock
        self._stack = stack
        self.sight = GatewaySight(admission, clock=clock)
        """What the worker tells of itself."""
        self._http = HttpAdmitting(admission.admission)
        self._datagrams = UdpAdmitting(admission.admission, admission.sessions)

    async def open(self, stopping: asyncio.Event) -> tuple[list[_Door], dict[str, Any]]:
        """What is to be served over HTTP, the datagram endpoints open already; and the addresses of all."""
        config = self._config
        own = {
            ACCOUNT: await self._channel(config.admission.account, "account"),
            USAGE: await self._channel(config.admission.usage, "usage"),
        }
        doors: list[_Door] = []
        endpoints: dict[str, Endpoint] = {}
        waits: list[Coroutine[Any, Any, object]] = [self._admission.ready()]
        if config.price:
            book = PriceBook(
                await self._owned(config.price), clock=self._clock, on_change=lambda price: live.changed(price)
            )
            replica = BookReplica(book)
            answers = PriceAnswers(replica, clock=self._clock)
            live = LivePrices(answers=answers, clock=self._clock, standing=lambda: book.connection)
            await self._stack.enter_async_context(book)
            self.sight.book(book)
            client = await self._stack.enter_async_context(PriceClient(await self._owned(config.price)))
            channels = {PRICE: await self._channel(config.price, "price"), **own}
            if config.webhook:
                channels[WEBHOOK] = await self._channel(config.webhook, "webhook")

            def prices(name: str, address: str, settings: GatewaySettings) -> _Door:
                app = self._app(
                    channels,
                    ready=lambda: (*self._admission.missing(), *_missing(book)),
                    answers=answers,
                    live=live,
                    settings=settings,
                    meter=self.sight.meters.get(name),
                )
                lane = make_lane(
                    replica=replica,
                    answers=answers,
                    admission=self._admission.admission,
                    clock=self._clock,
                    settings=settings,
                    made=self.sight.lane,
                )
                return _Door(name, app, address, lane)

            doors.append(prices("http", config.http, config.bridge))
            if config.privatelink_http:
                # The header's address is the client's, and may lie in a network that looks like a proxy's.
                door = prices("privatelink", config.privatelink_http, replace(config.bridge, trusted_proxies=()))
                doors.append(replace(door, http=behind_proxy(door.http, Networks(config.bridge.trusted_proxies))))
            endpoints["udp"] = make_endpoint(
                config=config.udp,
                book=book,
                client=client,
                assets=self._assets.ids,
                clock=self._clock,
                doors=self._datagrams,
            )
            waits.append(book.ready())
        if config.report:
            reports = await self._channel(config.report, "report")
            app = self._app(
                {REPORT: reports, **own},
                ready=self._admission.missing,
                settings=with_reports(config.bridge),
                meter=self.sight.meters.get("reports"),
            )
            endpoints["udp_reports"] = make_report_endpoint(
                config=config.reports_udp,
                reports=reports,
                quotas=own[USAGE],
                clock=self._clock,
                doors=self._datagrams,
            )
            doors.append(_Door("reports", app, config.reports_http))
        await _all_ready(waits, stopping, self._clock, config.ready_wait_ms / 1_000)
        facts: dict[str, Any] = {}
        for name, endpoint in endpoints.items():
            await self._stack.enter_async_context(endpoint)
            facts[name] = list(endpoint.addresses)
            self.sight.endpoint(name, endpoint.tally)
        return doors, facts

    async def _channel(self, address: str, service: str) -> grpc.aio.Channel:
        """For the bridge."""
        return await self._stack.enter_async_context(
            open_upstream_channel(address, identity=self._identity, service=service)
        )

    async def _owned(self, address: str) -> grpc.aio.Channel:
        """For a client of the price service; each has a connection of its own."""
        return await self._stack.enter_async_context(open_channel(address, identity=self._identity, service="price"))

    def _app(
        self,
        channels: Mapping[str, grpc.aio.Channel],
        *,
        ready: Callable[[], Sequence[str]],
        answers: PriceAnswers | None = None,
        live: LivePrices | None = None,
        settings: GatewaySettings | None = None,
        meter: HttpMeter | None = None,
    ) -> FastAPI:
        return make_gateway_app(
            channels=channels,
            admitting=self._http,
            ready=ready,
            answers=answers,
            live=live,
            settings=settings or self._config.bridge,
            meter=meter,
        )


async def _serve(
    doors: Sequence[_Door],
    facts: dict[str, Any],
    *,
    limits: HttpLimits,
    proxies: Networks,
    stopping: asyncio.Event,
    clock: Clock,
    ready: Ready,
    sight: GatewaySight,
) -> None:
    """Serve every door until `stopping` is set; `ready` is told `facts` and the doors' addresses once all answer."""
    waiting = len(doors)

    def on_serving(door: _Door, guard: ConnectionGuard) -> None:
        nonlocal waiting
        sight.port(door.name, guard, door.app.state.bridge.core)
        waiting -= 1
        if not waiting:
            ready(facts)

    with contextlib.ExitStack() as held:
        listeners = []
        for door in doors:
            listener = held.enter_context(listen_http(door.address, reuse_port=True, backlog=limits.backlog))
            host, port = listener.getsockname()[:2]
            facts[door.name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            listeners.append(listener)
        async with asyncio.TaskGroup() as group:
            for door, listener in zip(doors, listeners, strict=True):
                group.create_task(
                    serve_http(
                        door.app,
                        sockets=[listener],
                        stopping=stopping,
                        clock=clock,
                        limits=limits,
                        on_serving=partial(on_serving, door),
                        http=door.http,
                        proxies=None if door.name == "privatelink" else proxies,
                    )
                )


async def _all_ready(
    waits: Sequence[Coroutine[Any, Any, object]], stopping: asyncio.Event, clock: Clock, wait_s: float
) -> None:
    """Return once all `waits` are done, the worker stops, or they were waited for long enough."""
    ends: list[asyncio.Future[Any]] = [
        asyncio.gather(*waits),
        asyncio.ensure_future(stopping.wait()),
        asyncio.ensure_future(clock.sleep(wait_s)),
    ]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


def _missing(book: PriceBook) -> Sequence[str]:
    connection = book.connection
    return () if connection.connected else (f"the replica of the prices is not connected: {connection.detail}",)
