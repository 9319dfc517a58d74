"""Revocation, quotas and rates on a whole mesh with two gateway workers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import math
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import grpc
import httpx
import pytest

from processes import until
from system.billing import from_database, processes_of, unrecorded
from system.customers import Customer, make_customer, revoke
from system.meshrun import Mesh, running_mesh, wait_until
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.udp_mac import signed_line
from trinity_core.usage import Outcome, Transport

pytestmark = pytest.mark.timeout(240)

CONNECTIONS = 20
"""So many that two workers share them but once in half a million."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("limits"), "--workers", "2", "--grpc-port", "0") as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


@contextlib.asynccontextmanager
async def connections(mesh: Mesh, customer: Customer, count: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients with one connection each, once every one of them reaches a worker that knows the key."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://{mesh.facts['http']}",
                    headers=customer.headers,
                    limits=httpx.Limits(max_connections=1),
                    timeout=30,
                    verify=False,  # plain HTTP: nothing to verify, and a TLS context is slow to make
                    trust_env=False,
                )
            )
            for _ in range(count)
        ]
        for client in clients:
            # NOSUCH is refused, so it uses up no quota; it costs a token, which is why the rate's test counts it.
            await until_async(lambda client=client: known(client))  # type: ignore[misc]
        yield clients


async def known(client: httpx.AsyncClient) -> bool:
    return (await client.get("/price?asset=NOSUCH")).status_code != 401


@dataclass
class Watched:
    """Answers to one caller, until it is refused and a while beyond."""

    name: str
    good: int = 0
    last_s: float = 0.0
    refused: bool = False
    after: int = 0
    """Answers after the first refusal."""

    def heard(self, *, good: bool) -> None:
        if not good:
            self.refused = True
        elif self.refused:
            self.after += 1
        else:
            self.good += 1
            self.last_s = time.monotonic()


