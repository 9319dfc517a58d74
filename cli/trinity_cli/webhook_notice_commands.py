"""`trinity webhook notices`: endpoints that were given up, which their webhooks cannot say."""

from __future__ import annotations

from pathlib import Path

import click

from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.account_calls import moment
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_cli.webhook_calls import PAGE_SIZE, Webhooks, webhook_options

_COLUMNS = (
    Column("TIME", needed=True),
    Column("ENDPOINT", needed=True),
    Column("REASON", needed=True),
    Column("URL", wraps=True),
    Column("ASSOCIATE"),
)


@click.command()
@click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most to show.")
@webhook_options
@json_option
def notices(associate: str, limit: int, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show endpoints that were given up in the last 30 days, newest first.

    `endpoints verify` has a new challenge sent; one that is answered makes the endpoint active again.
    """
    output = Output(as_json=as_json)
    request = pb.ListNoticesRequest(associate=associate, page_size=min(limit, PAGE_SIZE))
    found, more = Webhooks(address, ready_file).all(request, "notices", limit=limit)
    if as_json:
        output.document({"notices": [proto_json(each) for each in found]})
    else:
        output.table(_COLUMNS, [_row(each) for each in found])
    if more:
        output.warn(f"there are more than {limit} notices; --limit shows more")
    return Exit.OK


def _row(one: pb.Notice) -> tuple[str, ...]:
    reason = short_enum(pb.DisableReason.Name(one.reason), "DISABLE_REASON_").lower()
    return moment(one.time), one.endpoint, reason, one.url, one.associate
