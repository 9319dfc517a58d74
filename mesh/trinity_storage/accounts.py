"""Plans, associates and keys in PostgreSQL: every change in one transaction, one after the other, with its version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from trinity_core.account_errors import already_exists, invalid_author
from trinity_core.accounts import (
    ApiKey,
    Associate,
    Author,
    KeyRecord,
    OwnedKey,
    Plan,
    Room,
    Rotation,
    is_live,
)
from trinity_storage.account_rows import (
    ASSOCIATE,
    HELD,
    PLAN,
    RECORD,
    associate_of,
    associate_values,
    held_associate_of,
    held_of,
    plan_of,
    plan_values,
    records_of,
)
from trinity_storage.account_statements import (
    CHANGED,
    OF_PLANS,
    PARAMETERS,
    VALID,
    add_key,
    count_up,
    find_key,
    plans_with_versions,
    room_of,
    the_associate,
    the_key,
    the_plan,
    unique,
)
from trinity_storage.moments import to_moment
from trinity_storage.postgres import Postgres, Session

_RECORDS_AT_ONCE: Final = 500
# ruff: noqa: S608 - statements are put together of constants


class PostgresAccounts:
    """AccountRepo in the tables of migration 2.

    A change locks the one row of account_version first, and counts it up when there is
    something to store. So changes wait for each other, and versions are in the order of commits.
    """

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` stays its owner's to open and close."""
        self._postgres = postgres

    async def create_plan(self, plan: Plan, *, author: Author) -> Plan:
        """See AccountRepo."""
        made = replace(plan, create_time_ns=author.at_ns, update_time_ns=author.at_ns)
        async with self._change(author) as session:
            version = await count_up(session)
            with unique("plan", plan.plan):
                await session.execute(
                    f"INSERT INTO trinity.plans ({PLAN}, version) VALUES ({PARAMETERS[11]})",
                    *plan_values(made),
                    version,
                )
        return made

    async def get_plan(self, plan: str) -> Plan | None:
        """See AccountRepo."""
        row = await self._postgres.fetch_row(f"SELECT {PLAN} FROM trinity.plans WHERE plan = $1", plan)
        return None if row is None else plan_of(row)

    async def list_plans(self, *, after: str, limit: int) -> Sequence[Plan]:
        """See AccountRepo."""
        rows = await self._postgres.fetch(
            f"SELECT {PLAN} FROM trinity.plans WHERE plan > $1 ORDER BY plan LIMIT $2", after, limit
        )
        return [plan_of(row) for row in rows]

    async def update_plan(self, plan: str, change: Callable[[Plan], Plan], *, author: Author) -> Plan:
        """See AccountRepo."""
        async with self._change(author) as session:
            old = await the_plan(session, plan)
            new = change(old)
            if new == old:
                return old
            new = replace(new, update_time_ns=author.at_ns)
            version = await count_up(session)
            await session.execute(
                f"UPDATE trinity.plans SET ({PLAN}, version) = ROW({PARAMETERS[11]}) WHERE plan = $1",
                *plan_values(new),
                version,
            )
        return new

    async def create_associate(self, associate: Associate, *, author: Author) -> Associate:
        """See AccountRepo."""
        made = replace(associate, create_time_ns=author.at_ns, update_time_ns=author.at_ns)
        async with self._change(author) as session:
            version = await count_up(session)
            await the_plan(session, associate.plan)
            with unique("associate", associate.associate):
                await session.execute(
                    f"INSERT INTO trinity.associates ({ASSOCIATE}, version) VALUES ({PARAMETERS[8]})",
                    *associate_values(made),
                    version,
                )
        return made

    async def get_associate(self, associate: str) -> Associate | None:
        """See AccountRepo."""
        row = await self._postgres.fetch_row(
            f"SELECT {ASSOCIATE} FROM trinity.associates WHERE associate = $1", associate
        )
        return None if row is None else associate_of(row)

    async def list_associates(self, *, after: str, limit: int) -> Sequence[Associate]:
        """See AccountRepo."""
        rows = await self._postgres.fetch(
            f"SELECT {ASSOCIATE} FROM trinity.associates WHERE associate > $1 ORDER BY associate LIMIT $2",
            after,
            limit,
        )
        return [associate_of(row) for row in rows]

    async def update_associate(
        self, associate: str, change: Callable[[Associate], Associate], *, author: Author
    ) -> Associate:
        """See AccountRepo."""
        async with self._change(author) as session:
            old = await the_associate(session, associate)
            new = change(old)
            if new == old:
                return old
            new = replace(new, update_time_ns=author.at_ns)
            await the_plan(session, new.plan)
            version = await count_up(session)
            await session.execute(
                f"UPDATE trinity.associates SET ({ASSOCIATE}, version) = ROW({PARAMETERS[8]}) WHERE associate = $1",
                *associate_values(new),
                version,
            )
        return new

    async def create_key(self, associate: str, make: Callable[[Room], ApiKey], *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        async with self._change(author) as session:
            key = make(await room_of(session, associate, author))
            return await add_key(session, key, await count_up(session))

    async def register_key(self, key: ApiKey, *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        async with self._change(author) as session:
            await the_associate(session, key.associate)
            old = await find_key(session, key.key_id)
            if old is None:
                return await add_key(session, key, await count_up(session))
            if old.key.associate != key.associate:
                raise already_exists("key", key.key_id)
            if (old.key.name, old.key.scopes, old.key.digest) == (key.name, key.scopes, key.digest):
                return old
            version = await count_up(session)
            with unique("key", key.key_id):
                await session.execute(
                    "UPDATE trinity.api_keys SET name = $2, scopes = $3, digest = $4, version = $5 WHERE key_id = $1",
                    key.key_id,
                    key.name,
                    list(key.scopes),
                    key.digest,
                    version,
                )
            return await the_key(session, key.key_id)

    async def get_key(self, key_id: str) -> OwnedKey | None:
        """See AccountRepo."""
        async with self._postgres.connection() as session:
            return await find_key(session, key_id)

    async def list_keys(
        self, *, associate: str | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[OwnedKey]:
        """See AccountRepo."""
        words, values = ["true"], list[object]()
        if associate is not None:
            values.append(associate)
            words.append(f"k.associate = ${len(values)}")
        if after is not None:
            values += [to_moment(after[0]), after[1]]
            words.append(f"(k.create_time, k.key_id) < (${len(values) - 1}, ${len(values)})")
        order = f"ORDER BY k.create_time DESC, k.key_id DESC LIMIT ${len(values) + 1}"
        rows = await self._postgres.fetch(f"{HELD} WHERE {' AND '.join(words)} {order}", *values, limit)
        return [held_of(row) for row in rows]

    async def rotate_key(
        self, key_id: str, change: Callable[[OwnedKey, Room], Rotation], *, author: Author
    ) -> tuple[OwnedKey, OwnedKey]:
        """See AccountRepo."""
        async with self._change(author) as session:
            old = await the_key(session, key_id)
            rotation = change(old, await room_of(session, old.key.associate, author))
            version = await count_up(session)
            new = await add_key(session, replace(rotation.successor, replaces=key_id), version)
            await session.execute(
                "UPDATE trinity.api_keys SET expire_time = $2, version = $3 WHERE key_id = $1",
                key_id,
                to_moment(rotation.expire_time_ns),
                version,
            )
            return new, await the_key(session, key_id)

    async def revoke_key(self, key_id: str, check: Callable[[ApiKey], None], *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        async with self._change(author) as session:
            old = await the_key(session, key_id)
            check(old.key)
            if old.key.revoke_time_ns is not None:
                return old
            version = await count_up(session)
            await session.execute(
                "UPDATE trinity.api_keys SET revoke_time = $2, version = $3 WHERE key_id = $1",
                key_id,
                to_moment(author.at_ns),
                version,
            )
            return await the_key(session, key_id)

    async def version(self) -> int:
        """See AccountRepo."""
        return int(await self._postgres.fetch_value("SELECT version FROM trinity.account_version"))

    async def read_records(self, *, since: int, now_ns: int, take: Callable[[Sequence[KeyRecord]], None]) -> int:
        """See AccountRepo."""
        now = to_moment(now_ns)
        async with self._view() as session:
            version = int(await session.fetch_value("SELECT version FROM trinity.account_version"))
            plans = await plans_with_versions(session)
            if since:
                ids = [row[0] for row in await session.fetch(CHANGED, since, now)]
                for start in range(0, len(ids), _RECORDS_AT_ONCE):
                    part = ids[start : start + _RECORDS_AT_ONCE]
                    take(records_of(await session.fetch(f"{RECORD} WHERE k.key_id = ANY($1)", part), plans))
                return version
            after = ""
            while rows := await session.fetch(f"{RECORD} {VALID}", after, now, _RECORDS_AT_ONCE):
                take(records_of(rows, plans))
                after = rows[-1]["key_id"]
            return version

    async def read_plan_records(self, *, since: int, now_ns: int, after: str, limit: int) -> Sequence[KeyRecord]:
        """See AccountRepo."""
        async with self._view() as session:
            plans = await plans_with_versions(session, since=since)
            if not plans:
                return []
            rows = await session.fetch(f"{RECORD} {OF_PLANS}", after, to_moment(now_ns), list(plans), limit)
            return records_of(rows, plans)

    @asynccontextmanager
    async def _view(self) -> AsyncIterator[Session]:
        """One view of everything, however long the reading takes."""
        async with self._postgres.transaction(read_only=True) as session:
            await session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield session

    @asynccontextmanager
    async def _change(self, author: Author) -> AsyncIterator[Session]:
        """A transaction that no other change overlaps, by an author whose key is valid in it."""
        async with self._postgres.transaction() as session:
            await session.execute("SELECT FROM trinity.account_version FOR UPDATE")
            if author.key_id:
                row = await session.fetch_row(f"{HELD} WHERE k.key_id = $1", author.key_id)
                if row is None or not is_live(held_of(row).key.state(author.at_ns)) or held_associate_of(row).suspended:
                    raise invalid_author()
            yield session
