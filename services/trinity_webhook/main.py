"""Composition root of the webhook service: config, store, servicer, server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_admission.public_server import PublicServer, public_server
from trinity_core.assets import load_assets
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_secrets import Sealer
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.identity import Identity
from trinity_mesh.interceptors import Interceptor
from trinity_mesh.page_tokens import PageTokens
from trinity_mesh.process import Ready, run_process
from trinity_mesh.secrets_file import MeshSecrets, load_secrets
from trinity_mesh.server import MeshServer, ServerLimits
from trinity_storage.postgres import Postgres
from trinity_storage.webhook_log import PostgresDeliveryLog
from trinity_storage.webhooks import PostgresWebhooks
from trinity_webhook.calls import Parts
from trinity_webhook.config import WebhookConfig
from trinity_webhook.places import Places
from trinity_webhook.registering import Registrar
from trinity_webhook.servicer import WebhookServicer, service

SECTION = "webhook"
"""Configuration section of this part; its environment variables begin with TRINITY_WEBHOOK_."""


async def run(
    config: WebhookConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    interceptors: Sequence[Interceptor] | None = None,
) -> None:
    """Serve webhooks until `stopping` is set, then let calls under way finish for `drain_ms`.

    `ready` is told {"address", "remote", "public"} once the service says SERVING. The database must be
    migrated; it may come and go meanwhile. `interceptors` replaces the standard list, for callers
    that come directly with a key. Raises ConfigError for a missing address or secret, TrinityError
    when the address cannot be bound.
    """
    if not config.postgres.url:
        raise ConfigError("settings of webhook: postgres.url is needed")
    secret = load_secrets(Path(config.secrets_file))
    part = WebhookPart(config, clock=clock, secret=secret, interceptors=interceptors)
    async with part.serving() as server, part.public() as public:
        for each in (server, public):
            await each.set_serving(serving=not stopping.is_set())
        ready({"address": server.address, "remote": server.remote_address, "public": public.address})
        await stopping.wait()
        for each in (server, public):
            await each.set_serving(serving=False)


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the webhook service as this process; returns its exit code.

    `values` is the section `webhook` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(WebhookConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


class WebhookPart:
    """The parts of one webhook service, put together."""

    def __init__(
        self,
        config: WebhookConfig,
        *,
        clock: Clock,
        secret: MeshSecrets,
        interceptors: Sequence[Interceptor] | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`random_bytes` must be cryptographically strong."""
        self._config = config
        self._clock = clock
        self._interceptors = interceptors
        self._identity = Identity(config.tls, service=SECTION, clock=clock)
        self.postgres = Postgres(config.postgres, url=config.postgres.url, name=SECTION, clock=clock)
        self.repo = PostgresWebhooks(self.postgres)
        self.log = PostgresDeliveryLog(self.postgres)
        self.assets = load_assets()
        self.servicer = WebhookServicer(
            Parts(
                repo=self.repo,
                log=self.log,
                registrar=Registrar(
                    config,
                    policy=policy_of(config),
                    sealer=sealer_of(secret, random_bytes=random_bytes),
                    random_bytes=random_bytes,
                ),
                places=Places(PageTokens(key=secret.cursor)),
                assets=self.assets,
                clock=clock,
                random_bytes=random_bytes,
                subscriptions_max=config.subscriptions_per_endpoint_max,
                asked_max=config.asked_per_minute_max,
            )
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[MeshServer]:
        """Open the pool and listen."""
        server = MeshServer(
            address=self._config.listen,
            services=[service(self.servicer)],
            limits=ServerLimits(drain_ms=self._config.drain_ms),
            interceptors=self._interceptors,
            security=self._identity,
        )
        async with self._identity, self.postgres, server:
            yield server

    def public(self) -> contextlib.AbstractAsyncContextManager[PublicServer]:
        """Serve callers that bring a key of their own, if the settings say so."""
        return public_server(
            self._config.public,
            services=[service(self.servicer)],
            clock=self._clock,
            drain_ms=self._config.drain_ms,
            identity=self._identity,
        )


def policy_of(config: WebhookConfig) -> AddressPolicy:
    """Which addresses the settings allow: judged when an endpoint is made, and by engines when they connect."""
    return AddressPolicy(
        loopback=config.loopback, also_refused=[ipaddress.ip_network(text) for text in config.refused_networks]
    )


def sealer_of(secret: MeshSecrets, *, random_bytes: Callable[[int], bytes]) -> Sealer:
    """What seals customers' secrets for the database, and opens them for engines."""
    return Sealer(key=secret.pepper, random_bytes=random_bytes)
