"""Which processes a mesh on one machine has, with which settings. Pure but for the files it writes."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

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
    udp: str
    venue_ports: Mapping[Venue, int]
    """Ports of the sandbox venues; empty with live venues."""
    control_port: int
    """Port of the sandbox's control endpoint; 0 with live venues."""
    postgres_url: str
    valkey_url: str
    keys_file: Path
    secrets_file: Path

    @property
    def feed(self) -> str:
        """Where the feed worker answers gRPC."""
        return f"unix:{self.sockets / 'feed.sock'}"

    @property
    def account(self) -> str:
        """Where the account service answers gRPC."""
        return f"unix:{self.sockets / 'account.sock'}"

    @property
    def usage(self) -> str:
        """Where the usage service answers gRPC."""
        return f"unix:{self.sockets / 'usage.sock'}"

    @property
    def price(self) -> str:
        """Where the price service answers gRPC."""
        return f"unix:{self.sockets / 'price.sock'}"


@dataclass(frozen=True, slots=True)
class Role:
    """One process to start."""

    name: str
    """Name of the process; a role may have several."""
    role: str
    values: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()


def roles(places: Places, *, venues: Venues, workers: int, seed: int, stores: Sequence[str]) -> list[Role]:
    """The roles of a mesh, in the order of their start.

    `stores` names the store processes under supervision: those that have no URL of their own.
    """
    sandbox = venues is Venues.SANDBOX
    planned: list[Role] = []
    if sandbox:
        ports = {str(venue): port for venue, port in places.venue_ports.items()}
        planned.append(Role("sandbox", "sandbox", {"ports": ports, "control_port": places.control_port, "seed": seed}))
    feeds: dict[str, Any] = {"listen": places.feed, "mode": str(venues), "ready_wait_ms": 4_000}
    if sandbox:
        feeds["ws_urls"] = {str(venue): f"ws://127.0.0.1:{port}/" for venue, port in places.venue_ports.items()}
        feeds["rest_urls"] = {str(venue): f"http://127.0.0.1:{port}" for venue, port in places.venue_ports.items()}
    planned.append(Role("feeds", "feeds", feeds, ("sandbox",) if sandbox else ()))
    price = {"listen": places.price, "feeds": [places.feed], "mirror": {"url": places.valkey_url}}
    planned.append(Role("price", "price", price, tuple(name for name in stores if name == "valkey")))
    database = {"url": places.postgres_url}
    needs = tuple(name for name in stores if name == "postgres")
    account = {
        "listen": places.account,
        "secrets_file": str(places.secrets_file),
        "env": "local",
        "postgres": database,
        "valkey": {"url": places.valkey_url},
    }
    planned.append(Role("account", "account", account, needs))
    planned.append(Role("usage", "usage", {"listen": places.usage, "postgres": database}, needs))
    gateway = {
        "price": places.price,
        "http": places.http,
        "udp": {"listen": [places.udp], "reuse_port": True},
        "keys_file": str(places.keys_file),
    }
    planned += [Role(f"gateway-{number}", "gateway", gateway, ("price",)) for number in range(1, workers + 1)]
    return planned


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
