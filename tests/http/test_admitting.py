"""Keys, limits and the count at the bridge, over real HTTP and WebSocket connections to a real service."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from admission.scripted_usage import ScriptedUsage, usage_server
from admission.stage import Desk, change, make_key, record_of
from bridge_stage import Stage, error_of, serving_app, until
from client.scripted import ScriptedPrices, server
from trinity.price.v1 import price_pb2
from trinity_admission.principal import METADATA_KEY, decode
from trinity_admission.quota_leases import Leases
from trinity_core.errors import Reason, TrinityError
from trinity_http.admitting import Admitting
from trinity_http.app import create_app
from trinity_http.main import own_contract
from trinity_http.prices import SERVICE, PriceAnswers, price_resumes
from trinity_http.settings import GatewaySettings
from trinity_mesh.channels import open_channel
from udp.counter import Shelf, make_price

A, B = make_key(1), make_key(2)


class Prices(ScriptedPrices):
    """Writes down who the gateway says is asking."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[Any] = []

    async def GetPrice(self, request: Any, context: Any) -> Any:
        self.callers += [value for key, value in context.invocation_metadata() if key == METADATA_KEY]
        if request.asset == "SOL":
            await asyncio.Event().wait()
        return self._answer("GetPrice", request)


class Gate:
    """The bridge of our own contract with admission, a price service behind it, and a client."""

    def __init__(self, desk: Desk, prices: Prices, stage: Stage) -> None:
        self.desk = desk
        self.prices = prices
        self.stage = stage

    async def get(self, path: str, key: str = A.text, **headers: str) -> Any:
        return await self.stage.get(path, authorization=f"Bearer {key}", **headers)

    def counted(self) -> dict[tuple[str, str, str, int], int]:
        return self.desk.counts.of(A.key_id)


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    made.open(record_of(A))
    return made


@pytest.fixture
async def gate(desk: Desk) -> AsyncIterator[Gate]:
    prices = Prices()
    prices.answers = {
        "GetPrice": price_pb2.GetPriceResponse(price=make_price("DOGE", "0.1", tier=price_pb2.TIER_LIVE)),
        "ListAssets": price_pb2.ListAssetsResponse(),
        "BatchGetPrices": price_pb2.BatchGetPricesResponse(
            results=[price_pb2.PriceResult(price=make_price(tier=price_pb2.TIER_CACHE))]
        ),
    }
    admitting = Admitting(desk.admission)
    with tempfile.TemporaryDirectory() as name:
        async with server(prices, Path(name)), grpc.aio.insecure_channel(f"unix:{name}/price.sock") as channel:
            app = create_app(
                descriptor_set=own_contract(),
                channels={SERVICE: channel},
                settings=GatewaySettings(
                    stream_open_ms=50, watch_after_ms=5, trusted_proxies=("127.0.0.1",), forward_headers=("x-note",)
                ),
                authenticate=admitting,
                admission=admitting,
                local=PriceAnswers(Shelf({"BTC": make_price()}), clock=desk.clock),
                resumes=price_resumes(),
            )
            async with serving_app(app) as stage:
                yield Gate(desk, prices, stage)


async def test_each_answer_is_counted_once_by_where_it_came_from(gate: Gate) -> None:
    assert (await gate.get("/price?asset=BTC")).status_code == 200
    assert (await gate.get("/v1/prices/btc")).status_code == 200
    assert (await gate.get("/price?asset=DOGE")).json()["price"] == "0.1"
    assert (await gate.get("/v1/prices:batchGet?assets=BTC&assets=ETH")).status_code == 200
    assert (await gate.get("/v1/assets")).status_code == 200
    assert gate.counted() == {
        ("http", "GetPrice", "BTC", 1): 2,
        ("http", "GetPrice", "DOGE", 3): 1,
        ("http", "BatchGetPrices", "", 2): 1,
        ("http", "ListAssets", "", 4): 1,
    }