async def asking(watched: Watched, ask: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> None:
    while not stop.is_set():
        watched.heard(good=await ask())
        if watched.refused:
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def over_udp(mesh: Mesh, session: httpx.Response) -> Iterator[Callable[[], Awaitable[bool]]]:
    """Asks from one port; silence is a refusal."""
    body = session.json()
    key, numbers = base64.b64decode(body["sessionKey"]), itertools.count(1)
    host, _, port = mesh.facts["udp"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((host, int(port)))

        async def ask() -> bool:
            number = next(numbers)
            text = f"GET BTC USD id={number}"
            line = signed_line(key, text, session=body["sessionId"], unix_s=int(time.time()), sequence=number)
            client.send(line.encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    while True:
                        answer = await asyncio.get_running_loop().sock_recv(client, 2_048)
                        if answer.split()[1] == str(number).encode():  # not one that came too late
                            return answer.startswith(b"OK")
            return False

        yield ask


async def events(client: httpx.AsyncClient, seen: list[str]) -> float:
    """Read a stream of events to its end; when that was."""
    with contextlib.suppress(httpx.RemoteProtocolError):  # a stream that fails breaks off after its last event
        async with client.stream(
            "GET", "/v1/prices:watch?assets=BTC", headers={"Accept": "text/event-stream"}
        ) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line:
                    seen.append(line)
    return time.monotonic()


async def updates(stub: price_service_pb2_grpc.PriceServiceAsyncStub, customer: Customer, seen: list[str]) -> float:
    """Read a gRPC stream to its end; when that was."""
    try:
        request = price_pb2.WatchPricesRequest(assets=["BTC"])
        async for _ in stub.WatchPrices(request, metadata=bearer(customer)):
            seen.append("batch")
    except grpc.aio.AioRpcError as error:
        seen.append(error.code().name)
    return time.monotonic()


def bearer(customer: Customer) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {customer.key}"),)


async def test_a_revoked_key_stops_over_every_transport_and_stays_stopped(mesh: Mesh) -> None:
    customer = await make_customer(mesh, "leaver")
    stop, lines, batches = asyncio.Event(), list[str](), list[str]()
    async with contextlib.AsyncExitStack() as stack:
        clients = await stack.enter_async_context(connections(mesh, customer, 6))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(mesh.facts["grpc_public"]))
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        session = await clients[0].post("/v1/udp/sessions", json={})
        datagrams = stack.enter_context(over_udp(mesh, session))

        async def over_http(client: httpx.AsyncClient) -> bool:
            status = (await client.get("/price?asset=BTC")).status_code
            assert status in (200, 401)
            return status == 200

        async def over_grpc() -> bool:
            try:
                await stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC"), metadata=bearer(customer))
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                return False
            return True

        await until_async(over_grpc)
        watched = [Watched(f"http {number}") for number in range(4)] + [Watched("udp"), Watched("grpc")]
        ways = [*(lambda client=client: over_http(client) for client in clients[:4]), datagrams, over_grpc]
        tasks = [asyncio.create_task(asking(each, way, stop)) for each, way in zip(watched, ways, strict=True)]
        streams = [
            asyncio.create_task(events(clients[4], lines)),
            asyncio.create_task(events(clients[5], lines)),
            asyncio.create_task(updates(stub, customer, batches)),
        ]
        await until(lambda: all(each.good > 20 for each in watched) and len(lines) > 4 and bool(batches), "all answer")
        await revoke(mesh, customer)
        revoked_s = time.monotonic()
        await until(lambda: all(each.refused for each in watched), "all are refused")
        ended_s = max(await asyncio.wait_for(asyncio.gather(*streams), 30)) - revoked_s
        late = {each.name: each.last_s - revoked_s for each in watched}
        shown = [f"{name} {seconds * 1e3:.0f} ms" for name, seconds in (*late.items(), ("streams", ended_s))]
        sys.stderr.write(f"after the answer of RevokeKey: {', '.join(shown)}\n")
        await settled(mesh)
        before = await from_database(mesh, customer.key_id)
        asked_again = [each.good for each in watched]
        for way in ways:
            assert not await way()
        stop.set()
        await asyncio.gather(*tasks)
    assert [each.after for each in watched] == [0] * len(watched), "no answer comes after the first refusal"
    assert [each.good for each in watched] == asked_again
    assert sum("INVALID_KEY" in line for line in lines) == 2, "open streams say why they end"
    assert batches[-1] == "UNAUTHENTICATED"
    await settled(mesh)
    assert await from_database(mesh, customer.key_id) == before, "and nothing more is billed"
    billed = Counter[Transport]()
    for kind, n in before.items():
        if kind.ask.method == "GetPrice" and kind.outcome.billed:
            billed[kind.ask.transport] += n
    good = {name: sum(each.good for each in watched if each.name.startswith(name)) for name in ("http", "udp", "grpc")}
    assert billed[Transport.HTTP] == good["http"]
    assert billed[Transport.GRPC] == good["grpc"] + 1, "one before"
    assert good["udp"] <= billed[Transport.UDP] <= good["udp"] + 1, "the last answer may have been lost"


async def test_a_quota_is_given_to_its_last_answer_and_no_further(mesh: Mesh) -> None:
    quota = 200
    customer = await make_customer(mesh, "thrifty", monthly_quota=quota)
    good: list[httpx.Response] = []
    refused: list[httpx.Response] = []
    async with connections(mesh, customer, CONNECTIONS) as clients:

        async def ask(client: httpx.AsyncClient) -> None:
            answer = await client.get("/price?asset=BTC")
            (good if answer.status_code == 200 else refused).append(answer)

        # Near its end a worker may hold the last answers while the other refuses: asked often enough, both give all.
        async def ask_all() -> bool:
            await asyncio.gather(*map(ask, clients))
            return len(good) >= quota

        await until_async(ask_all)
        count = len(refused)
        await asyncio.gather(*(ask(client) for client in clients))
        assert len(refused) - count == CONNECTIONS, "no worker has anything left"
    assert len(good) == quota
    for answer in (*good, *refused):
        assert '"month";q=200' in answer.headers["ratelimit-policy"]
        assert answer.headers["ratelimit"].startswith('"rate";r=')
    for answer in refused:
        assert answer.status_code == 429
        assert reason(answer) == "QUOTA_EXHAUSTED"
        assert '"month";r=0;t=' in answer.headers["ratelimit"]
        reset_s = int(answer.headers["ratelimit"].rpartition("t=")[2])
        assert 0 < int(answer.headers["retry-after"]) <= reset_s <= 31 * 86_400
    async with grpc.aio.insecure_channel(mesh.facts["grpc_public"]) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC"), metadata=bearer(customer))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "another process has nothing left either"
    await settled(mesh)
    bill = await from_database(mesh, customer.key_id)
    assert sum(n for kind, n in bill.items() if kind.outcome.billed) == quota


async def test_a_rate_holds_for_the_host_and_not_for_each_worker(mesh: Mesh) -> None:
    burst = 300
    customer = await make_customer(mesh, "hasty", rate_per_s=1, burst=burst)
    began_s = time.monotonic()
    async with connections(mesh, customer, CONNECTIONS) as clients:

        async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
            return [await client.get("/price?asset=BTC") for _ in range(2 * burst // CONNECTIONS)]

        found = await asyncio.gather(*map(ask, clients))
    took_s = time.monotonic() - began_s
    answers = [answer for each in found for answer in each]
    good = [answer for answer in answers if answer.status_code == 200]
    slowed = [answer for answer in answers if answer.status_code == 429]
    assert len(good) + len(slowed) == 2 * burst
    # The connections' own first requests cost a token each; two workers may give the same last token once each.
    assert burst - CONNECTIONS <= len(good) <= burst - CONNECTIONS + math.ceil(took_s) + 2
    for answer in slowed:
        assert reason(answer) == "RATE_LIMITED"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit"].startswith(('"rate";r=0;', '"rate";r=1;')), "a token came meanwhile, at most"
        assert answer.headers["ratelimit-policy"] == f'"rate";q={burst};w={burst}'
    await settled(mesh)
    assert await processes_of(mesh, customer.key_id) == 2, "both workers were asked"
    bill = await from_database(mesh, customer.key_id)
    refusals = sum(n for kind, n in bill.items() if kind.outcome is Outcome.REFUSED)
    assert refusals == len(slowed) + CONNECTIONS, "refusals are counted too"


def reason(answer: httpx.Response) -> str:
    found: str = answer.json()["details"][0]["reason"]
    return found


async def until_async(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so. A lease whose grant was lost on its way comes back after a minute."""
    async with asyncio.timeout(150):
        while not await ask():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.02)


async def settled(mesh: Mesh) -> None:
    """Return when everything that gateways have counted until now is in the database."""
    async with asyncio.timeout(60):
        while await unrecorded(mesh, mesh.data_dir / "spool"):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)
