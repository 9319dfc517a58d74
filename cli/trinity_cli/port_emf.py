"""A gateway worker's figures of one period, for CloudWatch: namespaces TrinityBeast/LPO and TrinityBeast/LRS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from trinity_cli.port_figures import Figures, PortFigures
from trinity_core.tables import Form
from trinity_mesh.telemetry.emf import Entry

LPO: Final = "TrinityBeast/LPO"
LRS: Final = "TrinityBeast/LRS"
FORMATS: Final = {
    Form.JSON: "FormatJSON",
    Form.CSV: "FormatCSV",
    Form.TSV: "FormatTSV",
    Form.TEXT: "FormatText",
}
_SERVICE: Final = "Service"


class PortEmf:
    """Tells what happened since it was asked last."""

    def __init__(self, figures: PortFigures, *, worker: str, host: str) -> None:
        """`worker` and `host` become dimensions; metrics are made for the service as a whole too."""
        self._figures = figures
        self._worker = worker
        self._host = host
        self._before = Figures()
        self._failovers = 0
        self._sources: Counter[str] = Counter()

    def entries(self) -> Iterator[Entry]:
        """The lines of one period."""
        figures, now = self._figures, self._figures.now()
        before, self._before = self._before, now
        if figures.has_prices:
            yield from self._prices(now, before)
        if figures.has_reports:
            yield self._reports(now, before)

    def _prices(self, now: Figures, before: Figures) -> Iterator[Entry]:
        failovers = self._figures.left + now.from_tiers
        values = {
            "Requests": ("Count", float(now.requests - before.requests)),
            "ErrorCount": ("Count", float(now.errors - before.errors)),
            "SourceFailover": ("Count", float(failovers - self._failovers)),
        }
        self._failovers = failovers
        if priced := now.priced - before.priced:
            values["CacheHitRate"] = ("Percent", 100 * (now.hits - before.hits) / priced)
        mean_ms = now.price_times.since(before.price_times).mean_ms
        if mean_ms is not None:
            values["AvgLatencyMs"] = ("Milliseconds", mean_ms)
        yield self._entry(LPO, values)
        yield from _each("RequestsByAsset", "Asset", now.by_asset, before.by_asset)
        sources = Counter(self._figures.by_source)
        yield from _each("RequestsBySource", "Source", sources, self._sources)
        self._sources = sources

    def _reports(self, now: Figures, before: Figures) -> Entry:
        usage, summaries = now.usage - before.usage, now.summaries - before.summaries
        values = {
            "ReportRequests": ("Count", float(usage + summaries)),
            "UsageRequests": ("Count", float(usage)),
            "SummaryRequests": ("Count", float(summaries)),
        }
        values |= {name: ("Count", float(now.forms[form] - before.forms[form])) for form, name in FORMATS.items()}
        mean_ms = now.report_times.since(before.report_times).mean_ms
        if mean_ms is not None:
            values["AvgLatencyMs"] = ("Milliseconds", mean_ms)
        return self._entry(LRS, values)

    def _entry(self, namespace: str, values: Mapping[str, tuple[str, float]]) -> Entry:
        service = namespace.rpartition("/")[2]
        dimensions = {_SERVICE: service, "Host": self._host, "Worker": self._worker}
        return Entry(namespace, dimensions, ((_SERVICE,), (_SERVICE, "Host", "Worker")), values)


def _each(metric: str, dimension: str, now: Counter[str], before: Counter[str]) -> Iterator[Entry]:
    """A line for each value of a dimension that grew; there are no more than assets, or venues."""
    for name, count in sorted(now.items()):
        if grown := count - before[name]:
            dimensions = {_SERVICE: "LPO", dimension: name}
            yield Entry(LPO, dimensions, ((_SERVICE, dimension),), {metric: ("Count", float(grown))})
