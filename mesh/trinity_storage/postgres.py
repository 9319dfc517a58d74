"""PostgreSQL behind one seam: a bounded pool that outlives its server, and no foreign exception."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import asyncpg
from asyncpg.protocol import NO_TIMEOUT

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import tracing
from trinity_storage.breaker import Breaker
from trinity_storage.postgres_errors import is_unreachable, renamed

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    PoolConnection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

Row = asyncpg.Record
"""One row: by name (`row["key"]`), by position, or as a mapping."""

SCHEMA: Final = "trinity"
"""Everything of ours is in it, and every session looks there first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresConfig:
    """Section `storage.postgres`."""

    url: str = field(default="", repr=False)
    """postgresql://user:password@host:port/database?sslmode=verify-full; empty: an embedded server."""
    pool_size_max: int = 8
    """Connections of one process at most."""
    connect_timeout_ms: int = 2_000
    """One attempt to connect."""
    acquire_timeout_ms: int = 2_000
    """How long a call waits for a connection, through restarts of the server."""
    statement_timeout_ms: int = 5_000
    """One statement, waiting for locks included; the server ends it."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError("postgres.url must begin with postgresql://")
        try:
            _ = urlsplit(self.url).port
        except ValueError:
            raise ValueError("postgres.url has a port that is no number") from None
        for name in ("pool_size_max", "connect_timeout_ms", "acquire_timeout_ms", "statement_timeout_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"postgres.{name} must be positive")


_BROKEN: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection that broke can raise once it is not of use any more."""


class Session:
    """One connection, inside `Postgres.connection` or `Postgres.transaction`; not to be kept."""

    __slots__ = ("_connection",)

    def __init__(self, connection: PoolConnection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: object, timeout_ms: int | None = None) -> list[Row]:
        """All rows; `$1` stands for the first of `args`. `timeout_ms` replaces the usual one of this side."""
        with renamed():
            return await self._connection.fetch(sql, *args, timeout=_seconds(timeout_ms))

    async def fetch_row(self, sql: str, *args: object, timeout_ms: int | None = None) -> Row | None:
        """The first row, or None."""
        with renamed():
            return await self._connection.fetchrow(sql, *args, timeout=_seconds(timeout_ms))

    async def fetch_value(self, sql: str, *args: object, timeout_ms: int | None = None) -> Any:
        """The first column of the first row, or None."""
        with renamed():
            return await self._connection.fetchval(sql, *args, timeout=_seconds(timeout_ms))

    async def execute(self, sql: str, *args: object, timeout_ms: int | None = None) -> str:
        """The command tag ("UPDATE 3"). Without `args`, several statements may be given at once."""
        with renamed():
            return await self._connection.execute(sql, *args, timeout=_seconds(timeout_ms))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]], timeout_ms: int | None = None) -> None:
        """Once for each of `rows`, all or none."""
        with renamed():
            await self._connection.executemany(sql, rows, timeout=_seconds(timeout_ms))

    async def batches(self, sql: str, *args: object, rows_max: int, timeout_ms: int) -> AsyncIterator[list[Row]]:
        """All rows in batches of 1 to `rows_max`, from a cursor of the server: memory for one batch at a time.

        Only inside `Postgres.transaction`, with no other statement before the last batch.
        `timeout_ms` bounds the wait for one batch.
        """
        with renamed():
            cursor = await self._connection.cursor(sql, *args, timeout=_seconds(timeout_ms))
        while True:
            with renamed():
                rows = await cursor.fetch(rows_max, timeout=_seconds(timeout_ms))
            if not rows:
                return
            yield rows

    async def copy_text(
        self,
        sql: str,
        *args: object,
        sink: Callable[[bytes], Coroutine[Any, Any, None]],
        delimiter: str,
        timeout_ms: int,
    ) -> int:
        """All rows in the text format of COPY, NULL as nothing, handed to `sink` a piece at a time; how many they were.

        The server sends on only when `sink` has returned. Rows are lines; pieces need not end
        where lines do. `timeout_ms` bounds the whole, the sink included. What `sink` raises is
        raised here; then, as when this is cancelled, the connection is closed, which ends the
        statement.
        """
        with renamed():
            try:
                async with asyncio.timeout(timeout_ms / 1_000):
                    tag = await self._connection.copy_from_query(
                        sql,
                        *args,
                        output=sink,
                        format="text",
                        delimiter=delimiter,
                        null="",
                        # One timer for the whole, above: asyncpg's own would be a task for every piece.
                        timeout=NO_TIMEOUT,  # type: ignore[arg-type]
                    )
            except asyncpg.PostgresError:
                raise
            except BaseException:
                # Of a COPY that is given up asyncpg takes the next piece for the end, and would go on too early.
                self._connection.terminate()
                raise
        return int(tag.removeprefix("COPY "))


