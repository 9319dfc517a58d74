"""What a machine has to do with others of its mesh: whose services it uses, and how those reach its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import click

from trinity_cli.certificate_folder import CertificateFolder
from trinity_cli.exits import CommandError, Exit
from trinity_cli.modes import Mode
from trinity_mesh.tls_config import is_local

F = TypeVar("F", bound=Callable[..., Any])

MESH_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"price": 50_051, "account": 50_052, "usage": 50_053, "report": 50_054, "webhook": 50_055, "feeds": 50_061}
)
"""Where services answer other machines, by role; the environment (`TRINITY_PRICE_TLS_LISTEN`) sets others."""

CERTIFICATES: Final[Mapping[str, str]] = MappingProxyType(
    {name: name for name in (*MESH_PORTS, "gateway")} | {"webhook_worker": "webhook-worker"}
)
"""The name in the certificate of each role that has one."""

_APP: Final = (Mode.APP_SERVER, Mode.APP_REPORT_SERVER)
_MODES: Final[Mapping[str, tuple[Mode, ...]]] = MappingProxyType(
    {
        "price": (*_APP, Mode.WEBHOOK_SERVER),
        "account": (*_APP, Mode.REPORT_SERVER),
        "usage": (*_APP, Mode.REPORT_SERVER, Mode.WEBHOOK_SERVER),
        "report": (Mode.REPORT_SERVER, Mode.APP_REPORT_SERVER),
        "webhook": _APP,
    }
)
"""Modes whose processes call each service, and so can call another machine's."""


_PRICE_KEY: Final = "TRINITY_WEBHOOK_WORKER_PRICE_KEY"
"""A key for the port of another mesh's price service that callers with keys use: no peer of this mesh."""


@dataclass(frozen=True, slots=True)
class Abroad:
    """The defaults are those of a machine that is a mesh of its own."""

    remotes: Mapping[str, str] = field(default_factory=dict)
    """gRPC addresses of other machines' services that this one uses in place of its own, by name."""
    certs: Path | None = None
    """Folder with the certificates of its parts."""
    mesh_host: str = ""
    """Address of this machine on which its services answer other machines; empty: on none."""

    def tls(self, role: str) -> dict[str, Any]:
        """The settings of a role that follow from the certificates. Raises ConfigError where its own is missing."""
        if self.certs is None or role not in CERTIFICATES:
            return {}
        return {"tls": CertificateFolder(self.certs).tls(CERTIFICATES[role], listen=self.listen(role))}

    def listen(self, role: str) -> str:
        """Where a role answers other machines, unless the environment says otherwise; empty for nowhere."""
        if not self.mesh_host or role not in MESH_PORTS:
            return ""
        return f"{_bracketed(self.mesh_host)}:{MESH_PORTS[role]}"


def abroad_options(command: F) -> F:
    """Adds the options of `Abroad` to a command."""
    options = [
        click.option(
            f"--{name}",
            metavar="ADDRESS",
            default="",
            envvar=f"TRINITY_{name.upper()}",
            help=f"gRPC address of another machine's {name} service, several with commas, used in place of one here.",
        )
        for name in _MODES
    ]
    options += [
        click.option(
            "--certs",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            envvar="TRINITY_CERTS",
            help="Folder with the certificates of this machine's parts, for mutual TLS with other machines.",
        ),
        click.option(
            "--mesh-host",
            metavar="ADDRESS",
            default="",
            envvar="TRINITY_MESH_HOST",
            help="Address of this machine on which its services answer other machines; needs --certs.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def abroad_of(mode: Mode, options: dict[str, Any], environ: Mapping[str, str]) -> Abroad:
    """Takes its options out of those of a command. Raises CommandError for such as make no sense together."""
    remotes = {name: address for name in _MODES if (address := options.pop(name))}
    certs, mesh_host = options.pop("certs"), options.pop("mesh_host")
    for name in remotes:
        if mode not in _MODES[name]:
            raise CommandError(f"--{name} is for mode {', '.join(_MODES[name])}, not {mode}", code=Exit.USAGE)
    told = certs is not None or any(name.startswith("TRINITY_") and "_TLS_" in name for name in environ)
    told = told or (remotes.keys() == {"price"} and bool(environ.get(_PRICE_KEY)))
    far = [address for address in remotes.values() if not is_local(address)]
    if (far or mesh_host) and not told:
        what = f"{far[0]} is on another machine" if far else "--mesh-host is for other machines"
        raise CommandError(
            f"{what}, and machines meet by mutual TLS alone", code=Exit.USAGE, hint="--certs names the certificates"
        )
    return Abroad(remotes, None if certs is None else certs.absolute(), mesh_host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
