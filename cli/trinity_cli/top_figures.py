"""What `trinity top` shows, worked out from two looks at the metrics of a mesh. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from trinity_mesh.telemetry.merging import LABEL

_STREAMS: Final = ("Watch", "Stream", "Export")
"""Methods that begin so last for as long as somebody listens: their time says nothing."""
_FINE: Final = frozenset({"OK", "CANCELLED"})
_FAILED_STATUS: Final = 400


@dataclass(frozen=True, slots=True)
class Service:
    """One process."""

    name: str
    up: bool
    cpu_percent: float
    memory_mib: float
    calls_per_s: float
    errors_per_s: float
    avg_ms: float | None
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One way in, of all workers together."""

    name: str
    per_s: float
    errors_per_s: float
    """Refusals, failures, or drops."""
    avg_ms: float | None
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Venue:
    """One exchange."""

    name: str
    state: str
    fresh: int
    wanted: int
    lag_ms: float | None
    ticks_per_s: float
    faults: int
    """Since the start."""
    reconnects: int


@dataclass(frozen=True, slots=True)
class Count:
    """Something that is only counted."""

    name: str
    per_s: float
    total: int


@dataclass(frozen=True, slots=True)
class Board:
    """All of it."""

    services: tuple[Service, ...]
    lanes: tuple[Lane, ...]
    venues: tuple[Venue, ...]
    webhooks: tuple[Count, ...]
    errors: tuple[Count, ...]
    """Limits that were met, faults of venues, what was refused; only what ever happened."""
    prices: Mapping[str, int]
    """Prices of the book by state."""
    hit_rate_percent: float | None


Labels = tuple[tuple[str, str], ...]


class Look:
    """The metrics of one moment."""

    def __init__(self, text: bytes, mono_ns: int) -> None:
        """Raises ValueError for a text that is none of Prometheus'."""
        self.mono_ns = mono_ns
        self._series: defaultdict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text.decode("utf-8", "replace")):
            for sample in family.samples:
                self._series[sample.name].append((sample.labels, sample.value))

    def each(self, name: str, **wanted: str) -> Iterator[tuple[dict[str, str], float]]:
        """Series of a name with these labels."""
        for labels, value in self._series.get(name, ()):
            if all(labels.get(label) == text for label, text in wanted.items()):
                yield labels, value

    def total(self, name: str, **wanted: str) -> float:
        """Their sum."""
        return sum(value for _, value in self.each(name, **wanted))

    def one(self, name: str, **wanted: str) -> float | None:
        """Any one of them; None where there is none."""
        return next((value for _, value in self.each(name, **wanted)), None)


class Growth:
    """What happened between two looks."""

    def __init__(self, before: Look, now: Look) -> None:
        self._before = before
        self.now = now
        self._seconds = max((now.mono_ns - before.mono_ns) / 1e9, 1e-9)

    def per_s(self, name: str, **wanted: str) -> float:
        """How fast a counter grows. One whose process began anew counts from nothing."""
        grown = self.now.total(name, **wanted) - self._before.total(name, **wanted)
        return max(grown, 0.0) / self._seconds

    def histogram(self, family: str, **wanted: str) -> dict[float, float]:
        """Values that came, by the bound of their bucket, added up from the least bound."""
        grown: defaultdict[float, float] = defaultdict(float)
        for look, sign in ((self.now, 1), (self._before, -1)):
            for labels, value in look.each(f"{family}_bucket", **wanted):
                if not _is_stream(labels.get("grpc_method", "")):
                    grown[float(labels["le"])] += sign * value
        return dict(sorted(grown.items()))

    def mean_ms(self, family: str, **wanted: str) -> float | None:
        """Mean of the values that came."""
        sums = {"sum": 0.0, "count": 0.0}
        for kind in sums:
            for look, sign in ((self.now, 1), (self._before, -1)):
                for labels, value in look.each(f"{family}_{kind}", **wanted):
                    if not _is_stream(labels.get("grpc_method", "")):
                        sums[kind] += sign * value
        return 1_000 * sums["sum"] / sums["count"] if sums["count"] > 0 and sums["sum"] >= 0 else None


def quantile_ms(buckets: Mapping[float, float], part: float) -> float | None:
    """A quantile, as far as buckets tell it; None without a value."""
    total = max(buckets.values(), default=0.0)
    if total <= 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in buckets.items():
        if count >= part * total:
            if bound == float("inf"):
                return 1_000 * low
            inside = count - below
            return 1_000 * (low + (bound - low) * ((part * total - below) / inside if inside > 0 else 1.0))
        low, below = bound, count
    return 1_000 * low


def board_of(before: Look, now: Look) -> Board:
    """What to show."""
    growth = Growth(before, now)
    hits, priced = _hits(now)
    return Board(
        services=tuple(_services(growth)),
        lanes=tuple(_lanes(growth)),
        venues=tuple(_venues(growth)),
        webhooks=tuple(_counts(growth, "trinity_webhook_attempts_total", "class", "outcome")),
        errors=(
            *_counts(growth, "trinity_limit_hits_total", "limit"),
            *_counts(growth, "trinity_admission_refusals_total", "reason"),
            *_counts(growth, "trinity_udp_dropped_total", "port", "reason"),
            *_counts(growth, "trinity_lpo_source_failovers_total", "kind", prefix="failover "),
            *_counts(growth, "trinity_shedding_refusals_total", "reason", prefix="shed "),
            *_counts(growth, "trinity_call_retries_total", prefix="retries"),
            *_counts(growth, "trinity_call_hedges_total", prefix="hedges"),
        ),
        prices={labels["state"]: int(value) for labels, value in now.each("trinity_book_prices")},
        hit_rate_percent=100 * hits / priced if priced else None,
    )


