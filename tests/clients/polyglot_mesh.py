"""A mesh as clients in other languages reach it: with a key over TLS, by mutual TLS, and on a Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from system.meshrun import Mesh, running_mesh
from trinity_cli.certificate_folder import SERVICES, CertificateFolder
from trinity_mesh.clock import SystemClock
from trinity_mesh.socketdir import socket_dir


@dataclass
class PolyglotMesh:
    """What runs, and the ways to it."""

    mesh: Mesh
    certs: Path
    ways: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """What the TypeScript client's own tests read."""
        facts = self.mesh.facts
        http, udp, key = f"http://{facts['http']}", facts["udp"], self.mesh.key
        return {"ways": self.ways, "refused": self.refused, "http": http, "udp": udp, "apiKey": key}

    def tls(self, service: str, *, cert: str = "") -> dict[str, str]:
        """How to speak TLS to a service; `cert` names the certificate to show."""
        way = {"ca": str(self.certs / "ca.pem"), "serverName": f"{service}.trinity.internal"}
        if cert:
            way |= {"cert": str(self.certs / f"{cert}.pem"), "key": str(self.certs / f"{cert}.key")}
        return way

    def fact(self, process: str, name: str) -> str:
        """What a process of the mesh told when it was ready."""
        return str(json.loads((self.mesh.data_dir / "run" / f"{process}.ready.json").read_text())[name])


CHANGES = 5
"""Changes that an example prints before it ends."""

_VARIABLES = {
    "address": "ADDRESS",
    "apiKey": "KEY",
    "ca": "CA",
    "cert": "CERT",
    "key": "CERT_KEY",
    "serverName": "SERVER_NAME",
}


def example_environ(way: dict[str, str]) -> dict[str, str]:
    """The environment that sends an example one way."""
    given = {f"TRINITY_{_VARIABLES[name]}": value for name, value in way.items() if name != "name"}
    return {**os.environ, **given, "TRINITY_CHANGES": str(CHANGES)}


def make_certificates(folder: Path) -> CertificateFolder:
    """A CA, and a certificate for every part of a mesh."""
    made = CertificateFolder(folder)
    now_ns = SystemClock().unix_ns()
    made.make(trust_domain="trinity.internal", services=SERVICES, hosts=(), days=2, ca_days=2, now_ns=now_ns)
    return made


@contextlib.contextmanager
def polyglot_mesh(folder: Path) -> Iterator[PolyglotMesh]:
    """A mesh in `folder` whose prices and reports are reached by every way there is."""
    certs, data = folder / "certs", folder / "data"
    made = make_certificates(certs)
    with running_mesh(folder, "--grpc-port", "0", environ=_settings(made, data)) as mesh:
        found = PolyglotMesh(mesh, certs)
        key = {"apiKey": mesh.key}
        price, report = mesh.facts["grpc_public"], found.fact("report", "public")
        far_price, far_report = found.fact("price", "remote"), found.fact("report", "remote")
        found.ways = [
            {
                "name": "a key, over TLS",
                "price": {"address": price, **key, **found.tls("price")},
                "report": {"address": report, **key, **found.tls("report")},
            },
            {
                "name": "mutual TLS",
                "price": {"address": far_price, **found.tls("price", cert="operator")},
                "report": {"address": far_report, **found.tls("report", cert="operator")},
            },
            {
                "name": "a Unix socket of the mesh",
                "price": {"address": mesh.facts["grpc"]["price"]},
                "report": {"address": mesh.facts["grpc"]["report"]},
            },
        ]
        strange = make_certificates(folder / "strange")
        stranger = {"cert": str(strange.path / "operator.pem"), "key": str(strange.path / "operator.key")}
        for name, way, code, reason in (
            ("no key", {"address": price, **found.tls("price")}, "UNAUTHENTICATED", "MISSING_KEY"),
            (
                "a wrong key",
                {"address": price, **found.tls("price"), "apiKey": f"{mesh.key[:-6]}aaaaaa"},
                "UNAUTHENTICATED",
                "INVALID_KEY",
            ),
            (
                "a certificate of another part",
                {"address": far_price, **found.tls("price", cert="feeds")},
                "PERMISSION_DENIED",
                "PEER_NOT_ALLOWED",
            ),
            (
                "no certificate",
                {"address": far_price, **found.tls("price")},
                "UNAVAILABLE",
                "BACKEND_UNAVAILABLE",
            ),
            (
                "a certificate of another CA",
                {"address": far_price, **found.tls("price"), **stranger},
                "UNAVAILABLE",
                "BACKEND_UNAVAILABLE",
            ),
            (
                "a server that is another service than was wanted",
                {"address": far_price, **found.tls("report", cert="operator")},
                "UNAVAILABLE",
                "BACKEND_UNAVAILABLE",
            ),
        ):
            found.refused.append({"name": name, "price": way, "code": code, "reason": reason})
        yield found


def _settings(certs: CertificateFolder, data: Path) -> dict[str, str]:
    """The environment that opens the ports for callers with keys and for peers, with certificates."""
    sockets = socket_dir(data, environ=os.environ)
    settings = {
        "REPORT_PUBLIC_LISTEN": "127.0.0.1:0",
        "REPORT_PUBLIC_ADMISSION_ACCOUNT": f"unix:{sockets / 'account.sock'}",
        "REPORT_PUBLIC_ADMISSION_USAGE": f"unix:{sockets / 'usage.sock'}",
        "REPORT_PUBLIC_ADMISSION_SECRETS_FILE": str(data / "secrets.json"),
        "REPORT_PUBLIC_ADMISSION_SPOOL": str(data / "spool"),
    }
    for service in ("price", "report"):
        for name, value in certs.tls(service, listen="127.0.0.1:0").items():
            settings[f"{service.upper()}_TLS_{name.upper()}"] = value
            if name in ("cert_file", "key_file"):
                settings[f"{service.upper()}_PUBLIC_TLS_{name.upper()}"] = value
    return {f"TRINITY_{name}": value for name, value in settings.items()}
