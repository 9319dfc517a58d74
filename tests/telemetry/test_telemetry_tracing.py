"""Traces cross processes, keep a caller's decision, follow a tick to its push, and are nowhere while they are off."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jumping_time import JumpingClock, run_jumping
from price.fake_feed import made_tick
from price.small_price import SmallPrice
from price.virtual_clock import until, until_moving
from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.assets import load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.hub import Hub
from trinity_mesh.channels import call, open_channel
from trinity_mesh.config import ConfigError
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.telemetry import tracing
from trinity_mesh.telemetry.config import TraceConfig
from webhook.engine_stage import EngineStage

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
BTC = price_pb2.GetPriceRequest(asset="BTC")
GET = "trinity.price.v1.PriceService/GetPrice"


class Spans:
    """The spans that were exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()

    def begin(self, ratio: float = 0.0) -> None:
        tracing.begin(TraceConfig(ratio=ratio), service="test", exporter=self._exporter)

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str, kind: str = "") -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name and (not kind or span.kind.name == kind)]


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    tracing.end()


class Servicer(price_service_pb2_grpc.PriceServiceServicer):
    """Asks another server for what it answers, where it has one; refuses what is not BTC."""

    def __init__(self) -> None:
        self.behind: Any = None
        self.seen: list[dict[str, Any]] = []

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        self.seen.append(dict(context.invocation_metadata()))
        if request.asset != "BTC":
            raise TrinityError(Reason.UNKNOWN_ASSET, "no such asset")
        if self.behind is not None:
            return await call(self.behind.GetPrice(request))
        with tracing.within("store") as span:
            if span is not None:
                span.note("rows", 1)
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset="BTC", price="1"))


