"""What webhook engines work off, in PostgreSQL: rule states with their alerts, claims, attempts.

Nothing waits for another worker: what is locked is skipped, and every write is guarded by the
token of the lease that it is made under.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from trinity_core.webhook_activity import Seen
from trinity_core.webhook_alerts import state_to_json
from trinity_core.webhook_errors import lost_lease
from trinity_core.webhook_store import Lease, Result, StoredState, Watched
from trinity_core.webhooks import Attempt, Delivery, DeliveryState
from trinity_storage import webhook_activity
from trinity_storage.moments import to_moment
from trinity_storage.postgres import Postgres, Session
from trinity_storage.webhook_leases import WebhookLeases
from trinity_storage.webhook_rows import (
    ATTEMPT,
    ATTEMPT_TYPES,
    DELIVERY,
    DELIVERY_TYPES,
    ENDPOINT,
    SUBSCRIPTION,
    arrays,
    attempt_values,
    columns_of,
    delivery_of,
    delivery_values,
    standing_of,
    state_of,
    subscription_of,
)
from trinity_storage.webhooks import ADD_DELIVERY, count_up, secrets_by_endpoint

# ruff: noqa: S608 - statements are put together of constants

_LOG: Final = f"""
INSERT INTO trinity.webhook_deliveries ({DELIVERY})
SELECT * FROM unnest({arrays(DELIVERY_TYPES)}) ORDER BY 1
ON CONFLICT (delivery) DO UPDATE
   SET state = EXCLUDED.state, attempts = EXCLUDED.attempts, tries = EXCLUDED.tries, done_time = EXCLUDED.done_time,
       due_time = NULL, last_status = EXCLUDED.last_status, last_outcome = EXCLUDED.last_outcome
 WHERE webhook_deliveries.tries <= EXCLUDED.tries
"""
_LOG_ATTEMPTS: Final = f"""
INSERT INTO trinity.webhook_attempts ({ATTEMPT})
SELECT * FROM unnest({arrays(ATTEMPT_TYPES)})
ON CONFLICT (delivery, number) DO NOTHING
"""
_RECORD: Final = """
WITH held AS (
    SELECT true AS held FROM trinity.webhook_leases WHERE shard = $1 AND token = $2 FOR SHARE
), told AS (
    SELECT t.* FROM held, unnest($3::text[], $4::smallint[], $5::timestamptz[], $6::timestamptz[], $7::boolean[],
                                 $8::integer[], $9::timestamptz[], $10::bigint[], $11::smallint[], $12::smallint[],
                                 $13::bytea[], $14::text[]) WITH ORDINALITY
        AS t (delivery, state, due_time, done_time, failing, number, at, latency_us, outcome, status, answer, error,
              place)
), done AS (
    UPDATE trinity.webhook_deliveries d
       SET state = told.state, due_time = told.due_time, done_time = told.done_time, claim = 0,
           attempts = d.attempts + 1, tries = greatest(d.tries, told.number),
           last_status = told.status, last_outcome = told.outcome
      FROM told
     WHERE d.delivery = told.delivery AND d.tries < told.number
    RETURNING d.delivery, d.endpoint
), logged AS (
    INSERT INTO trinity.webhook_attempts (delivery, number, at, latency_us, outcome, status, answer, error)
    SELECT delivery, number, at, latency_us, outcome, status, answer, error FROM told JOIN done USING (delivery)
    ON CONFLICT (delivery, number) DO NOTHING
), verdicts AS (
    SELECT endpoint, bool_and(failing) AS never, (array_agg(failing ORDER BY place DESC))[1] AS failing,
           (array_agg(at ORDER BY place DESC))[1] AS at
      FROM told JOIN done USING (delivery) GROUP BY endpoint
), judged AS (
    UPDATE trinity.webhook_endpoints e
       SET failing_since = CASE WHEN NOT v.failing THEN NULL
                                WHEN v.never THEN coalesce(e.failing_since, v.at) ELSE v.at END
      FROM verdicts v
     WHERE e.endpoint = v.endpoint AND (v.failing <> (e.failing_since IS NOT NULL) OR (v.failing AND NOT v.never))
)
SELECT held FROM held
"""
"""One statement, which changes nothing when it is repeated because nobody knows whether it was committed."""
_PUT_STATE: Final = """
INSERT INTO trinity.webhook_rule_states AS old (subscription, asset, rule_version, number, state)
SELECT subscription, $2, rule_version, $4, $5::jsonb
  FROM trinity.webhook_subscriptions WHERE subscription = $1 AND rule_version = $3
   FOR KEY SHARE
