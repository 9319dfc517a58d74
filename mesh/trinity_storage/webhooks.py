"""Endpoints, secrets and subscriptions in PostgreSQL: every change in one transaction, one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from trinity_core.account_errors import unknown_associate
from trinity_core.webhook_activity import Notice
from trinity_core.webhook_errors import unknown_endpoint, unknown_subscription
from trinity_core.webhook_store import Changed, Place, Scope, Standing
from trinity_core.webhooks import Delivery, Endpoint, Secret, Subscription
from trinity_storage import webhook_activity
from trinity_storage.moments import to_moment
from trinity_storage.postgres import Postgres, Row, Session
from trinity_storage.webhook_rows import (
    DELIVERY,
    ENDPOINT,
    SECRET,
    SUBSCRIPTION,
    delivery_values,
    endpoint_values,
    parameters,
    secret_values,
    standing_of,
    subscription_of,
    subscription_values,
)

# ruff: noqa: S608 - statements are put together of constants

CHANNEL: Final = "trinity_webhooks"
"""NOTIFY channel that hears of every change at its commit."""

ADD_DELIVERY: Final = f"INSERT INTO trinity.webhook_deliveries ({DELIVERY}) VALUES ({parameters(DELIVERY)})"


class PostgresWebhooks:
    """WebhookRepo in the tables of migration 4.

    A change locks the one row of webhook_version first, and counts it up. So changes wait for
    each other, and versions are in the order of commits.
    """

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` stays its owner's to open and close."""
        self._postgres = postgres

    async def create_endpoint(self, associate: str, make: Callable[[Scope], tuple[Standing, Delivery]]) -> Standing:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            version = await count_up(session)
            standing, challenge = make(await _scope(session, associate))
            endpoint = replace(standing.endpoint, version=version)
            await session.execute(
                f"INSERT INTO trinity.webhook_endpoints ({ENDPOINT}) VALUES ({parameters(ENDPOINT)})",
                *endpoint_values(endpoint, standing.challenge),
            )
            await _put_secrets(session, endpoint.endpoint, standing.secrets)
            await session.execute(ADD_DELIVERY, *delivery_values(challenge))
            return await _the_standing(session, endpoint.endpoint)

    async def get_endpoint(self, endpoint: str) -> Standing | None:
        """See WebhookRepo."""
        async with self._postgres.connection() as session:
            return await _find_standing(session, endpoint)

    async def list_endpoints(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Standing]:
        """See WebhookRepo."""
        words, values = conditions("endpoint", after, associate=associate)
        async with self._postgres.connection() as session:
            rows = await session.fetch(
                f"SELECT {ENDPOINT} FROM trinity.webhook_endpoints WHERE {words} "
                f"ORDER BY create_time DESC, endpoint DESC LIMIT {int(limit)}",
                *values,
            )
            return await standings(session, rows)

    async def change_endpoint(self, endpoint: str, change: Callable[[Standing], Changed]) -> Standing:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            await _lock(session)
            old = await _the_standing(session, endpoint)
            changed = change(old)
            new = changed.endpoint or old.endpoint
            challenge = None if changed.end_challenge else changed.challenge or old.challenge
            secrets = old.secrets if changed.secrets is None else changed.secrets
            differs = new != old.endpoint or secrets != old.secrets
            if differs:
                new = replace(new, version=await count_up(session))
            if differs or challenge != old.challenge:
                await session.execute(
                    f"UPDATE trinity.webhook_endpoints SET ({ENDPOINT}) = ROW({parameters(ENDPOINT)}) "
                    "WHERE endpoint = $1",
                    *endpoint_values(new, challenge),
                )
            if secrets != old.secrets:
                await _put_secrets(session, endpoint, secrets)
            if changed.end_challenges_ns is not None:
                await session.execute(
                    "UPDATE trinity.webhook_deliveries SET state = 3, due_time = NULL, done_time = $2, claim = 0 "
                    "WHERE endpoint = $1 AND kind = 4 AND state = 1",
                    endpoint,
                    to_moment(changed.end_challenges_ns),
                )
            for delivery in changed.deliveries:
                await session.execute(ADD_DELIVERY, *delivery_values(delivery))
            return await _the_standing(session, endpoint)

    async def delete_endpoint(self, endpoint: str, check: Callable[[Endpoint], None]) -> None:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            await _lock(session)
            check((await _the_standing(session, endpoint)).endpoint)
            await count_up(session)
            await session.execute("DELETE FROM trinity.webhook_endpoints WHERE endpoint = $1", endpoint)

    async def create_subscription(self, endpoint: str, make: Callable[[Endpoint, Scope], Subscription]) -> Subscription:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            await _lock(session)
            standing = await _the_standing(session, endpoint)
            scope = await _scope(session, standing.endpoint.associate, endpoint)
            version = await count_up(session)
            made = replace(make(standing.endpoint, scope), version=version, rule_version=version)
            await session.execute(
                f"INSERT INTO trinity.webhook_subscriptions ({SUBSCRIPTION}) VALUES ({parameters(SUBSCRIPTION)})",
                *subscription_values(made),
            )
            return await _the_subscription(session, made.subscription)

    async def get_subscription(self, subscription: str) -> Subscription | None:
        """See WebhookRepo."""
        async with self._postgres.connection() as session:
            return await _find_subscription(session, subscription)

    async def list_subscriptions(
        self, *, associate: str | None, endpoint: str | None, after: Place | None, limit: int
    ) -> Sequence[Subscription]:
        """See WebhookRepo."""
        words, values = conditions("subscription", after, associate=associate, endpoint=endpoint)
        rows = await self._postgres.fetch(
            f"SELECT {SUBSCRIPTION} FROM trinity.webhook_subscriptions WHERE {words} "
            f"ORDER BY create_time DESC, subscription DESC LIMIT {int(limit)}",
            *values,
        )
        return [subscription_of(row) for row in rows]

    async def change_subscription(
        self, subscription: str, change: Callable[[Subscription, Scope], Subscription]
    ) -> Subscription:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            await _lock(session)
            old = await _the_subscription(session, subscription)
            new = change(old, await _scope(session, old.associate, old.endpoint))
            if new == old:
                return old
            version = await count_up(session)
            anew = (new.rule, new.assets) != (old.rule, old.assets)
            new = replace(new, version=version, rule_version=version if anew else old.rule_version)
            await session.execute(
                f"UPDATE trinity.webhook_subscriptions SET ({SUBSCRIPTION}) = ROW({parameters(SUBSCRIPTION)}) "
                "WHERE subscription = $1",
                *subscription_values(new),
            )
            if anew:
                await session.execute("DELETE FROM trinity.webhook_rule_states WHERE subscription = $1", subscription)
            return await _the_subscription(session, subscription)

    async def delete_subscription(self, subscription: str, check: Callable[[Subscription], None]) -> None:
        """See WebhookRepo."""
        async with self._postgres.transaction() as session:
            await _lock(session)
            check(await _the_subscription(session, subscription))
            await count_up(session)
            await session.execute("DELETE FROM trinity.webhook_subscriptions WHERE subscription = $1", subscription)

    async def list_notices(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Notice]:
        """See WebhookRepo."""
        return await webhook_activity.list_notices(self._postgres, associate=associate, after=after, limit=limit)


