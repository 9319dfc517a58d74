"""The figures of a gateway worker's ports: read from the ledger itself, exact, and told in CloudWatch's form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from price.virtual_clock import VirtualClock
from telemetry.emf_rules import check_line
from trinity.price.v1 import price_pb2
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import LedgerConfig
from trinity_cli.port_emf import LPO, LRS, PortEmf
from trinity_cli.port_figures import Parts, PortFigures
from trinity_core.tables import Form
from trinity_core.usage import Outcome, Transport
from trinity_http.metering import HttpMeter
from trinity_mesh.telemetry.emf import line_of
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, Histogram
from trinity_mesh.telemetry.readings import Readings
from trinity_udp.drops import Tally

KEYS = ("alice", "bob")


class Stage:
    """A worker's ledger, meters, and prices by hand."""

    def __init__(self, ledger: Ledger, clock: VirtualClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.prices = HttpMeter(clock=clock)
        self.reports = HttpMeter(clock=clock)
        self.udp = Tally()
        self.sources: dict[str, list[str]] = {}
        self.figures = PortFigures(
            Parts(
                totals=ledger.totals,
                price_of=lambda asset: price_pb2.Price(asset=asset, sources=self.sources[asset]),
                assets=lambda: frozenset(self.sources),
                prices=[self.prices],
                reports=[self.reports],
                udp=self.udp,
            ),
            clock=clock,
        )
        self.emf = PortEmf(self.figures, worker="gateway-1", host="here")

    def answer(
        self,
        n: int = 1,
        *,
        method: str = "GetPrice",
        asset: str = "BTC",
        outcome: Outcome = Outcome.LOCAL,
        transport: Transport = Transport.HTTP,
        key: str = "alice",
    ) -> None:
        slot = self.ledger.slot(key, transport, method, asset, outcome)
        self.ledger.count(slot, n)

    def series(self) -> dict[str, float]:
        readings = Readings()
        readings.add(self.figures.samples)
        return {
            "/".join((sample.name, *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(readings.exposition().decode())
            for sample in family.samples
        }

    def told(self) -> tuple[dict[str, float], dict[str, float], Counter[str], Counter[str]]:
        """CloudWatch's figures of one period: both namespaces, by asset, by source."""
        lpo: dict[str, float] = {}
        lrs: dict[str, float] = {}
        assets: Counter[str] = Counter()
        sources: Counter[str] = Counter()
        now_ms = self.clock.unix_ns() // 1_000_000
        for entry in self.emf.entries():
            root = check_line(line_of(entry, unix_ms=now_ms), now_ms=now_ms)
            if "Asset" in root:
                assets[root["Asset"]] += int(root["RequestsByAsset"])
            elif "Source" in root:
                sources[root["Source"]] += int(root["RequestsBySource"])
            else:
                values = {name: value for name, value in root.items() if isinstance(value, (int, float))}
                (lpo if entry.namespace == LPO else lrs).update(values)
        return lpo, lrs, assets, sources


async def stage_of(folder: Path) -> Stage:
    clock = VirtualClock()
    return Stage(Ledger(LedgerConfig(), spool=folder, clock=clock), clock)


async def test_the_figures_are_what_the_ledger_counted_of_all_keys(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path)
    async with stage.ledger:
        for key in KEYS:
            stage.answer(10, key=key)
        stage.answer(3, asset="ETH", transport=Transport.UDP)
        stage.answer(2, outcome=Outcome.CACHE)
        stage.answer(1, outcome=Outcome.LIVE)
        stage.answer(4, outcome=Outcome.REFUSED)
        stage.answer(1, outcome=Outcome.FAILED)
        stage.answer(5, method="WatchPrices", asset="", outcome=Outcome.SERVED)
        stage.answer(7, method="ListUsage", asset="", outcome=Outcome.SERVED)
        stage.answer(2, method="ExportUsage", asset="", outcome=Outcome.SERVED)
        stage.answer(6, method="SummarizeUsage", asset="", outcome=Outcome.SERVED)
        stage.answer(9, method="GetKey", asset="", outcome=Outcome.SERVED)
        series = stage.series()
    assert series["trinity_lpo_requests_total"] == 36
    assert series["trinity_lpo_errors_total"] == 5
    assert series["trinity_lpo_requests_by_asset_total/BTC"] == 23
    assert series["trinity_lpo_requests_by_asset_total/ETH"] == 3
    assert series["trinity_lpo_source_failovers_total/tier"] == 3
    assert series["trinity_lpo_cache_hit_rate_percent"] == 100 * 25 / 26
    assert series["trinity_lrs_report_requests_total"] == 15
    assert series["trinity_lrs_usage_requests_total"] == 9
    assert series["trinity_lrs_summary_requests_total"] == 6


async def test_no_answer_is_lost_or_counted_twice_when_an_hour_begins(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path)
    async with stage.ledger:
        for _ in range(5):
            stage.answer(10)
            stage.answer(1, asset="ETH")
            stage.clock.jump_wall(3_601)
            await stage.clock.advance(1)
            stage.answer(1)
        assert stage.series()["trinity_lpo_requests_total"] == 60
    assert stage.series()["trinity_lpo_requests_total"] == 60, "and it stays so when the ledger is closed"


async def test_a_period_of_cloudwatch_tells_what_happened_in_it(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path)
    async with stage.ledger:
        stage.answer(10)
        stage.answer(10, outcome=Outcome.LIVE)
        stage.told()
        stage.answer(3)
        stage.answer(1, outcome=Outcome.CACHE, asset="ETH")
        stage.answer(2, outcome=Outcome.FAILED)
        lpo, lrs, assets, _ = stage.told()
        assert lpo == {"Requests": 6, "ErrorCount": 2, "SourceFailover": 1, "CacheHitRate": 100}
        assert assets == {"BTC": 3, "ETH": 1}
        assert lrs == {
            "ReportRequests": 0,
            "UsageRequests": 0,
            "SummaryRequests": 0,
            "FormatJSON": 0,
            "FormatCSV": 0,
            "FormatTSV": 0,
            "FormatText": 0,
        }


async def test_the_mean_time_is_that_of_all_ways_together(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path)
    durations = stage.prices.durations["GET", "/v1/prices/{asset}", 200] = Histogram(LATENCY_BOUNDS)
    durations.add(0.004)
    stage.udp.received, stage.udp.busy_ns = 3, 6_000_000
    assert stage.told()[0]["AvgLatencyMs"] == 2.5
    stage.reports.durations["GET", "/reports/usage", 200] = durations
    stage.reports.forms[Form.CSV] += 2
    told = stage.told()[1]
    assert told["AvgLatencyMs"] == 4
    assert told["FormatCSV"] == 2


async def test_answers_are_told_by_the_venues_in_their_price_and_a_venue_that_leaves_is_a_failover(
    tmp_path: Path,
) -> None:
    stage = await stage_of(tmp_path)
    stage.sources = {"BTC": ["kraken", "okx"], "ETH": ["kraken"]}
    async with stage.ledger:
        stage.figures.look()
        stage.answer(5)
        stage.answer(2, asset="ETH")
        stage.answer(3, outcome=Outcome.FAILED)
        stage.figures.look()
        _, _, _, sources = stage.told()
        assert sources == {"kraken": 7, "okx": 5}
        stage.sources["BTC"] = ["okx"]
        stage.sources["ETH"] = []
        stage.figures.look()
        series = stage.series()
        assert series["trinity_lpo_source_failovers_total/venue"] == 1, "BTC goes on without kraken; ETH does not go on"
        assert stage.told()[0]["SourceFailover"] == 1


async def test_a_venue_that_nobody_knows_becomes_no_label(tmp_path: Path) -> None:
    stage = await stage_of(tmp_path)
    stage.sources = {"BTC": ["kraken", "made-up"]}
    async with stage.ledger:
        stage.figures.look()
        stage.answer(1)
        stage.figures.look()
        assert not [name for name in stage.series() if "made-up" in name]
        assert dict(stage.figures.by_source) == {"kraken": 1}


def test_the_namespaces_are_those_of_the_system_we_follow() -> None:
    assert (LPO, LRS) == ("TrinityBeast/LPO", "TrinityBeast/LRS")
