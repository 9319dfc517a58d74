"""`trinity plan`: what customers' keys may do, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from google.protobuf.field_mask_pb2 import FieldMask

from trinity.account.v1 import account_pb2
from trinity_cli.account_calls import PAGE_SIZE, Accounts, account_options, words
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_core.accounts import SCOPES
from trinity_core.usage import Transport

_COLUMNS = (
    Column("PLAN", needed=True),
    Column("NAME"),
    Column("RATE/S", right=True, needed=True),
    Column("BURST", right=True, needed=True),
    Column("A MONTH", right=True, needed=True),
    Column("SCOPES", wraps=True),
    Column("ASSETS", wraps=True),
    Column("TRANSPORTS"),
)
_TRANSPORTS = {transport.name.lower(): transport for transport in Transport}


@click.group()
def plan() -> None:
    """What customers' keys may do, and how often."""


def _fields(command: Any) -> Any:
    for option in (
        click.option(
            "--transport", "transports", multiple=True, type=click.Choice(list(_TRANSPORTS)), help="Allowed way in."
        ),
        click.option("--asset", "assets", multiple=True, metavar="ASSET", help="Asset that may be asked for."),
        click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What keys may do."),
        click.option("--quota", type=click.IntRange(0), help="Answers a calendar month for a customer; 0: no bound."),
        click.option("--burst", type=click.IntRange(1), help="Answers at once after a rest."),
        click.option("--rate", type=click.IntRange(1), help="Answers a second in the long run."),
        click.option("--name", help="Name to show."),
    ):
        command = option(command)
    return command


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@_fields
@account_options
@json_option
def create(
    plan_id: str,
    rate: int | None,
    burst: int | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
    **more: Any,
) -> int:
    """Make the plan PLAN. Without --asset or --transport all are allowed."""
    if rate is None:
        raise click.UsageError("--rate is needed: how many answers a second a key may have")
    wanted = _plan(plan_id, rate=rate, burst=2 * rate if burst is None else burst, **more)
    made = Accounts(address, ready_file).ask(account_pb2.CreatePlanRequest(plan=wanted)).plan
    return _show(made, as_json=as_json)


@plan.command("list")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Most to show.")
@account_options
@json_option
def list_(limit: int, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show all plans."""
    output = Output(as_json=as_json)
    request = account_pb2.ListPlansRequest(page_size=min(limit, PAGE_SIZE))
    plans, more = Accounts(address, ready_file).all(request, "plans", limit=limit)
    if as_json:
        output.document({"plans": [proto_json(each) for each in plans]})
    else:
        output.table(_COLUMNS, [_row(each) for each in plans])
    if more:
        output.warn(f"there are more than {limit} plans; --limit shows more")
    return Exit.OK


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@account_options
@json_option
def get(plan_id: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show the plan PLAN."""
    return _show(Accounts(address, ready_file).ask(account_pb2.GetPlanRequest(plan=plan_id)).plan, as_json=as_json)


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@_fields
@click.option("--all-assets", is_flag=True, help="Allow every asset.")
@click.option("--all-transports", is_flag=True, help="Allow every way in.")
@account_options
@json_option
def update(
    plan_id: str,
    all_assets: bool,
    all_transports: bool,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Change what is named of the plan PLAN; keys of its customers follow within a second."""
    if (all_assets and given["assets"]) or (all_transports and given["transports"]):
        raise click.UsageError("--all-assets and --all-transports exclude --asset and --transport")
    names = {"name": "name", "rate": "rate_per_s", "burst": "burst", "quota": "monthly_quota"}
    mask = [field for option, field in names.items() if given[option] is not None]
    mask += [field for field in ("scopes", "assets", "transports") if given[field]]
    mask += ["assets"] * all_assets + ["transports"] * all_transports
    if not mask:
        raise click.UsageError("name what to change; `trinity plan update --help` lists it")
    request = account_pb2.UpdatePlanRequest(plan=_plan(plan_id, **given), update_mask=FieldMask(paths=mask))
    return _show(Accounts(address, ready_file).ask(request).plan, as_json=as_json)


def _plan(
    plan_id: str,
    *,
    name: str | None,
    rate: int | None,
    burst: int | None,
    quota: int | None,
    scopes: Iterable[str],
    assets: Iterable[str],
    transports: Iterable[str],
) -> account_pb2.Plan:
    for option, value, most in (("--rate", rate, 1 << 32), ("--burst", burst, 1 << 32), ("--quota", quota, 1 << 64)):
        if value is not None and value >= most:
            raise click.UsageError(f"{option} {value} is too large")
    return account_pb2.Plan(
        plan=plan_id,
        name=name or "",
        rate_per_s=rate or 0,
        burst=burst or 0,
        monthly_quota=quota or 0,
        scopes=scopes,
        assets=[asset.upper() for asset in assets],
        transports=[_TRANSPORTS[transport].value for transport in transports],  # type: ignore[misc]
    )


def _show(one: account_pb2.Plan, *, as_json: bool) -> int:
    output = Output(as_json=as_json)
    if as_json:
        output.document(proto_json(one))
    else:
        output.table(_COLUMNS, [_row(one)])
    return Exit.OK


def _row(one: account_pb2.Plan) -> tuple[str, ...]:
    ways = [short_enum(account_pb2.Transport.Name(number), "TRANSPORT_").lower() for number in one.transports]
    return (
        one.plan,
        one.name,
        str(one.rate_per_s),
        str(one.burst),
        str(one.monthly_quota) if one.monthly_quota else "no bound",
        words(one.scopes, "none"),
        words(one.assets, "all"),
        words(ways, "all"),
    )
