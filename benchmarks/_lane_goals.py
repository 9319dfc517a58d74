"""What the lanes are held to: each goal is a ratio of two rows, or one figure of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Goal:
    """One ratio that is told; with a bound, one that is held."""

    name: str
    ours: str
    """A row's name, or how it begins."""
    peer: str = ""
    """The row to divide by; empty for the figure itself."""
    column: str = "per_second"
    at_least: float | None = None
    less_than: float | None = None
    unit: float = 1.0
    """What the figure is divided by besides."""

    def value(self, rows: Rows) -> float | None:
        """What was reached; None where a row was not measured."""
        ours, peer = _row(rows, self.ours), _row(rows, self.peer) if self.peer else {self.column: 1.0}
        if ours is None or peer is None or not ours[self.column] or not peer[self.column]:
            return None
        return float(ours[self.column]) / float(peer[self.column]) / self.unit

    def met(self, value: float) -> bool | None:
        """Whether a value is good enough; None where there is no bound."""
        if self.at_least is not None:
            return value >= self.at_least
        return value < self.less_than if self.less_than is not None else None


GOALS: Sequence[Goal] = (
    Goal("http lane / go net/http", "http lane", "go net/http, body rendered once", at_least=1.5),
    Goal("http lane / go net/http with encoding/json", "http lane", "go net/http, encoding/json"),
    Goal("http lane / nginx constant", "http lane", "nginx, a constant", at_least=0.75),
    Goal("http lane / uvicorn + fastapi", "http lane", "uvicorn + fastapi", at_least=20),
    Goal("http lane p99 at half load, ms", "http lane, at half load", column="p99_us", less_than=1, unit=1_000),
    Goal("http bridge / envoy transcoder", "http bridge", "envoy transcoder"),
    Goal("udp binary with MAC / go with HMAC", "udp binary", "go udp, HMAC", at_least=1.0),
    Goal("udp binary with MAC, datagrams/s a core", "udp binary", at_least=100_000),
    Goal("udp text from a validated source / go without HMAC", "udp text, with a cookie", "go udp, text", at_least=1.3),
    Goal(
        "udp binary with MAC / go with HMAC, 32 clients", "udp binary, MAC both ways, 32", "go udp, HMAC both ways, 32"
    ),
    Goal("udp text without a session / go without HMAC", "udp text, no session", "go udp, text"),
    Goal("udp text signed by a session / go without HMAC", "udp text, signed", "go udp, text"),
    Goal("udp binary with MAC / c recvmmsg without", "udp binary", "c recvmmsg"),
    Goal("grpc GetPrice / bare grpc.aio", "grpc GetPrice", "bare grpc.aio", at_least=0.9),
    Goal("watch prices/s to one subscriber", "watch prices", at_least=500_000),
    Goal("cpu: go net/http / http lane", "go net/http, body rendered once", "http lane", column="cpu_us"),
    Goal("cpu: nginx constant / http lane", "nginx, a constant", "http lane", column="cpu_us"),
    Goal("cpu: go with HMAC / udp binary with MAC", "go udp, HMAC", "udp binary", column="cpu_us"),
    Goal("cpu: bare grpc.aio / grpc GetPrice", "bare grpc.aio", "grpc GetPrice", column="cpu_us"),
)
"""All that is told; the issue's goals are those with a bound."""


def ratios_of(rows: Rows) -> dict[str, float]:
    """Every ratio whose rows were measured."""
    values = {goal.name: goal.value(rows) for goal in GOALS}
    return {name: value for name, value in values.items() if value is not None}


def goal_lines(rows: Rows) -> tuple[list[str], bool]:
    """One line for each ratio, with the verdict where it has a bound; and whether all bounds were met."""
    lines, good = [], True
    for goal in GOALS:
        value = goal.value(rows)
        bound = f">= {goal.at_least:,g}" if goal.at_least is not None else ""
        bound = f"< {goal.less_than:,g}" if goal.less_than is not None else bound
        if value is None:
            if bound:
                lines.append(f"{goal.name:52} {'':>12} {bound:>12}  NOT MEASURED")
                good = False
            continue
        met = goal.met(value)
        verdict = "" if met is None else "met" if met else "MISSED"
        good = good and met is not False
        shown = f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
        lines.append(f"{goal.name:52} {shown:>12} {bound:>12}  {verdict}".rstrip())
    return lines, good


def _row(rows: Rows, start: str) -> Mapping[str, Any] | None:
    """The row of a name; else the first that begins so."""
    found = rows.get(start)
    return found or next((row for name, row in rows.items() if name.startswith(start)), None)
