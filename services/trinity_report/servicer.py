"""ReportService: each RPC in a few lines; what rows they show is decided in asking, reading and exporting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc.aio
from google.api import httpbody_pb2

from trinity.report.v1 import report_pb2, report_service_pb2, report_service_pb2_grpc
from trinity_admission.principal import Principal, principal_of, require
from trinity_core.tables import MEDIA_TYPES, Form
from trinity_core.usage_log import HOURS_END, UsageFilter, UsageRow
from trinity_core.usage_sums import group_texts
from trinity_core.usage_table import hour_text
from trinity_mesh.server import Service
from trinity_report.asking import Asking, Request, groups_of
from trinity_report.choosing import form_of, mark_of
from trinity_report.exporting import Exports, Wish
from trinity_report.places import Places
from trinity_report.reading import Reading, Source
from trinity_report.tabling import rows_table, sums_table

SCOPE: Final = "reports.read"
DESCRIPTOR: Final = report_service_pb2.DESCRIPTOR.services_by_name["ReportService"]
Context = grpc.aio.ServicerContext[Any, Any]

ACCEPT_KEY: Final = "accept"
"""Metadata with the Accept of the HTTP request, as the bridge forwards it."""
END_KEY: Final = "x-export-end"
"""Metadata, or header: "line" asks for a last record that tells of the export."""
SOURCE_KEY: Final = "x-served-from"
"""Initial metadata of exports and tables: "cache" or "database"."""
DEFUSED_KEY: Final = "x-cells-defused"
"""Initial metadata of exports and tables: "formula", or "none" where cells are as they are stored."""
NEXT_KEY: Final = "x-next-page-token"
"""Initial metadata of a table of rows: the token of the next page; not sent on the last."""
BILLED_KEY: Final = "x-total-billed"
"""Initial metadata of a table of sums: sum of all billed answers."""
UNBILLED_KEY: Final = "x-total-unbilled"
"""Initial metadata of a table of sums: sum of all counted answers that are not billed."""
TRUNCATED_KEY: Final = "x-truncated"
"""Initial metadata of a table of sums: "true" where groups were cut off, else "false"."""
ROWS_KEY: Final = "x-export-rows"
"""Trailing metadata of an export: the number of rows."""
SUM_KEY: Final = "x-export-sha256"
"""Trailing metadata of an export: SHA-256 of all its bytes, in hexadecimal."""

_PAGE_SIZE: Final = 100
_SUFFIXES: Final = {Form.JSON: "json", Form.CSV: "csv", Form.TSV: "tsv", Form.TEXT: "txt"}


class ReportServicer(report_service_pb2_grpc.ReportServiceServicer):
    """The RPCs. Requests were judged by their contract's rules before they come here."""

    def __init__(self, *, asking: Asking, reading: Reading, exports: Exports, places: Places) -> None:
        self._asking = asking
        self._reading = reading
        self._exports = exports
        self._places = places

    async def ListUsage(  # noqa: N802 - named by the contract
        self, request: report_pb2.ListUsageRequest, context: Context
    ) -> report_pb2.ListUsageResponse:
        """See report_service.proto."""
        form = _form(request, context)
        wanted = await self._asking.filter(request, _caller(context))
        after = self._places.read(request.page_token, wanted)
        size = request.page_size or _PAGE_SIZE
        rows, source = await self._reading.page(wanted, after=after, limit=size + 1)
        more, rows = len(rows) > size, rows[:size]
        response = report_pb2.ListUsageResponse(
            next_page_token=self._places.make(rows[-1].position, wanted) if more else "",
            served_from=source.value,  # type: ignore[arg-type]
        )
        if form is Form.JSON:
            response.rows.extend(map(_message, rows))
            return response
        defuse = not request.raw_cells
        await context.send_initial_metadata(
            (
                *_told(source, defuse=defuse),
                *([(NEXT_KEY, response.next_page_token)] if more else ()),
            )
        )
        response.table.CopyFrom(rows_table(rows, form, defuse=defuse))
        return response

    async def SummarizeUsage(  # noqa: N802 - named by the contract
        self, request: report_pb2.SummarizeUsageRequest, context: Context
    ) -> report_pb2.SummarizeUsageResponse:
        """See report_service.proto."""
        form = _form(request, context)
        wanted = await self._asking.filter(request, _caller(context))
        group_by = groups_of(request)
        sums, source = await self._reading.sums(wanted, group_by)
        response = report_pb2.SummarizeUsageResponse(
            billed=sums.billed,
            unbilled=sums.unbilled,
            truncated=sums.truncated,
            served_from=source.value,  # type: ignore[arg-type]
        )
        if form is Form.JSON:
            for each in sums.sums:
                response.sums.add(group=group_texts(each.group, group_by), billed=each.billed, unbilled=each.unbilled)
            return response
        defuse = not request.raw_cells
        await context.send_initial_metadata(
            (
                *_told(source, defuse=defuse),
                (BILLED_KEY, str(sums.billed)),
                (UNBILLED_KEY, str(sums.unbilled)),
                (TRUNCATED_KEY, "true" if sums.truncated else "false"),
            )
        )
        response.table.CopyFrom(sums_table(sums.sums, group_by, form, defuse=defuse))
        return response

    async def ExportUsage(  # noqa: N802 - named by the contract
        self, request: report_pb2.ExportUsageRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See report_service.proto."""
        caller = _caller(context)
        form = _form(request, context)
        wish = Wish(
            wanted=await self._asking.filter(request, caller),
            form=form,
            defuse=not request.raw_cells and form is not Form.JSON,
            marked=mark_of(_metadata(context).get(END_KEY, "")),
        )
        media_type = MEDIA_TYPES[form]
        async with self._exports.open(wish, caller=caller.associate) as export:
            await context.send_initial_metadata(
                (
                    *_told(export.source, defuse=wish.defuse),
                    ("content-disposition", f'attachment; filename="{_file_name(wish.wanted, form)}"'),
                )
            )
            async with aclosing(export.chunks()) as chunks:
                async for chunk in chunks:
                    yield httpbody_pb2.HttpBody(content_type=media_type, data=chunk)
            context.set_trailing_metadata(((ROWS_KEY, str(export.rows)), (SUM_KEY, export.sha256)))


def service(servicer: ReportServicer) -> Service:
    """The servicer as a server takes it."""
    return Service(
        descriptor=DESCRIPTOR,
        add=lambda server: report_service_pb2_grpc.add_ReportServiceServicer_to_server(servicer, server),
    )


def _caller(context: Context) -> Principal:
    principal = principal_of(context)
    require(principal, SCOPE)
    return principal


def _form(request: Request, context: Context) -> Form:
    return form_of(request.format, _metadata(context).get(ACCEPT_KEY))


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _told(source: Source, *, defuse: bool) -> tuple[tuple[str, str], ...]:
    return (SOURCE_KEY, source.name.lower()), (DEFUSED_KEY, "formula" if defuse else "none")


def _message(row: UsageRow) -> report_pb2.UsageRow:
    message = report_pb2.UsageRow(
        associate=row.associate,
        key_id=row.key_id,
        key_name=row.key_name,
        transport=row.transport,  # type: ignore[arg-type]
        method=row.method,
        asset=row.asset,
        outcome=row.outcome,  # type: ignore[arg-type]
        count=row.count,
        billed=row.billed,
    )
    message.hour.seconds = row.hour
    return message


def _file_name(wanted: UsageFilter, form: Form) -> str:
    """Such as "usage-acme-20260101T00-20260201T00.csv"; open ends and all associates are left out."""
    bounds = [wanted.start or None, wanted.end if wanted.end < HOURS_END else None]
    words = ["usage", wanted.associate, *(hour_text(bound)[:13].replace("-", "") for bound in bounds if bound)]
    return "-".join(filter(None, words)) + f".{_SUFFIXES[form]}"