ON CONFLICT (subscription, asset) DO UPDATE
   SET rule_version = EXCLUDED.rule_version, number = EXCLUDED.number, state = EXCLUDED.state
 WHERE old.rule_version < EXCLUDED.rule_version OR old.number <= EXCLUDED.number
RETURNING true
"""
_KEY: Final = (
    "(SELECT k.key_id FROM trinity.api_keys k WHERE k.associate = e.associate "
    "ORDER BY k.revoke_time IS NOT NULL, k.create_time, k.key_id LIMIT 1)"
)
_NOTICE: Final = """
INSERT INTO trinity.webhook_notices (endpoint, associate, email, url, reason, create_time)
SELECT e.endpoint, e.associate, a.email, e.url, $2, $3
  FROM trinity.webhook_endpoints e JOIN trinity.associates a USING (associate)
 WHERE e.endpoint = $1
"""
_CLAIM: Final = f"""
WITH held AS (
    SELECT * FROM unnest($1::smallint[], $2::bigint[]) AS h (shard, token)
), due AS (
    SELECT d.delivery, h.token
      FROM held h
      JOIN trinity.webhook_endpoints e ON e.shard = h.shard
      JOIN trinity.associates a ON a.associate = e.associate AND NOT a.suspended
     CROSS JOIN LATERAL (
        (SELECT o.delivery, o.due_time, o.sequence
           FROM trinity.webhook_deliveries o
          WHERE o.endpoint = e.endpoint AND o.state = 1 AND NOT o.ordered AND o.due_time <= $3 AND o.claim <> h.token
            AND (o.kind = 4 OR (e.state = 2 AND NOT e.paused))
          ORDER BY o.due_time LIMIT $5)
        UNION ALL
        (SELECT f.delivery, f.due_time, f.sequence
           FROM (SELECT DISTINCT ON (p.subscription) p.delivery, p.due_time, p.sequence, p.claim
                   FROM trinity.webhook_deliveries p
                  WHERE p.endpoint = e.endpoint AND p.state = 1 AND p.ordered
                  ORDER BY p.subscription, p.sequence) AS f
          WHERE f.due_time <= $3 AND f.claim <> h.token AND e.state = 2 AND NOT e.paused)
        ORDER BY due_time, sequence LIMIT $5
     ) AS d
     WHERE e.endpoint <> ALL($6::text[])
     ORDER BY d.due_time, d.sequence
     LIMIT $4
), locked AS (
    SELECT t.delivery, due.token
      FROM trinity.webhook_deliveries t JOIN due ON due.delivery = t.delivery
     WHERE t.state = 1 AND t.claim <> due.token
       FOR UPDATE OF t SKIP LOCKED
)
UPDATE trinity.webhook_deliveries c
   SET claim = locked.token
  FROM locked
 WHERE c.delivery = locked.delivery
