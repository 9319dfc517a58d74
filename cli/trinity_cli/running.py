"""A mesh on this machine: its ports, its stores, its processes under one supervisor, and the file that tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_cli.database import NEED_DATABASE, Database
from trinity_cli.edge import edge_facts, edge_spec, take_edge_ports
from trinity_cli.exits import Exit
from trinity_cli.mesh_settings import MeshSettings
from trinity_cli.mesh_sight import MeshSight, environ_of, metrics_address
from trinity_cli.modes import Part
from trinity_cli.plan import Places, roles, spec_of
from trinity_cli.ports import HeldPort, find_udp, hold_tcp
from trinity_cli.progress import Progress
from trinity_cli.ready_files import ReadyFiles, facts_of
from trinity_core.keys import KeyText
from trinity_core.venues import Venue
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import load
from trinity_mesh.secrets_file import make_secrets
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Event, State, Supervisor
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.running import SECTION
from trinity_storage.resolve import StorageConfig, Store, resolve_postgres, resolve_valkey

log = logging.getLogger(__name__)


async def run_mesh(
    settings: MeshSettings,
    *,
    keys: Mapping[KeyText, Sequence[str]],
    as_json: bool,
    environ: Mapping[str, str],
) -> int:
    """Run a mesh until SIGTERM or SIGINT; the exit code.

    `keys` are the customer's key and the operator's with their scopes, registered before anything
    asks for them; or none. Raises TrinityError and ConfigError for what stands in the way of a start.
    """
    clock = SystemClock()
    config = load(TelemetryConfig, section=SECTION, values={}, environ=environ)
    progress = Progress(quiet=as_json, clock=clock, as_lines=_logs_lines(settings, config))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    progress.say(f"trinity: starting in {settings.data_dir}{_whose(settings)}")
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.data_dir / "run").mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        ports = _ports(settings, held)
        sockets = socket_dir(settings.data_dir, environ=environ)
        storage = load(StorageConfig, section="storage", values={}, environ=environ)
        where: dict[str, Any] = {"data_dir": settings.data_dir, "socket_dir": sockets, "environ": environ}
        stores: dict[str, Store] = {}
        if settings.has_stores:
            postgres, valkey = await asyncio.gather(
                resolve_postgres(config=storage, clock=clock, on_note=progress.note, **where),
                resolve_valkey(config=storage, on_note=progress.note, **where),
            )
            stores = {"postgres": postgres, "valkey": valkey}
        edge = None if settings.edge is None else take_edge_ports(settings.edge, settings.host, held)
        urls = {name: store.url for name, store in stores.items()}
        places = _places(settings, ports, sockets, urls, proxies=(edge.source,) if edge else ())
        secret = make_secrets(places.secrets_file)
        database = Database(storage.postgres, url=places.postgres_url, keys=keys, pepper=secret.pepper, clock=clock)
        plan = roles(
            places,
            parts=settings.parts,
            venues=settings.venues,
            workers=settings.workers,
            seed=settings.seed,
            stores=[name for name, store in stores.items() if store.spec is not None],
            env=settings.env,
        )
        specs = [store.spec for store in stores.values() if store.spec is not None]
        told = {role.name: metrics_address(sockets, role.name) for role in plan}
        sight = MeshSight(told, config=config, clock=clock)
        specs += [
            spec_of(
                role,
                data_dir=settings.data_dir,
                environ=environ_of(environ, process=role.name, address=told[role.name]),
                before_start=database.prepare if role.name in NEED_DATABASE else None,
            )
            for role in plan
        ]
        if settings.edge is not None and edge is not None:
            behind = [role.name for role in plan if role.role in ("gateway", "price")]
            specs.append(edge_spec(settings.edge, edge, places, depends_on=behind, environ=dict(environ), clock=clock))
        ready_files = [settings.data_dir / "ready.json", *([settings.ready_file] if settings.ready_file else [])]
        facts = facts_of(settings, places, [role.name for role in plan], list(keys))
        if edge is not None:
            facts["edge"] = edge_facts(edge, settings.data_dir)
        teller = ReadyFiles(ready_files, facts)
        held.callback(teller.remove)

        def on_event(event: Event) -> None:
            progress.on_event(event)
            if event.state in (State.SERVING, State.BACKOFF):
                teller.renew(supervisor)

        supervisor = Supervisor(
            specs,
            clock=clock,
            data_dir=settings.data_dir,
            on_event=on_event,
            echo=_to_stderr if settings.logs == "stderr" else None,
        )
        async with sight.telling() as facts["metrics"]:
            starting = asyncio.create_task(supervisor.start())
            await _until_stopped(supervisor, starting, stopping, progress, teller, sight, as_json=as_json)
    return Exit.OK


def _logs_lines(settings: MeshSettings, config: TelemetryConfig) -> bool:
    """Whether the supervisor logs like a service: always where the settings say so, else where nobody looks on."""
    if config.log_form == "auto":
        return settings.unattended and not sys.stderr.isatty()
    return config.log_form == "json"


async def _until_stopped(
    supervisor: Supervisor,
    starting: asyncio.Task[None],
    stopping: asyncio.Event,
    progress: Progress,
    teller: ReadyFiles,
    sight: MeshSight,
    *,
    as_json: bool,
) -> None:
    """Tell when everything serves, wait, stop. A signal during the start ends it as well."""
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            starting.result()
            teller.write(supervisor)
            if as_json:
                teller.print()
            progress.ready_now(teller.facts)
            async with sight.writing():
                await stopped
        progress.say("trinity: stopping")
    finally:
        for task in (stopped, starting):
            task.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)
        teller.remove()
        await supervisor.stop()
    progress.say("trinity: stopped")


def _ports(settings: MeshSettings, held: contextlib.ExitStack) -> dict[str, HeldPort]:
    """Every public port, taken or found before anything starts."""
    host, taken = settings.host, dict[str, HeldPort]()

    def take(name: str, port: HeldPort) -> None:
        taken[name] = port
        held.callback(port.release)

    if Part.PRICES in settings.parts:
        take("http", hold_tcp(host, settings.http_port, option="--http-port"))
        take("udp", find_udp(host, settings.udp_port, option="--udp-port"))
        if settings.grpc_port is not None:
            # gRPC shares no port, so this one cannot be held, only found.
            taken["grpc"] = hold_tcp(host, settings.grpc_port, option="--grpc-port")
            taken["grpc"].release()
        if settings.privatelink_port is not None:
            take("privatelink", hold_tcp(host, settings.privatelink_port, option="--privatelink-port"))
    if Part.REPORTS in settings.parts:
        take("reports", hold_tcp(host, settings.report_port, option="--report-port"))
        take("udp_reports", find_udp(host, settings.udp_report_port, option="--udp-report-port"))
    return taken


def _places(
    settings: MeshSettings,
    ports: Mapping[str, HeldPort],
    sockets: Path,
    urls: Mapping[str, str],
    *,
    proxies: tuple[str, ...],
) -> Places:
    count = len(Venue) + 1 if settings.simulated else 0
    *venue_ports, control = _free_ports(count) or [0]
    unused = HeldPort("127.0.0.1", 0, None)
    address = {name: ports.get(name, unused).address for name in ("http", "reports", "udp", "udp_reports")}
    return Places(
        data_dir=settings.data_dir,
        sockets=sockets,
        grpc=ports["grpc"].address if "grpc" in ports else "",
        venue_ports=dict(zip(Venue, venue_ports, strict=False)),
        control_port=control,
        postgres_url=urls.get("postgres", ""),
        valkey_url=urls.get("valkey", ""),
        secrets_file=settings.secrets_file or settings.data_dir / "secrets.json",
        privatelink=ports["privatelink"].address if "privatelink" in ports else "",
        proxies=proxies,
        abroad=settings.abroad,
        **address,
    )


def _free_ports(count: int) -> list[int]:
    """As many free TCP ports of the loopback, each found while the others are held."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _to_stderr(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


def _whose(settings: MeshSettings) -> str:
    if not settings.has_prices:
        return ""
    return ", simulated exchanges" if settings.simulated else ", the real exchanges"
