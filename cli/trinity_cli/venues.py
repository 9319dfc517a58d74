"""`trinity venues`: the connections to the exchanges, as the feed workers see them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity_cli.dialling import dial
from trinity_cli.exits import Exit, command_error
from trinity_cli.output import SIMULATED, Column, Output, json_option, proto_json, seconds, short_enum
from trinity_cli.target import resolve, target_options
from trinity_core.errors import TrinityError
from trinity_mesh.channels import call
from trinity_mesh.clock import SystemClock
from trinity_mesh.wire import unstamp

_COLUMNS = (
    Column("VENUE", needed=True),
    Column("STATE", needed=True),
    Column("FRESH", right=True, needed=True),
    Column("OF", right=True),
    Column("LAST FRAME", right=True),
    Column("LAG", right=True),
    Column("TICKS", right=True),
    Column("BAD FRAMES", right=True),
    Column("GAPS", right=True),
    Column("RECONNECTS", right=True),
    Column("REST"),
    Column("NOTE", needed=True),
    Column("WORKER"),
    Column("URL"),
)


@click.command()
@target_options("gRPC address of a feed worker (unix:/path or host:port; several with commas)")
@json_option
def venues(address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show each exchange's connection: its state, how many symbols are fresh, its lag and its errors."""
    output = Output(as_json=as_json)
    target = resolve("feeds", address, ready_file)
    answers = asyncio.run(list_venues(target.feeds))
    found = [status for answer in answers if not isinstance(answer, TrinityError) for status in answer.venues]
    failed = [
        (where, answer) for where, answer in zip(target.feeds, answers, strict=True) if isinstance(answer, TrinityError)
    ]
    if as_json:
        output.document(
            {
                "venues": [proto_json(status) for status in found],
                "unreachable": [{"address": where, "error": error.message} for where, error in failed],
            }
        )
    elif found:
        now_ns = SystemClock().unix_ns()
        output.table(_COLUMNS, [_row(status, now_ns) for status in found])
        for status in found:
            if status.detail:
                output.line(f"{status.venue}: {status.detail}")
    if failed and not found:
        where, error = failed[0]
        raise command_error(error, f"the feed worker at {where} (from {target.origin})")
    for where, error in failed:
        output.warn(f"the feed worker at {where} cannot be reached: {error.message}")
    return Exit.UNREACHABLE if failed else Exit.OK


async def list_venues(addresses: tuple[str, ...]) -> list[feed_pb2.ListVenuesResponse | TrinityError]:
    """Ask each worker, all at once; the error in the place of an answer where there is none."""
    return list(await asyncio.gather(*map(_ask, addresses)))


async def _ask(address: str) -> feed_pb2.ListVenuesResponse | TrinityError:
    async with dial(address, "feeds") as channel:
        stub = feed_service_pb2_grpc.FeedServiceStub(channel)
        try:
            return await call(stub.ListVenues(feed_pb2.ListVenuesRequest()))
        except TrinityError as error:
            return error


def _row(status: feed_pb2.VenueStatus, now_ns: int) -> tuple[str, ...]:
    notes = [SIMULATED] if status.sandbox else []
    if status.symbols_refused:
        notes.append(f"{len(status.symbols_refused)} symbols refused")
    age_ms = (now_ns - unstamp(status.last_frame_time)) / 1e6 if status.HasField("last_frame_time") else -1
    return (
        status.venue,
        short_enum(feed_pb2.ConnectionState.Name(status.state), "CONNECTION_STATE_"),
        str(status.symbols_fresh),
        str(status.symbols_wanted),
        "-" if age_ms < 0 else seconds(age_ms),
        f"{status.lag_ms} ms",
        str(status.ticks),
        str(status.frames_invalid + status.frames_unknown),
        str(status.sequence_gaps),
        str(status.reconnects),
        short_enum(feed_pb2.CircuitState.Name(status.circuit), "CIRCUIT_STATE_").lower(),
        ", ".join(notes),
        status.worker,
        status.url,
    )
