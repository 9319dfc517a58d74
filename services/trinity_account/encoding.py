"""Plans, associates and keys as their messages, and a key's record as the bytes that streams are joined of."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from trinity.account.v1 import account_pb2
from trinity_core.accounts import Associate, KeyRecord, OwnedKey, Plan
from trinity_core.usage import Transport
from trinity_mesh.wire import stamp

_KEYS_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `keys` of WatchKeysResponse."""


def plan_to_message(plan: Plan) -> account_pb2.Plan:
    """A plan as its message."""
    return account_pb2.Plan(
        plan=plan.plan,
        name=plan.name,
        rate_per_s=plan.rate_per_s,
        burst=plan.burst,
        monthly_quota=plan.monthly_quota,
        scopes=plan.scopes,
        assets=plan.assets,
        transports=[transport.value for transport in plan.transports],  # type: ignore[misc]
        create_time=stamp(plan.create_time_ns),
        update_time=stamp(plan.update_time_ns),
    )


def plan_from_message(message: account_pb2.Plan) -> Plan:
    """A plan from its message, which was judged by the contract's rules; its times are the service's."""
    return Plan(
        plan=message.plan,
        name=message.name,
        rate_per_s=message.rate_per_s,
        burst=message.burst,
        monthly_quota=message.monthly_quota,
        scopes=tuple(message.scopes),
        assets=tuple(message.assets),
        transports=tuple(map(Transport, message.transports)),
    )


def associate_to_message(associate: Associate) -> account_pb2.Associate:
    """An associate as its message."""
    return account_pb2.Associate(
        associate=associate.associate,
        name=associate.name,
        email=associate.email,
        plan=associate.plan,
        suspended=associate.suspended,
        create_time=stamp(associate.create_time_ns),
        update_time=stamp(associate.update_time_ns),
    )


def associate_from_message(message: account_pb2.Associate) -> Associate:
    """An associate from its message, which was judged by the contract's rules; its times are the service's."""
    return Associate(
        associate=message.associate,
        name=message.name,
        email=message.email,
        plan=message.plan,
        suspended=message.suspended,
    )


def key_to_message(held: OwnedKey, *, now_ns: int) -> account_pb2.Key:
    """A key as its owner sees it."""
    key = held.key
    return account_pb2.Key(
        key_id=key.key_id,
        associate=key.associate,
        name=key.name,
        state=key.state(now_ns).value,  # type: ignore[arg-type]
        scopes=held.scopes,
        allowed_networks=key.allowed_networks,
        create_time=stamp(key.create_time_ns),
        expire_time=_stamp(key.expire_time_ns),
        revoke_time=_stamp(key.revoke_time_ns),
        replaces=key.replaces,
    )


def record_to_bytes(record: KeyRecord) -> bytes:
    """A key as replicas need it: a serialised KeyRecord.

    Serialised messages that hold different fields may be joined, and the join reads as one message (protobuf.dev,
    "encoding", on last-one-wins). What keys of one plan have in common is encoded once.
    """
    own = account_pb2.KeyRecord(
        key_id=record.key_id,
        digest=record.digest,
        associate=record.associate,
        scopes=record.scopes,
        allowed_networks=record.allowed_networks,
        expire_time=_stamp(record.expire_time_ns),
        revoked=record.revoked,
    )
    of_plan = _of_plan(record.assets, record.transports, record.rate_per_s, record.burst, record.monthly_quota)
    return own.SerializeToString() + of_plan


@lru_cache(maxsize=256)
def _of_plan(
    assets: tuple[str, ...], transports: tuple[Transport, ...], rate_per_s: int, burst: int, monthly_quota: int
) -> bytes:
    return account_pb2.KeyRecord(
        assets=assets,
        transports=[transport.value for transport in transports],  # type: ignore[misc]
        rate_per_s=rate_per_s,
        burst=burst,
        monthly_quota=monthly_quota,
    ).SerializeToString()


def batch(records: list[bytes], *, version: int, snapshot: bool = False, complete: bool = False) -> bytes:
    """A serialised WatchKeysResponse, joined of serialised records: each is encoded once for all streams."""
    tail = account_pb2.WatchKeysResponse(snapshot=snapshot, snapshot_complete=complete, version=version)
    return b"".join(_framed(record) for record in records) + tail.SerializeToString()


def _framed(record: bytes) -> bytes:
    size = len(record)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return _KEYS_TAG + bytes(length) + record


def _stamp(unix_ns: int | None) -> Timestamp | None:
    return None if unix_ns is None else stamp(unix_ns)