class Postgres:
    """A pool of connections to one database.

    A server that is killed, restarted or not there yet makes calls wait for at most
    `acquire_timeout_ms`, then fail with STORE_UNAVAILABLE; attempts to reach it are rare
    however many callers wait. A statement whose connection broke is never repeated here:
    its outcome is unknown, and only its caller knows whether to ask again.
    """

    def __init__(
        self, config: PostgresConfig, *, url: str, name: str, clock: Clock, rng: random.Random | None = None
    ) -> None:
        """`url` is the resolved store's; `name` shows in pg_stat_activity. Nothing is opened yet."""
        self._config = config
        self._url = url
        self._name = name
        self._clock = clock
        self._breaker = Breaker(clock=clock, rng=rng or random.Random())  # noqa: S311 - jitter
        self._places = asyncio.Semaphore(config.pool_size_max)
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the pool. The server need not be there: connections are made when they are needed."""
        statement_s = self._config.statement_timeout_ms / 1_000
        with renamed():
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._config.pool_size_max,
                timeout=self._config.connect_timeout_ms / 1_000,
                # The server's own limit comes first; this one is for a server that is silent.
                command_timeout=statement_s + 1,
                server_settings={
                    "application_name": self._name,
                    "search_path": SCHEMA,
                    "statement_timeout": str(self._config.statement_timeout_ms),
                    "idle_in_transaction_session_timeout": str(10 * self._config.statement_timeout_ms),
                    "timezone": "UTC",
                },
            )

    async def close(self) -> None:
        """Close every connection, the busy ones after a second."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(1):
                await pool.close()
        except (TimeoutError, *_BROKEN):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        """A connection for some statements, each its own transaction."""
        with tracing.within("postgresql"):
            connection = await self._acquire()
            try:
                yield Session(connection)
            finally:
                await self._release(connection)

    @asynccontextmanager
    async def transaction(self, *, read_only: bool = False, snapshot: bool = False) -> AsyncIterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises.

        With `snapshot` every statement sees the database as the first one did (REPEATABLE READ).
        When the commit itself cannot be confirmed, STORE_UNAVAILABLE has `outcome: unknown`
        in its metadata: it may have happened.
        """
        async with self.connection() as session:
            with renamed():
                transaction = session._connection.transaction(  # noqa: SLF001 - its own session
                    isolation="repeatable_read" if snapshot else None, readonly=read_only
                )
                await transaction.start()
            try:
                yield session
            except BaseException:
                # A broken connection has rolled back already; the first error is the one to tell.
                with suppress(*_BROKEN):
                    await transaction.rollback()
                raise
            with renamed():
                await transaction.commit()

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """`Session.fetch` on any connection."""
        async with self.connection() as session:
            return await session.fetch(sql, *args)

    async def fetch_row(self, sql: str, *args: object) -> Row | None:
        """`Session.fetch_row` on any connection."""
        async with self.connection() as session:
            return await session.fetch_row(sql, *args)

    async def fetch_value(self, sql: str, *args: object) -> Any:
        """`Session.fetch_value` on any connection."""
        async with self.connection() as session:
            return await session.fetch_value(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """`Session.execute` on any connection."""
        async with self.connection() as session:
            return await session.execute(sql, *args)

    async def _acquire(self) -> PoolConnection:
        deadline_ns = self._clock.monotonic_ns() + self._config.acquire_timeout_ms * 1_000_000
        # A place first: so at most `pool_size_max` callers knock at a server that is down.
        try:
            async with asyncio.timeout(self._config.acquire_timeout_ms / 1_000):
                await self._places.acquire()
        except TimeoutError:
            if self._breaker.failing:
                raise self._unreachable() from None
            raise TrinityError(Reason.STORE_UNAVAILABLE, "every connection to the database is busy") from None
        try:
            return await self._connect(deadline_ns)
        except BaseException:
            self._places.release()
            raise

    async def _connect(self, deadline_ns: int) -> PoolConnection:
        while True:
            if self._pool is None:
                raise TrinityError(Reason.STORE_UNAVAILABLE, "the database is not open")
            left_ms = (deadline_ns - self._clock.monotonic_ns()) // 1_000_000
            wait_ms = self._breaker.wait_ms()
            if left_ms <= wait_ms:
                raise self._unreachable()
            if wait_ms:
                await self._clock.sleep(wait_ms / 1_000)
                continue
            try:
                connection = await self._pool.acquire(timeout=left_ms / 1_000)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not is_unreachable(error):
                    with renamed():
                        raise
                self._breaker.failed()
            else:
                self._breaker.succeeded()
                return connection

    def _unreachable(self) -> TrinityError:
        wait_ms = max(1, self._breaker.wait_ms())
        return TrinityError(Reason.STORE_UNAVAILABLE, "the database cannot be reached", retry_after_ms=wait_ms)

    async def _release(self, connection: PoolConnection) -> None:
        try:
            if self._pool is not None:
                with suppress(*_BROKEN):
                    await self._pool.release(connection, timeout=1)
        finally:
            self._places.release()


def _seconds(timeout_ms: int | None) -> float | None:
    return None if timeout_ms is None else timeout_ms / 1_000
