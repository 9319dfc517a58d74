"""`trinity check`: whether every part of the mesh is reachable and says sane things."""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2
from trinity_cli.dialling import dial
from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import SIMULATED, Column, Output, json_option, short_enum
from trinity_cli.target import Target, read_ready, ready_path, resolve, target_options
from trinity_cli.udp import ask_udp
from trinity_cli.venues import list_venues
from trinity_client import PriceClient, UdpPrice
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call

_COLUMNS = (Column("CHECK", needed=True), Column("RESULT", needed=True), Column("DETAIL", needed=True, wraps=True))
_HTTP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    check: str
    code: Exit
    """OK, or the exit code that this finding alone would give."""
    detail: str
    hint: str = ""


@click.command()
@click.option("--asset", default="BTC", show_default=True, help="Asset whose price is asked for.")
@click.option(
    "--alive",
    is_flag=True,
    help="Ask only whether the processes run and the ports answer, as what restarts a container wants to know.",
)
@target_options("gRPC address of the price service; nothing else is checked then")
@json_option
def check(asset: str, alive: bool, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Say whether every part of the mesh is reachable and sane; the exit code is 0 only if all is well."""
    output = Output(as_json=as_json)
    if alive and address:
        raise click.UsageError("--alive asks the mesh of a ready file, and --address names something else")
    findings = asyncio.run(_look_alive(ready_file) if alive else _look(asset, address, ready_file))
    if as_json:
        output.document(
            {"ok": all(one.code is Exit.OK for one in findings), "checks": [_json(one) for one in findings]}
        )
    else:
        rows = [(one.check, "ok" if one.code is Exit.OK else "FAILED", one.detail) for one in findings]
        output.table(_COLUMNS, rows, headings=False)
        for one in findings:
            if one.hint:
                output.warn(f"{one.check}: {one.hint}")
    return max(one.code for one in findings)


async def _look_alive(ready_file: Path | None) -> list[Finding]:
    """Nothing that another machine, a store or an exchange could spoil: a restart would not mend those."""
    try:
        target = read_ready(ready_path(ready_file, os.environ))
    except CommandError as error:
        return [Finding("ready file", Exit.UNREACHABLE, error.message, error.hint)]
    ports = [("http", target.http), ("reports", target.reports)]
    asked = [_http(name, address, "", "/healthz") for name, address in ports if address]
    return [_processes(target), *await asyncio.gather(*asked)]


async def _look(asset: str, address: str | None, ready_file: Path | None) -> list[Finding]:
    findings: list[Finding] = []
    if address:
        target = resolve("price", address, None)
    else:
        path = ready_path(ready_file, os.environ)
        try:
            target = read_ready(path)
        except CommandError as error:
            return [Finding("ready file", Exit.UNREACHABLE, error.message, error.hint)]
        findings.append(_processes(target))
    checks: list[Awaitable[Finding]] = []
    if target.price:
        checks += [_health("price service", target.price, "price"), _price(target, asset), _freshness(target)]
    elif not address and not target.reports:
        findings.append(
            Finding("price service", Exit.UNREACHABLE, "the ready file names none", "run `trinity up` again")
        )
    checks += [_health(f"feed worker {number}", feed, "feeds") for number, feed in enumerate(target.feeds, start=1)]
    if target.feeds:
        checks.append(_venues(target))
    for name in ("account", "usage", "report", "webhook"):
        if service := getattr(target, name):
            checks.append(_health(f"{name} service", service, name))
    if target.http:
        question = f"/price?asset={quote(asset)}" if target.key else "/readyz"
        checks.append(_http("http", target.http, target.key, question))
    if target.reports:
        question = "/reports/summary" if target.key else "/readyz"
        checks.append(_http("reports", target.reports, target.key, question))
    if target.edge:
        checks.append(_edge(target))
    if target.udp:
        checks.append(_udp(target, asset))
    return findings + list(await asyncio.gather(*checks))


def _processes(target: Target) -> Finding:
    """Whether the processes of the ready file still run; an old file of a mesh that is gone shows here."""
    gone = [name for name, pid in target.pids.items() if not _runs(pid)]
    if gone:
        return Finding(
            "processes",
            Exit.UNREACHABLE,
            f"{target.origin} names processes that are gone: {', '.join(sorted(gone))}",
            "`trinity up` starts the mesh anew",
        )
    return Finding("processes", Exit.OK, f"{len(target.pids)} running (from {target.origin})")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


async def _health(name: str, address: str, service: str) -> Finding:
    async with dial(address, service) as channel:
        try:
            answer = await call(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()))
        except TrinityError as error:
            return _failed(name, error, f"nothing answers at {address}")
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return Finding(name, Exit.UNAVAILABLE, f"{status} at {address}", "it is starting or stopping; try again")
    return Finding(name, Exit.OK, f"{status} at {address}")


async def _price(target: Target, asset: str) -> Finding:
    async with dial(target.price, "price") as channel, PriceClient(channel) as client:
        try:
            price = await client.get(asset)
        except TrinityError as error:
            return _failed(f"price of {asset}", error, "the price service did not answer")
    state = short_enum(price_pb2.State.Name(price.state), "STATE_")
    told = f"{price.price} USD, {state}, {price.source_count} sources{f', {SIMULATED}' if price.sandbox else ''}"
    if price.state != price_pb2.STATE_FRESH:
        hint = f"`trinity explain {asset}` shows why it is not fresh"
        return Finding(f"price of {asset}", Exit.UNAVAILABLE, told, hint)
    return Finding(f"price of {asset}", Exit.OK, told)


async def _freshness(target: Target) -> Finding:
    states: dict[str, int] = {}
    async with dial(target.price, "price") as channel, PriceClient(channel) as client:
        try:
            async for asset in client.assets():
                name = short_enum(price_pb2.State.Name(asset.state), "STATE_").lower()
                states[name] = states.get(name, 0) + 1
        except TrinityError as error:
            return _failed("freshness", error, "the price service did not answer")
    told = ", ".join(f"{count} {name}" for name, count in sorted(states.items(), key=lambda pair: -pair[1]))
    if not states.get("fresh"):
        return Finding("freshness", Exit.UNAVAILABLE, told or "no assets", "`trinity venues` shows the connections")
    return Finding("freshness", Exit.OK, f"{told} of {sum(states.values())} assets")


async def _venues(target: Target) -> Finding:
    live, known, away = set[str](), set[str](), list[TrinityError]()
    for answer in await list_venues(target.feeds):
        if isinstance(answer, TrinityError):
            away.append(answer)
            continue
        for status in answer.venues:
            known.add(status.venue)
            if status.state == feed_pb2.CONNECTION_STATE_LIVE:
                live.add(status.venue)
    if away and not known:
        return _failed("venues", away[0], "no feed worker answers")
    told = f"{len(live)} of {len(known)} live"
    if live != known:
        down = ", ".join(sorted(known - live))
        return Finding("venues", Exit.UNAVAILABLE, f"{told}; not live: {down}", "`trinity venues` shows why")
    return Finding("venues", Exit.OK, told)


async def _http(name: str, address: str, key: str, path: str) -> Finding:
    """Whether a port answers with what is asked for."""
    try:
        status = await asyncio.to_thread(_http_status, address, key, path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Finding(name, Exit.UNREACHABLE, f"nothing answers at {address}: {error}", "look at the gateway's log")
    if status != http.HTTPStatus.OK:
        return Finding(name, Exit.UNAVAILABLE, f"status {status} at {address}", "look at the gateway's log")
    return Finding(name, Exit.OK, f"status {status} at {address}")


async def _edge(target: Target) -> Finding:
    """Whether a question gets through the edge to a gateway."""
    try:
        status = await asyncio.to_thread(_edge_status, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Finding("edge", Exit.UNREACHABLE, f"nothing answers at {target.edge}: {error}", "look at the edge's log")
    told = f"status {status} at {target.edge} for {target.edge_host}"
    if status != http.HTTPStatus.OK:
        return Finding("edge", Exit.UNAVAILABLE, told, "no gateway behind it is well; look at the gateway's log")
    return Finding("edge", Exit.OK, told)


def _edge_status(target: Target) -> int:
    host, _, port = target.edge.rpartition(":")
    trust = ssl.create_default_context(cafile=target.edge_ca)
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - compared, not bound
    connection = http.client.HTTPSConnection(host, int(port), timeout=_HTTP_S, context=trust)
    try:
        connection.request("GET", "/readyz", headers={"Host": target.edge_host})
        return connection.getresponse().status
    finally:
        connection.close()


def _http_status(address: str, key: str, path: str) -> int:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_HTTP_S)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


async def _udp(target: Target, asset: str) -> Finding:
    try:
        (result,) = await ask_udp(target, (asset,), timeout_ms=1_000, tries=3)
    except CommandError as error:
        return Finding("udp", error.code, error.message, error.hint)
    if isinstance(result, UdpPrice):
        return Finding("udp", Exit.OK, f"{result.state.name} at {target.udp}")
    return Finding("udp", Exit.UNAVAILABLE, f"{result.message} at {target.udp}")


def _failed(name: str, error: TrinityError, unreached: str) -> Finding:
    if error.reason in (Reason.BACKEND_UNAVAILABLE, Reason.DEADLINE_EXCEEDED):
        hint = "is it running? `trinity up` starts the mesh; the log of the part says more"
        return Finding(name, Exit.UNREACHABLE, unreached, hint)
    return Finding(name, Exit.UNAVAILABLE, error.message)


def _json(one: Finding) -> dict[str, object]:
    return {"check": one.check, "ok": one.code is Exit.OK, "detail": one.detail, "hint": one.hint}