async def test_a_not_modified_answer_is_an_answer(gate: Gate) -> None:
    first = await gate.get("/price?asset=BTC")
    again = await gate.get("/price?asset=BTC", if_none_match=first.headers["etag"])
    assert again.status_code == 304
    assert gate.counted() == {("http", "GetPrice", "BTC", 1): 2}


async def test_refusals_and_failures_are_counted_apart(gate: Gate) -> None:
    assert error_of(await gate.get("/price?asset=B%20C")) == (400, "INVALID_FIELD")
    gate.prices.answers["GetPrice"] = TrinityError(Reason.UNKNOWN_ASSET, "never heard of it")
    assert error_of(await gate.get("/price?asset=NOPE")) == (404, "UNKNOWN_ASSET")
    gate.prices.answers["GetPrice"] = TrinityError(Reason.NO_PRICE, "none now")
    assert error_of(await gate.get("/price?asset=DOGE")) == (503, "NO_PRICE")
    assert gate.counted() == {("http", "GetPrice", "", 5): 2, ("http", "GetPrice", "DOGE", 6): 1}


async def test_without_a_good_key_nothing_is_counted(gate: Gate) -> None:
    assert error_of(await gate.stage.get("/price?asset=BTC")) == (401, "MISSING_KEY")
    assert error_of(await gate.get("/price?asset=BTC", B.text)) == (401, "INVALID_KEY")
    assert error_of(await gate.get("/price?asset=BTC", "tbk_test_x")) == (401, "INVALID_KEY")
    assert (await gate.stage.get("/healthz")).status_code == 200
    assert not gate.desk.counts.counted