class Chain:
    """A client, a server, and a server behind it."""

    def __init__(self, address: str, stub: Any, servicers: tuple[Servicer, Servicer]) -> None:
        self.stub = stub
        self.front, self.behind = servicers
        self._address = address

    async def called_by_a_stranger(self, traceparent: str) -> None:
        """By a client that knows nothing of ours."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            await channel.unary_unary(f"/{GET}")(BTC.SerializeToString(), metadata=(("traceparent", traceparent),))


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    front, behind = Servicer(), Servicer()

    def server(servicer: Servicer, name: str) -> MeshServer:
        descriptor = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]
        service = Service(
            descriptor, lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(servicer, server)
        )
        return MeshServer(address=f"unix:{tmp_path}/{name}.sock", services=[service])

    async with (
        server(front, "front") as first,
        server(behind, "behind") as second,
        open_channel(first.address) as channel,
        open_channel(second.address) as inner,
    ):
        front.behind = price_service_pb2_grpc.PriceServiceStub(inner)
        yield Chain(first.address, price_service_pb2_grpc.PriceServiceStub(channel), (front, behind))


async def test_a_call_is_one_trace_from_its_first_client_to_the_last_store(chain: Chain, spans: Spans) -> None:
    spans.begin(ratio=1)
    await call(chain.stub.GetPrice(BTC))
    await until(lambda: len(spans.all()) == 5)
    by_id = {span.context.span_id: span for span in spans.all()}
    assert len({span.context.trace_id for span in spans.all()}) == 1
    [store] = spans.named("store")
    way = [store]
    while (parent := way[-1].parent) is not None:
        way.append(by_id[parent.span_id])
    assert [(span.name, span.kind.name) for span in reversed(way)] == [
        (GET, "CLIENT"),
        (GET, "SERVER"),
        (GET, "CLIENT"),
        (GET, "SERVER"),
        ("store", "INTERNAL"),
    ]
    assert all(span.attributes and span.attributes["rpc.response.status_code"] == "OK" for span in spans.named(GET))


async def test_a_callers_decision_to_sample_is_kept_all_the_way(chain: Chain, spans: Spans) -> None:
    spans.begin(ratio=0)
    await chain.called_by_a_stranger(SAMPLED)
    await until(lambda: len(spans.named(GET, "SERVER")) == 2)
    assert {f"{span.context.trace_id:032x}" for span in spans.all()} == {TRACE}


async def test_a_callers_decision_not_to_sample_is_kept_all_the_way(chain: Chain, spans: Spans) -> None:
    spans.begin(ratio=1)
    await chain.called_by_a_stranger(UNSAMPLED)
    assert spans.all() == []
    told = str(chain.behind.seen[0]["traceparent"])
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")


async def test_a_refusal_is_an_error_of_its_span_and_a_trace_shows_no_more_than_its_status(
    chain: Chain, spans: Spans
) -> None:
    spans.begin(ratio=1)
    with pytest.raises(TrinityError):
        await call(chain.stub.GetPrice(price_pb2.GetPriceRequest(asset="NOPE")))
    await until(lambda: len(spans.all()) == 2)
    for span in spans.all():
        assert not span.status.is_ok
        assert span.events == ()
        assert dict(span.attributes or {}) == {
            "rpc.system.name": "grpc",
            "rpc.method": GET,
            "rpc.response.status_code": "NOT_FOUND",
        }


async def test_nothing_is_traced_or_passed_on_while_tracing_is_off(chain: Chain) -> None:
    assert tracing.on is False
    await call(chain.stub.GetPrice(BTC))
    assert "traceparent" not in chain.front.seen[0]
    assert "traceparent" not in chain.behind.seen[0]
    assert tracing.trace_id() == ""


async def test_a_sampled_tick_is_one_trace_from_the_book_to_every_replica(spans: Spans) -> None:
    seen: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        small = SmallPrice(Path(folder))
        async with small.running(), small.book(on_change=lambda _: seen.append(tracing.current())) as book:
            await book.ready()
            spans.begin(ratio=0)
            batch = small.feed.batch([small.tick(Venue.KRAKEN, "BTC", "100")], sent_ns=small.clock.monotonic_ns())
            batch.traceparent = SAMPLED
            small.feed.push(batch)
            await until_moving(small.clock, lambda: spans.named("replica.apply"))
    [applied], [replica] = spans.named("book.apply"), spans.named("replica.apply")
    assert applied.parent is not None
    assert f"{applied.parent.span_id:016x}" == PARENT
    assert replica.parent is not None
    assert replica.parent.span_id == applied.context.span_id
    # Whoever is told of the change, such as what pushes it to customers, is told within the trace.
    assert any(TRACE in trace for trace in seen)


async def test_a_feed_worker_samples_ticks_and_tells_of_it_in_their_batch(spans: Spans) -> None:
    spans.begin(ratio=1)
    clock = JumpingClock()
    hub = Hub(
        clock=clock,
        clock_id="c",
        worker="w",
        sandbox=True,
        venues=[Venue.KRAKEN],
        assets=load_assets(),
        flush_ms=0,
        heartbeat_ms=1_000,
        streams_max=1,
    )
    stream = hub.stream([Venue.KRAKEN])
    assert not feed_pb2.StreamTicksResponse.FromString(await stream.next()).traceparent
    hub.publish([made_tick(Venue.KRAKEN, "BTC", "100", at_ns=clock.monotonic_ns())])
    told = feed_pb2.StreamTicksResponse.FromString(await stream.next())
    [root] = spans.named("tick", "PRODUCER")
    assert told.traceparent == f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"
    assert dict(root.attributes or {}) == {"venue": "kraken"}


def test_the_push_of_a_sampled_change_belongs_to_its_trace(spans: Spans) -> None:
    spans.begin(ratio=0)

    async def scenario() -> None:
        stage = EngineStage()
        stage.subscription(stage.endpoint())
        async with stage.running():
            with tracing.following("replica.apply", SAMPLED):
                stage.price("BTC", 100)
            await stage.clock.sleep(10)
            stage.price("BTC", 101)
            await stage.clock.sleep(10)
            assert len(stage.sender.arrivals) == 2

    run_jumping(scenario())
    [push] = spans.named("webhook.push")
    assert f"{push.context.trace_id:032x}" == TRACE


def test_an_exporter_whose_library_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"trinity-beast\[otlp\]"):
        tracing.begin(TraceConfig(exporter="otlp"), service="test")
    assert tracing.on is False


@pytest.mark.parametrize(
    ("name", "value"), [("exporter", "jaeger"), ("ratio", 1.5), ("exporter", "file"), ("queue_len_max", 0)]
)
def test_a_trace_setting_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"traces\."):
        TraceConfig(**{name: value})  # type: ignore[arg-type]
