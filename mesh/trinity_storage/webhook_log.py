"""The log of deliveries in PostgreSQL; the same rows are the outbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trinity_core.webhook_errors import unknown_delivery, unknown_endpoint
from trinity_core.webhook_store import DeliveryFilter, Logged, Place
from trinity_core.webhooks import Attempt, Delivery, DeliveryClass
from trinity_storage.moments import from_moment, to_moment
from trinity_storage.postgres import Postgres
from trinity_storage.webhook_rows import ATTEMPT, DELIVERY, attempt_of, delivery_of, delivery_values
from trinity_storage.webhooks import ADD_DELIVERY

# ruff: noqa: S608 - statements are put together of constants


class PostgresDeliveryLog:
    """DeliveryLog in the tables of migration 4."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` stays its owner's to open and close."""
        self._postgres = postgres

    async def enqueue(self, delivery: Delivery) -> Delivery:
        """See DeliveryLog."""
        async with self._postgres.transaction() as session:
            found = await session.fetch_value(
                "SELECT true FROM trinity.webhook_endpoints WHERE endpoint = $1 FOR KEY SHARE", delivery.endpoint
            )
            if not found:
                raise unknown_endpoint(delivery.endpoint)
            row = await session.fetch_row(f"{ADD_DELIVERY} RETURNING *", *delivery_values(delivery))
            assert row is not None
            return delivery_of(row)

    async def find_delivery(self, delivery: str) -> Delivery | None:
        """See DeliveryLog."""
        row = await self._postgres.fetch_row(
            f"SELECT {DELIVERY}, sequence FROM trinity.webhook_deliveries WHERE delivery = $1", delivery
        )
        return None if row is None else delivery_of(row)

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: Place | None, limit: int, attempts_max: int
    ) -> Sequence[Logged]:
        """See DeliveryLog."""
        words, values = _conditions(wanted)
        if after is not None:
            values += [to_moment(after[0]), after[1]]
            words += f" AND (create_time, delivery) < (${len(values) - 1}, ${len(values)})"
        shown = DELIVERY.replace("payload", "''::bytea AS payload")
        async with self._postgres.transaction(read_only=True, snapshot=True) as session:
            rows = await session.fetch(
                f"SELECT {shown}, sequence, octet_length(payload) AS payload_bytes FROM trinity.webhook_deliveries "
                f"WHERE {words} ORDER BY create_time DESC, delivery DESC LIMIT {int(limit)}",
                *values,
            )
            attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
            for row in await session.fetch(
                f"SELECT a.* FROM unnest($1::text[]) AS d, LATERAL (SELECT {ATTEMPT} FROM trinity.webhook_attempts "
                "WHERE delivery = d ORDER BY number DESC LIMIT $2) AS a",
                [row["delivery"] for row in rows],
                attempts_max,
            ):
                attempts[row["delivery"]].append(attempt_of(row))
        return [Logged(delivery_of(row), tuple(attempts[row["delivery"]]), row["payload_bytes"]) for row in rows]

    async def redeliver(self, delivery: str, *, due_ns: int) -> Delivery:
        """See DeliveryLog."""
        row = await self._postgres.fetch_row(
            f"UPDATE trinity.webhook_deliveries SET {_ANEW} WHERE delivery = $2 RETURNING {DELIVERY}, sequence",
            to_moment(due_ns),
            delivery,
        )
        if row is None:
            raise unknown_delivery(delivery)
        return delivery_of(row)

    async def replay(
        self, wanted: DeliveryFilter, *, after: Place | None, due_ns: int, limit: int
    ) -> tuple[int, Place | None]:
        """See DeliveryLog."""
        words, values = _conditions(wanted)
        if after is not None:
            values += [to_moment(after[0]), after[1]]
            words += f" AND (create_time, delivery) > (${len(values) - 1}, ${len(values)})"
        async with self._postgres.transaction() as session:
            rows = await session.fetch(
                f"SELECT delivery, create_time FROM trinity.webhook_deliveries WHERE {words} AND state <> 1 "
                f"ORDER BY create_time, delivery LIMIT {int(limit) + 1} FOR UPDATE",
                *values,
            )
            page = rows[:limit]
            await session.execute(
                f"UPDATE trinity.webhook_deliveries SET {_ANEW} WHERE delivery = ANY($2)",
                to_moment(due_ns),
                [row["delivery"] for row in page],
            )
        rest = (from_moment(page[-1]["create_time"]), str(page[-1]["delivery"])) if len(rows) > limit else None
        return len(page), rest

    async def count_recent(self, endpoint: str, kind: DeliveryClass, *, since_ns: int) -> int:
        """See DeliveryLog."""
        return int(
            await self._postgres.fetch_value(
                "SELECT count(*) FROM trinity.webhook_deliveries "
                "WHERE endpoint = $1 AND kind = $2 AND create_time > $3",
                endpoint,
                kind.value,
                to_moment(since_ns),
            )
        )


_ANEW = """
state = 1, due_time = $1, done_time = NULL, ordered = false, attempts = 0,
claim = CASE state WHEN 1 THEN claim ELSE 0 END
"""


def _conditions(wanted: DeliveryFilter) -> tuple[str, list[object]]:
    words, values = ["true"], list[object]()

    def add(condition: str, value: object) -> None:
        values.append(value)
        words.append(condition.format(f"${len(values)}"))

    if wanted.associate is not None:
        add("associate = {}", wanted.associate)
    if wanted.endpoint:
        add("endpoint = {}", wanted.endpoint)
    if wanted.subscription:
        add("subscription = {}", wanted.subscription)
    if wanted.kinds:
        add("kind = ANY({}::smallint[])", [kind.value for kind in wanted.kinds])
    if wanted.states:
        add("state = ANY({}::smallint[])", [state.value for state in wanted.states])
    if wanted.start_ns is not None:
        add("create_time >= {}", to_moment(wanted.start_ns))
    if wanted.end_ns is not None:
        add("create_time < {}", to_moment(wanted.end_ns))
    return " AND ".join(words), values
