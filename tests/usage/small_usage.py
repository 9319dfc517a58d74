"""A usage service as the mesh has it: on a Unix socket, with a real database behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio

from price.virtual_clock import START_UNIX_NS
from stores import PATIENT
from trinity.usage.v1 import usage_service_pb2_grpc
from trinity_admission.principal import Principal, metadata_of
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock, SystemClock
from trinity_storage.postgres import PostgresConfig
from trinity_usage.config import LeaseConfig, UsageConfig
from trinity_usage.main import run

ACME = Principal("0c7bgy9rbydg", "acme", frozenset({"reports.read"}))
ADMIN = Principal("9c7bgy9rbydg", "operator", frozenset({"admin"}))
STRANGER = Principal("8c7bgy9rbydg", "else", frozenset({"reports.read"}))
PRICES_ONLY = Principal("7c7bgy9rbydg", "acme", frozenset({"prices.read"}))


@dataclass
class Usage:
    """A running service."""

    address: str
    channel: grpc.aio.Channel
    stub: usage_service_pb2_grpc.UsageServiceStub
    wall: ChosenWall

    @staticmethod
    def as_(principal: Principal) -> tuple[tuple[str, str], ...]:
        """Metadata of a call on behalf of a caller with a key."""
        return metadata_of(principal)


class ChosenWall(SystemClock):
    """The machine's clock, with a wall clock that stands still until it is set."""

    def __init__(self) -> None:
        self._unix_ns = START_UNIX_NS

    def unix_ns(self) -> int:
        return self._unix_ns

    def jump_wall(self, seconds: float) -> None:
        """Set it forward or back."""
        self._unix_ns += round(seconds * 1e9)


@asynccontextmanager
async def serving(
    folder: Path,
    url: str,
    *,
    clock: Clock | None = None,
    lease: Mapping[str, int] | None = None,
    postgres: PostgresConfig = PATIENT,
    **settings: Any,
) -> AsyncIterator[Usage]:
    """Run the service until the block ends, by default with a wall clock of the test's own."""
    wall = ChosenWall()
    known: dict[str, Any] = {"listen": f"unix:{folder / 'usage.sock'}", "drain_ms": 100}
    config = UsageConfig(
        **{**known, **settings},
        postgres=replace(postgres, url=url),
        lease=LeaseConfig(**dict(lease or {})),
    )
    stopping, serves = asyncio.Event(), asyncio.Event()
    facts: dict[str, Any] = {}

    def ready(told: Mapping[str, Any]) -> None:
        facts.update(told)
        serves.set()

    task = asyncio.create_task(run(config, clock=clock or wall, stopping=stopping, ready=ready))
    waiting = asyncio.create_task(serves.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        async with open_channel(facts["address"]) as channel:
            yield Usage(facts["address"], channel, usage_service_pb2_grpc.UsageServiceStub(channel), wall)
    finally:
        stopping.set()
        await task
