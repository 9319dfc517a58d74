"""The figures of a gateway worker's two ports, by the names of the system we follow: LPO (prices) and LRS (reports).

All of it is read from what the worker counts anyway: the ledger's counters, the fast lane's and the
datagram endpoints' times, the bridge's meter. One thing alone is looked at once a second, because
nobody counts it: which venues are in the prices that are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trinity.price.v1 import price_pb2, price_service_pb2
from trinity.report.v1 import report_service_pb2
from trinity_admission.ledger import Answered
from trinity_core.tables import Form
from trinity_core.usage import Outcome
from trinity_core.venues import Venue
from trinity_http.lane import Lane
from trinity_http.metering import HttpMeter
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample
from trinity_udp.drops import Tally

_PRICE: Final = frozenset(
    method.name for method in price_service_pb2.DESCRIPTOR.services_by_name["PriceService"].methods
)
_REPORT: Final = frozenset(
    method.name for method in report_service_pb2.DESCRIPTOR.services_by_name["ReportService"].methods
)
_SUMMARIES: Final = frozenset({"SummarizeUsage"})
_BAD: Final = frozenset({Outcome.REFUSED, Outcome.FAILED})
_HITS: Final = frozenset({Outcome.LOCAL, Outcome.CACHE})
_TIERS: Final = frozenset({Outcome.CACHE, Outcome.LIVE})
_VENUES: Final = frozenset(map(str, Venue))
_LOOK_S: Final = 1.0
_LOOK_PART: Final = 200
"""A look that takes long comes less often: no more than one part in so many of the worker's time."""


@dataclass(slots=True)
class Times:
    """How long answers took, all together."""

    seconds: float = 0.0
    count: float = 0.0

    def add(self, seconds: float, count: float) -> None:
        """Further answers, and the time that all of them took."""
        self.seconds += seconds
        self.count += count

    @property
    def mean_ms(self) -> float | None:
        """Milliseconds; None without an answer."""
        return 1_000 * self.seconds / self.count if self.count > 0 else None

    def since(self, before: Times) -> Times:
        """What came after `before`."""
        return Times(self.seconds - before.seconds, self.count - before.count)


@dataclass(slots=True)
class Figures:
    """Both ports, from the worker's start until now."""

    requests: int = 0
    errors: int = 0
    hits: int = 0
    priced: int = 0
    """Prices answered, whatever they came from."""
    from_tiers: int = 0
    """Of them from the cache or a live quote."""
    by_asset: Counter[str] = field(default_factory=Counter)
    price_times: Times = field(default_factory=Times)
    usage: int = 0
    summaries: int = 0
    report_times: Times = field(default_factory=Times)
    forms: Counter[Form] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker counts; None for what it does not have."""

    totals: Callable[[], Mapping[Answered, int]]
    """The ledger's."""
    price_of: Callable[[str], price_pb2.Price | None] = lambda _: None
    """The replica's newest price of an asset."""
    assets: Callable[[], frozenset[str]] = frozenset
    """Those that the replica has."""
    lanes: Sequence[Lane] = ()
    prices: Sequence[HttpMeter] = ()
    """Of all ports that serve them."""
    reports: Sequence[HttpMeter] = ()
    udp: Tally | None = None
    udp_reports: Tally | None = None


