"""A whole report service on a real database and a real socket, and callers of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from processes import GENEROUS_S
from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity_admission.principal import Principal, metadata_of
from trinity_core.usage_log import UsageLog
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.secrets_file import MeshSecrets
from trinity_mesh.status import from_rpc_error
from trinity_report.config import ReportConfig
from trinity_report.main import ReportPart
from trinity_storage.postgres import PostgresConfig

SECRETS = MeshSecrets(pepper=b"p" * 32, udp_master=b"m" * 32, cursor=b"c" * 32)

ACME = Principal("acmekey00001", "acme", frozenset({"reports.read"}))
GLOBEX = Principal("globexkey001", "globex", frozenset({"reports.read"}))
ADMIN = Principal("operatorkey1", "operator", frozenset({"admin"}))


@dataclass(frozen=True)
class Exported:
    """A whole export."""

    data: bytes
    chunks: tuple[bytes, ...]
    media_type: str
    initial: dict[str, Any]
    trailing: dict[str, Any]


class Caller:
    """Calls the service as somebody; what fails is raised as TrinityError."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.stub: Any = report_service_pb2_grpc.ReportServiceStub(channel)
        self.metadata = metadata

    async def list(self, **fields: Any) -> report_pb2.ListUsageResponse:
        request = report_pb2.ListUsageRequest(**fields)
        return await call(self.stub.ListUsage(request, metadata=self.metadata, timeout=GENEROUS_S))  # type: ignore[no-any-return]

    async def pages(self, **fields: Any) -> list[report_pb2.ListUsageResponse]:
        """All pages."""
        found = [await self.list(**fields)]
        while found[-1].next_page_token:
            found.append(await self.list(**fields, page_token=found[-1].next_page_token))
        return found

    async def sum(self, **fields: Any) -> report_pb2.SummarizeUsageResponse:
        request = report_pb2.SummarizeUsageRequest(**fields)
        return await call(self.stub.SummarizeUsage(request, metadata=self.metadata, timeout=GENEROUS_S))  # type: ignore[no-any-return]

    def open_export(self, *more: tuple[str, str], **fields: Any) -> Any:
        """An export under way."""
        request = report_pb2.ExportUsageRequest(**fields)
        return self.stub.ExportUsage(request, metadata=(*self.metadata, *more), timeout=GENEROUS_S)

    async def export(self, *more: tuple[str, str], **fields: Any) -> Exported:
        """An export, read to its end."""
        stream = self.open_export(*more, **fields)
        try:
            bodies = [body async for body in stream]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        (media_type,) = {body.content_type for body in bodies}
        chunks = tuple(body.data for body in bodies)
        initial, trailing = dict(await stream.initial_metadata()), dict(await stream.trailing_metadata())
        return Exported(b"".join(chunks), chunks, media_type, initial, trailing)


class SmallReport:
    """The service (`part`) and its callers, once `running` is entered."""

    def __init__(
        self, database_url: str, *, copy: UsageLog | None = None, clock: Clock | None = None, **settings: Any
    ) -> None:
        # Paths of sockets are short; a test's folder is not.
        self._folder = tempfile.TemporaryDirectory(prefix="tb-")
        self.address = f"unix:{self._folder.name}/report.sock"
        postgres = PostgresConfig(url=database_url, acquire_timeout_ms=settings.pop("acquire_timeout_ms", 30_000))
        config = ReportConfig(listen=self.address, postgres=postgres, drain_ms=200, **{"copy_check_ms": 0, **settings})
        self.part = ReportPart(config, clock=clock or SystemClock(), secret=SECRETS, copy=copy)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SmallReport]:
        with self._folder:
            async with self.part.serving() as server, open_channel(self.address) as channel:
                await server.set_serving(serving=True)
                self.channel = channel
                yield self

    def caller(self, principal: Principal | None) -> Caller:
        """Somebody with a key, or with None a part of the mesh."""
        return Caller(self.channel, metadata_of(principal) if principal is not None else ())

    @property
    def socket(self) -> Path:
        return Path(self.address.removeprefix("unix:"))
