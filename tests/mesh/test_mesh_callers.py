"""Who may call what: every service's certificate against every RPC of every contract, over real mutual TLS."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from mesh.issued import DOMAIN, Issuer
from trinity_cli.certificate_folder import SERVICES
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.identity import Identity
from trinity_mesh.mesh_callers import mesh_callers
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.status import from_rpc_error

NAMES: Mapping[str, str] = {
    "feeds": "trinity.feed.v1.FeedService",
    "price": "trinity.price.v1.PriceService",
    "account": "trinity.account.v1.AccountService",
    "usage": "trinity.usage.v1.UsageService",
    "report": "trinity.report.v1.ReportService",
    "webhook": "trinity.webhook.v1.WebhookService",
}
ON_BEHALF = frozenset({"gateway", "operator"})
"""A gateway calls for whoever brought it a key, an operator for himself."""
ADMITTING = frozenset({"gateway", "price", "account", "usage", "report", "webhook"})
"""What has a port for callers with keys, judges them and counts."""
EXPECTED: Mapping[str, frozenset[str]] = {
    "/trinity.feed.v1.FeedService/StreamTicks": frozenset({"price"}),
    "/trinity.feed.v1.FeedService/FetchQuote": frozenset({"price"}),
    "/trinity.feed.v1.FeedService/ListVenues": frozenset({"operator"}),
    "/trinity.price.v1.PriceService/WatchPrices": ON_BEHALF | {"webhook-worker"},
    "/trinity.account.v1.AccountService/WatchKeys": ADMITTING,
    "/trinity.usage.v1.UsageService/RecordUsage": ADMITTING | {"webhook-worker"},
    "/trinity.usage.v1.UsageService/LeaseQuota": ADMITTING,
}
"""Where it is others than `ON_BEHALF`."""


def descriptor(name: str) -> ServiceDescriptor:
    package, _, _ = name.rpartition(".")
    importlib.import_module(f"{package}.{package.split('.')[1]}_service_pb2")
    return descriptor_pool.Default().FindServiceByName(name)


def methods() -> list[tuple[str, MethodDescriptor]]:
    return [(service, method) for service, name in NAMES.items() for method in descriptor(name).methods]


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def served(name: str) -> Service:
    """A service whose methods all say UNIMPLEMENTED to whoever is let in."""
    package, _, word = name.rpartition(".")
    generated = importlib.import_module(f"{package}.{package.split('.')[1]}_service_pb2_grpc")

    def add(server: Any) -> None:
        getattr(generated, f"add_{word}Servicer_to_server")(getattr(generated, f"{word}Servicer")(), server)

    return Service(descriptor(name), add)


def test_every_rpc_says_which_parts_of_the_mesh_may_call_it() -> None:
    for _, method in methods():
        path = path_of(method)
        assert mesh_callers(path) == EXPECTED.get(path, ON_BEHALF), path


def test_every_service_of_the_contracts_is_in_the_table() -> None:
    api = importlib.import_module("google.protobuf.descriptor_pb2").FileDescriptorSet.FromString(
        (Path(__file__).resolve().parents[2] / "gen/trinity/api.binpb").read_bytes()
    )
    names = {f"{file.package}.{service.name}" for file in api.file for service in file.service}
    assert {name for name in names if name.startswith("trinity.")} == set(NAMES.values())


def test_a_method_that_no_contract_has_is_for_nobody() -> None:
    assert mesh_callers("/trinity.price.v1.PriceService/SetPrice") == frozenset()
    assert mesh_callers("/strange.v1.Service/Get") == frozenset()


@pytest.fixture
async def addresses(tmp_path: Path) -> AsyncIterator[tuple[Issuer, dict[str, str]]]:
    issuer, found = Issuer(tmp_path / "certs"), dict[str, str]()
    servers = []
    try:
        for service, name in NAMES.items():
            security = Identity(issuer.config(service), service=service, clock=SystemClock())
            server = MeshServer(address="127.0.0.1:0", services=[served(name)], security=security)
            await server.start()
            servers.append(server)
            found[service] = server.address
        yield issuer, found
    finally:
        for server in servers:
            await server.stop()


@pytest.mark.parametrize("caller", SERVICES)
async def test_a_certificate_opens_what_the_table_says_and_nothing_else(
    addresses: tuple[Issuer, dict[str, str]], caller: str
) -> None:
    issuer, found = addresses
    identity = Identity(issuer.config(caller), service=caller, clock=SystemClock())
    let_in = 0
    for service, address in found.items():
        async with open_channel(address, identity=identity, service=service) as channel:
            for method in descriptor(NAMES[service]).methods:
                error, path = await outcome(channel, method), path_of(method)
                if caller in EXPECTED.get(path, ON_BEHALF):
                    assert error.reason in (Reason.UNIMPLEMENTED, Reason.INVALID_FIELD), (path, error)
                    let_in += 1
                else:
                    assert error.reason is Reason.PEER_NOT_ALLOWED, (path, error)
                    assert error.metadata == {"peer": f"spiffe://{DOMAIN}/{caller}", "method": path}
    assert let_in == sum(caller in EXPECTED.get(path_of(method), ON_BEHALF) for _, method in methods())


async def outcome(channel: grpc.aio.Channel, method: MethodDescriptor) -> TrinityError:
    """How an empty call ends."""
    response = message_factory.GetMessageClass(method.output_type)
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call: Any = kind(path_of(method), request_serializer=lambda _: b"", response_deserializer=response.FromString)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if method.server_streaming:
            async for _ in call(None, timeout=20):
                pass
        else:
            await call(None, timeout=20)
    return from_rpc_error(caught.value)
