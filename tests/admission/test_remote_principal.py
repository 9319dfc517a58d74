"""Who asks, of calls that come by mutual TLS, and of a port for callers with keys, where a connection says nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.issued import DOMAIN, Issuer
from trinity.usage.v1 import usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from trinity_admission.principal import ADMIN, MESH, Principal, metadata_of, principal_of
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.identity import Identity, PublicCertificate, Security
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.tls_config import PublicTlsConfig

SERVICE = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"]


class Servicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[Principal] = []

    async def LeaseQuota(self, request: usage_pb2.LeaseQuotaRequest, context: Any) -> usage_pb2.LeaseQuotaResponse:
        self.asked.append(principal_of(context))
        return usage_pb2.LeaseQuotaResponse()

    async def GetQuota(self, request: usage_pb2.GetQuotaRequest, context: Any) -> usage_pb2.GetQuotaResponse:
        self.asked.append(principal_of(context))
        return usage_pb2.GetQuotaResponse()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "certs")


@contextlib.asynccontextmanager
async def serving(security: Security) -> AsyncIterator[tuple[Servicer, str]]:
    servicer = Servicer()

    def add(server: Any) -> None:
        usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, server)

    async with MeshServer(address="127.0.0.1:0", services=[Service(SERVICE, add)], security=security) as server:
        yield servicer, server.address


async def asked_by(issuer: Issuer, caller: str, *, metadata: Any = ()) -> Principal:
    security = Identity(issuer.config("usage"), service="usage", clock=SystemClock())
    async with serving(security) as (servicer, address):
        identity = Identity(issuer.config(caller), service=caller, clock=SystemClock())
        async with open_channel(address, identity=identity, service="usage") as channel:
            stub = usage_service_pb2_grpc.UsageServiceStub(channel)
            await call(stub.GetQuota(usage_pb2.GetQuotaRequest(), metadata=metadata))
    (principal,) = servicer.asked
    return principal


async def test_a_part_of_the_mesh_on_another_host_speaks_for_itself_and_is_no_admin(issuer: Issuer) -> None:
    principal = await asked_by(issuer, "gateway")
    assert principal.holds(MESH)
    assert not principal.holds(ADMIN)


async def test_an_operators_certificate_has_the_rights_of_an_admin(issuer: Issuer) -> None:
    assert (await asked_by(issuer, "operator")).holds(ADMIN)


async def test_a_gateway_names_the_caller_whose_key_it_judged(issuer: Issuer) -> None:
    caller = Principal("k1", "acme", frozenset({"reports.read"}))
    assert await asked_by(issuer, "gateway", metadata=metadata_of(caller)) == caller


async def test_a_caller_on_a_port_for_keys_is_nobody_by_its_connection_alone(issuer: Issuer) -> None:
    made = issuer.config("usage")
    config = PublicTlsConfig(cert_file=made.cert_file, key_file=made.key_file)
    async with serving(PublicCertificate(config, clock=SystemClock())) as (servicer, address):
        credentials = grpc.ssl_channel_credentials(issuer.pair.cert_pem)
        options = [("grpc.ssl_target_name_override", f"usage.{DOMAIN}")]
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            stub = usage_service_pb2_grpc.UsageServiceStub(channel)
            for metadata in ((), metadata_of(Principal("k1", "acme", frozenset({ADMIN})))):
                with pytest.raises(TrinityError) as caught:
                    await call(stub.GetQuota(usage_pb2.GetQuotaRequest(), metadata=metadata))
                assert caught.value.reason is Reason.MISSING_KEY
    assert not servicer.asked
