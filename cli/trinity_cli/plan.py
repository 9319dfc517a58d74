"""Which processes a mesh on one machine has, with which settings. Pure but for the files it writes."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from trinity_cli.abroad import Abroad
from trinity_cli.modes import Part
from trinity_core.venues import Venue
from trinity_mesh.process import write_json
from trinity_mesh.readiness import FileWritten
from trinity_mesh.supervise import Spec


class Venues(StrEnum):
    """Whose prices a mesh has."""

    SANDBOX = "sandbox"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one mesh meet."""

    data_dir: Path
    sockets: Path
    """Folder of the Unix sockets."""
    http: str
    reports: str
    """Address of reports over HTTP."""
    udp: str
    udp_reports: str
    grpc: str
    """Where callers with keys reach the price service directly; empty for nowhere."""
    venue_ports: Mapping[Venue, int]
    """Ports of the sandbox venues; empty with live venues."""
    control_port: int
    """Port of the sandbox's control endpoint; 0 with live venues."""
    postgres_url: str
    valkey_url: str
    secrets_file: Path
    privatelink: str = ""
    """Where balancers of PrivateLink reach prices; empty for nowhere."""
    proxies: tuple[str, ...] = ()
    """Networks of proxies of this mesh's own, which the gateways believe about a client's address."""
    abroad: Abroad = field(default_factory=Abroad)
    """Other machines."""

    def socket(self, part: str) -> str:
        """Where a part answers gRPC: "feed", "price", "account", "usage" or "report"."""
        return f"unix:{self.sockets / part}.sock"

    def reach(self, part: str) -> str:
        """Where this machine's processes call a part: another machine's, or the one here."""
        return self.abroad.remotes.get(part) or self.socket(part)


@dataclass(frozen=True, slots=True)
class Role:
    """One process to start."""

    name: str
    """Name of the process; a role may have several."""
    role: str
    values: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()


def roles(
    places: Places,
    *,
    parts: frozenset[Part],
    venues: Venues,
    workers: int,
    seed: int,
    stores: Sequence[str],
    env: str | None = None,
) -> list[Role]:
    """The roles of a mesh, in the order of their start.

    `stores` names the store processes under supervision: those that have no URL of their own.
    `env` is the word in the text of new keys; the account service's own by default. Raises ConfigError where a
    certificate is missing.
    """
    sandbox, remotes = venues is Venues.SANDBOX, places.abroad.remotes
    planned: list[Role] = []
    if parts & {Part.PRICES, Part.WEBHOOKS} and "price" not in remotes:
        planned += _prices(places, venues=venues, seed=seed, stores=stores)
    database = {"url": places.postgres_url}
    cache = {"url": places.valkey_url}
    needs = tuple(name for name in stores if name == "postgres")
    if parts - {Part.SYNC}:
        account = {
            "listen": places.socket("account"),
            "secrets_file": str(places.secrets_file),
            "postgres": database,
            "valkey": cache,
            **({"env": env} if env else {}),
        }
        usage = {"listen": places.socket("usage"), "postgres": database}
        own = (Role("account", "account", account, needs), Role("usage", "usage", usage, needs))
        planned += [role for role in own if role.name not in remotes]
    if Part.REPORTS in parts and "report" not in remotes:
        report = {
            "listen": places.socket("report"),
            "secrets_file": str(places.secrets_file),
            "postgres": database,
            "valkey": cache,
        }
        planned.append(Role("report", "report", report, needs))
    if parts & {Part.PRICES, Part.WEBHOOKS} and "webhook" not in remotes:
        planned.append(Role("webhook", "webhook", _webhook(places, sandbox=sandbox), needs))
    if Part.WEBHOOKS in parts:
        after = () if "price" in remotes else ("price",)
        worker = _webhook_worker(places, sandbox=sandbox)
        planned.append(Role("webhook-worker", "webhook_worker", worker, (*needs, *after)))
    if Part.SYNC in parts:
        planned.append(Role("sync", "sync", {"postgres": database, "valkey": cache}, tuple(stores)))
    if parts & {Part.PRICES, Part.REPORTS}:
        after = ("price",) if Part.PRICES in parts and "price" not in remotes else ()
        values = _gateway(places, parts)
        planned += [Role(f"gateway-{number}", "gateway", values, after) for number in range(1, workers + 1)]
    return [replace(role, values={**role.values, **places.abroad.tls(role.role)}) for role in planned]


