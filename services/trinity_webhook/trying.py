"""A rule tried with prices of the caller's own: what would have been sent. Pure; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from trinity.price.v1 import price_pb2
from trinity.webhook.v1 import webhook_pb2
from trinity_core.assets import AssetTable
from trinity_core.errors import invalid_field
from trinity_core.exact import fit_price
from trinity_core.prices import State
from trinity_core.webhook_alerts import Alert, RuleState, advance, due_ns, evaluate
from trinity_core.webhook_payload import TICK, TickBodies, alert_body
from trinity_core.webhook_rules import AlertRule, Change, EveryChange, Interval, Moved, TickRule
from trinity_core.webhook_ticks import TickBoard, TickSettings
from trinity_core.webhooks import alert_id
from trinity_mesh.wire import stamp
from trinity_webhook.asking import read_time
from trinity_webhook.reading import check_text, decimal, read_assets, read_rule

_NAME: Final = "whs_000000000000000000000000"
"""Stands for the id that the subscription would get."""
_WAIT_MS: Final = 86_400_000


def try_rule(request: webhook_pb2.EvaluateRuleRequest, table: AssetTable) -> webhook_pb2.EvaluateRuleResponse:
    """What a request's samples would have sent. Raises INVALID_FIELD."""
    message = request.subscription
    check_text("subscription.name", message.name)
    rule = read_rule(message)
    assets = read_assets(message.assets, table)
    samples = list(_changes(request.samples, table))
    wanted = [(at_ns, change) for at_ns, change in samples if not assets or change.asset in assets]
    if isinstance(rule, EveryChange | Interval | Moved):
        return _ticks(rule, wanted)
    return _alerts(rule, wanted, name=message.name)


def _ticks(rule: TickRule, samples: Sequence[tuple[int, Change]]) -> webhook_pb2.EvaluateRuleResponse:
    board, bodies = TickBoard(TickSettings(batch_max=1, ttl_ms=_WAIT_MS)), TickBodies(bodies_max=1)
    previews: list[webhook_pb2.Preview] = []

    def send(until_ns: int) -> None:
        while (due := board.due_ns()) is not None and due <= until_ns:
            items = board.take(due)
            if not items:
                return
            board.settle(due, delivered=True)
            previews.append(_preview(due, TICK, bodies.message(items).body))

    for at_ns, change in samples:
        # What came due before this price came would have been sent without it.
        send(at_ns - 1)
        board.offer(change, rule, at_ns)
        send(at_ns)
    return webhook_pb2.EvaluateRuleResponse(previews=previews, waiting=board.outstanding)


def _alerts(rule: AlertRule, samples: Sequence[tuple[int, Change]], *, name: str) -> webhook_pb2.EvaluateRuleResponse:
    states: dict[str, RuleState] = {}
    previews: list[webhook_pb2.Preview] = []

    def told(alert: Alert | None) -> None:
        if alert is not None:
            asset = alert.change.asset
            message = alert_id(subscription=_NAME, rule_version=0, asset=asset, number=alert.number)
            body = alert_body(alert, message=message, subscription=_NAME, name=name)
            previews.append(_preview(alert.at_ns, alert.kind, body))

    for at_ns, change in samples:
        for asset, state in sorted(states.items(), key=lambda entry: due_ns(rule, entry[1]) or 0):
            due = due_ns(rule, state)
            if due is not None and due < at_ns:
                states[asset], alert = advance(rule, state, due)
                told(alert)
        states[change.asset], alert = evaluate(rule, states.get(change.asset, RuleState()), change, at_ns)
        told(alert)
    waiting = sum(state.owed for state in states.values())
    return webhook_pb2.EvaluateRuleResponse(previews=previews, waiting=waiting)


def _changes(samples: Sequence[webhook_pb2.PriceSample], table: AssetTable) -> Iterator[tuple[int, Change]]:
    last_ns = 0
    for index, sample in enumerate(samples):
        path = f"samples[{index}]"
        at_ns = read_time(sample.time, f"{path}.time")
        if at_ns < last_ns:
            raise invalid_field(f"{path}.time", "it is before the sample before it; give samples in their order")
        last_ns = at_ns
        price = fit_price(decimal(sample.price, f"{path}.price"))
        if price is None or price <= 0:
            raise invalid_field(f"{path}.price", "it is no price; use a decimal above 0, from 1e-24 to 1e16")
        if sample.asset not in table.by_id:
            raise invalid_field(f"{path}.asset", table.unknown(sample.asset).message)
        state = State(sample.state) if sample.state != price_pb2.STATE_UNSPECIFIED else State.FRESH
        spread = decimal(sample.spread_bps or "0", f"{path}.spread_bps")
        yield at_ns, Change(sample.asset, price, state, Decimal(0), spread, (), index + 1, 0, at_ns, at_ns)


def _preview(at_ns: int, name: str, body: bytes) -> webhook_pb2.Preview:
    return webhook_pb2.Preview(time=stamp(at_ns), type=name, body=body.decode())
