"""Composition root of the report service: config, stores, reading, servicer, server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_admission.public_server import PublicServer, public_server
from trinity_core.assets import load_assets
from trinity_core.usage_log import UsageLog
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.identity import Identity
from trinity_mesh.interceptors import Interceptor
from trinity_mesh.page_tokens import PageTokens
from trinity_mesh.process import Ready, run_process
from trinity_mesh.secrets_file import MeshSecrets, load_secrets
from trinity_mesh.server import MeshServer, ServerLimits
from trinity_report.asking import Asking
from trinity_report.config import ReportConfig
from trinity_report.exporting import Exports
from trinity_report.methods import load_methods
from trinity_report.places import Places
from trinity_report.reading import Reading
from trinity_report.servicer import ReportServicer, service
from trinity_storage.postgres import Postgres
from trinity_storage.reports import ReportStore
from trinity_storage.usage_cache import ValkeyUsageLog
from trinity_storage.valkey import Valkey

SECTION = "report"
"""Configuration section of this part; its environment variables begin with TRINITY_REPORT_."""


async def run(
    config: ReportConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    interceptors: Sequence[Interceptor] | None = None,
) -> None:
    """Serve reports until `stopping` is set, then let calls under way finish for `drain_ms`.

    `ready` is told {"address", "remote", "public"} once the service says SERVING, which it does without waiting for
    a store: what cannot be read is told to those who ask for it. The database must be
    migrated. `interceptors` replaces the standard list, for callers that come directly with a
    key. Raises ConfigError for a missing address or secret, TrinityError when the address
    cannot be bound.
    """
    if not config.postgres.url:
        raise ConfigError("settings of report: postgres.url is needed")
    secret = load_secrets(Path(config.secrets_file))
    part = ReportPart(config, clock=clock, secret=secret, interceptors=interceptors)
    async with part.serving() as server, part.public() as public:
        for each in (server, public):
            await each.set_serving(serving=not stopping.is_set())
        ready({"address": server.address, "remote": server.remote_address, "public": public.address})
        await stopping.wait()
        for each in (server, public):
            await each.set_serving(serving=False)


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the report service as this process; returns its exit code.

    `values` is the section `report` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(ReportConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


class ReportPart:
    """The parts of one report service, put together."""

    def __init__(
        self,
        config: ReportConfig,
        *,
        clock: Clock,
        secret: MeshSecrets,
        copy: UsageLog | None = None,
        interceptors: Sequence[Interceptor] | None = None,
    ) -> None:
        """`copy` takes the place of the one in Valkey."""
        self._config = config
        self._clock = clock
        self._interceptors = interceptors
        self._identity = Identity(config.tls, service=SECTION, clock=clock)
        self.postgres = Postgres(config.postgres, url=config.postgres.url, name=SECTION, clock=clock)
        self._valkey: Valkey | None = None
        if copy is None and config.valkey.url:
            self._valkey = Valkey(config.valkey, url=config.valkey.url, clock=clock)
            copy = ValkeyUsageLog(self._valkey, step_ms=config.copy_step_ms)
        store = ReportStore(self.postgres)
        self.reading = Reading(
            store=store, copy=copy, clock=clock, check_ms=config.copy_check_ms, summary_ms=config.summary_ms_max
        )
        self.exports = Exports(
            store=store,
            reading=self.reading,
            exports_max=config.exports_max,
            each_max=config.exports_each_max,
            lasts_ms=config.export_ms_max,
        )
        self.servicer = ReportServicer(
            asking=Asking(owners=store, assets=load_assets(), methods=load_methods()),
            reading=self.reading,
            exports=self.exports,
            places=Places(PageTokens(key=secret.cursor)),
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[MeshServer]:
        """Open the stores and listen; calls are drained before the stores are closed."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._identity)
            await stack.enter_async_context(self.postgres)
            if self._valkey is not None:
                await stack.enter_async_context(self._valkey)
            yield await stack.enter_async_context(
                MeshServer(
                    address=self._config.listen,
                    services=[service(self.servicer)],
                    limits=ServerLimits(drain_ms=self._config.drain_ms),
                    interceptors=self._interceptors,
                    security=self._identity,
                )
            )

    def public(self) -> contextlib.AbstractAsyncContextManager[PublicServer]:
        """Serve callers that bring a key of their own, if the settings say so."""
        return public_server(
            self._config.public,
            services=[service(self.servicer)],
            clock=self._clock,
            drain_ms=self._config.drain_ms,
            identity=self._identity,
        )
