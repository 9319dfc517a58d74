"""`trinity key`: API keys. A new one is printed once, alone on stdout, so that a script can keep it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration

from trinity.account.v1 import account_pb2
from trinity_cli.account_calls import PAGE_SIZE, Accounts, account_options, moment, words
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_core.accounts import SCOPES

_COLUMNS = (
    Column("KEY", needed=True),
    Column("ASSOCIATE", needed=True),
    Column("STATE", needed=True),
    Column("NAME"),
    Column("SCOPES", wraps=True),
    Column("NETWORKS", wraps=True),
    Column("MADE"),
    Column("ENDS"),
    Column("REPLACES"),
)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Seconds(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A long duration such as 90s, 30m, 12h or 365d; a plain number is seconds. The value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value).strip())
        if not found:
            self.fail(f"{value!r} is no duration; write it as 90s, 30m, 12h or 365d", param, ctx)
        return int(found[1]) * _UNITS[found[2] or "s"]


@click.group()
def key() -> None:
    """API keys."""


@key.command()
@click.option("--associate", default="", metavar="ASSOCIATE", help="Customer that the key is for.")
@click.option("--name", default="", help="Name to show.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What it may do. [default: all of the plan but admin]",
)
@click.option(
    "--network", "networks", multiple=True, metavar="CIDR", help="Network it may be used from. [default: any]"
)
@click.option("--lifetime", type=Seconds(), help="When it ends, such as 365d. [default: never]")
@account_options
@json_option
def create(
    associate: str,
    name: str,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    lifetime: int | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Make a key and print it, this once; stderr says what it is."""
    request = account_pb2.CreateKeyRequest(
        associate=associate,
        name=name,
        scopes=scopes,
        allowed_networks=networks,
        lifetime=None if lifetime is None else Duration(seconds=lifetime),
    )
    answer = Accounts(address, ready_file).ask(request)
    return _show_new(answer, as_json=as_json)


@key.command("list")
@click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's.")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Most to show.")
@account_options
@json_option
def list_(associate: str, limit: int, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show keys, newest first, without their secrets."""
    output = Output(as_json=as_json)
    request = account_pb2.ListKeysRequest(associate=associate, page_size=min(limit, PAGE_SIZE))
    keys, more = Accounts(address, ready_file).all(request, "keys", limit=limit)
    if as_json:
        output.document({"keys": [proto_json(each) for each in keys]})
    else:
        output.table(_COLUMNS, [_row(each) for each in keys])
    if more:
        output.warn(f"there are more than {limit} keys; --limit shows more")
    return Exit.OK


@key.command()
@click.argument("key_id", metavar="KEY")
@click.option("--grace", type=Seconds(), help="How long the old key stays valid, such as 1h. [default: 1d]")
@account_options
@json_option
def rotate(key_id: str, grace: int | None, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Replace the key of id KEY by a new one and print that, this once; the old one stays valid for a while."""
    request = account_pb2.RotateKeyRequest(key_id=key_id, grace=None if grace is None else Duration(seconds=grace))
    answer = Accounts(address, ready_file).ask(request)
    if not as_json:
        Output(as_json=False).warn(f"the key {key_id} ends {moment(answer.previous.expire_time)} UTC")
    return _show_new(answer, as_json=as_json)


@key.command()
@click.argument("key_id", metavar="KEY")
@account_options
@json_option
def revoke(key_id: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """End the key of id KEY for good; it stops everywhere within a second."""
    output = Output(as_json=as_json)
    answer = Accounts(address, ready_file).ask(account_pb2.RevokeKeyRequest(key_id=key_id)).key
    if as_json:
        output.document(proto_json(answer))
    else:
        output.table(_COLUMNS, [_row(answer)])
    return Exit.OK


def _show_new(answer: account_pb2.CreateKeyResponse | account_pb2.RotateKeyResponse, *, as_json: bool) -> int:
    output = Output(as_json=as_json)
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    made = answer.key
    ends = f", until {moment(made.expire_time)} UTC" if made.HasField("expire_time") else ""
    output.warn(f"key {made.key_id} of {made.associate}: {words(made.scopes, 'no scopes')}{ends}")
    output.warn("this is the only time that it is shown")
    output.line(answer.secret)
    return Exit.OK


def _row(one: account_pb2.Key) -> tuple[str, ...]:
    return (
        one.key_id,
        one.associate,
        short_enum(account_pb2.KeyState.Name(one.state), "KEY_STATE_").lower(),
        one.name,
        words(one.scopes, "none"),
        words(one.allowed_networks, "any"),
        moment(one.create_time),
        moment(one.expire_time, present=one.HasField("expire_time")),
        one.replaces or "-",
    )
