"""A whole account service on a real database and real sockets, and callers of it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from trinity.account.v1 import account_pb2, account_service_pb2_grpc
from trinity_account.config import AccountConfig, CacheConfig
from trinity_account.main import AccountPart
from trinity_admission.principal import Principal, metadata_of
from trinity_mesh.channels import call, open_channel, stream
from trinity_mesh.clock import SystemClock
from trinity_mesh.secrets_file import MeshSecrets
from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig

SECRETS = MeshSecrets(
    pepper=b"pepper-for-tests" * 2, udp_master=b"master-for-tests" * 2, cursor=b"cursor-for-tests" * 2
)
PATIENT_S = 30.0


async def until_true(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once a condition that must be asked for holds; fail when it does not for too long."""
    async with asyncio.timeout(PATIENT_S):
        while not await condition():  # noqa: ASYNC110 - stores and other processes set no events
            await asyncio.sleep(0.01)


class Caller:
    """Calls the service with some metadata; what fails is raised as TrinityError."""

    def __init__(self, channel: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = account_service_pb2_grpc.AccountServiceStub(channel)
        self._metadata = metadata

    async def __call__(self, request: Any) -> Any:
        """The RPC is the one that takes this message."""
        name = type(request).__name__.removesuffix("Request")
        return await call(getattr(self._stub, name)(request, metadata=self._metadata, timeout=PATIENT_S))

    def watch(self, resume_version: int = 0) -> AsyncIterator[account_pb2.WatchKeysResponse]:
        request = account_pb2.WatchKeysRequest(resume_version=resume_version)
        return stream(aiter(self._stub.WatchKeys(request, metadata=self._metadata)))


class SmallAccount:
    """The service (`part`) and its callers, once `running` is entered."""

    def __init__(
        self, folder: Path, database_url: str, *, name: str = "a", valkey_url: str = "", **settings: Any
    ) -> None:
        # Paths of sockets are short; a test's folder is not.
        self._folder = tempfile.TemporaryDirectory(prefix="ta-")
        self.config = AccountConfig(
            listen=settings.pop("listen", f"unix:{self._folder.name}/{name}.sock"),
            env="test",
            postgres=PostgresConfig(url=database_url, acquire_timeout_ms=settings.pop("acquire_timeout_ms", 20_000)),
            valkey=ValkeyConfig(url=valkey_url, timeout_ms=5_000),
            cache=CacheConfig(flush_ms=20),
            drain_ms=200,
            **{"heartbeat_ms": 100, **settings},
        )
        self.part = AccountPart(self.config, clock=SystemClock(), secret=SECRETS)
        self.address = ""

    @contextlib.asynccontextmanager
    async def running(self, *, loaded: bool = True) -> AsyncIterator[SmallAccount]:
        with self._folder:
            async with contextlib.AsyncExitStack() as stack:
                server = await stack.enter_async_context(self.part.serving())
                self.address = server.address
                if loaded:
                    async with asyncio.timeout(PATIENT_S):
                        await self.part.following.loaded.wait()
                self._channel = await stack.enter_async_context(open_channel(self.address))
                yield self

    def caller(self, principal: Principal | None = None) -> Caller:
        """None: a part of the mesh."""
        return Caller(self._channel, () if principal is None else metadata_of(principal))

    async def plan(self, plan: str, **fields: Any) -> account_pb2.Plan:
        wanted = {"rate_per_s": 10, "burst": 20, "scopes": ["prices.read", "keys.manage"], **fields}
        made = await self.caller()(account_pb2.CreatePlanRequest(plan=account_pb2.Plan(plan=plan, **wanted)))
        found: account_pb2.Plan = made.plan
        return found

    async def associate(self, associate: str, plan: str, **fields: Any) -> account_pb2.Associate:
        wanted = account_pb2.Associate(associate=associate, plan=plan, **fields)
        made = await self.caller()(account_pb2.CreateAssociateRequest(associate=wanted))
        found: account_pb2.Associate = made.associate
        return found

    async def key(self, associate: str, **fields: Any) -> account_pb2.CreateKeyResponse:
        made: account_pb2.CreateKeyResponse = await self.caller()(
            account_pb2.CreateKeyRequest(associate=associate, **fields)
        )
        return made

    async def tenant(self, associate: str, *, plan: str = "demo", **fields: Any) -> tuple[Principal, Caller]:
        """An associate with one key, and calls made with that key."""
        await self.associate(associate, plan)
        made = (await self.key(associate, **fields)).key
        principal = Principal(made.key_id, associate, frozenset(made.scopes))
        return principal, self.caller(principal)


class Replica:
    """What a gateway knows: the keys of one stream, as its batches tell."""

    def __init__(self) -> None:
        self.keys: dict[str, account_pb2.KeyRecord] = {}
        self.version = 0
        self.batches: list[account_pb2.WatchKeysResponse] = []
        self.complete = asyncio.Event()
        self.ended: Exception | None = None
        self._came = asyncio.Condition()
        self._gathered: dict[str, account_pb2.KeyRecord] = {}

    @contextlib.asynccontextmanager
    async def following(self, caller: Caller, *, resume: bool = False) -> AsyncIterator[Replica]:
        task = asyncio.create_task(self._follow(caller, self.version if resume else 0))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENT_S), self._came:
            await self._came.wait_for(condition)

    def knows(self, key_id: str) -> bool:
        return key_id in self.keys and not self.keys[key_id].revoked

    async def _follow(self, caller: Caller, version: int) -> None:
        try:
            async for batch in caller.watch(version):
                self._take(batch)
                async with self._came:
                    self._came.notify_all()
        except Exception as error:
            self.ended = error
            async with self._came:
                self._came.notify_all()

    def _take(self, batch: account_pb2.WatchKeysResponse) -> None:
        self.batches.append(batch)
        if batch.snapshot:
            self._gathered.update({record.key_id: record for record in batch.keys})
            if not batch.snapshot_complete:
                return
            self.keys, self._gathered = self._gathered, {}
            self.complete.set()
        else:
            assert batch.version >= self.version
            self.keys.update({record.key_id: record for record in batch.keys})
        self.version = batch.version


class Switch:
    """A way to a database that can be closed, as if the server were away."""

    def __init__(self, database_url: str, admin_url: str) -> None:
        parts = urlsplit(database_url)
        self._database = parts.path.removeprefix("/")
        self._admin_url = admin_url
        (host,) = parse_qs(parts.query)["host"]
        self._socket = Path(host) / ".s.PGSQL.5432"
        self._folder = tempfile.TemporaryDirectory(prefix="pg-")
        self._link = Path(self._folder.name) / ".s.PGSQL.5432"
        self.url = f"postgresql://trinity@{parts.path}?host={self._folder.name}&port=5432"

    def __enter__(self) -> Switch:
        self.on()
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def on(self) -> None:
        self._link.symlink_to(self._socket)

    async def off(self) -> None:
        self._link.unlink()
        admin = await asyncpg.connect(self._admin_url)
        try:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self._database
            )
        finally:
            await admin.close()
