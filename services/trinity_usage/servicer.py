"""UsageService: each RPC in a few lines; what they say is decided in the stores and in the arithmetic of leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.usage.v1 import usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from trinity_admission.principal import ADMIN, MESH, principal_of, require
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.usage import HOUR_S, month_of, next_month, start_of
from trinity_mesh.clock import Clock
from trinity_mesh.server import Service
from trinity_storage.quota_leases import QuotaLeases
from trinity_storage.usage import Count, UsageStore
from trinity_usage.config import LeaseConfig

DESCRIPTOR: Final = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"]
_REPORTS: Final = "reports.read"
Context = grpc.aio.ServicerContext[Any, Any]


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """The RPCs. Requests were judged by their contract's rules before they come here."""

    def __init__(
        self, *, store: UsageStore, leases: QuotaLeases, lease: LeaseConfig, waiting_max: int, clock: Clock
    ) -> None:
        """`waiting_max` bounds the calls of RecordUsage under way; they are written one after the other."""
        self._store = store
        self._leases = leases
        self._lease = lease
        self._clock = clock
        self._writing = asyncio.Lock()
        self._waiting = 0
        self._waiting_max = waiting_max

    async def RecordUsage(  # noqa: N802 - named by the contract
        self, request: usage_pb2.RecordUsageRequest, context: Context
    ) -> usage_pb2.RecordUsageResponse:
        """See usage_service.proto."""
        require(principal_of(context), MESH)
        counts = list(_counts(request).values())
        async with self._turn():
            taken = await self._store.record(request.incarnation, [count for count in counts if count.n])
        # What was sent twice for one slot, or counted nothing, is taken with the rest.
        final = sum(1 for count in counts if count.n) - taken
        return usage_pb2.RecordUsageResponse(recorded=len(request.counters) - final)

    async def LeaseQuota(  # noqa: N802 - named by the contract
        self, request: usage_pb2.LeaseQuotaRequest, context: Context
    ) -> usage_pb2.LeaseQuotaResponse:
        """See usage_service.proto."""
        require(principal_of(context), MESH)
        month = month_of(self._clock.unix_ns())
        reset = start_of(next_month(month))
        now = self._now()
        expire = min(now + timedelta(seconds=self._lease.ttl_s), reset)
        leased = await self._leases.lease(
            holder=request.holder,
            key_id=request.key_id,
            wanted=request.wanted,
            used=request.used,
            now=now,
            month=month,
            expire_time=expire,
            share=self._lease.share,
            least=self._lease.least,
        )
        return usage_pb2.LeaseQuotaResponse(
            allowed=leased.allowed,
            unlimited=leased.unlimited,
            expire_time=_timestamp(expire),
            reset_time=_timestamp(reset),
        )

    async def GetQuota(  # noqa: N802 - named by the contract
        self, request: usage_pb2.GetQuotaRequest, context: Context
    ) -> usage_pb2.GetQuotaResponse:
        """See usage_service.proto."""
        principal = principal_of(context)
        require(principal, _REPORTS)
        associate = request.associate or principal.associate
        if not associate:
            raise invalid_field("associate", "it is needed where the caller has none of its own")
        now_ns = self._clock.unix_ns()
        month = month_of(now_ns)
        use = None
        if associate == principal.associate or principal.holds(ADMIN):
            use = await self._store.quota_use(associate, month=month, today=self._now().date())
        if use is None:
            raise TrinityError(Reason.UNKNOWN_ASSOCIATE, f"there is no associate {associate}")
        return usage_pb2.GetQuotaResponse(
            associate=associate,
            monthly_quota=use.quota,
            used=use.month,
            used_today=use.today,
            remaining=max(0, use.quota - use.month) if use.quota else 0,
            unlimited=not use.quota,
            reset_time=_timestamp(start_of(next_month(month))),
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_ns() // 1_000_000 / 1_000, UTC)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Write alone: the database would make the others wait, and each would hold a connection meanwhile."""
        if self._waiting >= self._waiting_max:
            raise TrinityError(
                Reason.STORE_UNAVAILABLE, "too many messages wait to be written; send again", retry_after_ms=1_000
            )
        self._waiting += 1
        try:
            async with self._writing:
                yield
        finally:
            self._waiting -= 1


def service(servicer: UsageServicer) -> Service:
    """The servicer as a server takes it."""
    return Service(
        descriptor=DESCRIPTOR,
        add=lambda server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, server),
    )


def _counts(request: usage_pb2.RecordUsageRequest) -> dict[int, Count]:
    """The counters by slot. Raises INVALID_FIELD for what the rules of the contract cannot say."""
    counts: dict[int, Count] = {}
    for index, counter in enumerate(request.counters):
        if counter.hour_unix % HOUR_S:
            raise invalid_field(f"counters[{index}].hour_unix", "it is not the start of an hour")
        if counter.slot > _SLOT_MAX:
            raise invalid_field(f"counters[{index}].slot", f"it is greater than {_SLOT_MAX}")
        count = Count(
            counter.slot,
            counter.key_id,
            counter.hour_unix,
            counter.transport,
            counter.method,
            counter.asset,
            counter.outcome,
            counter.count,
        )
        before = counts.setdefault(count.slot, count)
        if before[:-1] != count[:-1]:
            raise invalid_field(f"counters[{index}].slot", "it stands in the message twice, and counts two things")
        if count.n > before.n:
            counts[count.slot] = count
    return counts


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


_SLOT_MAX: Final = (1 << 31) - 1
