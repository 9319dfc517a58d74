"""What clients know beside what is billed: their own count, two readings of the bill, and the judge of both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx

from ledger_kills import Verdict
from system.customers import Customer
from system.meshrun import Mesh
from trinity_admission.ledger_file import LedgerReader
from trinity_admission.spool import _is_free
from trinity_core.usage import Outcome, Transport


class Ask(NamedTuple):
    """What a client asks for, as it must be counted."""

    transport: Transport
    method: str
    asset: str


class Kind(NamedTuple):
    """What a client was answered."""

    ask: Ask
    outcome: Outcome


def kind_of(ask: Ask, outcome: Outcome) -> Kind:
    """The kind of an answer, as far as its client can tell: datagrams do not say by which tier they were served."""
    if ask.transport is Transport.UDP and outcome.billed:
        return Kind(ask, Outcome.LOCAL)
    return Kind(ask, outcome)


@dataclass
class Tally:
    """What the clients of one key know."""

    asked: Counter[Ask] = field(default_factory=Counter)
    answered: Counter[Kind] = field(default_factory=Counter)
    breaks: int = 0
    """Requests and datagrams whose answer, or a part of it, was lost."""

    @property
    def total(self) -> int:
        return self.answered.total()


def judge(tally: Tally, billed: Mapping[Kind, int]) -> Verdict:
    """answered <= billed <= answered + in flight, of each kind; the outcome of what was in flight may be any."""
    flying = Counter(tally.asked)
    told: Counter[Ask] = Counter()
    for kind, n in tally.answered.items():
        flying[kind.ask] -= n
    for kind, n in billed.items():
        told[kind.ask] += n
    kinds = set(tally.answered) | set(billed)
    beyond = sum(max(0, billed.get(kind, 0) - tally.answered[kind] - flying[kind.ask]) for kind in kinds)
    return Verdict(
        answered=tally.answered.total(),
        billed=sum(billed.values()),
        in_flight=flying.total(),
        lost=sum(max(0, n - billed.get(kind, 0)) for kind, n in tally.answered.items()),
        double=max(beyond, sum(max(0, n - tally.asked[ask]) for ask, n in told.items())),
        breaks=tally.breaks,
    )


async def from_report(mesh: Mesh, reader: Customer, key_id: str) -> Counter[Kind]:
    """The bill of one key as its customer reads it over HTTP, with another key, so that reading adds nothing.

    Empty while the report service cannot read it.
    """
    params: list[tuple[str, str | int | float | bool | None]] = [("key_ids", key_id)]
    params += [("group_by", word) for word in ("transport", "method", "asset", "outcome")]
    async with httpx.AsyncClient(timeout=30, trust_env=False, verify=False) as client:
        answer = await client.get(
            f"http://{mesh.facts['reports']}/reports/summary", params=params, headers=reader.headers
        )
    billed: Counter[Kind] = Counter()
    if answer.status_code == 503:
        return billed
    assert answer.status_code == 200, answer.text
    body = answer.json()
    for each in body["sums"]:
        transport, method, asset, outcome = each["group"]
        ask = Ask(Transport[transport.upper()], method, asset)
        # A group has one outcome, and so stands on one side of the bill alone.
        assert "0" in (each["billed"], each["unbilled"])
        assert (each["billed"] != "0") == Outcome[outcome.upper()].billed
        billed[kind_of(ask, Outcome[outcome.upper()])] += int(each["billed"]) + int(each["unbilled"])
    assert not body["truncated"]
    return billed


async def from_database(mesh: Mesh, key_id: str) -> Counter[Kind]:
    """The bill of one key as it stands in the database."""
    connection = await _connected(mesh)
    try:
        rows = await connection.fetch(
            "SELECT transport, method, asset, outcome, sum(n)::bigint AS n FROM usage_log"
            " WHERE key_id = $1 GROUP BY 1, 2, 3, 4",
            key_id,
        )
    finally:
        connection.terminate()
    billed: Counter[Kind] = Counter()
    for row in rows:
        ask = Ask(Transport(row["transport"]), row["method"], row["asset"])
        billed[kind_of(ask, Outcome(row["outcome"]))] += row["n"]
    return billed


async def unrecorded(mesh: Mesh, spool: Path, *, living: bool = False) -> int:
    """Answers that ledger files in `spool` have and the database does not; or only those of processes that run."""
    found = _counted(spool, living=living)
    connection = await _connected(mesh)
    try:
        rows = await connection.fetch("SELECT incarnation, slot, n FROM usage_counters")
    finally:
        connection.terminate()
    known = {(row["incarnation"], row["slot"]): row["n"] for row in rows}
    return sum(max(0, n - known.get(slot, 0)) for slot, n in found.items())


async def _connected(mesh: Mesh) -> asyncpg.Connection[asyncpg.Record]:
    settings = json.loads((mesh.data_dir / "run" / "usage.config.json").read_text())
    return await asyncpg.connect(settings["postgres"]["url"], server_settings={"search_path": "trinity"})


async def processes_of(mesh: Mesh, key_id: str) -> int:
    """How many ledger files have counted anything of a key."""
    connection = await _connected(mesh)
    try:
        query = "SELECT count(DISTINCT incarnation) FROM usage_counters WHERE key_id = $1"
        return int(await connection.fetchval(query, key_id))
    finally:
        connection.terminate()


def _counted(spool: Path, *, living: bool) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for path in spool.glob("*.uctr"):
        if living and _is_free(path):
            continue
        try:
            reader = LedgerReader(path)
        except FileNotFoundError:
            continue  # it has just been recorded completely
        found |= {(reader.layout.incarnation, slot): n for slot, n in reader.changed()}
        reader.close()
    return found
