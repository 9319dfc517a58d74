"""Mutual TLS over real sockets: who gets in, who is refused and with what words, and renewal under load."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.issued import DAY_NS, DOMAIN, Issuer, first_backend, now_ns
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.authority import issue
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError
from trinity_mesh.identity import Identity
from trinity_mesh.mesh_callers import mesh_peer
from trinity_mesh.renewing_channel import RenewingChannel
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.tls_config import TlsConfig

SERVICE = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]


class Servicer(price_service_pb2_grpc.PriceServiceServicer):
    """Answers with the name of the peer that asked."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset=request.asset, price=str(mesh_peer.get())))

    async def WatchPrices(self, request: price_pb2.WatchPricesRequest, context: Any) -> AsyncIterator[Any]:
        yield price_pb2.WatchPricesResponse(sequence=1)
        await self.release.wait()
        yield price_pb2.WatchPricesResponse(sequence=2)


def identity(config: TlsConfig, service: str) -> Identity:
    return Identity(config, service=service, clock=SystemClock())


@contextlib.asynccontextmanager
async def serving(security: Identity, *, servicer: Servicer | None = None, address: str = "127.0.0.1:0") -> Any:
    def add(server: Any) -> None:
        price_service_pb2_grpc.add_PriceServiceServicer_to_server(servicer or Servicer(), server)

    async with MeshServer(address=address, services=[Service(SERVICE, add)], security=security) as server:
        await server.set_serving(serving=True)
        yield server


async def ask(channel: grpc.aio.Channel) -> str:
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    answer = await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC")))
    return str(answer.price.price)


async def refusal(server: MeshServer, channel: grpc.aio.Channel) -> TrinityError:
    async with channel:
        with pytest.raises(TrinityError) as caught:
            await ask(channel)
    return caught.value


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "certs")


async def test_a_peer_with_a_certificate_of_the_mesh_is_known_by_its_name(issuer: Issuer) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        gateway = identity(issuer.config("gateway"), "gateway")
        async with open_channel(server.address, identity=gateway, service="price") as channel:
            assert await ask(channel) == f"spiffe://{DOMAIN}/gateway"


async def test_a_service_that_the_contract_does_not_name_is_refused_with_its_name(issuer: Issuer) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        feeds = identity(issuer.config("feeds"), "feeds")
        error = await refusal(server, open_channel(server.address, identity=feeds, service="price"))
    assert error.reason is Reason.PEER_NOT_ALLOWED
    assert error.metadata["peer"] == f"spiffe://{DOMAIN}/feeds"
    assert "gateway, operator" in error.message


async def test_allowed_peers_narrow_what_the_contract_allows(issuer: Issuer) -> None:
    config = changed(issuer.config("price"), allowed_peers=("operator",))
    async with serving(identity(config, "price")) as server:
        gateway = identity(issuer.config("gateway"), "gateway")
        error = await refusal(server, open_channel(server.address, identity=gateway, service="price"))
    assert error.reason is Reason.PEER_NOT_ALLOWED


async def test_a_server_that_is_another_service_is_refused_by_its_client(issuer: Issuer) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        gateway = identity(issuer.config("gateway"), "gateway")
        error = await refusal(server, open_channel(server.address, identity=gateway, service="account"))
    assert error.reason is Reason.BACKEND_UNAVAILABLE
    assert "not the service that was wanted" in error.message


async def test_a_server_of_another_mesh_is_refused_by_its_client(issuer: Issuer, tmp_path: Path) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        stranger = identity(Issuer(tmp_path / "other").config("gateway"), "gateway")
        error = await refusal(server, open_channel(server.address, identity=stranger, service="price"))
    assert error.reason is Reason.BACKEND_UNAVAILABLE
    assert "no CA that we trust vouches for the server" in error.message


@pytest.mark.parametrize("what", ["other CA", "ended", "not begun", "none", "plaintext"])
async def test_a_client_without_a_good_certificate_of_the_mesh_gets_nowhere(
    issuer: Issuer, tmp_path: Path, what: str
) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        begins = {"ended": -20, "not begun": 2}.get(what, 0)
        maker = Issuer(tmp_path / "other") if what == "other CA" else issuer
        pair = issue(maker.pair, "gateway", trust_domain=DOMAIN, days=10, now_ns=now_ns() + begins * DAY_NS)
        options = [("grpc.ssl_target_name_override", f"price.{DOMAIN}")]
        if what == "plaintext":
            channel = grpc.aio.insecure_channel(server.address, options=options)
        else:
            shown = () if what == "none" else (pair.key_pem, pair.cert_pem)
            credentials = grpc.ssl_channel_credentials(issuer.pair.cert_pem, *shown)
            channel = grpc.aio.secure_channel(server.address, credentials, options=options)
        error = await refusal(server, channel)
    assert error.reason is Reason.BACKEND_UNAVAILABLE
    assert "does not take our certificate" in error.message


@pytest.mark.parametrize(("begins_days", "words"), [(-20, "ended on"), (2, "begins only on")])
def test_a_certificate_that_is_not_good_now_is_told_at_the_start(
    issuer: Issuer, begins_days: float, words: str
) -> None:
    config = issuer.config("price", begins_days=begins_days, days=10)
    with pytest.raises(ConfigError, match=words):
        identity(config, "price")


def test_a_certificate_of_another_service_is_told_at_the_start(issuer: Issuer) -> None:
    with pytest.raises(ConfigError, match=f"spiffe://{DOMAIN}/account; this is spiffe://{DOMAIN}/price"):
        identity(issuer.config("account"), "price")


