"""Reflection is enough for a generic tool: it finds the services, reads their contracts, and calls with a key."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from admission.stage import Desk, make_key, record_of
from price.small_price import SmallPrice
from trinity_admission.grpc_interceptor import with_admission
from trinity_core.venues import Venue
from trinity_mesh.server import MeshServer
from trinity_price.servicer import service

KEY = make_key(1)
GET = "trinity.price.v1.PriceService/GetPrice"
BEARER = ("authorization", f"Bearer {KEY.text}")


@pytest.fixture
async def doors() -> AsyncIterator[dict[str, str]]:
    """A price service on its Unix socket, and on a port that asks for keys."""
    desk = Desk()
    desk.open(record_of(KEY, burst=50))
    with tempfile.TemporaryDirectory() as folder:
        small = SmallPrice(Path(folder))
        async with small.running():
            await small.say(
                [small.tick(venue, "BTC", "101.5") for venue in (Venue.COINBASE, Venue.KRAKEN, Venue.GEMINI)]
            )
            part = small.part
            async with MeshServer(
                address="127.0.0.1:0",
                services=[service(part.servicer, part.quick)],
                interceptors=with_admission(desk.admission),
            ) as public:
                yield {"socket": small.address, "port": public.address}


def generic(address: str, metadata: tuple[tuple[str, str], ...]) -> tuple[list[str], dict[str, Any]]:
    """The services of a server, and the answer to GetPrice, by a program that was generated from no contract."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName("trinity.price.v1.PriceService").FindMethodByName("GetPrice")
        ask, answer = (message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type))
        call = channel.unary_unary(
            f"/{GET}", request_serializer=ask.SerializeToString, response_deserializer=answer.FromString
        )
        found = call(json_format.ParseDict({"asset": "btc"}, ask()), metadata=metadata, timeout=20)
        return list(database.get_services()), json_format.MessageToDict(found, descriptor_pool=pool)


@pytest.mark.parametrize(("door", "metadata"), [("socket", ()), ("port", (BEARER,))])
async def test_a_program_without_contracts_finds_the_services_and_gets_a_price(
    doors: dict[str, str], door: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    services, answer = await asyncio.to_thread(generic, doors[door], metadata)
    assert sorted(services) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "trinity.price.v1.PriceService",
    ]
    assert (answer["price"]["asset"], answer["price"]["price"], answer["price"]["state"]) == (
        "BTC",
        "101.5",
        "STATE_FRESH",
    )


async def test_at_a_port_that_asks_for_keys_contracts_are_for_anybody_and_prices_are_not(doors: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(generic, doors["port"], ())
    # The contract was read without a key; the call was refused for the lack of one.
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "send the key" in caught.value.details()


async def buf_curl(*words: str) -> tuple[int, str, str]:
    """`buf curl`, a tool that knows nothing but what reflection tells it."""
    buf = Path(sys.executable).parent / "buf"
    with tempfile.TemporaryDirectory() as empty:
        process = await asyncio.create_subprocess_exec(
            shutil.which("buf", path=str(buf.parent)) or str(buf),
            *("curl", "--protocol", "grpc", "--http2-prior-knowledge", *words),
            cwd=empty,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_buf_curl_lists_describes_and_calls(doors: dict[str, str]) -> None:
    at = f"http://{doors['port']}"
    code, listed, told = await buf_curl("--list-services", at)
    assert code == 0, told
    assert "trinity.price.v1.PriceService" in listed.split()
    key = f"{BEARER[0]}: {BEARER[1]}"
    code, answer, told = await buf_curl("--header", key, "--data", '{"asset": "BTC"}', f"{at}/{GET}")
    assert code == 0, told
    assert json.loads(answer)["price"]["price"] == "101.5"
    code, _, told = await buf_curl("--data", '{"asset": "BTC"}', f"{at}/{GET}")
    assert code != 0
    said = json.loads(told)
    assert said["code"] == "unauthenticated"


async def test_buf_curl_calls_on_a_unix_socket(doors: dict[str, str]) -> None:
    socket = doors["socket"].removeprefix("unix:")
    code, answer, told = await buf_curl(
        "--unix-socket", socket, "--data", '{"asset": "BTC"}', f"http://localhost/{GET}"
    )
    assert code == 0, told
    assert json.loads(answer)["price"]["sources"] == ["coinbase", "gemini", "kraken"]
