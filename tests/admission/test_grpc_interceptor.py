"""Direct gRPC callers, over real TCP and Unix sockets: keys, scopes, limits, the count, and streams that end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from admission.stage import Desk, change, make_key, record_of
from price.virtual_clock import until
from trinity.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_admission.client_address import ClientAddress
from trinity_admission.grpc_interceptor import address_of_peer, with_admission
from trinity_admission.principal import MESH_PEER, Principal, metadata_of, principal_of
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.server import MeshServer, ServerLimits, Service
from trinity_mesh.status import from_rpc_error

A, B = make_key(1), make_key(2)


class Prices(price_service_pb2_grpc.PriceServiceServicer):
    """Answers by asset, and writes down who asked."""

    def __init__(self) -> None:
        self.callers: list[Principal] = []
        self.asked: list[Any] = []
        self.release = asyncio.Event()
        self.ended = 0

    async def GetPrice(self, request: Any, context: Any) -> Any:
        self.callers.append(principal_of(context))
        self.asked.append(request)
        if request.asset == "WAIT":
            await self.release.wait()
        if request.asset == "NOPE":
            raise TrinityError(Reason.UNKNOWN_ASSET, "never heard of it")
        if request.asset == "ABORT":
            await context.abort(grpc.StatusCode.NOT_FOUND, "by hand")
        if request.asset == "BUG":
            raise RuntimeError("our fault")
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset=request.asset, tier=price_pb2.TIER_LIVE))

    async def WatchPrices(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.callers.append(principal_of(context))
        try:
            for number in range(request.interval_ms or 3):
                if number == 2 and request.heartbeat_ms:
                    await self.release.wait()
                if list(request.assets) == ["NOPE"]:
                    raise TrinityError(Reason.UNKNOWN_ASSET, "never heard of it")
                yield price_pb2.WatchPricesResponse(sequence=number)
            context.set_trailing_metadata((("x-own", "kept"),))
        finally:
            self.ended += 1


class Accounts(account_service_pb2_grpc.AccountServiceServicer):
    async def WatchKeys(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield account_pb2.WatchKeysResponse()


class Direct:
    """A server on TCP and the same on a Unix socket, both with admission."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.desk.open(record_of(A, burst=50))
        self.prices = Prices()
        self.tcp: Any = None
        self.unix: Any = None
        self.channels: dict[str, grpc.aio.Channel] = {}

    def server(self, address: str, client_address: ClientAddress | None = None) -> MeshServer:
        services = [
            Service(
                descriptor=price_service_pb2.DESCRIPTOR.services_by_name["PriceService"],
                add=lambda it: price_service_pb2_grpc.add_PriceServiceServicer_to_server(self.prices, it),
            ),
            Service(
                descriptor=account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
                add=lambda it: account_service_pb2_grpc.add_AccountServiceServicer_to_server(Accounts(), it),
            ),
        ]
        return MeshServer(
            address=address,
            services=services,
            limits=ServerLimits(drain_ms=100),
            interceptors=with_admission(self.desk.admission, client_address),
        )

    def get(self, asset: str = "BTC", *, key: str = A.text, metadata: Any = None, over: str = "tcp") -> Any:
        metadata = (("authorization", f"Bearer {key}"),) if metadata is None else metadata
        stub = price_service_pb2_grpc.PriceServiceStub(self.channels[over])
        return stub.GetPrice(price_pb2.GetPriceRequest(asset=asset), metadata=metadata, timeout=20)

    def watch(self, *, key: str = A.text, over: str = "tcp", **request: Any) -> Any:
        stub = price_service_pb2_grpc.PriceServiceStub(self.channels[over])
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        return stub.WatchPrices(price_pb2.WatchPricesRequest(**request), metadata=metadata, timeout=20)

    async def told(self, call: Any) -> str:
        """ "ok", or the code and reason of a call's end."""
        try:
            if hasattr(call, "__aiter__"):
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {from_rpc_error(error).reason}"
        return "ok"

    def counted(self) -> dict[tuple[str, str, str, int], int]:
        return self.desk.counts.of(A.key_id)


