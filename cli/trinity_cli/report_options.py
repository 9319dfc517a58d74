"""Which rows a report is of, as options of a command: times, assets, transports, methods, outcomes, keys, customer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import click
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.report.v1 import report_pb2
from trinity_core.usage import Outcome, Transport
from trinity_mesh.clock import Clock

Request = TypeVar(
    "Request", report_pb2.ListUsageRequest, report_pb2.SummarizeUsageRequest, report_pb2.ExportUsageRequest
)

TRANSPORTS: Final = {each.name.lower(): int(each) for each in Transport}
OUTCOMES: Final = {each.name.lower(): int(each) for each in Outcome}


class When(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A time: RFC 3339, a date (its beginning, UTC), or a span such as 7d, which is that long ago.

    The value is a Timestamp, or for a span its seconds: what "now" is, is decided once for all options.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp | int:
        """Read the text."""
        if isinstance(value, Timestamp | int):
            return value
        text = str(value).strip().upper()
        if span := _SPAN.fullmatch(text):
            return int(span[1]) * _UNITS[span[2]]
        if _DATE.fullmatch(text):
            text += "T00:00:00Z"
        time = Timestamp()
        try:
            if not _TIME.fullmatch(text):
                raise ValueError
            time.FromJsonString(text.replace(" ", "T"))
        except ValueError:
            self.fail(
                f"{value!r} is no time; write it as 2026-01-31, 2026-01-31T15:00:00Z, 36h or 7d (that long ago)",
                param,
                ctx,
            )
        return time


def filter_options(command: Any) -> Any:
    """Adds the options; `with_filter` takes their values."""
    for option in (
        click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's keys."),
        click.option("--key", "keys", multiple=True, metavar="KEY", help="Only keys of these ids."),
        click.option(
            "--outcome", "outcomes", multiple=True, type=click.Choice(list(OUTCOMES)), help="Only these outcomes."
        ),
        click.option("--method", "methods", multiple=True, metavar="METHOD", help="Only these, such as GetPrice."),
        click.option(
            "--transport", "transports", multiple=True, type=click.Choice(list(TRANSPORTS)), help="Only these ways in."
        ),
        click.option("--asset", "assets", multiple=True, metavar="ASSET", help="Only these assets."),
        click.option("--end", type=When(), metavar="TIME", help="Before this time; the hour that holds it is in."),
        click.option(
            "--start",
            type=When(),
            metavar="TIME",
            help="From this time on: RFC 3339, a date, or a span such as 7d, that long ago; the hour that holds it "
            "is in.",
        ),
    ):
        command = option(command)
    return command


def with_filter(
    request: Request,
    clock: Clock,
    *,
    start: Timestamp | int | None,
    end: Timestamp | int | None,
    assets: Iterable[str],
    transports: Iterable[str],
    methods: Iterable[str],
    outcomes: Iterable[str],
    keys: Iterable[str],
    associate: str,
) -> Request:
    """The request, with what the options say. Raises UsageError for times the wrong way round."""
    now_s = clock.unix_ns() // 1_000_000_000
    times = {"start_time": _at(start, now_s), "end_time": _at(end, now_s)}
    for field, time in times.items():
        if time is not None:
            getattr(request, field).CopyFrom(time)
    if None not in times.values() and request.end_time.ToNanoseconds() <= request.start_time.ToNanoseconds():
        raise click.UsageError("--end must be after --start")
    request.assets.extend(dict.fromkeys(asset.upper() for asset in assets))
    request.transports.extend(dict.fromkeys(TRANSPORTS[name] for name in transports))  # type: ignore[misc]
    request.methods.extend(dict.fromkeys(methods))
    request.outcomes.extend(dict.fromkeys(OUTCOMES[name] for name in outcomes))  # type: ignore[misc]
    request.key_ids.extend(dict.fromkeys(keys))
    request.associate = associate
    return request


def _at(when: Timestamp | int | None, now_s: int) -> Timestamp | None:
    return Timestamp(seconds=max(_FIRST, now_s - when)) if isinstance(when, int) else when


_UNITS: Final = {"S": 1, "M": 60, "H": 3_600, "D": 86_400, "W": 7 * 86_400}
_SPAN: Final = re.compile(r"(\d{1,6})([SMHDW])")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FIRST: Final = -62_135_596_800
"""The year 1."""
