"""What a webhook worker tells."""

from __future__ import annotations

from collections.abc import Iterator

from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample
from trinity_webhook.engine import Engine


def webhook_samples(engine: Engine) -> Iterator[Sample]:
    """Of one engine."""
    for (kind, outcome), count in engine.outcomes.items():
        yield Sample(catalogue.WEBHOOK_ATTEMPTS, (kind.name.lower(), outcome.name.lower()), count)
    yield Sample(catalogue.WEBHOOK_ENDPOINTS, (), len(engine.lanes))
    yield Sample(catalogue.WEBHOOK_IN_FLIGHT, ("tick",), engine.ticks.in_flight)
    yield Sample(catalogue.WEBHOOK_IN_FLIGHT, ("stored",), engine.dispatcher.in_flight)
    yield Sample(catalogue.WEBHOOK_RENDERED, (), engine.ticks.rendered)
    yield Sample(catalogue.WEBHOOK_IN_FLIGHT, ("log",), engine.tick_log.waiting)
