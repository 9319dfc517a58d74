"""Composition root of the usage service: config, database, servicer, server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_admission.public_server import public_server
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.identity import Identity
from trinity_mesh.interceptors import Interceptor
from trinity_mesh.process import Ready, run_process
from trinity_mesh.server import MeshServer, ServerLimits
from trinity_storage.postgres import Postgres
from trinity_storage.quota_leases import QuotaLeases
from trinity_storage.usage import UsageStore
from trinity_usage.closing import Closing
from trinity_usage.config import UsageConfig
from trinity_usage.servicer import UsageServicer, service

SECTION = "usage"
"""Configuration section of this part; its environment variables begin with TRINITY_USAGE_."""


async def run(
    config: UsageConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    interceptors: Sequence[Interceptor] | None = None,
) -> None:
    """Serve until `stopping` is set, then drain. The database, migrated, may come and go meanwhile.

    `ready` is told {"address", "remote", "public"}. `interceptors` replace the standard ones, for a server that
    callers with keys reach directly. Raises TrinityError when the address cannot be bound,
    and ConfigError without a database's address.
    """
    if not config.postgres.url:
        raise ConfigError("settings of usage: postgres.url must be a database's address")
    identity = Identity(config.tls, service=SECTION, clock=clock)
    async with identity, Postgres(config.postgres, url=config.postgres.url, name=SECTION, clock=clock) as postgres:
        store, leases = UsageStore(postgres), QuotaLeases(postgres)
        servicer = UsageServicer(
            store=store, leases=leases, lease=config.lease, waiting_max=config.waiting_max, clock=clock
        )
        closing = Closing(
            store=store,
            leases=leases,
            close_after_h=config.close_after_h,
            final_after_days=config.final_after_days,
            tidy_s=config.tidy_s,
            clock=clock,
        )
        services = [service(servicer)]
        server = MeshServer(
            address=config.listen,
            services=services,
            limits=ServerLimits(drain_ms=config.drain_ms),
            interceptors=interceptors,
            security=identity,
        )
        public = public_server(
            config.public, services=services, clock=clock, drain_ms=config.drain_ms, identity=identity
        )
        async with server, public as direct, asyncio.TaskGroup() as group:
            tidying = group.create_task(closing.run())
            for each in (server, direct):
                await each.set_serving(serving=True)
            ready({"address": server.address, "remote": server.remote_address, "public": direct.address})
            await stopping.wait()
            tidying.cancel()


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the usage service as this process; returns its exit code.

    `values` is the section `usage` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(UsageConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)
