"""`trinity udp --usage`: the totals of a session's key."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from trinity_cli.exits import command_error
from trinity_cli.output import Column, Output
from trinity_cli.target import Target
from trinity_cli.udp_session import open_session
from trinity_client import UdpClient, UdpUsage
from trinity_core.errors import TrinityError

_COLUMNS = (
    Column("BILLED TODAY", right=True, needed=True),
    Column("BILLED THIS MONTH", right=True, needed=True),
    Column("QUOTA LEFT", right=True, needed=True),
    Column("AT"),
)


def show_usage(target: Target, output: Output, *, timeout_ms: int, tries: int) -> None:
    """Ask for the totals of the target's key and print them. Raises CommandError."""
    told = asyncio.run(_ask(target, timeout_ms, tries))
    if output.as_json:
        output.document(_json(told))
    else:
        left = "no bound" if told.remaining is None else str(told.remaining)
        output.table(_COLUMNS, [(str(told.billed_today), str(told.billed_this_month), left, rfc3339(told.read_time))])


def rfc3339(time: datetime) -> str:
    """The time as ProtoJSON has it."""
    return time.isoformat().replace("+00:00", "Z")


async def _ask(target: Target, timeout_ms: int, tries: int) -> UdpUsage:
    session = await open_session(target)
    async with UdpClient(
        reports=target.need("udp_reports"), session=session, timeout_ms=timeout_ms, tries=tries
    ) as client:
        try:
            return await client.totals()
        except TrinityError as error:
            raise command_error(error, target.where("udp_reports")) from error


def _json(told: UdpUsage) -> dict[str, Any]:
    """As ProtoJSON would have it; `unlimited` and `remaining` are those of trinity.usage.v1.GetQuotaResponse."""
    return {
        "billedToday": str(told.billed_today),
        "billedThisMonth": str(told.billed_this_month),
        "unlimited": told.remaining is None,
        "remaining": str(told.remaining or 0),
        "readTime": rfc3339(told.read_time),
    }
