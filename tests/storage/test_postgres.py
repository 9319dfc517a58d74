"""The pool on real servers: errors in our words, bounds that hold, and life after the server's death."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from processes import GENEROUS_S
from stores import Stores
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig, Session

PATIENT = PostgresConfig(acquire_timeout_ms=int(GENEROUS_S * 1_000))
HASTY = PostgresConfig(acquire_timeout_ms=200)


def open_postgres(url: str, config: PostgresConfig | None = None) -> Postgres:
    return Postgres(config or PostgresConfig(), url=url, name="test", clock=SystemClock())


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        await opened.execute("CREATE SCHEMA trinity; CREATE TABLE things (n int PRIMARY KEY CHECK (n > 0), t text)")
        yield opened


async def reason_of(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def test_statements_answer_in_rows_values_and_tags(postgres: Postgres) -> None:
    assert await postgres.execute("INSERT INTO things VALUES ($1, $2)", 1, "one") == "INSERT 0 1"
    async with postgres.connection() as session:
        await session.execute_many("INSERT INTO things VALUES ($1, $2)", [(2, "two"), (3, None)])
    assert [dict(row) for row in await postgres.fetch("SELECT * FROM things WHERE n > $1 ORDER BY n", 1)] == [
        {"n": 2, "t": "two"},
        {"n": 3, "t": None},
    ]
    assert await postgres.fetch_value("SELECT count(*) FROM things") == 3
    assert await postgres.fetch_row("SELECT 1 FROM things WHERE n = 9") is None


async def test_every_session_has_our_schema_utc_its_name_and_a_limit(postgres: Postgres) -> None:
    settings = {"search_path": "trinity", "TimeZone": "UTC", "application_name": "test", "statement_timeout": "5s"}
    for name, value in settings.items():
        assert await postgres.fetch_value("SELECT current_setting($1)", name) == value


async def test_a_transaction_is_all_or_nothing(postgres: Postgres) -> None:
    with pytest.raises(RuntimeError, match="ours"):
        async with postgres.transaction() as session:
            await session.execute("INSERT INTO things VALUES (1)")
            raise RuntimeError("ours, and not renamed")
    assert await postgres.fetch_value("SELECT count(*) FROM things") == 0
    async with postgres.transaction() as session:
        await session.execute("INSERT INTO things VALUES (1)")
    assert await postgres.fetch_value("SELECT count(*) FROM things") == 1


async def test_a_read_only_transaction_writes_nothing(postgres: Postgres) -> None:
    async def write() -> None:
        async with postgres.transaction(read_only=True) as session:
            await session.execute("INSERT INTO things VALUES (1)")

    assert (await reason_of(write())).reason is Reason.INTERNAL


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("INSERT INTO things VALUES (1, 'secret'), (1, 'secret')", Reason.ALREADY_EXISTS),
        ("INSERT INTO things VALUES (-1, 'secret')", Reason.INTERNAL),
        ("SELECT secret", Reason.INTERNAL),
        ("SELEKT 'secret'", Reason.INTERNAL),
        ("SELECT pg_terminate_backend(pg_backend_pid())", Reason.STORE_UNAVAILABLE),
    ],
)
async def test_what_the_server_refuses_gets_our_words_and_none_of_its(
    postgres: Postgres, sql: str, reason: Reason
) -> None:
    error = await reason_of(postgres.execute(sql))
    assert error.reason is reason
    assert "secret" not in error.message + str(error.metadata)
    assert await postgres.fetch_value("SELECT 1") == 1


async def test_a_unique_constraint_is_named(postgres: Postgres) -> None:
    await postgres.execute("INSERT INTO things VALUES (1)")
    error = await reason_of(postgres.execute("INSERT INTO things VALUES (1)"))
    assert error.metadata == {"constraint": "things_pkey"}


async def test_a_wrong_argument_is_a_mistake_of_ours(postgres: Postgres) -> None:
    assert (await reason_of(postgres.fetch("SELECT $1::int", "text"))).reason is Reason.INTERNAL


async def test_two_that_wait_for_each_other_get_a_conflict(postgres: Postgres) -> None:
    await postgres.execute("INSERT INTO things VALUES (1), (2)")
    both = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with postgres.transaction() as session:
            await session.execute("UPDATE things SET t = 'x' WHERE n = $1", first)
            await both.wait()
            await session.execute("UPDATE things SET t = 'x' WHERE n = $1", second)

    ends = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    errors = [end for end in ends if isinstance(end, TrinityError)]
    assert [error.reason for error in errors] == [Reason.STORE_CONFLICT]


async def test_a_slow_statement_is_ended_by_the_server(database_url: str) -> None:
    async with open_postgres(database_url, PostgresConfig(statement_timeout_ms=50)) as postgres:
        error = await reason_of(postgres.execute("SELECT pg_sleep(60)"))
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert await postgres.fetch_value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)'") == 0


async def test_the_pool_is_bounded_and_says_when_it_is_the_bottleneck(database_url: str) -> None:
    config = PostgresConfig(pool_size_max=2, acquire_timeout_ms=2_000)
    async with open_postgres(database_url, config) as postgres, postgres.connection() as one, postgres.connection():
        error = await reason_of(postgres.fetch_value("SELECT 1"))
        assert (error.reason, error.message) == (
            Reason.STORE_UNAVAILABLE,
            "every connection to the database is busy",
        )
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'"
        assert await one.fetch_value(count) == 2


async def test_a_database_or_user_that_does_not_exist_is_told_at_once(stores: Stores) -> None:
    for wrong in ("//trinity@/nothing", "//nobody@/trinity"):
        async with open_postgres(stores.postgres_url.replace("//trinity@/trinity", wrong), PATIENT) as postgres:
            error = await reason_of(postgres.fetch_value("SELECT 1"))
            assert error.reason is Reason.STORE_UNAVAILABLE
            assert "refuses this user or does not exist" in error.message


class Server:
    """A server that can be away: its socket is reached through a link that is there or not."""

    def __init__(self, link: Path, database_url: str, admin_url: str) -> None:
        self._link = link
        self._sockets = Path(parse_qs(urlsplit(database_url).query)["host"][0])
        self._admin_url = admin_url
        self.url = database_url.replace(quote(str(self._sockets)), quote(str(link)))

    def come(self) -> None:
        self._link.symlink_to(self._sockets)

    async def go(self) -> None:
        self._link.unlink()
        admin = await asyncpg.connect(self._admin_url)
        kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'away'"
        await admin.execute(kill)
        await admin.close()


@pytest.fixture
def server(tmp_path: Path, stores: Stores, database_url: str) -> Server:
    link = Path("/tmp") / f"trinity-link-{tmp_path.parent.name}-{tmp_path.name}"[:60]
    link.unlink(missing_ok=True)
    return Server(link, database_url, stores.admin_url)


async def test_a_call_waits_for_a_server_that_is_on_its_way(server: Server) -> None:
    postgres = Postgres(PATIENT, url=server.url, name="away", clock=SystemClock())
    async with postgres:
        waiting = [asyncio.create_task(postgres.fetch_value("SELECT 1")) for _ in range(20)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert done == set()
        server.come()
        assert await asyncio.gather(*waiting) == [1] * 20
        await server.go()


async def test_a_server_that_dies_and_comes_back_is_found_again(server: Server) -> None:
    postgres = Postgres(HASTY, url=server.url, name="away", clock=SystemClock())
    async with postgres:
        server.come()
        assert await postgres.fetch_value("SELECT 1") == 1
        async with postgres.connection() as session:
            await server.go()
            error = await reason_of(session.fetch_value("SELECT 1"))
            assert (error.reason, dict(error.metadata)) == (Reason.STORE_UNAVAILABLE, {"outcome": "unknown"})
        error = await reason_of(postgres.fetch_value("SELECT 1"))
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert error.retry_after_ms is not None
        server.come()

        async def answered() -> bool:
            try:
                return await postgres.fetch_value("SELECT 1") == 1
            except TrinityError:
                return False

        await eventually(answered)
        await server.go()


async def test_a_transaction_whose_server_dies_raises_the_first_error_and_frees_its_connection(server: Server) -> None:
    postgres = Postgres(HASTY, url=server.url, name="away", clock=SystemClock())
    async with postgres:
        server.come()

        async def broken() -> None:
            async with postgres.transaction() as session:
                await server.go()
                await session.execute("SELECT 1")

        for _ in range(2):
            error = await reason_of(broken())
            assert error.reason is Reason.STORE_UNAVAILABLE
            server.come()
        await eventually(lambda: works(postgres))
        await server.go()


async def works(postgres: Postgres) -> bool:
    try:
        return await postgres.fetch_value("SELECT 1") == 1
    except TrinityError:
        return False


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while not await condition():  # noqa: ASYNC110 - servers set no events
            await asyncio.sleep(0.01)


async def test_an_unreachable_server_is_seldom_asked_however_many_wait() -> None:
    attempts = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    with tempfile.TemporaryDirectory(prefix="trinity-") as sockets:
        listener = await asyncio.start_unix_server(hang_up, Path(sockets, ".s.PGSQL.5432"))
        async with listener, open_postgres(f"postgresql://trinity@/trinity?host={sockets}", HASTY) as postgres:
            ends = await asyncio.gather(*(works(postgres) for _ in range(100)))
    assert ends == [False] * 100
    # At most the pool's connections at each of the few times when the silence ends; else it would be thousands.
    assert 1 <= attempts <= 8 * 6


async def test_a_closed_pool_says_so(database_url: str) -> None:
    postgres = open_postgres(database_url)
    assert (await reason_of(postgres.fetch_value("SELECT 1"))).reason is Reason.STORE_UNAVAILABLE
    async with postgres:
        assert await postgres.fetch_value("SELECT 1") == 1
    assert (await reason_of(postgres.fetch_value("SELECT 1"))).reason is Reason.STORE_UNAVAILABLE


async def test_closing_does_not_wait_for_a_session_that_never_ends(database_url: str) -> None:
    postgres = open_postgres(database_url)
    await postgres.open()
    async with postgres.connection() as session:
        assert isinstance(session, Session)
        await postgres.close()


async def test_an_address_that_cannot_be_used_says_why_without_its_password() -> None:
    async with open_postgres("postgresql://u:hunter2@h/d?sslmode=odd", PATIENT) as postgres:
        error = await reason_of(postgres.fetch_value("SELECT 1"))
        assert "sslmode" in error.message
        assert "hunter2" not in error.message


@pytest.mark.parametrize(
    "wrong", [{"url": "mysql://x"}, {"url": "postgresql://h:x/d"}, {"pool_size_max": 0}, {"statement_timeout_ms": 0}]
)
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"postgres.{next(iter(wrong))}"):
        PostgresConfig(**wrong)  # type: ignore[arg-type]


def test_a_password_in_the_address_is_never_shown() -> None:
    assert "hunter2" not in repr(PostgresConfig(url="postgresql://u:hunter2@h/d"))
