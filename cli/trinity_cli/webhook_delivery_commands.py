"""`trinity webhook deliveries`: what was sent, what became of it, and sending it again."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.account_calls import moment
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_cli.webhook_calls import PAGE_SIZE, Moment, Webhooks, show, webhook_options

_COLUMNS = (
    Column("DELIVERY", needed=True),
    Column("TYPE", needed=True),
    Column("STATE", needed=True),
    Column("ATTEMPTS", right=True),
    Column("LAST"),
    Column("MADE"),
    Column("NEXT"),
    Column("ENDPOINT"),
)
_CLASSES = {"tick": pb.DELIVERY_CLASS_TICK, "alert": pb.DELIVERY_CLASS_ALERT, "test": pb.DELIVERY_CLASS_TEST,
            "challenge": pb.DELIVERY_CLASS_CHALLENGE}  # fmt: skip
_STATES = {"pending": pb.DELIVERY_STATE_PENDING, "delivered": pb.DELIVERY_STATE_DELIVERED,
           "failed": pb.DELIVERY_STATE_FAILED}  # fmt: skip


@click.group()
def deliveries() -> None:
    """What was sent in the last 30 days."""


@deliveries.command("list")
@click.option("--endpoint", default="", metavar="ENDPOINT", help="Only this endpoint's.")
@click.option("--subscription", default="", metavar="SUBSCRIPTION", help="Only this subscription's.")
@click.option("--class", "classes", multiple=True, type=click.Choice(list(_CLASSES)), help="Only these.")
@click.option("--state", "states", multiple=True, type=click.Choice(list(_STATES)), help="Only these.")
@click.option("--start", type=Moment(), help="Made at this time or later.")
@click.option("--end", type=Moment(), help="Made before this time.")
@click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most to show.")
@webhook_options
@json_option
def list_(
    endpoint: str,
    subscription: str,
    classes: tuple[str, ...],
    states: tuple[str, ...],
    start: Timestamp | None,
    end: Timestamp | None,
    associate: str,
    limit: int,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Show deliveries, newest first; with --json, with every attempt."""
    output = Output(as_json=as_json)
    request = pb.ListDeliveriesRequest(
        endpoint=endpoint,
        subscription=subscription,
        classes=[_CLASSES[name] for name in classes],
        states=[_STATES[name] for name in states],
        start_time=start,
        end_time=end,
        associate=associate,
        page_size=min(limit, PAGE_SIZE),
    )
    found, more = Webhooks(address, ready_file).all(request, "deliveries", limit=limit)
    if as_json:
        output.document({"deliveries": [proto_json(each) for each in found]})
    else:
        output.table(_COLUMNS, [_row(each) for each in found])
    if more:
        output.warn(f"there are more than {limit} deliveries; --limit shows more")
    return Exit.OK


@deliveries.command()
@click.argument("delivery")
@webhook_options
@json_option
def redeliver(delivery: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Send the alert or test of id DELIVERY again, under the same id."""
    answer = Webhooks(address, ready_file).ask(pb.RedeliverRequest(delivery=delivery))
    show(_COLUMNS, _row(answer.delivery), answer.delivery, as_json=as_json)
    return Exit.OK


@deliveries.command()
@click.argument("endpoint")
@click.option("--start", type=Moment(), required=True, help="Made at this time or later.")
@click.option("--end", type=Moment(), required=True, help="Made before this time.")
@click.option("--subscription", default="", metavar="SUBSCRIPTION", help="Only this subscription's.")
@click.option("--failed", is_flag=True, help="Only those that failed.")
@webhook_options
@json_option
def replay(
    endpoint: str,
    start: Timestamp,
    end: Timestamp,
    subscription: str,
    failed: bool,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Send the alerts of a time to the endpoint of id ENDPOINT again, oldest first; print how many."""
    output = Output(as_json=as_json)
    request = pb.ReplayRangeRequest(
        endpoint=endpoint, start_time=start, end_time=end, subscription=subscription, failed_only=failed
    )
    count = sum(answer.count for answer in Webhooks(address, ready_file).whole(request))
    if as_json:
        output.document({"count": count})
    else:
        output.line(str(count))
    return Exit.OK


def _row(one: pb.Delivery) -> tuple[str, ...]:
    newest = one.attempts[0] if one.attempts else None
    last = "-" if newest is None else short_enum(pb.Outcome.Name(newest.outcome), "OUTCOME_").lower()
    return (
        one.delivery,
        one.type,
        short_enum(pb.DeliveryState.Name(one.state), "DELIVERY_STATE_").lower(),
        str(one.attempt_count),
        f"{last} {newest.status}" if newest is not None and newest.status else last,
        moment(one.create_time),
        moment(one.due_time, present=one.HasField("due_time")),
        one.endpoint,
    )
