"""Descriptor sets of strangers: what can be served, and what is told when it cannot."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from google.protobuf import descriptor_pb2

from bridge_stage import SERVICE, ShelfServer, descriptor_set, error_of
from trinity_core.errors import TrinityError
from trinity_http.app import create_app
from trinity_http.contract import Contract, ContractError
from trinity_http.foreign import run_foreign_gateway
from trinity_http.server import listen_http
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError

HEAD = 'syntax = "proto3"; package odd.v1; import "google/api/annotations.proto"; import "google/api/httpbody.proto";'
MESSAGES = """
message Inner { string name = 1; }
message Ask { string name = 1; Inner inner = 2; repeated string tags = 3; map<string, string> labels = 4; int32 n = 5; }
"""


def compiled(folder: Path, rules: str, body: str = "Ask") -> bytes:
    text = (
        f"{HEAD}{MESSAGES} service Odd {{ rpc Do({body}) returns (Ask) {{ option (google.api.http) = {{{rules}}}; }} }}"
    )
    (folder / "odd.proto").write_text(text)
    return descriptor_set(folder, "odd.proto")


async def serve(data: bytes, service: str = "odd.v1.Odd") -> Any:
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        return create_app(descriptor_set=data, channels={service: channel})


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ('get: "v1/x"', "character 1"),
        ('get: "/v1/{nobody}"', "path variable nobody"),
        ('get: "/v1/{inner}"', "name one of its fields"),
        ('get: "/v1/{tags}"', "repeated"),
        ('get: "/v1/{labels}"', "it is a map"),
        ('get: "/v1/{inner.nobody}"', "path variable inner.nobody"),
        ('post: "/v1/x" body: "nobody"', "body 'nobody'"),
        ('post: "/v1/x" body: "inner.name"', "body 'inner.name'"),
        ('post: "/v1/{name}" body: "name"', "both a path variable and the body"),
        ('get: "/v1/x" response_body: "nobody"', "response_body 'nobody'"),
        ('additional_bindings: {get: "/v1/x"}', "no pattern of its own"),
        ('get: "/v1/x" additional_bindings: {body: "*"}', "needs a pattern"),
        ('get: "/v1/x" additional_bindings: {get: "/y" additional_bindings: {get: "/z"}}', "no bindings of its own"),
        ('get: "/v1/{name}" additional_bindings: {get: "/v1/{inner.name}"}', "match the same paths"),
        ('custom: {kind: "NO GOOD" path: "/v1/x"}', "is not an HTTP method"),
    ],
)
async def test_a_rule_that_cannot_be_served_is_told_with_its_method(tmp_path: Path, rules: str, told: str) -> None:
    with pytest.raises(ContractError, match=r"odd\.v1\.Odd\.Do") as caught:
        await serve(compiled(tmp_path, rules))
    assert told in str(caught.value)


async def test_a_contract_with_nothing_to_serve_is_told(tmp_path: Path, shelf_set: bytes) -> None:
    with pytest.raises(ContractError, match="nothing to serve"):
        await serve(shelf_set, "another.v1.Service")
    (tmp_path / "bare.proto").write_text(f"{HEAD}{MESSAGES} service Odd {{ rpc Do(Ask) returns (Ask); }}")
    with pytest.raises(ContractError, match="nothing to serve"):
        await serve(descriptor_set(tmp_path, "bare.proto"))


@pytest.mark.parametrize("data", [b"\xff", b"not a set", b"\x0a\x05abcde"])
def test_what_is_no_descriptor_set_is_told(data: bytes) -> None:
    with pytest.raises(ContractError, match="no descriptor set"):
        Contract.of(data)


def test_a_set_may_lack_googles_own_files_but_no_others(shelf_set: bytes) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(shelf_set)
    bare = descriptor_pb2.FileDescriptorSet(file=[file for file in files.file if not file.name.startswith("google/")])
    assert [method.name for method in Contract.of(bare).methods] == [
        method.name for method in Contract.of(files).methods
    ]
    reversed_order = descriptor_pb2.FileDescriptorSet(file=list(reversed(files.file)))
    assert len(Contract.of(reversed_order).methods) == len(Contract.of(files).methods)
    for file in bare.file:
        file.dependency.append("elsewhere/missing.proto")
    with pytest.raises(ContractError, match=r"imports elsewhere/missing\.proto"):
        Contract.of(bare)


def test_a_strangers_options_with_our_numbers_mean_nothing_here(tmp_path: Path) -> None:
    text = f"""{HEAD.replace('import "google/api/httpbody.proto";', 'import "google/protobuf/descriptor.proto";')}
    message Own {{ bool flag = 1; }}
    extend google.protobuf.FieldOptions {{ Own own = 50701; }}
    message Ask {{ string name = 1 [(own) = {{flag: true}}]; }}
    service Odd {{ rpc Do(Ask) returns (Ask) {{ option (google.api.http) = {{get: "/v1/do"}}; }} }}"""
    (tmp_path / "own.proto").write_text(text)
    contract = Contract.of(descriptor_set(tmp_path, "own.proto"))
    assert not contract.has_rules


def test_two_contracts_of_one_package_live_side_by_side(tmp_path: Path) -> None:
    sets = []
    for field in ("first", "second"):
        (tmp_path / "same.proto").write_text(
            f'syntax = "proto3"; package same.v1; message Only {{ string {field} = 1; }}'
        )
        sets.append(Contract.of(descriptor_set(tmp_path, "same.proto")))
    for contract, field in zip(sets, ("first", "second"), strict=True):
        kind = contract.types.find("same.v1.Only")
        assert kind is not None
        assert list(kind.DESCRIPTOR.fields_by_name) == [field]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"deadline_default_ms": 70_000}, "deadline_default_ms"),
        ({"body_bytes_max": 0}, "body_bytes_max"),
        ({"stream_open_ms": 1}, "stream_open_ms"),
        ({"forward_headers": ("X-Tenant",)}, "lower case"),
        ({"forward_headers": ("grpc-timeout",)}, "one hop"),
        ({"return_metadata": ("content-length",)}, "one hop"),
    ],
)
def test_settings_out_of_bounds_are_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        GatewaySettings(**change)
    with pytest.raises(ValueError, match="head_ms"):
        HttpLimits(head_ms=0)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "256.0.0.1:1", "unix:/no/such/folder/x"]
)
def test_an_address_that_cannot_be_bound_is_told(address: str) -> None:
    with pytest.raises(TrinityError, match="cannot listen on"):
        listen_http(address)


def test_a_port_is_shared_only_where_it_is_asked_for() -> None:
    with listen_http("127.0.0.1:0", reuse_port=True) as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        with listen_http(address, reuse_port=True):
            pass
        with pytest.raises(TrinityError):
            listen_http(address)


async def test_what_is_sent_waits_for_no_acknowledgement_of_what_was_sent_before() -> None:
    came: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    with listen_http("127.0.0.1:0") as listener:
        async with await asyncio.start_server(lambda _, writer: came.put_nowait(writer), sock=listener) as server:
            _, client = await asyncio.open_connection(*server.sockets[0].getsockname())
            served = await came.get()
            assert served.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (client, served):
                writer.close()
                await writer.wait_closed()


class Foreign:
    """A foreign gateway that runs."""

    def __init__(self, shelf_set: bytes, folder: Path) -> None:
        self.path = folder / "set.binpb"
        self.path.write_bytes(shelf_set)
        self.folder = folder
        self.shelf = ShelfServer(Contract.of(shelf_set))
        self.stopping = asyncio.Event()

    async def run(self, act: Any, **options: Any) -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self.shelf.handler(),))
        server.add_insecure_port(f"unix:{self.folder}/backend.sock")
        await server.start()
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(
            run_foreign_gateway(
                descriptor_set=self.path,
                backend=f"unix:{self.folder}/backend.sock",
                listen=options.pop("listen", "127.0.0.1:0"),
                stopping=self.stopping,
                clock=SystemClock(),
                on_serving=address.set_result,
                **options,
            )
        )
        try:
            await asyncio.wait((running, address), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            await act(address.result())
        finally:
            self.stopping.set()
            await asyncio.wait((running,))
            await server.stop(None)


async def test_a_strangers_service_is_served_whole(shelf_set: bytes, tmp_path: Path) -> None:
    async def act(address: str) -> None:
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            assert (await client.get("/v1/shelves/1/books/2")).json()["name"] == "shelves/1/books/2"
            assert (await client.get("/v1/echo?text=a&nobody=1")).json()["text"] == "a"
            metadata = (await client.get("/v1/wait/x", headers={"authorization": "Bearer theirs"})).json()["metadata"]
            assert metadata["authorization"] == "Bearer theirs"
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/openapi.json")).json()["info"]["title"] == "Shelf"

    await Foreign(shelf_set, tmp_path).run(act, allow_unauthenticated=True, ignore_unknown_fields=True)


async def test_a_strangers_service_behind_keys(shelf_set: bytes, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    digest = hashlib.sha256(b"open").hexdigest()
    keys.write_text(json.dumps({"keys": [{"id": "k", "key_sha256": digest, "scopes": ["books.read"]}]}))

    async def act(address: str) -> None:
        transport = httpx.AsyncHTTPTransport(uds=address.removeprefix("unix:"))
        async with httpx.AsyncClient(base_url="http://local", transport=transport) as client:
            assert error_of(await client.get("/v1/wait/x")) == (401, "MISSING_KEY")
            answer = await client.get("/v1/wait/x", headers={"authorization": "Bearer open"})
            assert "authorization" not in answer.json()["metadata"]
            assert error_of(await client.get("/v1/echo?nobody=1", headers={"authorization": "Bearer open"}))[0] == 400

    await Foreign(shelf_set, tmp_path).run(act, keys_file=keys, listen=f"unix:{tmp_path}/http.sock")


async def test_a_foreign_gateway_says_what_it_lacks(shelf_set: bytes, tmp_path: Path) -> None:
    foreign = Foreign(shelf_set, tmp_path)
    with pytest.raises(ConfigError, match="who may call"):
        await foreign.run(None)
    foreign.path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="no descriptor set"):
        await foreign.run(None, allow_unauthenticated=True)
    foreign.path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        await foreign.run(None, allow_unauthenticated=True)
    assert SERVICE in {service.full_name for service in Contract.of(shelf_set).services}