def _prices(places: Places, *, venues: Venues, seed: int, stores: Sequence[str]) -> list[Role]:
    """What makes prices."""
    planned: list[Role] = []
    sandbox = venues is Venues.SANDBOX
    feeds: dict[str, Any] = {"listen": places.socket("feed"), "mode": str(venues), "ready_wait_ms": 4_000}
    if sandbox:
        ports = {str(venue): port for venue, port in places.venue_ports.items()}
        planned.append(Role("sandbox", "sandbox", {"ports": ports, "control_port": places.control_port, "seed": seed}))
        feeds["ws_urls"] = {str(venue): f"ws://127.0.0.1:{port}/" for venue, port in places.venue_ports.items()}
        feeds["rest_urls"] = {str(venue): f"http://127.0.0.1:{port}" for venue, port in places.venue_ports.items()}
    planned.append(Role("feeds", "feeds", feeds, ("sandbox",) if sandbox else ()))
    price: dict[str, Any] = {
        "listen": places.socket("price"),
        "feeds": [places.socket("feed")],
        "mirror": {"url": places.valkey_url},
    }
    if places.grpc:
        proxies = {"trusted_proxies": list(places.proxies)} if places.proxies else {}
        price["public"] = {"listen": places.grpc, "admission": _admission(places), **proxies}
    planned.append(Role("price", "price", price, tuple(name for name in stores if name == "valkey")))
    return planned


def _webhook(places: Places, *, sandbox: bool) -> dict[str, Any]:
    return {
        "listen": places.socket("webhook"),
        "secrets_file": str(places.secrets_file),
        "postgres": {"url": places.postgres_url},
        # With simulated prices alone, customers are programs on this machine that somebody tries out.
        "loopback": sandbox,
    }


def _webhook_worker(places: Places, *, sandbox: bool) -> dict[str, Any]:
    return {
        "price": places.reach("price"),
        "usage": places.reach("usage"),
        "spool": str(places.data_dir / "spool"),
        "secrets_file": str(places.secrets_file),
        "postgres": {"url": places.postgres_url},
        "loopback": sandbox,
    }


def _gateway(places: Places, parts: frozenset[Part]) -> dict[str, Any]:
    return {
        "price": places.reach("price") if Part.PRICES in parts else "",
        "report": places.reach("report") if Part.REPORTS in parts else "",
        "webhook": places.reach("webhook") if Part.PRICES in parts else "",
        "http": places.http,
        "reports_http": places.reports,
        "privatelink_http": places.privatelink,
        **({"bridge": {"trusted_proxies": list(places.proxies)}} if places.proxies else {}),
        "udp": {"listen": [places.udp], "reuse_port": True},
        "reports_udp": {"listen": [places.udp_reports], "reuse_port": True},
        "admission": _admission(places),
    }


def _admission(places: Places) -> dict[str, Any]:
    """Keys, quotas and the ledger of one process; the processes of a machine share rates and the spool."""
    return {
        "account": places.reach("account"),
        "usage": places.reach("usage"),
        "secrets_file": str(places.secrets_file),
        "spool": str(places.data_dir / "spool"),
        "keys_copy": str(places.data_dir / "known-keys"),
        "rates_file": str(places.data_dir / "run" / "rates"),
    }


def spec_of(
    role: Role,
    *,
    data_dir: Path,
    environ: Mapping[str, str],
    before_start: Callable[[], Awaitable[None]] | None = None,
) -> Spec:
    """The command that plays a role; its settings and its ready file stand in `<data_dir>/run`.

    `before_start` is done before each start of its process.
    """
    folder = data_dir / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config, ready = folder / f"{role.name}.config.json", folder / f"{role.name}.ready.json"
    write_json(config, role.values)
    words = ("-m", "trinity_cli.roles", role.role, "--config", str(config), "--ready-file", str(ready))
    return Spec(
        name=role.name,
        argv=(sys.executable, *words),
        env=environ,
        ready=FileWritten(ready),
        ready_timeout_ms=30_000,
        depends_on=role.depends_on,
        stop_timeout_ms=8_000,
        before_start=before_start,
    )
