"""Rows of plans, associates and keys to and from values: the columns, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from trinity_core.accounts import ApiKey, Associate, KeyRecord, OwnedKey, Plan, scopes_of
from trinity_core.usage import Transport
from trinity_storage.moments import from_moment, to_moment
from trinity_storage.postgres import Row

PLAN: Final = "plan, name, rate_per_s, burst, monthly_quota, scopes, assets, transports, create_time, update_time"
ASSOCIATE: Final = "associate, name, email, plan, suspended, create_time, update_time"
KEY: Final = (
    "key_id, associate, name, digest, scopes, allowed_networks, create_time, expire_time, revoke_time, replaces"
)

HELD: Final = """
SELECT k.key_id, k.associate, k.name, k.digest, k.scopes, k.allowed_networks, k.create_time, k.expire_time,
       k.revoke_time, k.replaces, EXISTS (SELECT FROM trinity.api_keys n WHERE n.replaces = k.key_id) AS replaced,
       a.name AS a_name, a.email AS a_email, a.suspended AS a_suspended,
       a.create_time AS a_create_time, a.update_time AS a_update_time,
       p.plan AS p_plan, p.name AS p_name, p.rate_per_s AS p_rate_per_s, p.burst AS p_burst,
       p.monthly_quota AS p_monthly_quota, p.scopes AS p_scopes, p.assets AS p_assets,
       p.transports AS p_transports, p.create_time AS p_create_time, p.update_time AS p_update_time
  FROM trinity.api_keys k
  JOIN trinity.associates a ON a.associate = k.associate
  JOIN trinity.plans p ON p.plan = a.plan
"""
"""Keys with what they are held by; a WHERE follows."""


def plan_of(row: Row, prefix: str = "") -> Plan:
    """A plan from its columns, or from those that `prefix` begins."""
    return Plan(
        plan=row[f"{prefix}plan"],
        name=row[f"{prefix}name"],
        rate_per_s=row[f"{prefix}rate_per_s"],
        burst=row[f"{prefix}burst"],
        monthly_quota=row[f"{prefix}monthly_quota"],
        scopes=tuple(row[f"{prefix}scopes"]),
        assets=tuple(row[f"{prefix}assets"]),
        transports=tuple(map(Transport, row[f"{prefix}transports"])),
        create_time_ns=from_moment(row[f"{prefix}create_time"]),
        update_time_ns=from_moment(row[f"{prefix}update_time"]),
    )


def plan_values(plan: Plan) -> tuple[object, ...]:
    """A plan as parameters, in the order of `PLAN`."""
    return (
        plan.plan,
        plan.name,
        plan.rate_per_s,
        plan.burst,
        plan.monthly_quota,
        list(plan.scopes),
        list(plan.assets),
        list(plan.transports),
        to_moment(plan.create_time_ns),
        to_moment(plan.update_time_ns),
    )


def associate_of(row: Row) -> Associate:
    """An associate from its columns."""
    return Associate(
        associate=row["associate"],
        name=row["name"],
        email=row["email"],
        plan=row["plan"],
        suspended=row["suspended"],
        create_time_ns=from_moment(row["create_time"]),
        update_time_ns=from_moment(row["update_time"]),
    )


def associate_values(associate: Associate) -> tuple[object, ...]:
    """An associate as parameters, in the order of `ASSOCIATE`."""
    return (
        associate.associate,
        associate.name,
        associate.email,
        associate.plan,
        associate.suspended,
        to_moment(associate.create_time_ns),
        to_moment(associate.update_time_ns),
    )


def key_values(key: ApiKey) -> tuple[object, ...]:
    """A key as parameters, in the order of `KEY`."""
    return (
        key.key_id,
        key.associate,
        key.name,
        key.digest,
        list(key.scopes),
        list(key.allowed_networks),
        to_moment(key.create_time_ns),
        to_moment(key.expire_time_ns),
        to_moment(key.revoke_time_ns),
        key.replaces or None,
    )


def held_of(row: Row) -> OwnedKey:
    """A key with its plan, from the columns of `HELD`."""
    return OwnedKey(key=_key_of(row), plan=plan_of(row, "p_"))


def held_associate_of(row: Row) -> Associate:
    """The associate of a key, from the columns of `HELD`."""
    return Associate(
        associate=row["associate"],
        name=row["a_name"],
        email=row["a_email"],
        plan=row["p_plan"],
        suspended=row["a_suspended"],
        create_time_ns=from_moment(row["a_create_time"]),
        update_time_ns=from_moment(row["a_update_time"]),
    )


RECORD: Final = """
SELECT k.key_id, k.digest, k.associate, k.scopes, k.allowed_networks, k.expire_time,
       k.revoke_time IS NOT NULL OR a.suspended AS revoked, a.plan, greatest(k.version, a.version) AS version
  FROM trinity.api_keys k
  JOIN trinity.associates a ON a.associate = k.associate
"""
"""Keys as replicas need them, without what is the plan's; a WHERE follows."""


def records_of(rows: Iterable[Row], plans: Mapping[str, tuple[Plan, int]]) -> list[KeyRecord]:
    """What replicas are told of keys, from the columns of `RECORD`; each plan comes with its version."""
    found = []
    for key_id, digest, associate, scopes, networks, expire_time, revoked, plan_id, version in rows:
        plan, plan_version = plans[plan_id]
        found.append(
            KeyRecord(
                key_id=key_id,
                digest=digest,
                associate=associate,
                scopes=scopes_of(scopes, plan),
                allowed_networks=tuple(networks),
                assets=plan.assets,
                transports=plan.transports,
                rate_per_s=plan.rate_per_s,
                burst=plan.burst,
                monthly_quota=plan.monthly_quota,
                expire_time_ns=from_moment(expire_time),
                revoked=revoked,
                version=max(version, plan_version),
            )
        )
    return found


def _key_of(row: Row) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        associate=row["associate"],
        name=row["name"],
        digest=row["digest"],
        scopes=tuple(row["scopes"]),
        allowed_networks=tuple(row["allowed_networks"]),
        create_time_ns=from_moment(row["create_time"]),
        expire_time_ns=from_moment(row["expire_time"]),
        revoke_time_ns=from_moment(row["revoke_time"]),
        replaces=row["replaces"] or "",
        replaced=row["replaced"],
    )
