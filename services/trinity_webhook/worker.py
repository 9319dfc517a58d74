"""Composition root of a webhook worker: config, store, prices, ledger, senders, engine.

A process of its own, apart from the service: see docs/decisions/0008-webhook-workers.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from trinity.price.v1 import price_pb2
from trinity_admission.metering import metering
from trinity_client import PriceBook
from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import RetryPolicy
from trinity_core.webhook_rules import Change
from trinity_core.webhook_secrets import Sealer
from trinity_core.webhook_store import WebhookRepo
from trinity_core.webhooks import Endpoint
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.identity import Identity
from trinity_mesh.process import Ready, run_process
from trinity_mesh.secrets_file import MeshSecrets, load_secrets
from trinity_mesh.telemetry.readings import process_readings
from trinity_storage.account_statements import CHANNEL as ACCOUNTS
from trinity_storage.notices import Notices
from trinity_storage.postgres import Postgres
from trinity_storage.webhook_outbox import PostgresOutbox
from trinity_storage.webhooks import CHANNEL, PostgresWebhooks
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.engine import Engine, EngineParts
from trinity_webhook.pricing import change_of_message
from trinity_webhook.readings import webhook_samples
from trinity_webhook.registering import Answering
from trinity_webhook.senders import Opened, opened_senders
from trinity_webhook.signing import Signing
from trinity_webhook.worker_config import WebhookWorkerConfig

log = logging.getLogger(__name__)

SECTION: Final = "webhook_worker"
"""Configuration section of this part; its environment variables begin with TRINITY_WEBHOOK_WORKER_."""
NAME: Final = "webhook-worker"
"""Name of this part in certificates, where it is a label of DNS."""


async def run(
    config: WebhookWorkerConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    senders: Opened = opened_senders,
    retry: RetryPolicy | None = None,
) -> None:
    """Evaluate and deliver until `stopping` is set, then finish what is under way.

    `ready` is told {"holder"} once it is known whom the worker sees to. Database, prices and usage
    service may come and go. `senders` opens what sends; `retry` None is the schedule that is
    documented. Raises ConfigError for a missing address or secret.
    """
    if not config.postgres.url:
        raise ConfigError("settings of webhook_worker: postgres.url is needed")
    secret = load_secrets(Path(config.secrets_file))
    async with (
        contextlib.AsyncExitStack() as stack,
        worker(config, clock=clock, secret=secret, senders=senders, retry=retry) as engine,
    ):
        stack.enter_context(process_readings().reading(lambda: webhook_samples(engine)))
        working = asyncio.create_task(engine.run(stopping))
        try:
            held = asyncio.create_task(engine.holding.held.wait())
            await asyncio.wait((working, held), return_when=asyncio.FIRST_COMPLETED)
            held.cancel()
            if not working.done():
                ready({"holder": engine.holder})
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run a webhook worker as this process; returns its exit code.

    `values` is the section `webhook_worker` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(WebhookWorkerConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


@contextlib.asynccontextmanager
async def worker(
    config: WebhookWorkerConfig,
    *,
    clock: Clock,
    secret: MeshSecrets,
    senders: Opened = opened_senders,
    retry: RetryPolicy | None = None,
) -> AsyncIterator[Engine]:
    """The engine with all that it needs, to be run within the block."""
    policy = AddressPolicy(
        loopback=config.loopback, also_refused=[ipaddress.ip_network(text) for text in config.refused_networks]
    )
    async with contextlib.AsyncExitStack() as stack:
        identity = await stack.enter_async_context(Identity(config.tls, service=NAME, clock=clock))
        postgres = await stack.enter_async_context(
            Postgres(config.postgres, url=config.postgres.url, name=SECTION, clock=clock)
        )
        usage = await stack.enter_async_context(open_channel(config.usage, identity=identity, service="usage"))
        ledger = await stack.enter_async_context(
            metering(
                spool=Path(config.spool), channel=usage, ledger=config.ledger, collector=config.collector, clock=clock
            )
        )
        signing = Signing(Sealer(key=secret.pepper, random_bytes=secrets.token_bytes))
        courier = await stack.enter_async_context(senders(config, policy, signing, clock))
        told: list[Callable[[Change], None]] = []

        def on_change(message: price_pb2.Price) -> None:
            change = change_of_message(message)
            for tell in told:
                tell(change)

        prices_channel = await stack.enter_async_context(
            open_channel(config.price, identity=None if config.price_key else identity, service="price")
        )
        metadata = [("authorization", f"Bearer {config.price_key}")] if config.price_key else []
        book = await stack.enter_async_context(
            PriceBook(prices_channel, clock=clock, on_change=on_change, metadata=metadata)
        )

        def prices() -> Iterable[Change]:
            messages = [book.message(asset) for asset in book.views]
            return [change_of_message(message) for message in messages if message is not None]

        engine = Engine(
            config,
            EngineParts(
                outbox=PostgresOutbox(postgres),
                courier=courier,
                signing=signing,
                counts=DeliveryCounts(ledger),
                policy=policy,
                answered=Answers(PostgresWebhooks(postgres), clock=clock).take,
                prices=prices,
                clock=clock,
                rng=random.Random(),  # noqa: S311 - jitter keeps no secret
                retry=retry or RetryPolicy(),
            ),
            holder=f"webhook-{secrets.token_hex(12)}",
        )
        told.append(engine.price)
        notices = Notices(
            config.postgres,
            url=config.postgres.url,
            name=SECTION,
            channels=(CHANNEL, ACCOUNTS),
            heard=engine.holding.wake,
            clock=clock,
            backoff=Backoff(first_ms=100, cap_ms=2_000),
        )
        listening = asyncio.create_task(notices.run())
        try:
            yield engine
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


class Answers:
    """Takes the answers of endpoints to their challenges."""

    def __init__(self, repo: WebhookRepo, *, clock: Clock) -> None:
        self._repo = repo
        self._clock = clock

    async def take(self, endpoint: str, text: str) -> None:
        """An endpoint answered its challenge with this text."""
        now_ns = self._clock.unix_ns() // 1_000 * 1_000
        answering = Answering(text, now_ns=now_ns, check=_anybody)
        try:
            await self._repo.change_endpoint(endpoint, answering.change)
        except TrinityError as error:
            log.warning("the answer of %s to its challenge is not taken: %s", endpoint, error.message)
            return
        if answering.right:
            log.info("%s answered its challenge, and is active", endpoint)


def _anybody(endpoint: Endpoint) -> None:
    """The answer came from the endpoint itself."""
