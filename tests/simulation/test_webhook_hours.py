"""A thousand virtual hours of a webhook engine among faults: nothing is lost or told twice, and nobody is flooded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jumping_time import run_jumping
from simulation.faulty_endpoints import HOUR, Faults, World
from simulation.push_oracle import Oracle
from trinity_core.webhook_alerts import Evaluated, RuleState, evaluate
from trinity_core.webhook_breaker import EndpointBreaker
from trinity_core.webhook_retry import Next, Outcome, RetryPolicy, Verdict
from trinity_core.webhook_rules import Change
from trinity_core.webhook_store import Result
from trinity_core.webhook_ticks import TickBoard
from trinity_core.webhooks import Delivery, DeliveryState
from trinity_webhook import alerting, dispatching
from trinity_webhook.judging import judge
from trinity_webhook.lanes import Lane
from trinity_webhook.sending import Sent

BUSY = (
    Faults(),
    Faults(kill_s=6 * HOUR),
    Faults(kill_s=6 * HOUR, outage_s=2 * HOUR),
    Faults(mood_s=12 * HOUR),
)
SELDOM = tuple(
    Faults(pace_s=20_000, kill_s=kill_s, outage_s=outage_s)
    for kill_s, outage_s in ((None, None), (24 * HOUR, None), (None, 24 * HOUR), (24 * HOUR, 24 * HOUR))
)
RUNS = [(seed, 25.0, faults) for seed, faults in enumerate(BUSY, 1)]
RUNS += [(seed, 100.0, faults) for seed, faults in enumerate((*SELDOM, *SELDOM, SELDOM[-1]), 100)]


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What a worker says of an outage is said thousands of times."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def simulate(seed: int, hours: float, faults: Faults) -> Oracle:
    """Let the hours pass, and judge them."""

    async def play() -> Oracle:
        world = World(seed, faults)
        await world.pass_hours(hours)
        oracle = Oracle(world)
        oracle.judge()
        return oracle

    return run_jumping(play())


def test_the_hours_of_webhooks_are_a_thousand() -> None:
    assert sum(hours for _, hours, _ in RUNS) == 1_000


@pytest.mark.parametrize(("seed", "hours", "faults"), RUNS, ids=[f"seed-{seed}" for seed, _, _ in RUNS])
def test_every_alert_is_told_as_it_must_be_and_every_endpoint_spared(seed: int, hours: float, faults: Faults) -> None:
    oracle = simulate(seed, hours, faults)
    assert oracle.wrong == []
    seen = ["alerts", "delivered", "calls", "probes", "prices", "skipped"]
    seen += ["retries"] if faults.outage_s is None else []
    seen += ["alerts foretold"] if faults.outage_s is None and faults.kill_s is None else []
    for what in seen:
        assert oracle.checked[what] > hours / 10, f"the run hardly looked at: {what}"


def no_cooldown(rule: Any, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    """Rules are evaluated as if they had none."""
    return evaluate(msgspec.structs.replace(rule, cooldown_ms=0), state, change, now_ns)


def forgetful(board: TickBoard, now_ns: int, *, delivered: bool) -> None:
    """What a batch that failed had folded is forgotten."""
    for asset in board._flight:
        entry = board._entries[asset]
        item, entry.in_flight = entry.in_flight, None
        assert item is not None
        if delivered:
            entry.sent, entry.sent_ns = item.change, now_ns
    board._flight = []


def at_once(_: RetryPolicy, outcome: Outcome, *, now_ns: int, **__: object) -> Verdict:
    """There is no schedule."""
    return Verdict(Next.DONE) if outcome is Outcome.DELIVERED else Verdict(Next.RETRY, now_ns)


def done_before(delivery: Delivery, sent: Sent, **more: Any) -> Result:
    """What failed counts as delivered."""
    return replace(judge(delivery, sent, **more), state=DeliveryState.DELIVERED, due_time_ns=None)


def any_time(lane: Lane) -> int:
    """Neither rate nor pause is kept to."""
    return 0


BROKEN: dict[str, tuple[object, str, Callable[..., object], str]] = {
    "cooldowns are not kept": (alerting, "evaluate", no_cooldown, "within the cooldown"),
    "what was folded is forgotten": (TickBoard, "settle", forgetful, "offered"),
    "failures are tried again at once": (RetryPolicy, "judge", at_once, "tried again 1 after"),
    "failures count as delivered": (dispatching, "judge", done_before, "lost"),
    "circuits do not open": (EndpointBreaker, "may_call", lambda *_: True, "two probes at once"),
    "nobody is paced": (Lane, "ready_ns", any_time, "two calls within"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_oracle_catches_an_engine_with_a_broken_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, complaint = BROKEN[name]
    monkeypatch.setattr(owner, attribute, broken)
    wrong = simulate(1, 12.0, Faults(pace_s=900)).wrong
    assert any(complaint in line for line in wrong), wrong[:5]
