"""`trinity gateway` as a stranger starts it: a descriptor set, a server, no code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_mesh.server import MeshServer, Service

SET = Path(__file__).resolve().parents[2] / "gen" / "trinity" / "api.binpb"
COMMAND = [sys.executable, "-m", "trinity_cli.main", "gateway"]


class Servicer(price_service_pb2_grpc.PriceServiceServicer):
    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset=request.asset, price="42.0"))


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    descriptor = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]
    service = Service(
        descriptor, lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(Servicer(), server)
    )
    async with MeshServer(address="127.0.0.1:0", services=[service]) as server:
        yield server.address


async def test_a_strangers_service_is_served_without_code(backend: str) -> None:
    arguments = ["--descriptor-set", str(SET), "--backend", backend, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(  # noqa: ASYNC220 - it prints at once
        [*COMMAND, *arguments, "--allow-unauthenticated", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["http"]
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            answer = await client.get("/v1/prices/XYZ")
            assert answer.json()["price"] == "42.0"
            assert (await client.get("/v1/prices/XYZ?colour=red")).status_code == 400
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--descriptor-set", str(SET), "--backend", "127.0.0.1:1"], "who may call"),
        (["--descriptor-set", __file__, "--backend", "127.0.0.1:1", "--allow-unauthenticated"], "no descriptor set"),
        (["--descriptor-set", str(SET), "--allow-unauthenticated"], "--backend"),
    ],
)
def test_a_start_that_cannot_work_says_why(arguments: list[str], says: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