async def test_limits_stand_on_every_answer_to_a_valid_key(gate: Gate) -> None:
    gate.desk.say(change(record_of(A, burst=4, rate_per_s=2), version=2))
    gate.prices.answers["GetPrice"] = TrinityError(Reason.UNKNOWN_ASSET, "never heard of it")
    answers = [await gate.get(f"/price?asset={asset}") for asset in ("BTC", "NOPE", "B%20C", "BTC", "BTC")]
    assert [answer.status_code for answer in answers] == [200, 404, 400, 200, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"rate";q=4;w=2'}
    assert [answer.headers["ratelimit"] for answer in answers] == [
        '"rate";r=3;t=1',
        '"rate";r=2;t=1',
        '"rate";r=1;t=2',
        '"rate";r=0;t=2',
        '"rate";r=0;t=2',
    ]
    assert error_of(answers[-1]) == (429, "RATE_LIMITED")
    assert answers[-1].headers["retry-after"] == "1"
    gate.desk.clock.move(0.5)
    assert (await gate.get("/price?asset=BTC")).status_code == 200
    assert gate.counted()["http", "GetPrice", "", 5] == 3


async def test_a_revoked_key_is_refused_from_the_next_request_on(gate: Gate) -> None:
    assert (await gate.get("/price?asset=BTC")).status_code == 200
    gate.desk.say(change(record_of(A, revoked=True), version=2))
    answer = await gate.get("/price?asset=BTC")
    assert error_of(answer) == (401, "INVALID_KEY")
    assert "invalid_token" in answer.headers["www-authenticate"]


async def test_what_the_plan_lacks_never_reaches_the_service(gate: Gate) -> None:
    gate.desk.say(change(record_of(A, assets=["BTC"], burst=100), version=2))
    assert (await gate.get("/price?asset=btc")).status_code == 200
    for path in ("/price?asset=DOGE", "/v1/prices:batchGet?assets=BTC&assets=ETH", "/v1/prices:watch"):
        answer = await gate.get(path)
        assert error_of(answer) == (403, "ASSET_NOT_ALLOWED")
        assert "ratelimit" in answer.headers
    assert gate.prices.requests == []
    assert gate.prices.streams == []
    gate.desk.say(change(record_of(A, scopes=["reports.read"]), version=3))
    assert error_of(await gate.get("/price?asset=BTC")) == (403, "MISSING_SCOPE")
    gate.desk.say(change(record_of(A, transports=[2]), version=4))
    assert error_of(await gate.get("/price?asset=BTC")) == (403, "TRANSPORT_NOT_ALLOWED")
    refused = sum(n for (*_, outcome), n in gate.counted().items() if outcome == 5)
    assert refused == 5


async def test_an_allow_list_judges_the_client_and_not_the_proxy(gate: Gate) -> None:
    gate.desk.say(change(record_of(A, allowed_networks=["203.0.113.0/24", "2001:db8::/32"]), version=2))
    assert error_of(await gate.get("/price?asset=BTC")) == (403, "NETWORK_NOT_ALLOWED")
    for good in ("203.0.113.9", "192.0.2.1, 203.0.113.9", "2001:db8::1", "::ffff:203.0.113.9"):
        assert (await gate.get("/price?asset=BTC", x_forwarded_for=good)).status_code == 200
    for bad in ("192.0.2.1", "203.0.113.9, 192.0.2.1", "nonsense"):
        assert error_of(await gate.get("/price?asset=BTC", x_forwarded_for=bad)) == (403, "NETWORK_NOT_ALLOWED")


async def test_the_service_is_told_who_asks_and_clients_cannot_say_it(gate: Gate) -> None:
    forged = "eyJrZXlfaWQiOiJrIiwiYXNzb2NpYXRlIjoiYSIsInNjb3BlcyI6WyJhZG1pbiJdfQ=="
    answer = await gate.get("/price?asset=DOGE", x_trinity_principal=forged, x_note="hello")
    assert answer.status_code == 200
    (value,) = gate.prices.callers
    principal = decode(value)
    assert (principal.key_id, principal.associate, principal.scopes) == (A.key_id, "acme", {"prices.read"})


async def test_what_cannot_be_counted_is_not_answered(gate: Gate) -> None:
    gate.desk.counts.full = True
    answer = await gate.get("/price?asset=BTC")
    assert error_of(answer) == (503, "LEDGER_FULL")
    assert "67000" not in answer.text
    gate.desk.counts.full = False
    assert (await gate.get("/price?asset=BTC")).status_code == 200


async def test_strict_answers_wait_until_their_count_is_safe(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    safe, asked = asyncio.Event(), asyncio.Event()

    async def committed() -> None:
        asked.set()
        await safe.wait()

    gate.desk.counts.strict = True
    monkeypatch.setattr(gate.desk.counts, "committed", committed)
    answer = asyncio.create_task(gate.get("/price?asset=BTC"))
    await asyncio.wait_for(asked.wait(), 20)
    assert gate.counted() == {("http", "GetPrice", "BTC", 1): 1}
    assert not answer.done()
    safe.set()
    assert (await answer).status_code == 200


async def test_a_client_that_went_away_is_not_counted(gate: Gate) -> None:
    reader, writer = await gate.stage.connect()
    writer.write(f"GET /price?asset=SOL HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {A.text}\r\n\r\n".encode())
    await until(lambda: gate.prices.callers)
    writer.close()
    assert await reader.read() == b""
    assert (await gate.get("/price?asset=BTC")).status_code == 200
    assert gate.counted() == {("http", "GetPrice", "BTC", 1): 1}


async def swept(gate: Gate) -> None:
    gate.desk.admission.sweep()


async def test_a_stream_is_counted_when_it_opens_and_ends_with_its_key(gate: Gate) -> None:
    headers = {"authorization": f"Bearer {A.text}", "accept": "application/x-ndjson"}
    body = b""
    with pytest.raises(Exception, match="incomplete chunked read"):
        async with gate.stage.client.stream("GET", "/v1/prices:watch?assets=BTC", headers=headers) as stream:
            assert stream.headers["ratelimit"] == '"rate";r=19;t=1'
            assert gate.counted() == {("http", "WatchPrices", "BTC", 4): 1}
            await swept(gate)
            gate.desk.say(change(record_of(A, revoked=True), version=2))
            await swept(gate)
            async for part in stream.aiter_raw():
                body += part
    assert json.loads(body.splitlines()[-1])["error"]["details"][0]["reason"] == "INVALID_KEY"
    await until(lambda: gate.prices.streams[0].closed)
    assert not gate.desk.admission.streams
    assert gate.counted() == {("http", "WatchPrices", "BTC", 4): 1}


async def test_a_socket_is_counted_when_it_opens_and_ends_with_its_key(gate: Gate) -> None:
    address = f"ws://127.0.0.1:{gate.stage.port}/v1/prices:watch"
    headers = {"authorization": f"Bearer {A.text}"}
    async with connect(address, additional_headers=headers) as socket:
        assert socket.response is not None
        assert "ratelimit-policy" in socket.response.headers
        await until(lambda: gate.desk.admission.streams)
        gate.desk.say(change(record_of(A, revoked=True), version=2))
        await swept(gate)
        assert json.loads(await socket.recv())["error"]["details"][0]["reason"] == "INVALID_KEY"
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "INVALID_KEY")
    assert gate.counted() == {("http", "WatchPrices", "", 4): 1}
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address, additional_headers=headers):
            pass
    assert refused.value.response.status_code == 401