async def count_up(session: Session) -> int:
    """The version of the change under way; who listens hears of it at its commit."""
    return int(
        await session.fetch_value(
            "WITH counted AS (UPDATE trinity.webhook_version SET version = version + 1 RETURNING version) "
            "SELECT version FROM counted, pg_notify($1, '')",
            CHANNEL,
        )
    )


async def standings(session: Session, rows: Sequence[Row]) -> list[Standing]:
    """Endpoints with their secrets and what was seen of them, in the order of their rows."""
    names = [row["endpoint"] for row in rows]
    secrets = await secrets_by_endpoint(session, names)
    seen = await webhook_activity.activities(session, names)
    return [standing_of(row, secrets[row["endpoint"]], activity=seen.get(row["endpoint"])) for row in rows]


async def secrets_by_endpoint(session: Session, endpoints: Sequence[str]) -> Mapping[str, list[Row]]:
    """Secrets of endpoints, newest first; none for one that has none."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for secret in await session.fetch(
        f"SELECT {SECRET} FROM trinity.webhook_secrets WHERE endpoint = ANY($1) "
        "ORDER BY expire_time DESC NULLS FIRST, create_time DESC, secret DESC",
        endpoints,
    ):
        found[secret["endpoint"]].append(secret)
    return found


def conditions(key: str, after: Place | None, **equal: str | None) -> tuple[str, list[object]]:
    """WHERE of a list that is newest first, with its parameters; names are our own."""
    words, values = ["true"], list[object]()
    for name, value in equal.items():
        if value is not None:
            values.append(value)
            words.append(f"{name} = ${len(values)}")
    if after is not None:
        values += [to_moment(after[0]), after[1]]
        words.append(f"(create_time, {key}) < (${len(values) - 1}, ${len(values)})")
    return " AND ".join(words), values


async def _lock(session: Session) -> None:
    await session.fetch_value("SELECT version FROM trinity.webhook_version FOR UPDATE")


async def _find_standing(session: Session, endpoint: str) -> Standing | None:
    rows = await session.fetch(f"SELECT {ENDPOINT} FROM trinity.webhook_endpoints WHERE endpoint = $1", endpoint)
    return (await standings(session, rows))[0] if rows else None


async def _the_standing(session: Session, endpoint: str) -> Standing:
    found = await _find_standing(session, endpoint)
    if found is None:
        raise unknown_endpoint(endpoint)
    return found


async def _find_subscription(session: Session, subscription: str) -> Subscription | None:
    row = await session.fetch_row(
        f"SELECT {SUBSCRIPTION} FROM trinity.webhook_subscriptions WHERE subscription = $1", subscription
    )
    return None if row is None else subscription_of(row)


async def _the_subscription(session: Session, subscription: str) -> Subscription:
    found = await _find_subscription(session, subscription)
    if found is None:
        raise unknown_subscription(subscription)
    return found


async def _scope(session: Session, associate: str, endpoint: str | None = None) -> Scope:
    assets = await session.fetch_value(
        "SELECT p.assets FROM trinity.associates a JOIN trinity.plans p USING (plan) WHERE a.associate = $1", associate
    )
    if assets is None:
        raise unknown_associate(associate)
    count = await session.fetch_value("SELECT count(*) FROM trinity.webhook_endpoints WHERE associate = $1", associate)
    rows = await session.fetch(
        f"SELECT {SUBSCRIPTION} FROM trinity.webhook_subscriptions WHERE endpoint = $1 ORDER BY subscription", endpoint
    )
    return Scope(int(count), tuple(map(subscription_of, rows)), tuple(assets))


async def _put_secrets(session: Session, endpoint: str, secrets: Sequence[Secret]) -> None:
    await session.execute("DELETE FROM trinity.webhook_secrets WHERE endpoint = $1", endpoint)
    await session.execute_many(
        f"INSERT INTO trinity.webhook_secrets ({SECRET}) VALUES ({parameters(SECRET)})",
        [secret_values(secret) for secret in secrets],
    )
