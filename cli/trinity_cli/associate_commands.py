"""`trinity associate`: customers."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.field_mask_pb2 import FieldMask

from trinity.account.v1 import account_pb2
from trinity_cli.account_calls import PAGE_SIZE, Accounts, account_options, moment
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json

_COLUMNS = (
    Column("ASSOCIATE", needed=True),
    Column("PLAN", needed=True),
    Column("STATE", needed=True),
    Column("NAME"),
    Column("EMAIL"),
    Column("SINCE"),
)


@click.group()
def associate() -> None:
    """Customers: each has a plan and keys."""


@associate.command()
@click.argument("associate_id", metavar="ASSOCIATE")
@click.option("--plan", required=True, help="Id of the plan.")
@click.option("--name", default="", help="Name to show.")
@click.option("--email", default="", help="Address for notices.")
@account_options
@json_option
def create(
    associate_id: str,
    plan: str,
    name: str,
    email: str,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Make the customer ASSOCIATE."""
    wanted = account_pb2.Associate(associate=associate_id, plan=plan, name=name, email=email)
    made = Accounts(address, ready_file).ask(account_pb2.CreateAssociateRequest(associate=wanted)).associate
    return _show(made, as_json=as_json)


@associate.command("list")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Most to show.")
@account_options
@json_option
def list_(limit: int, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show all customers."""
    output = Output(as_json=as_json)
    request = account_pb2.ListAssociatesRequest(page_size=min(limit, PAGE_SIZE))
    found, more = Accounts(address, ready_file).all(request, "associates", limit=limit)
    if as_json:
        output.document({"associates": [proto_json(each) for each in found]})
    else:
        output.table(_COLUMNS, [_row(each) for each in found])
    if more:
        output.warn(f"there are more than {limit} customers; --limit shows more")
    return Exit.OK


@associate.command()
@click.argument("associate_id", metavar="ASSOCIATE")
@account_options
@json_option
def get(associate_id: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show the customer ASSOCIATE."""
    request = account_pb2.GetAssociateRequest(associate=associate_id)
    return _show(Accounts(address, ready_file).ask(request).associate, as_json=as_json)


@associate.command()
@click.argument("associate_id", metavar="ASSOCIATE")
@click.option("--plan", help="Id of the new plan.")
@click.option("--name", help="Name to show.")
@click.option("--email", help="Address for notices; empty for none.")
@account_options
@json_option
def update(
    associate_id: str,
    plan: str | None,
    name: str | None,
    email: str | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Change what is named of the customer ASSOCIATE."""
    given = {"plan": plan, "name": name, "email": email}
    mask = [field for field, value in given.items() if value is not None]
    if not mask:
        raise click.UsageError("name what to change: --plan, --name or --email")
    wanted = account_pb2.Associate(associate=associate_id, plan=plan or "", name=name or "", email=email or "")
    return _update(Accounts(address, ready_file), wanted, mask, as_json)


@associate.command()
@click.argument("associate_id", metavar="ASSOCIATE")
@account_options
@json_option
def suspend(associate_id: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """End the service of the customer ASSOCIATE for now: all its keys stop everywhere within a second."""
    wanted = account_pb2.Associate(associate=associate_id, suspended=True)
    return _update(Accounts(address, ready_file), wanted, ["suspended"], as_json)


@associate.command()
@click.argument("associate_id", metavar="ASSOCIATE")
@account_options
@json_option
def resume(associate_id: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Give the customer ASSOCIATE its service back."""
    return _update(Accounts(address, ready_file), account_pb2.Associate(associate=associate_id), ["suspended"], as_json)


def _update(accounts: Accounts, wanted: account_pb2.Associate, mask: list[str], as_json: bool) -> int:
    request = account_pb2.UpdateAssociateRequest(associate=wanted, update_mask=FieldMask(paths=mask))
    return _show(accounts.ask(request).associate, as_json=as_json)


def _show(one: account_pb2.Associate, *, as_json: bool) -> int:
    output = Output(as_json=as_json)
    if as_json:
        output.document(proto_json(one))
    else:
        output.table(_COLUMNS, [_row(one)])
    return Exit.OK


def _row(one: account_pb2.Associate) -> tuple[str, ...]:
    state = "suspended" if one.suspended else "active"
    return one.associate, one.plan, state, one.name, one.email or "-", moment(one.create_time)