class PortFigures:
    """Reads them."""

    def __init__(self, parts: Parts, *, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._asked: Counter[str] = Counter()
        self._sources: dict[str, frozenset[str]] = {}
        self.by_source: Counter[str] = Counter()
        """Good answers by each venue that was in the price."""
        self.left = 0
        """Times that a venue left a price which others carry on."""

    async def run(self) -> None:
        """Look at the prices that are asked for once a second, until cancelled."""
        while True:
            began_ns = self._clock.monotonic_ns()
            self.look()
            took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await self._clock.sleep(max(_LOOK_S, _LOOK_PART * took_s))

    def look(self) -> None:
        """One look."""
        asked = _by_asset(self._parts.totals())
        for asset in self._parts.assets():
            price = self._parts.price_of(asset)
            if price is None:
                continue
            sources = frozenset(price.sources) & _VENUES
            lost = self._sources.get(asset, sources) - sources
            if sources:
                self.left += len(lost)
            self._sources[asset] = sources
            grown = asked[asset] - self._asked[asset]
            for source in sources if grown > 0 else ():
                self.by_source[source] += grown
        self._asked = asked

    def now(self) -> Figures:
        """Everything since the start."""
        found, parts = Figures(), self._parts
        for (_, method, asset, outcome), count in parts.totals().items():
            if method in _PRICE:
                _price(found, asset, outcome, count)
            elif method in _SUMMARIES:
                found.summaries += count
            elif method in _REPORT:
                found.usage += count
        for lane in parts.lanes:
            if looked := lane.durations.count:
                found.price_times.add(lane.answered * lane.durations.total / looked, lane.answered)
        for times, meters, tally in (
            (found.price_times, parts.prices, parts.udp),
            (found.report_times, parts.reports, parts.udp_reports),
        ):
            for meter in meters:
                for histogram in meter.durations.values():
                    times.add(histogram.total, histogram.count)
            if tally is not None:
                times.add(tally.busy_ns / 1e9, tally.received)
        for meter in parts.reports:
            found.forms += meter.forms
        return found

    @property
    def has_prices(self) -> bool:
        """Whether the worker has a port for prices."""
        return bool(self._parts.prices)

    @property
    def has_reports(self) -> bool:
        """Whether it has one for reports."""
        return bool(self._parts.reports)

    def samples(self) -> Iterator[Sample]:
        """As metrics."""
        now = self.now()
        if self.has_prices:
            yield from self._price_samples(now)
        if self.has_reports:
            yield Sample(catalogue.LRS_REPORTS, (), now.usage + now.summaries)
            yield Sample(catalogue.LRS_USAGE, (), now.usage)
            yield Sample(catalogue.LRS_SUMMARIES, (), now.summaries)
            yield Sample(catalogue.LRS_LATENCY, (), now.report_times.mean_ms or 0.0)
            for form in Form:
                yield Sample(catalogue.LRS_FORMATS, (form.name.lower(),), now.forms[form])

    def _price_samples(self, now: Figures) -> Iterator[Sample]:
        yield Sample(catalogue.LPO_REQUESTS, (), now.requests)
        yield Sample(catalogue.LPO_CACHE_HIT_RATE, (), 100 * now.hits / now.priced if now.priced else 0.0)
        yield Sample(catalogue.LPO_LATENCY, (), now.price_times.mean_ms or 0.0)
        yield Sample(catalogue.LPO_ERRORS, (), now.errors)
        yield Sample(catalogue.LPO_FAILOVERS, ("venue",), self.left)
        yield Sample(catalogue.LPO_FAILOVERS, ("tier",), now.from_tiers)
        for asset, count in now.by_asset.items():
            yield Sample(catalogue.LPO_BY_ASSET, (asset,), count)
        for source in sorted(_VENUES):
            yield Sample(catalogue.LPO_BY_SOURCE, (source,), self.by_source[source])


def _price(found: Figures, asset: str, outcome: int, count: int) -> None:
    found.requests += count
    if outcome in _BAD:
        found.errors += count
        return
    if asset:
        found.by_asset[asset] += count
    if outcome != Outcome.SERVED:
        found.priced += count
        found.hits += count if outcome in _HITS else 0
        found.from_tiers += count if outcome in _TIERS else 0


def _by_asset(totals: Mapping[Answered, int]) -> Counter[str]:
    asked: Counter[str] = Counter()
    for (_, method, asset, outcome), count in totals.items():
        if asset and method in _PRICE and outcome not in _BAD:
            asked[asset] += count
    return asked
