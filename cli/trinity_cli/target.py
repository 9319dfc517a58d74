"""Which mesh a command speaks to: an address, or the ready file that `trinity up` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from trinity_cli.exits import CommandError, Exit

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = {
    "price": "the price service",
    "account": "the account service",
    "report": "the report service",
    "webhook": "the webhook service",
    "feeds": "the feed worker",
    "udp": "the UDP gateway",
    "udp_reports": "the UDP gateway's port for reports",
    "http": "the HTTP gateway",
    "metrics": "the metrics",
}
_START = "`trinity up` starts a mesh; --address or --ready-file names one that runs elsewhere"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the parts of one mesh are; an empty address means that the part is not known."""

    origin: str
    """What named it: an option or the path of a ready file."""
    price: str = ""
    """gRPC address of the price service, as every one here: unix:/path, host:port, or several with commas."""
    account: str = ""
    """gRPC address of the account service."""
    usage: str = ""
    """gRPC address of the usage service."""
    report: str = ""
    """gRPC address of the report service."""
    webhook: str = ""
    """gRPC address of the webhook service."""
    feeds: tuple[str, ...] = ()
    """gRPC addresses of the feed workers."""
    http: str = ""
    """"host:port"."""
    reports: str = ""
    """Likewise, of reports over HTTP."""
    udp: str = ""
    """"host:port" or "[host]:port"."""
    udp_reports: str = ""
    """Likewise, of totals."""
    metrics: str = ""
    """"host:port" or "unix:/path" of the metrics of all processes."""
    edge: str = ""
    """Address of TLS at the edge."""
    edge_host: str = ""
    """Host name of prices there."""
    edge_ca: str = ""
    """File with the authority that signed its certificate."""
    key: str = field(default="", repr=False)
    """API key for HTTP."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Process ids by name."""

    def where(self, part: str) -> str:
        """The address of a part in words, for messages."""
        return f"{_WORDS[part]} at {self.need(part)} (from {self.origin})"

    def need(self, part: str) -> str:
        """The address of a part: the name of a field but "origin", "key" and "pids"; of "feeds" the first.

        Raises CommandError when it is not known.
        """
        address: str = self.feeds[0] if part == "feeds" and self.feeds else getattr(self, part) or ""
        if not address:
            raise CommandError(
                f"{self.origin} names no address for {part}", code=Exit.UNREACHABLE, hint="name it with --address"
            )
        return address


def target_options(meaning: str) -> Callable[[F], F]:
    """Adds --address (`meaning` says of what) and --ready-file to a command."""

    def add(command: F) -> F:
        for option in (
            click.option(
                "--ready-file",
                type=click.Path(path_type=Path, dir_okay=False),
                help="File that the mesh wrote when it was ready. [default: $TRINITY_READY_FILE, "
                "then ready.json in $TRINITY_DATA_DIR or ./data]",
            ),
            click.option("--address", metavar="ADDRESS", help=f"{meaning}, instead of a ready file."),
        ):
            command = option(command)
        return command

    return add


def ready_path(ready_file: Path | None, environ: Mapping[str, str]) -> Path:
    """The ready file to read."""
    if ready_file is not None:
        return ready_file
    named = environ.get("TRINITY_READY_FILE")
    return Path(named) if named else Path(environ.get("TRINITY_DATA_DIR") or "data") / "ready.json"


def resolve(part: str, address: str | None, ready_file: Path | None, environ: Mapping[str, str] = os.environ) -> Target:
    """The mesh that the options and the environment name, with an address for `part` (a name in `Target.need`).

    Raises CommandError (5) when there is no ready file, it cannot be read, or it does not name the part.
    """
    if address:
        addresses = tuple(filter(None, (text.strip() for text in address.split(","))))
        if not addresses:
            raise click.BadOptionUsage("address", "--address needs an address such as 127.0.0.1:50051")
        origin = "--address"
        if part == "feeds":
            return Target(origin, feeds=addresses)
        if part == "udp":
            return Target(origin, udp=addresses[0])
        backends = ",".join(addresses)
        if part == "account":
            return Target(origin, account=backends)
        if part == "webhook":
            return Target(origin, webhook=backends)
        if part == "metrics":
            return Target(origin, metrics=addresses[0])
        if part == "report":
            return Target(origin, report=backends)
        return Target(origin, price=backends)
    target = read_ready(ready_path(ready_file, environ))
    target.need(part)
    return target


def read_ready(path: Path) -> Target:
    """The mesh that a ready file tells of. Raises CommandError (5) when it is missing or is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CommandError(
            f"no mesh is running here: {path} does not exist", code=Exit.UNREACHABLE, hint=_START
        ) from error
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", code=Exit.UNREACHABLE, hint=_START) from error
    except ValueError as error:
        raise CommandError(f"{path} is not a ready file: {error}", code=Exit.UNREACHABLE, hint=_START) from error
    try:
        grpc, edge = value.get("grpc", {}), value.get("edge", {})
        feeds = grpc.get("feed", "")
        listed = feeds if isinstance(feeds, list) else feeds.split(",")
        return Target(
            origin=str(path),
            price=grpc.get("price", ""),
            account=grpc.get("account", ""),
            webhook=grpc.get("webhook", ""),
            usage=grpc.get("usage", ""),
            report=grpc.get("report", ""),
            feeds=tuple(text.strip() for text in listed if text.strip()),
            http=value.get("http", ""),
            reports=value.get("reports", ""),
            udp=value.get("udp", ""),
            udp_reports=value.get("udp_reports", ""),
            metrics=value.get("metrics", ""),
            edge=edge.get("https", ""),
            edge_host=edge.get("hosts", {}).get("prices", ""),
            edge_ca=edge.get("ca", ""),
            key=value.get("key", ""),
            pids={str(name): int(pid) for name, pid in value.get("pids", {}).items()},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise CommandError(
            f"{path} is not a ready file: it has another form", code=Exit.UNREACHABLE, hint=_START
        ) from error
