"""Reads the totals of one key: the report service sums its month by days, the usage service tells what is left."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity.usage.v1 import usage_pb2, usage_service_pb2_grpc
from trinity_admission.principal import Principal, metadata_of
from trinity_core.usage import month_of, next_month, start_of
from trinity_mesh.channels import call
from trinity_mesh.clock import Clock
from trinity_udp.totals import Totals


class TotalsReader:
    """Two calls, side by side, on behalf of a key's holder."""

    def __init__(self, *, reports: grpc.aio.Channel, quotas: grpc.aio.Channel, clock: Clock, timeout_ms: int) -> None:
        """Channels to the report and the usage service, over their Unix sockets; they stay the caller's to close."""
        self._reports: Any = report_service_pb2_grpc.ReportServiceStub(reports)
        self._quotas: Any = usage_service_pb2_grpc.UsageServiceStub(quotas)
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000

    async def __call__(self, holder: Principal, /) -> Totals:
        """The totals of the holder's key. Raises TrinityError: what either service says, or that it is away."""
        unix_ns = self._clock.unix_ns()
        month = month_of(unix_ns)
        request = report_pb2.SummarizeUsageRequest(
            start_time=_moment(month),
            end_time=_moment(next_month(month)),
            key_ids=[holder.key_id],
            group_by=[report_pb2.GROUP_BY_DAY],
        )
        options: dict[str, Any] = {"metadata": metadata_of(holder), "timeout": self._timeout_s}
        try:
            async with asyncio.TaskGroup() as both:
                summing = both.create_task(call(self._reports.SummarizeUsage(request, **options)))
                asking = both.create_task(call(self._quotas.GetQuota(usage_pb2.GetQuotaRequest(), **options)))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        sums: report_pb2.SummarizeUsageResponse = summing.result()
        quota: usage_pb2.GetQuotaResponse = asking.result()
        today = datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT")
        return Totals(
            day=sum(each.billed for each in sums.sums if each.group[0].startswith(today)),
            month=sums.billed,
            left=None if quota.unlimited else quota.remaining,
            unix_s=unix_ns // 1_000_000_000,
        )


def _moment(day: date) -> Timestamp:
    return Timestamp(seconds=int(start_of(day).timestamp()))
