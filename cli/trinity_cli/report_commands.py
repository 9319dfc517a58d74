"""`trinity report`: what was answered, to whom and how — lists, sums, and exports of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from trinity.account.v1 import account_pb2
from trinity.report.v1 import report_pb2
from trinity.usage.v1 import usage_pb2
from trinity_cli.account_calls import moment
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_cli.report_calls import Exported, Reports, report_options
from trinity_cli.report_files import to_file, to_stdout
from trinity_cli.report_options import filter_options, with_filter
from trinity_core.tables import Form
from trinity_mesh.clock import SystemClock

_COLUMNS = (
    Column("HOUR", needed=True),
    Column("ASSOCIATE"),
    Column("KEY", needed=True),
    Column("NAME"),
    Column("TRANSPORT"),
    Column("METHOD", needed=True),
    Column("ASSET", needed=True),
    Column("OUTCOME", needed=True),
    Column("COUNT", right=True, needed=True),
    Column("BILLED"),
)
_FORMS: Final = {form.name.lower(): form for form in Form}
_ENDINGS: Final = {f".{name}": name for name in _FORMS} | {".txt": "text"}
_GROUPS: Final = {
    short_enum(name, "GROUP_BY_").lower(): number for name, number in report_pb2.GroupBy.items() if number
}


@click.group()
def report() -> None:
    """What was answered, to whom and how. Times are UTC."""


def _export_options(command: Any) -> Any:
    for option in (
        click.option(
            "--raw-cells", is_flag=True, help="Leave cells that a spreadsheet would take for a formula as they are."
        ),
        click.option(
            "--output",
            "file",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write to FILE, which is there only once the export is complete.",
        ),
    ):
        command = option(command)
    return command


@report.command()
@click.option(
    "--format", "form", type=click.Choice(list(_FORMS)), help="Export all rows in this form instead of listing some."
)
@click.option("--limit", type=click.IntRange(1), help="Most rows to list. [default: 1000]")
@_export_options
@filter_options
@report_options
@json_option
def usage(
    form: str | None,
    limit: int | None,
    raw_cells: bool,
    file: Path | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """List usage by hour, newest first; with --format or --output export all of it."""
    if form or file:
        if limit is not None:
            raise click.UsageError("an export has all rows; --limit is for lists")
        return _export(Reports(address, ready_file), form, file, raw_cells=raw_cells, as_json=as_json, chosen=chosen)
    if raw_cells:
        raise click.UsageError("--raw-cells is for exports: name a --format or an --output")
    output = Output(as_json=as_json)
    request = with_filter(report_pb2.ListUsageRequest(), SystemClock(), **chosen)
    listed = Reports(address, ready_file).list(request, limit=limit or _LIMIT)
    if as_json:
        output.document(
            {
                "rows": [proto_json(row) for row in listed.rows],
                "servedFrom": report_pb2.ServedFrom.Name(listed.served_from),
            }
        )
    else:
        output.table(_COLUMNS, [_row(row) for row in listed.rows])
        _tell_source(output, listed.served_from)
    if listed.more:
        output.warn(f"there are more than {limit or _LIMIT} rows; --limit shows more, --format csv exports all")
    return Exit.OK


@report.command()
@click.option(
    "--group-by",
    "groups",
    multiple=True,
    type=click.Choice(list(_GROUPS)),
    help="By what to group, up to four times. [default: one sum]",
)
@filter_options
@report_options
@json_option
def summary(groups: tuple[str, ...], address: str | None, ready_file: Path | None, as_json: bool, **chosen: Any) -> int:
    """Sum up usage by groups, the greatest first."""
    output = Output(as_json=as_json)
    names = list(dict.fromkeys(groups))
    request = report_pb2.SummarizeUsageRequest(group_by=[_GROUPS[name] for name in names])
    answer = Reports(address, ready_file).sum(with_filter(request, SystemClock(), **chosen))
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    columns = [Column(name.upper(), needed=True) for name in names] or [Column("", needed=True)]
    columns += [Column("BILLED", right=True, needed=True), Column("UNBILLED", right=True, needed=True)]
    rows = [(*(value or "-" for value in each.group), str(each.billed), str(each.unbilled)) for each in answer.sums]
    total = ("all", *[""] * (len(names) - 1), str(answer.billed), str(answer.unbilled))
    output.table(columns, [*rows, total] if names else [total])
    _tell_source(output, answer.served_from)
    if answer.truncated:
        output.warn(f"there are more than these {len(answer.sums)} groups; the last line counts them all")
    return Exit.OK


@report.command()
@click.option(
    "--format", "form", type=click.Choice(list(_FORMS)), help="Form. [default: by the ending of --output, else json]"
)
@_export_options
@filter_options
@report_options
@json_option
def export(
    form: str | None,
    raw_cells: bool,
    file: Path | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Export all rows of usage, newest first, to stdout or a file, and check that they are complete."""
    return _export(Reports(address, ready_file), form, file, raw_cells=raw_cells, as_json=as_json, chosen=chosen)


def _export(
    reports: Reports, form: str | None, file: Path | None, *, raw_cells: bool, as_json: bool, chosen: dict[str, Any]
) -> int:
    if as_json and file is None:
        raise click.UsageError("--json tells of an --output; for rows as JSON use --format json")
    if form is None:
        form = _ENDINGS.get(file.suffix.lower(), "json") if file is not None else "json"
    clock = SystemClock()
    request = report_pb2.ExportUsageRequest(format=_FORMS[form].value, raw_cells=raw_cells)  # type: ignore[arg-type]
    with_filter(request, clock, **chosen)
    if file is None:
        with to_stdout(clock) as sink:
            reports.export(request, sink)
        return Exit.OK
    with to_file(file, clock) as sink:
        done = reports.export(request, sink)
    _tell(file, form, done, as_json=as_json)
    return Exit.OK


def _tell(file: Path, form: str, done: Exported, *, as_json: bool) -> None:
    output = Output(as_json=as_json)
    if as_json:
        told = {"rows": done.rows, "bytes": done.bytes, "sha256": done.sha256, "servedFrom": done.served_from}
        output.document({"file": str(file), "format": form, **told})
    else:
        output.line(f"{file}: {done.rows:,} rows, {done.bytes:,} bytes, SHA-256 {done.sha256}")


def _tell_source(output: Output, source: report_pb2.ServedFrom.ValueType) -> None:
    if output.live:
        name = short_enum(report_pb2.ServedFrom.Name(source), "SERVED_FROM_").lower()
        output.line(f"read from the {name}")


def _row(row: report_pb2.UsageRow) -> tuple[str, ...]:
    return (
        moment(row.hour),
        row.associate or "-",
        row.key_id,
        row.key_name or "-",
        short_enum(account_pb2.Transport.Name(row.transport), "TRANSPORT_").lower(),
        row.method,
        row.asset or "-",
        short_enum(usage_pb2.Outcome.Name(row.outcome), "OUTCOME_").lower(),
        str(row.count),
        "yes" if row.billed else "no",
    )


_LIMIT: Final = 1_000