@pytest.fixture
async def direct() -> AsyncIterator[Direct]:
    made = Direct()
    with tempfile.TemporaryDirectory() as name:
        unix = f"unix:{name}/s.sock"
        async with (
            made.server("127.0.0.1:0") as tcp,
            made.server(unix),
            grpc.aio.insecure_channel(tcp.address) as one,
            grpc.aio.insecure_channel(unix) as two,
        ):
            made.channels = {"tcp": one, "unix": two}
            yield made
            made.prices.release.set()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "told"),
    [
        (("127.0.0.1",), ("203.0.113.9",), "ok"),
        (("127.0.0.1",), ("198.51.100.1, 203.0.113.9",), "ok"),
        (("127.0.0.1",), ("198.51.100.1", "203.0.113.9"), "ok"),
        (("127.0.0.1",), ("203.0.113.9", "198.51.100.1"), "PERMISSION_DENIED NETWORK_NOT_ALLOWED"),
        (("127.0.0.1",), ("203.0.113.9, nobody",), "PERMISSION_DENIED NETWORK_NOT_ALLOWED"),
        (("127.0.0.1",), (), "PERMISSION_DENIED NETWORK_NOT_ALLOWED"),
        (("10.0.0.0/8",), ("203.0.113.9",), "PERMISSION_DENIED NETWORK_NOT_ALLOWED"),
        ((), ("203.0.113.9",), "PERMISSION_DENIED NETWORK_NOT_ALLOWED"),
    ],
)
async def test_a_key_bound_to_networks_is_judged_by_what_a_trusted_proxy_tells(
    direct: Direct, trusted: tuple[str, ...], forwarded: tuple[str, ...], told: str
) -> None:
    direct.desk.open(record_of(B, allowed_networks=["203.0.113.0/24"], burst=50))
    metadata = [("authorization", f"Bearer {B.text}"), *(("x-forwarded-for", one) for one in forwarded)]
    async with (
        direct.server("127.0.0.1:0", ClientAddress(trusted) if trusted else None) as behind,
        grpc.aio.insecure_channel(behind.address) as channel,
    ):
        direct.channels["behind"] = channel
        assert await direct.told(direct.get(metadata=metadata, over="behind")) == told


async def test_a_key_is_let_in_counted_and_told_to_the_servicer(direct: Direct) -> None:
    call = direct.get()
    assert (await call).price.asset == "BTC"
    assert direct.counted() == {("grpc", "GetPrice", "BTC", 3): 1}
    (caller,) = direct.prices.callers
    assert (caller.key_id, caller.associate) == (A.key_id, "acme")
    trailing = dict(await call.trailing_metadata())
    assert trailing["ratelimit-policy"] == '"rate";q=50;w=5'
    assert trailing["ratelimit"] == '"rate";r=49;t=1'


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ((), "UNAUTHENTICATED MISSING_KEY"),
        ((("authorization", ""),), "UNAUTHENTICATED INVALID_KEY"),
        ((("authorization", "Basic YTpi"),), "UNAUTHENTICATED INVALID_KEY"),
        ((("authorization", A.text),), "UNAUTHENTICATED INVALID_KEY"),
        ((("authorization", f"Bearer {B.text}"),), "UNAUTHENTICATED INVALID_KEY"),
        ((("authorization", f"Bearer {A.text}"),) * 2, "UNAUTHENTICATED INVALID_KEY"),
        ((("authorization", f"Bearer {'x' * 4_000}"),), "UNAUTHENTICATED INVALID_KEY"),
        (metadata_of(Principal("k", "operator", frozenset({"admin"}))), "UNAUTHENTICATED MISSING_KEY"),
        ((("authorization", f"bearer  {A.text}"),), "ok"),
    ],
)
async def test_without_one_good_key_a_caller_on_tcp_is_unauthenticated(
    direct: Direct, metadata: Any, told: str
) -> None:
    assert await direct.told(direct.get(metadata=metadata)) == told
    assert bool(direct.prices.callers) == (told == "ok")


async def test_a_peer_on_the_unix_socket_passes_uncounted(direct: Direct) -> None:
    assert await direct.told(direct.get(over="unix", metadata=())) == "ok"
    assert await direct.told(direct.watch(over="unix", key="")) == "ok"
    assert direct.prices.callers == [MESH_PEER, MESH_PEER]
    acme = Principal("k", "acme", frozenset({"prices.read"}))
    assert await direct.told(direct.get(over="unix", metadata=metadata_of(acme))) == "ok"
    assert direct.prices.callers[-1] == acme
    assert not direct.desk.counts.counted