async def test_a_stream_that_its_client_closes_is_let_go(gate: Gate) -> None:
    headers = {"authorization": f"Bearer {A.text}", "accept": "text/event-stream"}
    async with gate.stage.client.stream("GET", "/v1/prices:watch", headers=headers):
        await until(lambda: gate.desk.admission.streams)
    await until(lambda: not gate.desk.admission.streams)


async def test_a_stream_that_is_refused_by_the_service_is_counted_as_refused(gate: Gate) -> None:
    asking = asyncio.create_task(gate.get("/v1/prices:watch?assets=NOPE"))
    await until(lambda: gate.prices.streams)
    gate.prices.streams[0].fail(TrinityError(Reason.UNKNOWN_ASSET, "never heard of it"))
    assert error_of(await asking) == (404, "UNKNOWN_ASSET")
    assert gate.counted() == {("http", "WatchPrices", "", 5): 1}


async def test_a_quota_is_kept_to_the_last_answer_and_refused_answers_cost_nothing(tmp_path: Path) -> None:
    desk = Desk()
    usage = ScriptedUsage(desk.clock, quota=3, share=1)
    prices = Prices()
    prices.answers["GetPrice"] = TrinityError(Reason.UNKNOWN_ASSET, "never heard of it")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            usage_server(usage, folder),
            server(prices, folder),
            open_channel(f"unix:{name}/usage.sock") as usage_channel,
            grpc.aio.insecure_channel(f"unix:{name}/price.sock") as channel,
        ):
            leases = Leases(
                usage_channel,
                holder="gateway-1",
                clock=desk.clock,
                ahead_s=1,
                deadline_ms=20_000,
                again_ms=1_000,
                calls_max=10,
            )
            desk.open(record_of(A, monthly_quota=3, burst=100), leases=leases, wait_ms=20_000)
            admitting = Admitting(desk.admission)
            app = create_app(
                descriptor_set=own_contract(),
                channels={SERVICE: channel},
                authenticate=admitting,
                admission=admitting,
                local=PriceAnswers(Shelf({"BTC": make_price()}), clock=desk.clock),
            )
            async with serving_app(app) as stage:
                gate = Gate(desk, prices, stage)
                for _ in range(3):
                    assert error_of(await gate.get("/price?asset=NOPE")) == (404, "UNKNOWN_ASSET")
                answers = [await gate.get("/price?asset=BTC") for _ in range(5)]
            await leases.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert error_of(answers[-1]) == (429, "QUOTA_EXHAUSTED")
    assert int(answers[-1].headers["retry-after"]) == 86_400
    assert '"month";q=3' in answers[0].headers["ratelimit-policy"]
    assert '"month";r=0' in answers[-1].headers["ratelimit"]
