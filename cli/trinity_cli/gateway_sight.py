"""What a gateway worker tells of itself: gathers the sources of its parts, and the figures of its two ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping

from trinity_admission.main import AdmissionPart
from trinity_cli.mesh_sight import NAME_VARIABLE
from trinity_cli.port_emf import PortEmf
from trinity_cli.port_figures import Parts, PortFigures
from trinity_client import PriceBook
from trinity_core.prices import State
from trinity_http.core import Core
from trinity_http.guard import ConnectionGuard
from trinity_http.lane import Lane
from trinity_http.metering import HttpMeter
from trinity_http.readings import lane_samples, meter_samples, port_samples
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue, switch
from trinity_mesh.telemetry.emf_writer import process_emf
from trinity_mesh.telemetry.metrics import Sample
from trinity_mesh.telemetry.readings import process_readings
from trinity_udp.drops import Tally
from trinity_udp.readings import udp_samples


class GatewaySight:
    """The sources of one worker; its parts are told as they are made."""

    def __init__(self, admission: AdmissionPart, *, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock
        self.meters: Mapping[str, HttpMeter] = {
            name: HttpMeter(clock=clock) for name in ("http", "privatelink", "reports") if switch.counting
        }
        """By the port's name."""
        self._lanes: list[Lane] = []
        self._book: PriceBook | None = None
        self._tallies: dict[str, Tally] = {}
        self._ports: dict[str, tuple[ConnectionGuard, Core]] = {}

    def lane(self, lane: Lane) -> None:
        """The fast lane of a port for prices."""
        self._lanes.append(lane)

    def book(self, book: PriceBook) -> None:
        """The replica of the prices."""
        self._book = book

    def endpoint(self, port: str, tally: Tally) -> None:
        """A datagram endpoint: "udp" or "udp_reports"."""
        self._tallies[port] = tally

    def port(self, name: str, guard: ConnectionGuard, core: Core) -> None:
        """A port of HTTP serves: "http", "privatelink" or "reports"."""
        self._ports[name] = guard, core

    @contextlib.asynccontextmanager
    async def telling(self, *, prices: bool, reports: bool) -> AsyncIterator[None]:
        """Tell while the block runs; the arguments say which ports the worker has."""
        if not switch.counting:
            yield
            return
        figures = PortFigures(self._parts(prices=prices, reports=reports), clock=self._clock)
        worker = os.environ.get(NAME_VARIABLE) or f"gateway-{os.getpid()}"
        emf = PortEmf(figures, worker=worker, host=socket.gethostname()[:255] or "unknown")
        looking = asyncio.create_task(figures.run())
        try:
            with process_readings().reading(self._samples, figures.samples), process_emf().telling(emf.entries):
                yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _parts(self, *, prices: bool, reports: bool) -> Parts:
        book = self._book
        return Parts(
            totals=self._admission.ledger.totals,
            price_of=book.message if book is not None else lambda _: None,
            assets=lambda: frozenset(book.views if book is not None else ()),
            lanes=self._lanes,
            prices=[self.meters["http"], self.meters["privatelink"]] if prices else (),
            reports=[self.meters["reports"]] if reports else (),
            udp=self._tallies.get("udp"),
            udp_reports=self._tallies.get("udp_reports"),
        )

    def _samples(self) -> Iterator[Sample]:
        for lane in self._lanes:
            yield from lane_samples(lane)
        for name, (guard, core) in self._ports.items():
            yield from port_samples(name, guard=guard, core=core)
            yield from meter_samples(name, self.meters[name])
        for port, tally in self._tallies.items():
            yield from udp_samples(port, tally)
        if self._book is not None:
            yield from _replica(self._book)


def _replica(book: PriceBook) -> Iterator[Sample]:
    connection = book.connection
    yield Sample(catalogue.REPLICA_CONNECTED, (), connection.connected)
    yield Sample(catalogue.REPLICA_STREAMS, (), connection.streams)
    yield Sample(catalogue.REPLICA_TRANSIT, (), connection.transit_ms / 1_000)
    states = Counter(view.state for view in tuple(book.views.values()))
    for state in State:
        yield Sample(catalogue.REPLICA_PRICES, (state.name.lower(),), states[state])