def _services(growth: Growth) -> Iterator[Service]:
    now = growth.now
    names = ["up", *(labels["part"] for labels, _ in now.each("trinity_process_up"))]
    for name in names:
        of = {LABEL: name}
        duration = "grpc_server_call_duration_seconds"
        errors = sum(
            growth.per_s(f"{duration}_count", **of, grpc_status=status) for status in _statuses(now, name) - _FINE
        )
        buckets = growth.histogram(duration, **of)
        yield Service(
            name=name,
            up=name == "up" or now.one("trinity_process_up", part=name) == 1,
            cpu_percent=100 * growth.per_s("process_cpu_seconds_total", **of),
            memory_mib=(now.one("process_resident_memory_bytes", **of) or 0.0) / (1 << 20),
            calls_per_s=growth.per_s("grpc_server_call_started_total", **of),
            errors_per_s=errors,
            avg_ms=growth.mean_ms(duration, **of),
            p50_ms=quantile_ms(buckets, 0.5),
            p99_ms=quantile_ms(buckets, 0.99),
        )


def _statuses(look: Look, process: str) -> set[str]:
    return {
        labels["grpc_status"] for labels, _ in look.each("grpc_server_call_duration_seconds_count", **{LABEL: process})
    }


def _lanes(growth: Growth) -> Iterator[Lane]:
    fast = "trinity_http_lane_duration_seconds"
    buckets = growth.histogram(fast)
    yield Lane(
        "http fast lane",
        growth.per_s("trinity_http_lane_answers_total"),
        0.0,
        growth.mean_ms(fast),
        quantile_ms(buckets, 0.5),
        quantile_ms(buckets, 0.99),
    )
    duration = "http_server_request_duration_seconds"
    for port, name in (("http", "http prices"), ("privatelink", "privatelink"), ("reports", "http reports")):
        buckets = growth.histogram(duration, port=port)
        statuses = {
            labels["http_response_status_code"] for labels, _ in growth.now.each(f"{duration}_count", port=port)
        }
        bad = (status for status in statuses if int(status) >= _FAILED_STATUS)
        yield Lane(
            name,
            growth.per_s(f"{duration}_count", port=port),
            sum(growth.per_s(f"{duration}_count", port=port, http_response_status_code=status) for status in bad),
            growth.mean_ms(duration, port=port),
            quantile_ms(buckets, 0.5),
            quantile_ms(buckets, 0.99),
        )
    for port, name in (("udp", "udp prices"), ("udp_reports", "udp reports")):
        received = growth.per_s("trinity_udp_received_total", port=port)
        busy = growth.per_s("trinity_udp_busy_seconds_total", port=port)
        yield Lane(
            name,
            growth.per_s("trinity_udp_replied_total", port=port),
            growth.per_s("trinity_udp_dropped_total", port=port),
            1_000 * busy / received if received else None,
            None,
            None,
        )


def _venues(growth: Growth) -> Iterator[Venue]:
    now = growth.now
    states = {labels["venue"]: labels["state"] for labels, value in now.each("trinity_venue_state") if value}
    for name in sorted({labels["venue"] for labels, _ in now.each("trinity_venue_state")}):
        lag_s = now.one("trinity_venue_lag_seconds", venue=name)
        reconnects = int(now.total("trinity_venue_faults_total", venue=name, kind="reconnect"))
        yield Venue(
            name=name,
            state=states.get(name, "stopped"),
            fresh=int(now.total("trinity_venue_symbols", venue=name, kind="fresh")),
            wanted=int(now.total("trinity_venue_symbols", venue=name, kind="wanted")),
            lag_ms=None if lag_s is None else 1_000 * lag_s,
            ticks_per_s=growth.per_s("trinity_venue_ticks_total", venue=name),
            faults=int(now.total("trinity_venue_faults_total", venue=name)) - reconnects,
            reconnects=reconnects,
        )


def _counts(growth: Growth, series: str, *labels: str, prefix: str = "") -> Iterator[Count]:
    """What ever happened, of all processes together, the most frequent first."""
    totals: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for found, value in growth.now.each(series):
        totals[tuple(found.get(label, "") for label in labels)] += value
    for words, total in sorted(totals.items(), key=lambda entry: -entry[1]):
        if total:
            of = dict(zip(labels, words, strict=True))
            yield Count(prefix + " ".join(words), growth.per_s(series, **of), int(total))


def _hits(now: Look) -> tuple[float, float]:
    """Prices answered from memory or the cache, and all; weighed by what each worker answered."""
    hits = priced = 0.0
    for labels, rate in now.each("trinity_lpo_cache_hit_rate_percent"):
        requests = now.total("trinity_lpo_requests_total", **{LABEL: labels.get(LABEL, "")})
        hits += rate / 100 * requests
        priced += requests
    return hits, priced


def _is_stream(method: str) -> bool:
    return method.rpartition("/")[2].startswith(_STREAMS)
