"""Real gRPC servers of the report and the usage service that tell totals as a test sets them, or fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from trinity.report.v1 import report_pb2, report_service_pb2, report_service_pb2_grpc
from trinity.usage.v1 import usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from trinity_admission.principal import Principal, principal_of
from trinity_core.errors import TrinityError
from trinity_mesh.server import MeshServer, ServerLimits, Service


class ScriptedReports(report_service_pb2_grpc.ReportServiceServicer):
    """Sums of days, by their RFC 3339 texts. `release`, while it is not set, holds every answer up."""

    def __init__(self) -> None:
        self.days = {"2026-01-01T00:00:00Z": 4_444, "2026-01-02T00:00:00Z": 123}
        self.asked: list[tuple[Principal, report_pb2.SummarizeUsageRequest]] = []
        self.error: TrinityError | None = None
        self.release = asyncio.Event()
        self.release.set()

    async def SummarizeUsage(self, request: Any, context: Any) -> Any:
        self.asked.append((principal_of(context), request))
        await self.release.wait()
        if self.error is not None:
            raise self.error
        sums = [report_pb2.UsageSum(group=[day], billed=n, unbilled=9) for day, n in self.days.items()]
        return report_pb2.SummarizeUsageResponse(sums=sums, billed=sum(self.days.values()), unbilled=18)


class ScriptedQuotas(usage_service_pb2_grpc.UsageServiceServicer):
    """One answer for all associates."""

    def __init__(self) -> None:
        self.answer = usage_pb2.GetQuotaResponse(monthly_quota=1_000_000, used=4_567, remaining=995_433)
        self.asked: list[Principal] = []
        self.error: TrinityError | None = None

    async def GetQuota(self, request: Any, context: Any) -> Any:
        self.asked.append(principal_of(context))
        if self.error is not None:
            raise self.error
        return self.answer


def reports_address(folder: Path) -> str:
    return f"unix:{folder}/report.sock"


def quotas_address(folder: Path) -> str:
    return f"unix:{folder}/usage.sock"


@asynccontextmanager
async def telling(folder: Path, reports: ScriptedReports, quotas: ScriptedQuotas) -> AsyncIterator[None]:
    """Both services, for as long as the block runs."""
    report_service = Service(
        descriptor=report_service_pb2.DESCRIPTOR.services_by_name["ReportService"],
        add=lambda server: report_service_pb2_grpc.add_ReportServiceServicer_to_server(reports, server),
    )
    usage_service = Service(
        descriptor=usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
        add=lambda server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(quotas, server),
    )
    limits = ServerLimits(drain_ms=100)
    async with (
        MeshServer(address=reports_address(folder), services=[report_service], limits=limits),
        MeshServer(address=quotas_address(folder), services=[usage_service], limits=limits),
    ):
        yield
