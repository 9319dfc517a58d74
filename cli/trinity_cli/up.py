"""`trinity up`: the whole mesh on this machine, supervised until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from trinity_cli.database import NEED_DATABASE, Database
from trinity_cli.demo_key import ADMIN_SCOPES, SCOPES, admin_key, demo_key, write_keys_file
from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import json_option
from trinity_cli.plan import Places, Venues, roles, spec_of
from trinity_cli.ports import HeldPort, find_udp, hold_tcp
from trinity_core.errors import TrinityError
from trinity_core.keys import KeyText
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.process import write_json
from trinity_mesh.secrets_file import make_secrets
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Event, State, Supervisor
from trinity_storage.resolve import StorageConfig, resolve_postgres, resolve_valkey

_PORT: Final = click.IntRange(0, 65_535)


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What `trinity up` was asked for."""

    host: str
    http_port: int
    report_port: int
    udp_port: int
    udp_report_port: int
    data_dir: Path
    workers: int
    venues: Venues
    seed: int
    ready_file: Path | None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that HTTP and UDP listen on.")
@click.option(
    "--http-port", type=_PORT, default=8080, show_default=True, help="Port of prices over HTTP; 0: a free one."
)
@click.option(
    "--report-port", type=_PORT, default=9090, show_default=True, help="Port of reports over HTTP, kept for them."
)
@click.option("--udp-port", type=_PORT, default=2679, show_default=True, help="Port of prices over UDP; 0: a free one.")
@click.option(
    "--udp-report-port", type=_PORT, default=2680, show_default=True, help="Port of reports over UDP, kept for them."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: Path(os.environ.get("TRINITY_DATA_DIR") or "data"),
    help="Folder for everything that is kept. [default: $TRINITY_DATA_DIR or ./data]",
)
@click.option("--workers", type=click.IntRange(1, 64), help="Gateway processes. [default: half of the cores]")
@click.option(
    "--venues",
    type=click.Choice([str(choice) for choice in Venues]),
    default=str(Venues.SANDBOX),
    show_default=True,
    help="Simulated exchanges or the real ones.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated exchanges.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the ready file here; it always stands in the data folder as ready.json.",
)
@json_option
def up(*, venues: str, workers: int | None, data_dir: Path, as_json: bool, **options: Any) -> int:
    """Run the whole mesh on this machine until Ctrl-C.

    Starts PostgreSQL and Valkey (or uses those that TRINITY_STORAGE_POSTGRES_URL and
    TRINITY_STORAGE_VALKEY_URL name), the exchanges' sandboxes, the feed worker, the price
    service and the gateways; restarts what falls; leaves nothing behind.
    """
    settings = UpSettings(
        venues=Venues(venues),
        workers=workers or max(1, (os.cpu_count() or 2) // 2),
        data_dir=data_dir.absolute(),
        **options,
    )
    try:
        with asyncio.Runner() as runner:
            return runner.run(_up(settings, as_json=as_json, environ=os.environ))
    except (TrinityError, ConfigError) as error:
        first, _, more = str(getattr(error, "message", error)).partition("\n")
        raise CommandError(first, code=Exit.UNAVAILABLE, hint=more.lstrip()) from error


class Progress:
    """Tells of the start and of what happens later, on stderr."""

    def __init__(self, *, quiet: bool, clock: Clock) -> None:
        self._quiet = quiet
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self.ready = False

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line of detail."""
        self.say(f"  {text}")

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return (self._clock.monotonic_ns() - self._began_ns) / 1e9

    def on_event(self, event: Event) -> None:
        """A child changed its state: during the start what serves, afterwards what is not as it should be."""
        if event.state in (State.BACKOFF, State.FAILED) or (event.state is State.SERVING and not self.ready):
            note = f"  {event.text.splitlines()[0]}" if event.text and event.state is not State.FAILED else ""
            self.say(f"  {event.name:<12}{event.state:<9}{self.elapsed_s():6.1f} s{note}")
        elif event.state is State.SERVING:
            self.say(f"  {event.name:<12}is back")


async def _up(settings: UpSettings, *, as_json: bool, environ: Mapping[str, str]) -> int:
    clock = SystemClock()
    progress = Progress(quiet=as_json, clock=clock)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    progress.say(f"trinity: starting in {settings.data_dir}, {_whose(settings.venues)}")
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.data_dir / "run").mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        ports = _ports(settings, held)
        sockets = socket_dir(settings.data_dir, environ=environ)
        config = load(StorageConfig, section="storage", values={}, environ=environ)
        where: dict[str, Any] = {"data_dir": settings.data_dir, "socket_dir": sockets, "environ": environ}
        postgres, valkey = await asyncio.gather(
            resolve_postgres(config=config, clock=clock, on_note=progress.note, **where),
            resolve_valkey(config=config, on_note=progress.note, **where),
        )
        stores = {"postgres": postgres, "valkey": valkey}
        places = _places(settings, ports, sockets, {name: store.url for name, store in stores.items()})
        keys = {demo_key(settings.data_dir): SCOPES, admin_key(settings.data_dir): ADMIN_SCOPES}
        write_keys_file(places.keys_file, keys)
        secret = make_secrets(places.secrets_file)
        database = Database(config.postgres, url=places.postgres_url, keys=keys, pepper=secret.pepper, clock=clock)
        plan = roles(
            places,
            venues=settings.venues,
            workers=settings.workers,
            seed=settings.seed,
            stores=[name for name, store in stores.items() if store.spec is not None],
        )
        specs = [store.spec for store in stores.values() if store.spec is not None]
        specs += [
            spec_of(
                role,
                data_dir=settings.data_dir,
                environ=dict(environ),
                before_start=database.prepare if role.name in NEED_DATABASE else None,
            )
            for role in plan
        ]
        ready_files = [settings.data_dir / "ready.json", *([settings.ready_file] if settings.ready_file else [])]
        teller = _ReadyFiles(ready_files, _facts(settings, places, *keys))
        held.callback(teller.remove)

        def on_event(event: Event) -> None:
            progress.on_event(event)
            if event.state in (State.SERVING, State.BACKOFF):
                teller.renew(supervisor)

        supervisor = Supervisor(specs, clock=clock, data_dir=settings.data_dir, on_event=on_event)
        starting = asyncio.create_task(supervisor.start())
        await _until_stopped(supervisor, starting, stopping, progress, teller, as_json=as_json)
    return Exit.OK


async def _until_stopped(
    supervisor: Supervisor,
    starting: asyncio.Task[None],
    stopping: asyncio.Event,
    progress: Progress,
    teller: _ReadyFiles,
    *,
    as_json: bool,
) -> None:
    """Tell when everything serves, wait, stop. A signal during the start ends it as well."""
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            starting.result()
            progress.ready = True
            teller.write(supervisor)
            if as_json:
                teller.print()
            progress.say(_banner(teller.facts, progress.elapsed_s()))
            await stopped
        progress.say("trinity: stopping")
    finally:
        for task in (stopped, starting):
            task.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)
        teller.remove()
        await supervisor.stop()
    progress.say("trinity: stopped")


class _ReadyFiles:
    """The ready file, kept true while parts come and go."""

    def __init__(self, paths: list[Path], facts: dict[str, Any]) -> None:
        self._paths = paths
        self.facts = facts
        self._written = False
        self.remove()

    def write(self, supervisor: Supervisor) -> None:
        """Write all of it, with the pids of now."""
        self._written = True
        self.facts["pids"] = {"up": os.getpid()} | {
            status.name: status.pid for status in supervisor.statuses() if status.pid is not None
        }
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, self.facts)

    def renew(self, supervisor: Supervisor) -> None:
        """Write it again once it was written."""
        if self._written:
            self.write(supervisor)

    def remove(self) -> None:
        """Nobody shall take a mesh for ready that is not."""
        self._written = False
        for path in self._paths:
            path.unlink(missing_ok=True)

    def print(self) -> None:
        """The same document on stdout."""
        print(json.dumps(self.facts), flush=True)


def _ports(settings: UpSettings, held: contextlib.ExitStack) -> dict[str, HeldPort]:
    """Every public port, taken or found before anything starts."""
    host = settings.host
    taken = {
        "http": hold_tcp(host, settings.http_port, option="--http-port"),
        "reports": hold_tcp(host, settings.report_port, option="--report-port"),
        "udp": find_udp(host, settings.udp_port, option="--udp-port"),
        "udp_reports": find_udp(host, settings.udp_report_port, option="--udp-report-port"),
    }
    for port in taken.values():
        held.callback(port.release)
    return taken


def _places(settings: UpSettings, ports: Mapping[str, HeldPort], sockets: Path, urls: Mapping[str, str]) -> Places:
    count = len(Venue) + 1 if settings.venues is Venues.SANDBOX else 0
    *venue_ports, control = _free_ports(count) or [0]
    return Places(
        data_dir=settings.data_dir,
        sockets=sockets,
        http=ports["http"].address,
        udp=ports["udp"].address,
        venue_ports=dict(zip(Venue, venue_ports, strict=False)),
        control_port=control,
        postgres_url=urls["postgres"],
        valkey_url=urls["valkey"],
        keys_file=settings.data_dir / "run" / "keys.json",
        secrets_file=settings.data_dir / "secrets.json",
    )


def _free_ports(count: int) -> list[int]:
    """As many free TCP ports of the loopback, each found while the others are held."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _facts(settings: UpSettings, places: Places, key: KeyText, admin: KeyText) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "http": places.http,
        "udp": places.udp,
        "grpc": {"price": places.price, "feed": places.feed, "account": places.account, "usage": places.usage},
        "key": key.text,
        "admin_key": admin.text,
        "sandbox": settings.venues is Venues.SANDBOX,
    }
    if settings.venues is Venues.SANDBOX:
        facts["sandbox_control"] = f"http://127.0.0.1:{places.control_port}"
    return facts


def _whose(venues: Venues) -> str:
    return "simulated exchanges" if venues is Venues.SANDBOX else "the real exchanges"


def _banner(facts: Mapping[str, Any], seconds: float) -> str:
    lines = [f"trinity: ready in {seconds:.1f} s", ""]
    if facts["sandbox"]:
        lines += ["  SIMULATED PRICES: every answer says so; --venues live uses the real exchanges", ""]
    lines += [
        f"  HTTP   http://{facts['http']}        (documentation: http://{facts['http']}/docs)",
        f"  UDP    {facts['udp']}",
        f"  gRPC   {facts['grpc']['price']}",
        "",
        f"  curl -H 'Authorization: Bearer {facts['key']}' 'http://{facts['http']}/price?asset=BTC'",
        "",
        "  Ctrl-C stops everything.",
    ]
    return "\n".join(lines)