RETURNING {", ".join(f"c.{name}" for name in DELIVERY.split(", "))}, c.sequence
"""


class PostgresOutbox(WebhookLeases):
    """Outbox in the tables of migration 4."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` stays its owner's to open and close."""
        super().__init__(postgres)
        self._postgres = postgres

    async def watched(self, shards: Collection[int]) -> Watched:
        """See Outbox."""
        async with self._postgres.transaction(read_only=True, snapshot=True) as session:
            columns = ", ".join(f"e.{name}" for name in ENDPOINT.split(", "))
            rows = await session.fetch(
                f"SELECT {columns}, p.assets, {_KEY} AS key_id FROM trinity.webhook_endpoints e "
                "JOIN trinity.associates a USING (associate) JOIN trinity.plans p USING (plan) "
                "WHERE e.shard = ANY($1::smallint[]) AND NOT a.suspended ORDER BY e.endpoint",
                list(shards),
            )
            names = [row["endpoint"] for row in rows]
            secrets = await secrets_by_endpoint(session, names)
            subscriptions = await session.fetch(
                f"SELECT {SUBSCRIPTION} FROM trinity.webhook_subscriptions "
                "WHERE endpoint = ANY($1) AND NOT paused ORDER BY subscription",
                names,
            )
        return Watched(
            [
                standing_of(row, secrets[row["endpoint"]], assets=row["assets"], key_id=row["key_id"] or "")
                for row in rows
            ],
            [subscription_of(row) for row in subscriptions],
        )

    async def version(self) -> int:
        """See Outbox."""
        return int(
            await self._postgres.fetch_value(
                "SELECT w.version + a.version FROM trinity.webhook_version w, trinity.account_version a"
            )
        )

    async def states(self, subscriptions: Collection[str]) -> Sequence[StoredState]:
        """See Outbox."""
        rows = await self._postgres.fetch(
            "SELECT s.subscription, s.asset, s.rule_version, s.state FROM trinity.webhook_rule_states s "
            "JOIN trinity.webhook_subscriptions USING (subscription, rule_version) "
            "WHERE s.subscription = ANY($1) ORDER BY s.subscription, s.asset",
            list(subscriptions),
        )
        return [state_of(row) for row in rows]

    async def commit(self, lease: Lease, states: Sequence[StoredState], alerts: Sequence[Delivery]) -> int:
        """See Outbox."""
        taken: set[tuple[str, str]] = set()
        new = 0
        async with self._postgres.transaction() as session:
            await _check(session, lease)
            for each in states:
                if await session.fetch_value(
                    _PUT_STATE,
                    each.subscription,
                    each.asset,
                    each.rule_version,
                    each.state.number,
                    state_to_json(each.state),
                ):
                    taken.add((each.subscription, each.asset))
            for alert in alerts:
                if (alert.subscription, alert.asset) in taken:
                    tag = await session.execute(f"{ADD_DELIVERY} ON CONFLICT DO NOTHING", *delivery_values(alert))
                    new += tag.endswith(" 1")
        return new

    async def claim(
        self, leases: Collection[Lease], *, now_ns: int, limit: int, per_endpoint: int, busy: Collection[str]
    ) -> Sequence[Delivery]:
        """See Outbox."""
        rows = await self._postgres.fetch(
            _CLAIM,
            [lease.shard for lease in leases],
            [lease.token for lease in leases],
            to_moment(now_ns),
            limit,
            per_endpoint,
            list(busy),
        )
        return sorted(map(delivery_of, rows), key=lambda delivery: delivery.sequence)

    async def unclaim(self, deliveries: Collection[str]) -> None:
        """See Outbox."""
        await self._postgres.execute(
            "UPDATE trinity.webhook_deliveries SET claim = 0 WHERE delivery = ANY($1)", list(deliveries)
        )

    async def release(self, leases: Collection[Lease], *, but: Collection[str]) -> None:
        """See Outbox."""
        await self._postgres.execute(
            "UPDATE trinity.webhook_deliveries SET claim = 0 "
            "WHERE state = 1 AND claim = ANY($1::bigint[]) AND delivery <> ALL($2::text[])",
            [lease.token for lease in leases],
            list(but),
        )

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        """See Outbox."""
        if not any(result.disable for result in results):
            if not await self._postgres.fetch_value(
                _RECORD, lease.shard, lease.token, *columns_of(map(_result_values, results))
            ):
                raise lost_lease()
            return
        async with self._postgres.transaction() as session:
            # First, as in every change: its lock is the one that changes wait for.
            version = await count_up(session)
            if not await session.fetch_value(
                _RECORD, lease.shard, lease.token, *columns_of(map(_result_values, results))
            ):
                raise lost_lease()
            rows = await session.fetch(
                "SELECT delivery, endpoint FROM trinity.webhook_deliveries WHERE delivery = ANY($1)",
                [result.attempt.delivery for result in results if result.disable],
            )
            owners = {row["delivery"]: row["endpoint"] for row in rows}
            given_up: dict[str, Result] = {}
            for result in results:
                # An endpoint may have been deleted meanwhile, with its deliveries.
                if result.disable and result.attempt.delivery in owners:
                    given_up.setdefault(owners[result.attempt.delivery], result)
            for endpoint, result in given_up.items():
                await _disable(session, endpoint, result, version)

    async def log(self, entries: Sequence[tuple[Delivery, Attempt]]) -> None:
        """See Outbox."""
        async with self._postgres.transaction() as session:
            # An endpoint may have been deleted while it was told.
            rows = await session.fetch(
                "SELECT endpoint FROM trinity.webhook_endpoints "
                "WHERE endpoint = ANY($1) ORDER BY endpoint FOR KEY SHARE",
                [delivery.endpoint for delivery, _ in entries],
            )
            there = {row["endpoint"] for row in rows}
            entries = [entry for entry in entries if entry[0].endpoint in there]
            if not entries:
                return
            # The newest of each: one statement cannot change a row twice.
            newest = {delivery.delivery: delivery for delivery, _ in entries}
            await session.execute(_LOG, *columns_of(map(delivery_values, newest.values())))
            await session.execute(_LOG_ATTEMPTS, *columns_of(attempt_values(attempt) for _, attempt in entries))

    async def judge(self, lease: Lease, endpoint: str, result: Result) -> None:
        """See Outbox."""
        async with self._postgres.transaction() as session:
            await _check(session, lease)
            version = await count_up(session) if result.disable is not None else 0
            await _judge(session, endpoint, result)
            if result.disable is not None:
                await _disable(session, endpoint, result, version)

    async def renewed(self, times: Mapping[str, int]) -> None:
        """See Outbox."""
        await self._postgres.execute(
            "UPDATE trinity.webhook_endpoints e SET renew_time = t.at "
            "FROM unnest($1::text[], $2::timestamptz[]) AS t (endpoint, at) WHERE e.endpoint = t.endpoint",
            list(times),
            [to_moment(at_ns) for at_ns in times.values()],
        )

    async def see(self, seen: Sequence[Seen]) -> None:
        """See Outbox."""
        await webhook_activity.see(self._postgres, seen)

    async def forget(self, *, before_ns: int, limit: int) -> int:
        """See Outbox."""
        await self._postgres.execute("DELETE FROM trinity.webhook_notices WHERE create_time < $1", to_moment(before_ns))
        tag = await self._postgres.execute(
            "DELETE FROM trinity.webhook_deliveries WHERE delivery IN ("
            "SELECT delivery FROM trinity.webhook_deliveries WHERE create_time < $1 AND state <> 1 "
            "ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED)",
            to_moment(before_ns),
            limit,
        )
        return int(tag.removeprefix("DELETE "))