async def test_health_and_unknown_methods_need_no_key(direct: Direct) -> None:
    health = health_pb2_grpc.HealthStub(direct.channels["tcp"])
    assert (await health.Check(health_pb2.HealthCheckRequest())).status
    unknown = direct.channels["tcp"].unary_unary("/trinity.price.v1.PriceService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unknown(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_no_key_opens_what_is_the_meshs_own(direct: Direct) -> None:
    direct.desk.say(change(record_of(A, scopes=["admin"]), version=2))
    stub = account_service_pb2_grpc.AccountServiceStub(direct.channels["tcp"])
    metadata = (("authorization", f"Bearer {A.text}"),)
    told = await direct.told(stub.WatchKeys(account_pb2.WatchKeysRequest(), metadata=metadata))
    assert told == "PERMISSION_DENIED MISSING_SCOPE"
    stub = account_service_pb2_grpc.AccountServiceStub(direct.channels["unix"])
    assert await direct.told(stub.WatchKeys(account_pb2.WatchKeysRequest())) == "ok"


async def test_refusals_and_failures_are_counted_apart(direct: Direct) -> None:
    assert await direct.told(direct.get("NOPE")) == "NOT_FOUND UNKNOWN_ASSET"
    assert await direct.told(direct.get("ABORT")) == "NOT_FOUND UNKNOWN_PATH"
    assert await direct.told(direct.get("")) == "INVALID_ARGUMENT INVALID_FIELD"
    assert direct.counted() == {("grpc", "GetPrice", "", 5): 3}
    assert await direct.told(direct.get("BUG")) == "INTERNAL INTERNAL"
    assert direct.counted()["grpc", "GetPrice", "", 6] == 1


async def test_errors_tell_the_limits_too(direct: Direct) -> None:
    call = direct.get("NOPE")
    assert await direct.told(call) == "NOT_FOUND UNKNOWN_ASSET"
    assert "ratelimit" in dict(await call.trailing_metadata())
    direct.desk.say(change(record_of(A, burst=1, rate_per_s=1), version=2))
    call = direct.get()
    assert await direct.told(call) == "RESOURCE_EXHAUSTED RATE_LIMITED"
    trailing = dict(await call.trailing_metadata())
    assert trailing["ratelimit"] == '"rate";r=0;t=1'


async def test_what_the_key_may_not_do_never_reaches_the_servicer(direct: Direct) -> None:
    direct.desk.say(change(record_of(A, assets=["ETH"], burst=50), version=2))
    assert await direct.told(direct.get("btc")) == "PERMISSION_DENIED ASSET_NOT_ALLOWED"
    assert await direct.told(direct.watch()) == "PERMISSION_DENIED ASSET_NOT_ALLOWED"
    assert await direct.told(direct.get("eth")) == "ok"
    direct.desk.say(change(record_of(A, transports=[1], burst=50), version=3))
    assert await direct.told(direct.get("ETH")) == "PERMISSION_DENIED TRANSPORT_NOT_ALLOWED"
    direct.desk.say(change(record_of(A, allowed_networks=["10.0.0.0/8"], burst=50), version=4))
    assert await direct.told(direct.get("ETH")) == "PERMISSION_DENIED NETWORK_NOT_ALLOWED"
    direct.desk.say(change(record_of(A, allowed_networks=["127.0.0.0/8"], burst=50), version=5))
    assert await direct.told(direct.get("ETH")) == "ok"
    assert len(direct.prices.callers) == 2


async def test_what_cannot_be_counted_is_not_answered(direct: Direct) -> None:
    direct.desk.counts.full = True
    assert await direct.told(direct.get()) == "UNAVAILABLE LEDGER_FULL"
    assert await direct.told(direct.watch()) == "UNAVAILABLE LEDGER_FULL"
    assert direct.counted() == {}


async def test_a_caller_that_goes_away_is_not_counted(direct: Direct) -> None:
    call = direct.get("WAIT")
    asking = asyncio.ensure_future(direct.told(call))
    await until(lambda: direct.prices.asked)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await direct.told(direct.get()) == "ok"
    assert direct.counted() == {("grpc", "GetPrice", "BTC", 3): 1}


async def test_a_stream_counts_once_whatever_it_sends(direct: Direct) -> None:
    call = direct.watch(assets=["BTC"], interval_ms=100)
    assert await direct.told(call) == "ok"
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-own"] == "kept"
    assert "ratelimit" in trailing
    assert await direct.told(direct.watch(assets=["NOPE"])) == "NOT_FOUND UNKNOWN_ASSET"
    assert direct.counted() == {("grpc", "WatchPrices", "BTC", 4): 1, ("grpc", "WatchPrices", "", 5): 1}
    assert direct.prices.ended == 2
    assert not direct.desk.admission.streams


async def test_a_silent_stream_ends_with_its_key(direct: Direct) -> None:
    call = direct.watch(heartbeat_ms=1)
    batches = aiter(call)
    assert [(await anext(batches)).sequence for _ in range(2)] == [0, 1]
    reading = asyncio.ensure_future(direct.told(call))
    await until(lambda: direct.desk.admission.streams)
    direct.desk.say(change(record_of(A, revoked=True), version=2))
    direct.desk.admission.sweep()
    assert await reading == "UNAUTHENTICATED INVALID_KEY"
    await until(lambda: direct.prices.ended)
    assert direct.counted() == {("grpc", "WatchPrices", "", 4): 1}


async def test_a_stream_that_its_caller_ends_is_let_go(direct: Direct) -> None:
    call = direct.watch(heartbeat_ms=1)
    await call.read()
    await until(lambda: direct.desk.admission.streams)
    call.cancel()
    await until(lambda: direct.prices.ended)
    await until(lambda: not direct.desk.admission.streams)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:5000", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"),
        ("unix:/run/x.sock", ""),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_the_address_of_a_peer_is_read(peer: str, address: str) -> None:
    assert address_of_peer(peer) == address
