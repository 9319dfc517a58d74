"""A mesh that is small enough for a test: real servers on real sockets, prices that the test sets."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from trinity.account.v1 import account_pb2
from trinity.feed.v1 import feed_pb2, feed_service_pb2, feed_service_pb2_grpc
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_client import PriceBook, PriceClient
from trinity_core.assets import load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock, clock_id
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.status import to_status
from trinity_mesh.wire import stamp
from trinity_udp.config import ReportUdpConfig, UdpConfig
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_endpoint, make_report_endpoint
from udp.office import MASTER, Office, holder
from udp.scripted_totals import ScriptedQuotas, ScriptedReports, quotas_address, reports_address, telling

CLOCK = SystemClock()
EPOCH = 7


class Prices(price_service_pb2_grpc.PriceServiceServicer):
    """Prices by hand: `set` changes one and tells the watchers."""

    def __init__(self) -> None:
        self.prices: dict[str, price_pb2.Price] = {}
        self.asked: list[Any] = []
        self._sequence = 0
        self._watchers: set[asyncio.Queue[price_pb2.Price | None]] = set()

    def set(self, asset: str, value: str, *, age_s: float = 0.2, **fields: Any) -> None:
        self._sequence += 1
        now_ns = CLOCK.unix_ns()
        received_ns = now_ns - int(age_s * 1e9)
        fields = {
            "state": price_pb2.STATE_FRESH,
            "confidence": "1.20",
            "spread_bps": "0.36",
            "source_count": 2,
            "sources": ["coinbase", "kraken"],
            "method": price_pb2.METHOD_MEDIAN,
            "tier": price_pb2.TIER_LOCAL,
            "sandbox": True,
            **fields,
        }
        price = price_pb2.Price(asset=asset, quote="USD", price=value, **fields)
        price.receive_time.CopyFrom(stamp(received_ns))
        price.fresh_until.CopyFrom(stamp(now_ns + 600 * 10**9))
        price.stale_at.CopyFrom(stamp(now_ns + 900 * 10**9))
        price.sequence, price.epoch = self._sequence, EPOCH
        self.prices[asset] = price
        for watcher in self._watchers:
            watcher.put_nowait(price)

    def end_streams(self) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(None)

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def _get(self, request: Any, asset: str) -> price_pb2.Price:
        self.asked.append(request)
        entry = load_assets().get(asset)
        price = self.prices.get(entry.asset)
        if price is None:
            raise TrinityError(Reason.NO_PRICE, f"no venue gives a price of {entry.asset}", retry_after_ms=1_500)
        if request.min_sources > price.source_count:
            raise TrinityError(Reason.TOO_FEW_SOURCES, f"{price.source_count} venues, {request.min_sources} asked for")
        return price

    async def GetPrice(self, request: Any, context: Any) -> price_pb2.GetPriceResponse:
        return price_pb2.GetPriceResponse(price=self._get(request, request.asset))

    async def BatchGetPrices(self, request: Any, context: Any) -> price_pb2.BatchGetPricesResponse:
        response = price_pb2.BatchGetPricesResponse()
        for asset in request.assets:
            try:
                response.results.add(asset=asset, price=self._get(request, asset))
            except TrinityError as error:
                response.results.add(asset=asset, error=to_status(error))
        return response

    async def WatchPrices(self, request: Any, context: Any) -> AsyncIterator[price_pb2.WatchPricesResponse]:
        wanted = {load_assets().get(asset).asset for asset in request.assets} or set(load_assets().ids)
        changes: asyncio.Queue[price_pb2.Price | None] = asyncio.Queue()
        self._watchers.add(changes)
        try:
            opening = [price for price in self.prices.values() if price.asset in wanted]
            yield self._batch(sorted(opening, key=lambda price: price.sequence), snapshot=True)
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        price = await changes.get()
                except TimeoutError:
                    yield self._batch([])
                    continue
                if price is None:
                    raise TrinityError(Reason.STOPPING, "the service is stopping")
                yield self._batch([price] if price.asset in wanted else [])
        finally:
            self._watchers.discard(changes)

    def _batch(self, prices: list[price_pb2.Price], *, snapshot: bool = False) -> price_pb2.WatchPricesResponse:
        return price_pb2.WatchPricesResponse(
            prices=prices,
            snapshot=snapshot,
            snapshot_complete=snapshot,
            sequence=max([price.sequence for price in prices], default=0)
            if not snapshot and prices
            else self._sequence,
            epoch=EPOCH,
            sent_time=stamp(CLOCK.unix_ns()),
            sent_monotonic_ns=CLOCK.monotonic_ns(),
            clock_id=clock_id(),
        )

    async def ListAssets(self, request: Any, context: Any) -> price_pb2.ListAssetsResponse:
        response = price_pb2.ListAssetsResponse(total_size=2)
        for asset in ("BTC", "ETH"):
            price = self.prices.get(asset)
            response.assets.add(asset=asset, state=price.state if price else price_pb2.STATE_HALTED)
        return response

    async def ExplainPrice(self, request: Any, context: Any) -> price_pb2.ExplainPriceResponse:
        asset = load_assets().get(request.asset).asset
        response = price_pb2.ExplainPriceResponse(fresh_ms=10_000, quiet_ms=60_000, stale_ms=120_000)
        if asset not in self.prices:
            response.detail = "no venue gives a price"
            return response
        response.price.CopyFrom(self.prices[asset])
        response.median, response.mad, response.threshold = "67000.10", "0.50", "33.50"
        response.inputs.add(
            venue="coinbase", symbol="BTC-USD", quote="USD", last="67000", bid="66999.9", ask="67000.2", value="67000",
            value_usd="67000", age_ms=150, alive_ms=20, fresh=True, kept=True, weight="0.5", deviation_bps="-0.01",
        )  # fmt: skip
        outlier = response.inputs.add(
            venue="okx", symbol="BTC-USDT", quote="USDT", last="71000", value="71000", value_usd="71007.1", age_ms=300,
            alive_ms=-1, fresh=True, exclusion=price_pb2.EXCLUSION_OUTLIER, deviation_bps="597.62",
            detail="597.62 bps from the median, 5.00 are kept",
        )  # fmt: skip
        outlier.conversion.currency, outlier.conversion.rate = "USDT", "1.0001"
        return response


class Feeds(feed_service_pb2_grpc.FeedServiceServicer):
    """Venue states by hand."""

    def __init__(self) -> None:
        self.venues = {
            "coinbase": feed_pb2.VenueStatus(
                venue="coinbase", worker="w-1", state=feed_pb2.CONNECTION_STATE_LIVE, url="ws://[::1]/",
                sandbox=True, symbols_wanted=120, symbols_subscribed=120, symbols_fresh=118, lag_ms=12, ticks=4_000,
                frames=4_100, circuit=feed_pb2.CIRCUIT_STATE_CLOSED, last_frame_time=stamp(CLOCK.unix_ns()),
            ),
            "okx": feed_pb2.VenueStatus(
                venue="okx", worker="w-1", state=feed_pb2.CONNECTION_STATE_LIVE, sandbox=True, symbols_wanted=90,
                symbols_refused=["X-USDT"], circuit=feed_pb2.CIRCUIT_STATE_CLOSED,
            ),
        }  # fmt: skip

    async def ListVenues(self, request: Any, context: Any) -> feed_pb2.ListVenuesResponse:
        return feed_pb2.ListVenuesResponse(venues=self.venues.values())


def _json(message: Message) -> bytes:
    return json_format.MessageToJson(message).encode()


@dataclass
class SmallMesh:
    """A price service, a feed worker, a UDP gateway and an HTTP port, named by a ready file."""

    directory: Path
    prices: Prices = field(default_factory=Prices)
    feeds: Feeds = field(default_factory=Feeds)
    office: Office = field(default_factory=lambda: Office(holder(), clock=CLOCK))
    """Opens sessions of one key."""
    reports: ScriptedReports = field(default_factory=ScriptedReports)
    quotas: ScriptedQuotas = field(default_factory=ScriptedQuotas)

    async def start(self, stack: AsyncExitStack) -> None:
        def add_prices(server: Any) -> None:
            price_service_pb2_grpc.add_PriceServiceServicer_to_server(self.prices, server)

        def add_feeds(server: Any) -> None:
            feed_service_pb2_grpc.add_FeedServiceServicer_to_server(self.feeds, server)

        price_service = Service(price_service_pb2.DESCRIPTOR.services_by_name["PriceService"], add_prices)
        feed_service = Service(feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"], add_feeds)
        price_address, feed_address = f"unix:{self.directory}/price.sock", f"unix:{self.directory}/feeds.sock"
        self.price_server = await stack.enter_async_context(MeshServer(address=price_address, services=[price_service]))
        feed_server = await stack.enter_async_context(MeshServer(address=feed_address, services=[feed_service]))
        await self.price_server.set_serving(serving=True)
        await feed_server.set_serving(serving=True)
        book = await stack.enter_async_context(PriceBook(price_address))
        client = await stack.enter_async_context(PriceClient(price_address))
        self.udp: Endpoint = await stack.enter_async_context(
            make_endpoint(
                config=UdpConfig(listen=("127.0.0.1:0",)),
                book=book,
                client=client,
                assets=load_assets().ids,
                clock=CLOCK,
                doors=self.office.doors,
            )
        )
        await stack.enter_async_context(telling(self.directory, self.reports, self.quotas))
        self.udp_reports: Endpoint = await stack.enter_async_context(
            make_report_endpoint(
                config=ReportUdpConfig(listen=("127.0.0.1:0",), totals_kept_ms=1),
                reports=await stack.enter_async_context(open_channel(reports_address(self.directory))),
                quotas=await stack.enter_async_context(open_channel(quotas_address(self.directory))),
                clock=CLOCK,
                doors=self.office.doors,
            )
        )
        http = await stack.enter_async_context(await asyncio.start_server(self._http, "127.0.0.1", 0))
        self.ready = {
            "http": f"127.0.0.1:{http.sockets[0].getsockname()[1]}",
            "udp": self.udp.addresses[0],
            "udp_reports": self.udp_reports.addresses[0],
            "grpc": {"price": price_address, "feed": feed_address},
            "key": "secret",
            "pids": {"price": os.getpid()},
        }
        self.ready_file = self.directory / "ready.json"
        self.write_ready()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = b"401 Unauthorized", _json(to_status(TrinityError(Reason.INVALID_KEY, "this key is not valid")))
        if head.startswith(b"GET /healthz "):
            status, body = b"200 OK", b"{}"
        elif b"Authorization: Bearer secret\r\n" in head:
            status, body = b"404 Not Found", b"<html>"
            if b"GET /price?asset=BTC " in head:
                status, body = b"200 OK", b"{}"
            elif head.startswith(b"POST /v1/udp/sessions "):
                session = self.office.open()
                made = account_pb2.CreateUdpSessionResponse(session_id=session.text, session_key=session.key(MASTER))
                status, body = b"200 OK", _json(made)
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    def write_ready(self, **changes: Any) -> None:
        self.ready_file.write_text(json.dumps({**self.ready, **changes}))
