"""Calls of the report service from a command: lists, sums, and exports that are checked to their last byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc.aio

from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity_cli.account_calls import credentials
from trinity_cli.dialling import dial
from trinity_cli.exits import CommandError, Exit, asking, exit_of
from trinity_cli.target import resolve, target_options
from trinity_core.tables import Form
from trinity_mesh.channels import call
from trinity_mesh.status import from_rpc_error

T = TypeVar("T")

PAGE_SIZE: Final = 1_000
SUMMARY_MS: Final = 60_000
"""Sums over everything take the database longer than other calls."""

report_options = target_options(
    "gRPC address of the report service (unix:/path; or host:port, with a key in $TRINITY_KEY)"
)
"""Adds --address and --ready-file to a command."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The rows of a list."""

    rows: list[report_pb2.UsageRow]
    more: bool
    """There are more rows than were asked for."""
    served_from: report_pb2.ServedFrom.ValueType
    """The cache only where every page came from there."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A whole export, as the service told and we counted."""

    rows: int
    bytes: int
    sha256: str
    served_from: str


class Sink(Protocol):
    """Where an export goes."""

    def take(self, data: bytes, rows: int) -> None:
        """Some bytes; so many rows have come with them and before."""
        ...


class Reports:
    """The report service that the options of a command name."""

    def __init__(self, address: str | None, ready_file: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        """Raises CommandError as `resolve` does."""
        self._target = resolve("report", address, ready_file, environ)
        self._metadata = credentials(self._target.report, environ)

    def list(self, request: report_pb2.ListUsageRequest, *, limit: int) -> Listed:
        """The first `limit` rows, page by page. Raises CommandError."""
        return self._run(lambda stub: self._pages(stub, request, limit))

    def sum(self, request: report_pb2.SummarizeUsageRequest) -> report_pb2.SummarizeUsageResponse:
        """The sums. Raises CommandError."""

        async def ask(stub: Any) -> report_pb2.SummarizeUsageResponse:
            answer = stub.SummarizeUsage(request, metadata=self._metadata, timeout=SUMMARY_MS / 1_000)
            return await call(answer)

        return self._run(ask)

    def export(self, request: report_pb2.ExportUsageRequest, sink: Sink) -> Exported:
        """Hand an export to the sink. Raises CommandError, also when what came is not what the service says it sent."""
        return self._run(lambda stub: self._export(stub, request, sink))

    def _run(self, ask: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            async with dial(self._target.report, "report") as channel:
                return await ask(report_service_pb2_grpc.ReportServiceStub(channel))

        with asking(self._target.where("report")):
            return asyncio.run(run())

    async def _pages(self, stub: Any, request: report_pb2.ListUsageRequest, limit: int) -> Listed:
        rows: list[report_pb2.UsageRow] = []
        sources = set()
        while True:
            request.page_size = min(PAGE_SIZE, limit - len(rows))
            answer = await call(stub.ListUsage(request, metadata=self._metadata))
            rows += answer.rows
            sources.add(answer.served_from)
            request.page_token = answer.next_page_token
            if len(rows) >= limit or not answer.next_page_token:
                return Listed(rows, bool(answer.next_page_token), max(sources))

    async def _export(self, stub: Any, request: report_pb2.ExportUsageRequest, sink: Sink) -> Exported:
        stream = stub.ExportUsage(request, metadata=self._metadata)
        counting = Counting(Form(request.format))
        try:
            async for body in stream:
                counting.take(body.data)
                sink.take(body.data, counting.rows)
            initial, trailing = dict(await stream.initial_metadata()), dict(await stream.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            raised = from_rpc_error(error)
            if not counting.bytes:
                raise raised from error
            raise CommandError(
                f"the export was cut after {counting.bytes:,} bytes: {raised.message}",
                code=exit_of(raised),
                hint="it is not complete; ask again",
            ) from error
        finally:
            stream.cancel()
        counting.check(trailing)
        return Exported(counting.rows, counting.bytes, counting.sha256, str(initial.get("x-served-from", "")))


class Counting:
    """Counts the rows and sums the bytes of an export as they come."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._digest = hashlib.sha256()
        self._lines = 0
        self._quoted = False
        self.bytes = 0

    @property
    def rows(self) -> int:
        """Rows whose end has come."""
        return max(0, self._lines - _OTHER_LINES[self._form])

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def take(self, data: bytes) -> None:
        """The next bytes."""
        self._digest.update(data)
        self.bytes += len(data)
        if self._form is not Form.CSV or (b'"' not in data and not self._quoted):
            # No other form has line ends within cells.
            self._lines += data.count(b"\n")
            return
        parts = data.split(b'"')
        self._lines += sum(part.count(b"\n") for part in parts[self._quoted :: 2])
        self._quoted ^= len(parts) % 2 == 0

    def check(self, told: Mapping[str, Any]) -> None:
        """Raises CommandError when the trailing metadata tells of another export than came."""
        rows, sha256 = told.get("x-export-rows"), told.get("x-export-sha256")
        if rows == str(self.rows) and sha256 == self.sha256:
            return
        why = (
            "its end does not say how many rows there are"
            if rows is None or sha256 is None
            else f"{self.rows:,} rows came, the service says {rows}"
            if rows != str(self.rows)
            else "its SHA-256 is not what the service says"
        )
        raise CommandError(
            f"the export is not complete: {why}", code=Exit.UNAVAILABLE, hint="do not use what came of it; ask again"
        )


_OTHER_LINES: Final = {Form.CSV: 1, Form.TSV: 1, Form.TEXT: 1, Form.JSON: 2}
"""Line ends that are no row's: of the headings, or around the closing bracket."""
