"""Customers of a mesh: plans, associates and keys, made as its operator makes them, by the account service's socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio

from system.meshrun import Mesh
from trinity.account.v1 import account_pb2, account_service_pb2_grpc

SCOPES = ("prices.read", "reports.read")
RATE_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class Customer:
    """An associate with a plan of its own and one key."""

    associate: str
    key_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def make_customer(
    mesh: Mesh,
    name: str,
    *,
    rate_per_s: int = RATE_MAX,
    burst: int = RATE_MAX,
    monthly_quota: int = 0,
    scopes: Sequence[str] = SCOPES,
) -> Customer:
    """A new associate `name`, its plan and its key."""
    plan = account_pb2.Plan(
        plan=name, rate_per_s=rate_per_s, burst=burst, monthly_quota=monthly_quota, scopes=tuple(scopes)
    )
    async with grpc.aio.insecure_channel(mesh.facts["grpc"]["account"]) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        await stub.CreatePlan(account_pb2.CreatePlanRequest(plan=plan))
        associate = account_pb2.Associate(associate=name, plan=name)
        await stub.CreateAssociate(account_pb2.CreateAssociateRequest(associate=associate))
    return await make_key(mesh, name)


async def make_key(mesh: Mesh, associate: str) -> Customer:
    """One more key of an associate."""
    async with grpc.aio.insecure_channel(mesh.facts["grpc"]["account"]) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        made = await stub.CreateKey(account_pb2.CreateKeyRequest(associate=associate))
        return Customer(associate, made.key.key_id, made.secret)


async def revoke(mesh: Mesh, customer: Customer) -> None:
    """Revoke a customer's key; returns with the service's answer."""
    async with grpc.aio.insecure_channel(mesh.facts["grpc"]["account"]) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        await stub.RevokeKey(account_pb2.RevokeKeyRequest(key_id=customer.key_id))