def test_a_certificate_that_ones_own_ca_does_not_vouch_for_is_told_at_the_start(issuer: Issuer, tmp_path: Path) -> None:
    other = Issuer(tmp_path / "other")
    with pytest.raises(ConfigError, match="no CA in .* vouches for"):
        identity(issuer.config("price", bundle=other.pair.cert_pem), "price")


async def test_nothing_older_than_tls_1_2_is_spoken(issuer: Issuer) -> None:
    async with serving(identity(issuer.config("price"), "price")) as server:
        host, _, port = server.address.rpartition(":")
        config = issuer.config("gateway")

        def handshake(version: ssl.TLSVersion) -> str | None:
            context = ssl.create_default_context(cafile=config.ca_file)
            context.load_cert_chain(config.cert_file, config.key_file)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.set_alpn_protocols(["h2"])
            context.minimum_version = context.maximum_version = version
            with (
                socket.create_connection((host, int(port)), timeout=10) as raw,
                context.wrap_socket(raw, server_hostname=f"price.{DOMAIN}") as secured,
            ):
                return secured.version()

        assert await asyncio.to_thread(handshake, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1"):
                await asyncio.to_thread(handshake, old)


async def test_an_address_that_other_hosts_reach_is_not_served_without_tls() -> None:
    with pytest.raises(ConfigError, match="will not listen on 0.0.0.0:0 without TLS"):
        async with serving(identity(TlsConfig(), "price"), address="0.0.0.0:0"):
            pass
    with pytest.raises(ConfigError, match="without TLS"):
        await MeshServer(address="0.0.0.0:0", services=[]).start()
    with pytest.raises(ConfigError, match="will not connect to 192.0.2.1:50051 without TLS"):
        open_channel("192.0.2.1:50051", identity=identity(TlsConfig(), "gateway"), service="price")


async def test_plaintext_to_other_hosts_must_be_asked_for_in_so_many_words() -> None:
    async with serving(identity(TlsConfig(plaintext=True), "price"), address="0.0.0.0:0") as server:
        gateway = identity(TlsConfig(plaintext=True), "gateway")
        port = server.address.rpartition(":")[2]
        async with open_channel(f"127.0.0.1:{port}", identity=gateway, service="price") as channel:
            assert await ask(channel) == "None"


async def test_a_service_answers_its_host_on_a_socket_and_others_by_tls(issuer: Issuer, tmp_path: Path) -> None:
    config = changed(issuer.config("price"), listen="127.0.0.1:0")
    async with serving(identity(config, "price"), address=f"unix:{tmp_path}/price.sock") as server:
        gateway = identity(issuer.config("gateway"), "gateway")
        async with open_channel(server.address, identity=gateway, service="price") as channel:
            assert await ask(channel) == "None"
        async with open_channel(server.remote_address, identity=gateway, service="price") as channel:
            assert await ask(channel) == f"spiffe://{DOMAIN}/gateway"
    assert not (tmp_path / "price.sock").exists()


async def test_certificates_renewed_under_load_fail_no_call_and_cut_no_stream(issuer: Issuer, tmp_path: Path) -> None:
    """Leaves three times, then the CA itself, by way of a bundle of both; every step with calls before and after."""
    other = Issuer(issuer.folder)
    both = issuer.pair.cert_pem + other.pair.cert_pem
    server_side, servicer = identity(issuer.config("price"), "price"), Servicer()
    client_side = identity(issuer.config("gateway"), "gateway")
    done = 0
    async with serving(server_side, servicer=servicer) as server:
        channel = open_channel(server.address, identity=client_side, service="price")
        renewing = first_backend(channel)
        assert isinstance(renewing, RenewingChannel)
        async with channel:
            stub = price_service_pb2_grpc.PriceServiceStub(channel)
            streams = []

            async def asker(rounds: int) -> None:
                nonlocal done
                for _ in range(rounds):
                    await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC")))
                    done += 1

            steps = [(issuer, b"")] * 3 + [(issuer, both), (other, both), (other, other.pair.cert_pem)]
            for maker, bundle in steps:
                watch = stub.WatchPrices(price_pb2.WatchPricesRequest())
                assert (await watch.read()).sequence == 1
                streams.append(watch)
                load = [asyncio.create_task(asker(25)) for _ in range(8)]
                await asker(5)
                maker.config("price", bundle=bundle)
                server_side.check()
                await asker(5)
                maker.config("gateway", bundle=bundle)
                client_side.check()
                await asker(5)
                await asyncio.gather(*load)
            assert renewing.channels == len(steps) + 1
            servicer.release.set()
            for watch in streams:
                assert (await watch.read()).sequence == 2
                assert await watch.read() is grpc.aio.EOF
            await asker(1)
            assert renewing.channels == 1, "a channel of former credentials ends with its last call"
            # What had the former certificate is refused now: the new one is in use on both sides.
            async with (
                serving(server_side) as fresh,
                open_channel(fresh.address, identity=client_side, service="price") as renewed,
            ):
                assert await ask(renewed) == f"spiffe://{DOMAIN}/gateway"
            stranger = identity(issuer.config("operator"), "operator")
            assert (
                await refusal(server, open_channel(server.address, identity=stranger, service="price"))
            ).reason is Reason.BACKEND_UNAVAILABLE
    assert done == len(steps) * (8 * 25 + 15) + 1
