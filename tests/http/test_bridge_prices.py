"""Our own price contract through the bridge: hot prices from a replica, everything else from the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from bridge_stage import Stage, error_of, serving_app
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_http.main import make_price_app, own_contract
from trinity_http.prices import PriceAnswers
from trinity_mesh.clock import SystemClock
from trinity_mesh.server import MeshServer, ServerLimits, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")
NS = 1_000_000_000
UNIX = 1_800_000_000


class HandClock(SystemClock):
    """Wall time by hand."""

    def __init__(self) -> None:
        self.unix = UNIX * NS

    def unix_ns(self) -> int:
        return self.unix


def price_of(asset: str, *, sequence: int = 5, state: int = 1, price: str = "60000.10") -> price_pb2.Price:
    message = price_pb2.Price(
        asset=asset,
        quote="USD",
        price=price,
        state=state,  # type: ignore[arg-type]
        confidence="1.5",
        spread_bps="0.25",
        source_count=2,
        sources=["coinbase", "kraken"],
        method=1,  # type: ignore[arg-type]
        tier=1,  # type: ignore[arg-type]
        sequence=sequence,
        epoch=7,
    )
    message.receive_time.FromNanoseconds(UNIX * NS)
    message.fresh_until.FromNanoseconds((UNIX + 10) * NS)
    message.stale_at.FromNanoseconds((UNIX + 60) * NS)
    return message


class Replica:
    """Prices of this process."""

    def __init__(self) -> None:
        self.prices: dict[str, price_pb2.Price] = {}

    def get(self, asset: str, /) -> price_pb2.Price | None:
        return self.prices.get(asset)


class Prices(price_service_pb2_grpc.PriceServiceServicer):
    """The price service as far as the bridge can see it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def GetPrice(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if request.asset.upper() == "NONE":
            raise TrinityError(Reason.UNKNOWN_ASSET, "no asset 'NONE'; did you mean ONE?", {"nearest": "ONE"})
        if request.asset.upper() == "HALT":
            raise TrinityError(Reason.NO_PRICE, "no venue gives a price", retry_after_ms=250)
        return price_pb2.GetPriceResponse(price=price_of(request.asset.upper(), price="1.0"))

    async def BatchGetPrices(self, request: Any, context: Any) -> Any:
        answer = price_pb2.BatchGetPricesResponse()
        for asset in request.assets:
            result = answer.results.add(asset=asset)
            if asset == "NONE":
                result.error.code, result.error.message = 5, "no asset 'NONE'"
            else:
                result.price.CopyFrom(price_of(asset))
        return answer

    async def WatchPrices(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        for number, asset in enumerate(("BTC", "ETH", "SOL"), start=request.resume_sequence + 1):
            yield price_pb2.WatchPricesResponse(
                prices=[price_of(asset, sequence=number)],
                snapshot=asset != "SOL",
                snapshot_complete=asset == "ETH",
                sequence=number,
                epoch=7,
            )

    async def ListAssets(self, request: Any, context: Any) -> Any:
        return price_pb2.ListAssetsResponse(assets=[price_pb2.Asset(asset="BTC", name="Bitcoin")], total_size=1)

    async def ExplainPrice(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return price_pb2.ExplainPriceResponse(price=price_of(request.asset), fresh_ms=10_000)


class Gateway(Stage):
    """What a test touches."""

    replica: Replica
    service: Prices
    clock: HandClock


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    folder: Path = tmp_path_factory.mktemp("prices")
    service, replica, clock = Prices(), Replica(), HandClock()
    server = MeshServer(
        address=f"unix:{folder}/price.sock",
        services=[
            Service(
                price_service_pb2.DESCRIPTOR.services_by_name["PriceService"],
                lambda made: price_service_pb2_grpc.add_PriceServiceServicer_to_server(service, made),
            )
        ],
        limits=ServerLimits(drain_ms=100),
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{folder}/price.sock") as channel:
        app = make_price_app(channel=channel, replica=replica, authenticate=None, clock=clock, ready=tuple)
        async with serving_app(app) as running:
            running.replica, running.service, running.clock = replica, service, clock
            yield running
    await server.stop()


@pytest.fixture(autouse=True)
def _clean(gateway: Gateway) -> None:
    gateway.replica.prices.clear()
    gateway.service.asked.clear()
    gateway.clock.unix = UNIX * NS


SHOWN = {
    "asset": "BTC",
    "quote": "USD",
    "price": "60000.10",
    "state": "STATE_FRESH",
    "confidence": "1.5",
    "spreadBps": "0.25",
    "sourceCount": 2,
    "sources": ["coinbase", "kraken"],
    "method": "METHOD_MEDIAN",
    "tier": "TIER_LOCAL",
    "receiveTime": "2027-01-15T08:00:00Z",
    "freshUntil": "2027-01-15T08:00:10Z",
    "staleAt": "2027-01-15T08:01:00Z",
    "sequence": "5",
    "epoch": "7",
    "failover": False,
    "sandbox": False,
}


@pytest.mark.parametrize("path", ["/price?asset=BTC", "/price?asset=btc", "/v1/prices/BTC", "/v1/prices/btc?quote=usd"])
async def test_a_plain_question_is_answered_without_asking_the_service(gateway: Gateway, path: str) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC")
    response = await gateway.get(path)
    assert response.json() == SHOWN
    assert response.headers["etag"] == '"7-5-1"'
    assert gateway.service.asked == []


@pytest.mark.parametrize(
    "query", ["method=median", "method=METHOD_MEDIAN", "method=1", "quote=USD", "min_sources=0", "source="]
)
async def test_default_values_written_out_are_the_plain_question(gateway: Gateway, query: str) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC")
    assert (await gateway.get(f"/price?asset=BTC&{query}")).json() == SHOWN
    assert gateway.service.asked == []


@pytest.mark.parametrize("query", ["method=vwap", "source=kraken", "max_age=5s", "min_sources=2"])
async def test_a_particular_question_goes_to_the_service(gateway: Gateway, query: str) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC")
    response = await gateway.get(f"/price?asset=BTC&{query}")
    assert response.json()["price"] == "1.0"
    assert "etag" not in response.headers
    assert len(gateway.service.asked) == 1


@pytest.mark.parametrize("state", [0, 3, 5])
async def test_a_price_that_not_everybody_may_have_is_asked_of_the_service(gateway: Gateway, state: int) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC", state=state)
    assert (await gateway.get("/price?asset=BTC")).json()["price"] == "1.0"


@pytest.mark.parametrize(("state", "name"), [(1, "STATE_FRESH"), (2, "STATE_DELAYED"), (4, "STATE_DIVERGENT")])
async def test_a_price_says_what_it_is_worth(gateway: Gateway, state: int, name: str) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC", state=state)
    assert (await gateway.get("/price?asset=BTC")).json()["state"] == name


async def test_what_a_client_has_already_is_not_sent_again(gateway: Gateway) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC")
    for tags in ('"7-5-1"', 'W/"7-5-1"', '"x", "7-5-1"', "*"):
        response = await gateway.get("/price?asset=BTC", if_none_match=tags)
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"7-5-1"')
        assert "cache-control" in response.headers
    assert (await gateway.get("/price?asset=BTC", if_none_match='"7-4-1"')).status_code == 200
    gateway.replica.prices["BTC"] = price_of("BTC", state=2)
    assert (await gateway.get("/price?asset=BTC", if_none_match='"7-5-1"')).status_code == 200


async def test_a_price_may_be_kept_only_while_it_is_fresh_for_longer_than_that(gateway: Gateway) -> None:
    gateway.replica.prices["BTC"] = price_of("BTC")
    assert (await gateway.get("/price?asset=BTC")).headers["cache-control"] == "private, max-age=1"
    gateway.clock.unix = (UNIX + 9) * NS + 1
    assert (await gateway.get("/price?asset=BTC")).headers["cache-control"] == "private, no-cache"
    gateway.clock.unix = UNIX * NS
    gateway.replica.prices["BTC"] = price_of("BTC", state=2)
    assert (await gateway.get("/price?asset=BTC")).headers["cache-control"] == "private, no-cache"


async def test_a_price_is_rendered_once_a_change_and_state() -> None:
    replica, request = Replica(), price_pb2.GetPriceRequest(asset="btc")
    answers = PriceAnswers(replica, clock=HandClock())
    assert answers.answer("trinity.price.v1.PriceService.GetPrice", request) is None
    for sequence, state, rendered in ((5, 1, 1), (5, 1, 1), (5, 2, 2), (6, 1, 3), (6, 1, 3), (5, 1, 4)):
        replica.prices["BTC"] = price_of("BTC", sequence=sequence, state=state)
        answer = answers.answer("trinity.price.v1.PriceService.GetPrice", request)
        assert answer is not None
        assert json.loads(answer.answer.body)["sequence"] == str(sequence)
        assert answers.rendered == rendered
    assert answers.answer("trinity.price.v1.PriceService.BatchGetPrices", request) is None


async def test_errors_of_the_service_come_through(gateway: Gateway) -> None:
    unknown = await gateway.get("/price?asset=NONE")
    assert error_of(unknown) == (404, "UNKNOWN_ASSET")
    assert unknown.json()["details"][0]["metadata"]["nearest"] == "ONE"
    halted = await gateway.get("/v1/prices/HALT")
    assert error_of(halted) == (503, "NO_PRICE")
    assert halted.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/price", "asset"),
        ("/price?asset=", "asset"),
        ("/price?asset=B-C", "asset"),
        ("/price?asset=BTC&asset=ETH", "asset"),
        ("/price?asset=BTC&quote=EUR", "quote"),
        ("/price?asset=BTC&source=nyse", "source"),
        ("/price?asset=BTC&method=best", "method"),
        ("/price?asset=BTC&method=9", "method"),
        ("/price?asset=BTC&max_age=0s", "max_age"),
        ("/price?asset=BTC&min_sources=7", "min_sources"),
        ("/v1/prices/BTC?asset=ETH", "asset"),
        ("/v1/prices:batchGet", "assets"),
        ("/v1/prices:batchGet?assets=BTC,ETH", "assets[0]"),
        ("/v1/prices:watch?heartbeat_ms=60001", "heartbeat_ms"),
        ("/v1/assets?page_size=1001", "page_size"),
    ],
)
async def test_a_bad_question_is_refused_and_its_field_named(gateway: Gateway, path: str, field: str) -> None:
    response = await gateway.get(path)
    assert error_of(response) == (400, "INVALID_FIELD")
    assert response.json()["details"][0]["metadata"]["field"] == field
    assert gateway.service.asked == []


async def test_several_prices_each_have_their_own_outcome(gateway: Gateway) -> None:
    results = (await gateway.get("/v1/prices:batchGet?assets=BTC&assets=NONE")).json()["results"]
    assert [result["asset"] for result in results] == ["BTC", "NONE"]
    assert results[0]["price"]["price"] == "60000.10"
    assert results[1]["error"]["code"] == 5
    assert "price" not in results[1]


async def test_assets_and_explanations_are_served(gateway: Gateway) -> None:
    assets = (await gateway.get("/v1/assets?page_size=1")).json()
    assert (assets["assets"][0]["name"], assets["totalSize"]) == ("Bitcoin", 1)
    explained = (await gateway.get("/v1/prices/BTC:explain?method=vwap")).json()
    assert explained["freshMs"] == 10_000
    assert gateway.service.asked[-1].method == price_pb2.METHOD_VWAP


async def test_a_watch_is_resumed_by_its_event_ids_and_never_inside_a_snapshot(gateway: Gateway) -> None:
    first = await gateway.get("/v1/prices:watch?assets=BTC", accept="text/event-stream")
    ids = [event.split("\n")[0] for event in first.text.split("\n\n")]
    assert ids[0].startswith("data: ")
    assert ids[1:3] == ["id: 7-2", "id: 7-3"]
    await gateway.get("/v1/prices:watch?resume_sequence=1", accept="text/event-stream", last_event_id="7-2")
    asked = gateway.service.asked[-1]
    assert (asked.resume_epoch, asked.resume_sequence) == (7, 2)


async def test_a_watch_has_every_form(gateway: Gateway) -> None:
    array = (await gateway.get("/v1/prices:watch")).json()
    lines = await gateway.get("/v1/prices:watch", accept="application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == array
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/prices:watch") as socket:
        assert [json.loads(frame) async for frame in socket] == array
    assert [batch["prices"][0]["asset"] for batch in array] == ["BTC", "ETH", "SOL"]


async def test_a_gateway_without_its_replica_says_why_it_is_not_ready() -> None:
    reasons = ["the replica has no snapshot yet"]
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        app = make_price_app(
            channel=channel, replica=Replica(), authenticate=None, clock=HandClock(), ready=lambda: reasons
        )
        async with serving_app(app) as stage:
            assert (await stage.get("/healthz")).json() == {"status": "ok"}
            response = await stage.get("/readyz")
            assert error_of(response) == (503, "BACKEND_UNAVAILABLE")
            assert "no snapshot" in response.json()["message"]
            reasons.clear()
            assert (await stage.get("/readyz")).json() == {"status": "ready"}


async def test_our_contract_is_in_the_package() -> None:
    assert b"trinity.price.v1" in own_contract()


async def test_many_may_ask_at_once(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(gateway.get(f"/price?asset=A{number}&method=vwap") for number in range(50)))
    assert [answer.json()["asset"] for answer in answers] == [f"A{number}" for number in range(50)]