async def _check(session: Session, lease: Lease) -> None:
    found = await session.fetch_value(
        "SELECT true FROM trinity.webhook_leases WHERE shard = $1 AND token = $2 FOR SHARE", lease.shard, lease.token
    )
    if not found:
        raise lost_lease()


def _result_values(result: Result) -> tuple[object, ...]:
    """A result as parameters of `_RECORD`."""
    attempt, over = result.attempt, result.state is not DeliveryState.PENDING
    return (
        attempt.delivery,
        result.state.value,
        None if over else to_moment(result.due_time_ns or attempt.at_ns),
        to_moment(attempt.at_ns) if over else None,
        result.failing,
        *attempt_values(attempt)[1:],
    )


async def _judge(session: Session, endpoint: str, result: Result) -> None:
    """What an attempt says of whether its endpoint fails."""
    await session.execute(
        "UPDATE trinity.webhook_endpoints SET failing_since = $2 "
        "WHERE endpoint = $1 AND (failing_since IS NULL) <> ($2::timestamptz IS NULL)",
        endpoint,
        to_moment(result.attempt.at_ns) if result.failing else None,
    )


async def _disable(session: Session, endpoint: str, result: Result, version: int) -> None:
    assert result.disable is not None
    at = to_moment(result.attempt.at_ns)
    given_up = await session.fetch_value(
        "UPDATE trinity.webhook_endpoints SET state = 3, disable_reason = $2, disable_time = $3, version = $4 "
        "WHERE endpoint = $1 AND state <> 3 RETURNING true",
        endpoint,
        result.disable.value,
        at,
        version,
    )
    if not given_up:
        return  # it was, by the same call before
    await session.execute(_NOTICE, endpoint, result.disable.value, at)
    await session.execute(
        "UPDATE trinity.webhook_deliveries SET state = 3, due_time = NULL, done_time = $2, claim = 0 "
        "WHERE endpoint = $1 AND state = 1",
        endpoint,
        at,
    )
