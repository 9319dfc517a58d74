"""Composition root of the account service: config, stores, board, servicer, server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_account.board import KeyBoard
from trinity_account.caching import KeyCaching
from trinity_account.config import AccountConfig
from trinity_account.following import Following, first_of
from trinity_account.issuing import Issuer
from trinity_account.places import Places
from trinity_account.servicer import AccountServicer, service
from trinity_account.sessions import Sessions
from trinity_account.shared import SharedFollowing
from trinity_account.watching import Watching
from trinity_admission.public_server import PublicServer, public_server
from trinity_core.backoff import Backoff
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.identity import Identity
from trinity_mesh.interceptors import Interceptor
from trinity_mesh.page_tokens import PageTokens
from trinity_mesh.process import Ready, run_process
from trinity_mesh.secrets_file import MeshSecrets, load_secrets
from trinity_mesh.server import MeshServer, ServerLimits
from trinity_storage import app_config
from trinity_storage.account_cache import AccountCache
from trinity_storage.account_statements import CHANNEL
from trinity_storage.accounts import PostgresAccounts
from trinity_storage.notices import Notices
from trinity_storage.postgres import Postgres
from trinity_storage.valkey import Valkey

log = logging.getLogger(__name__)

SECTION = "account"
"""Configuration section of this part; its environment variables begin with TRINITY_ACCOUNT_."""


async def run(
    config: AccountConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    interceptors: Sequence[Interceptor] | None = None,
) -> None:
    """Serve accounts until `stopping` is set, then end every stream and drain.

    `ready` is told {"address", "remote", "public"} once the service says SERVING: when all keys were read from the
    database, which must be migrated, or `ready_wait_ms` have passed. `interceptors` replaces the standard list,
    for callers that come directly with a key. Raises ConfigError for a missing address or secret, TrinityError when
    the address cannot be bound.
    """
    if not config.postgres.url:
        raise ConfigError("settings of account: postgres.url is needed")
    part = AccountPart(config, clock=clock, secret=load_secrets(Path(config.secrets_file)), interceptors=interceptors)
    async with part.serving() as server, part.public() as public:
        await first_of(
            asyncio.ensure_future(part.following.loaded.wait()),
            asyncio.ensure_future(stopping.wait()),
            asyncio.ensure_future(clock.sleep(config.ready_wait_ms / 1_000)),
        )
        if not part.following.loaded.is_set() and not stopping.is_set():
            log.warning("serving although the database cannot be read")
        for each in (server, public):
            await each.set_serving(serving=not stopping.is_set())
        ready({"address": server.address, "remote": server.remote_address, "public": public.address})
        await stopping.wait()
        for each in (server, public):
            await each.set_serving(serving=False)
        part.watching.close()


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the account service as this process; returns its exit code.

    `values` is the section `account` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(AccountConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


class AccountPart:
    """The parts of one account service, put together."""

    def __init__(
        self,
        config: AccountConfig,
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
        self.repo = PostgresAccounts(self.postgres)
        self._valkey = Valkey(config.valkey, url=config.valkey.url, clock=clock) if config.valkey.url else None
        cache = AccountCache(self._valkey, secret=secret.pepper) if self._valkey is not None else None
        self.board = KeyBoard(ended_max=config.ended_keys_max)
        self.following = Following(
            repo=self.repo,
            board=self.board,
            clock=clock,
            poll_ms=config.poll_ms,
            gather_ms=config.gather_ms,
            silence_ms=config.silence_ms,
            copies_ms=config.copies_ms,
            changed=self._changed,
            renewed=self._renewed,
        )
        self.watching = Watching(
            board=self.board,
            following=self.following,
            clock=clock,
            heartbeat_ms=config.heartbeat_ms,
            streams_max=config.streams_max,
            batch_keys_max=config.batch_keys_max,
        )
        self.caching: KeyCaching | None = None
        if cache is not None:
            self.caching = KeyCaching(
                cache=cache,
                board=self.board,
                following=self.following,
                clock=clock,
                flush_ms=config.cache.flush_ms,
                renew_ms=config.cache.renew_ms,
                backoff=Backoff(first_ms=250, cap_ms=5_000),
            )
        self.shared = SharedFollowing(config=app_config.AppConfig(self.postgres), cache=cache, clock=clock)
        self.notices = Notices(
            config.postgres,
            url=config.postgres.url,
            name=SECTION,
            channels=(CHANNEL, app_config.CHANNEL),
            heard=self._heard,
            clock=clock,
            backoff=Backoff(first_ms=100, cap_ms=2_000),
        )
        issuer = Issuer(
            env=config.env, pepper=secret.pepper, random_bytes=random_bytes, settings=lambda: self.shared.current
        )
        sessions = Sessions(
            board=self.board,
            following=self.following,
            master=secret.udp_master,
            clock=clock,
            random_bytes=random_bytes,
        )
        self.servicer = AccountServicer(
            repo=self.repo,
            issuer=issuer,
            sessions=sessions,
            following=self.following,
            watching=self.watching,
            places=Places(PageTokens(key=secret.cursor)),
            clock=clock,
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[MeshServer]:
        """Follow the database and listen; streams end first when it is over, then calls are drained."""
        server = MeshServer(
            address=self._config.listen,
            services=[service(self.servicer)],
            limits=ServerLimits(drain_ms=self._config.drain_ms),
            interceptors=self._interceptors,
            security=self._identity,
        )
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._identity)
            await stack.enter_async_context(self.postgres)
            if self._valkey is not None:
                await stack.enter_async_context(self._valkey)
            # Listening comes before the tasks: an address that is taken is told as it is, not as a group of errors.
            await stack.enter_async_context(server)
            async with asyncio.TaskGroup() as group:
                jobs = [self.following.run(), self.shared.run(), self.notices.run()]
                if self.caching is not None:
                    jobs.append(self.caching.run())
                tasks = [group.create_task(job) for job in jobs]
                try:
                    yield server
                finally:
                    self.watching.close()
                    for task in tasks:
                        task.cancel()

    def public(self) -> contextlib.AbstractAsyncContextManager[PublicServer]:
        """Serve callers that bring a key of their own, if the settings say so."""
        return public_server(
            self._config.public,
            services=[service(self.servicer)],
            clock=self._clock,
            drain_ms=self._config.drain_ms,
            identity=self._identity,
        )

    def _heard(self) -> None:
        self.following.wake()
        self.shared.wake()

    def _changed(self, key_ids: Sequence[str]) -> None:
        self.watching.changed()
        if self.caching is not None:
            self.caching.changed(key_ids)

    def _renewed(self) -> None:
        self.watching.changed()
        if self.caching is not None:
            self.caching.renewed()
