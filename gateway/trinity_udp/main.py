"""The composition root of the datagram endpoints: a replica and clients of services in, endpoints out.

They run in a gateway worker beside HTTP: prices on the replica that both share, reports by the report and
the usage service. Both take the same doors, so that one window judges every line of a session.
"""

from __future__ import annotations

from collections.abc import Collection

import grpc.aio

from trinity.price.v1 import price_pb2
from trinity_admission.principal import Principal
from trinity_client import PriceBook, PriceClient
from trinity_client.messages import BookReplica
from trinity_core.errors import TrinityError
from trinity_core.prices import Method
from trinity_mesh.clock import Clock
from trinity_udp.asking import TotalsReader
from trinity_udp.config import ReportUdpConfig, UdpConfig
from trinity_udp.doors import Doors
from trinity_udp.endpoint import Endpoint
from trinity_udp.lookups import Lookup, Lookups
from trinity_udp.prices import Prices, Replica
from trinity_udp.quick import Quick
from trinity_udp.totals import KeptTotals, Totals, UsageTotals


def by_method(client: PriceClient) -> Lookup[str, price_pb2.Price]:
    """Look-ups of an asset's id, with ":" and a method where one is asked for."""

    async def lookup(subject: str, /) -> price_pb2.Price:
        asset, _, method = subject.partition(":")
        return await client.get(asset, method=Method[method.upper()] if method else None)

    return lookup


def make_endpoint(
    *,
    config: UdpConfig,
    book: PriceBook,
    client: PriceClient | None,
    assets: Collection[str],
    clock: Clock,
    doors: Doors | None = None,
) -> Endpoint:
    """An endpoint for prices that is not open yet.

    Args:
        config: where to listen and how much to give.
        book: the replica that answers; the caller keeps it running.
        client: asked for what the replica lacks; None where nobody is.
        assets: all ids that can have a price.
        clock: the machine's.
        doors: lets lines in and counts their answers; None for no sessions and no count.
    """
    return make_price_endpoint(
        config=config,
        replica=BookReplica(book),
        assets=assets,
        lookup=None if client is None else by_method(client),
        clock=clock,
        doors=doors,
    )


def make_price_endpoint(
    *,
    config: UdpConfig,
    replica: Replica,
    assets: Collection[str],
    lookup: Lookup[str, price_pb2.Price] | None,
    clock: Clock,
    doors: Doors | None = None,
) -> Endpoint:
    """An endpoint for prices of any replica, as `make_endpoint` makes one of a book."""
    lookups = None
    if lookup is not None:
        lookups = Lookups(
            lookup=lookup,
            clock=clock,
            timeout_ms=config.lookup_timeout_ms,
            interval_ms=config.lookup_interval_ms,
            calls_max=config.lookup_assets_max,
            waiters_max=config.lookup_waiters_max,
        )
    purpose = Prices(replica=replica, assets=assets, demo=config.demo)
    short = None if doors is None else doors.short
    quick = None if short is None else Quick(replica=replica, doors=short, demo=config.demo)
    return Endpoint(config=config, purpose=purpose, lookups=lookups, clock=clock, doors=doors, quick=quick)


def make_report_endpoint(
    *,
    config: ReportUdpConfig,
    reports: grpc.aio.Channel,
    quotas: grpc.aio.Channel,
    clock: Clock,
    doors: Doors,
) -> Endpoint:
    """An endpoint for reports that is not open yet.

    Args:
        config: where to listen and how much to give.
        reports: leads to the report service over its Unix socket; the caller closes it.
        quotas: leads to the usage service likewise.
        clock: the machine's.
        doors: those of the endpoint for prices: lets lines in and counts their answers.
    """
    kept = KeptTotals(kept_ms=config.totals_kept_ms, kept_max=config.totals_kept_max)

    def heard(holder: Principal, outcome: Totals | TrinityError) -> None:
        kept.keep(holder, outcome, mono_ns=clock.monotonic_ns())

    lookups = Lookups(
        lookup=TotalsReader(reports=reports, quotas=quotas, clock=clock, timeout_ms=config.totals_timeout_ms),
        clock=clock,
        timeout_ms=config.totals_timeout_ms,
        interval_ms=0,
        calls_max=config.totals_calls_max,
        waiters_max=config.totals_waiters_max,
        heard=heard,
    )
    return Endpoint(config=config, purpose=UsageTotals(kept), lookups=lookups, clock=clock, doors=doors)
