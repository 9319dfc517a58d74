"""Streams of prices made in the gateway: rendered once for all, folded for the slow, failed when the replica is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
from websockets.asyncio.client import connect

from bridge_stage import serving_app
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_http.app import create_app
from trinity_http.live import Item
from trinity_http.live_prices import SNAPSHOT_PRICES_MAX, LivePrices, PriceStream
from trinity_http.main import own_contract
from trinity_http.prices import SERVICE, WATCH_PRICES, PriceAnswers, price_resumes
from trinity_http.upstream import Pause
from trinity_mesh.clock import SystemClock
from udp.counter import Shelf, make_price

LONG_S = 20.0


@dataclass
class Replica:
    """How a replica stands, and what changes in it."""

    connected: bool = True
    epoch: int = 3
    sequence: int = 0
    skipped: int = 0
    answers: PriceAnswers = field(default_factory=lambda: PriceAnswers(Shelf({}), clock=SystemClock()))

    def __post_init__(self) -> None:
        self.live = LivePrices(answers=self.answers, clock=SystemClock(), standing=lambda: self, flush_ms=1)

    def change(self, asset: str = "BTC", value: str = "1") -> None:
        self.sequence += 1
        self.live.changed(make_price(asset, value, sequence=self.sequence, epoch=self.epoch))

    def watch(self, **request: Any) -> PriceStream:
        stream = self.live.open(WATCH_PRICES, price_pb2.WatchPricesRequest(**request))
        assert stream is not None
        return stream


async def batch(stream: PriceStream) -> dict[str, Any]:
    item = await stream.next(LONG_S)
    assert isinstance(item, Item)
    found: dict[str, Any] = json.loads(item.body)
    return found


def prices(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(price["asset"], price["price"]) for price in found["prices"]]


async def test_a_stream_opens_with_a_snapshot_and_goes_on_with_what_changes() -> None:
    replica = Replica()
    replica.change("BTC", "10")
    replica.change("ETH", "20")
    stream = replica.watch()
    first = await batch(stream)
    assert (prices(first), first["snapshot"], first["snapshotComplete"]) == ([("BTC", "10"), ("ETH", "20")], True, True)
    replica.change("BTC", "11")
    second = await batch(stream)
    assert (prices(second), second["snapshot"], second["sequence"]) == ([("BTC", "11")], False, "3")
    await stream.close()
    assert replica.live.streams == 0


async def test_a_batch_is_the_contracts_own_message() -> None:
    replica = Replica()
    replica.change()
    item = await replica.watch().next(LONG_S)
    assert isinstance(item, Item)
    from google.protobuf import json_format

    message = json_format.Parse(item.body, price_pb2.WatchPricesResponse())
    assert message.prices[0].asset == "BTC"
    names = [one.json_name for one in price_pb2.WatchPricesResponse.DESCRIPTOR.fields]
    assert list(json.loads(item.body)) == names


async def test_a_great_snapshot_comes_in_parts_of_which_only_the_last_can_be_resumed_after() -> None:
    replica = Replica()
    for number in range(SNAPSHOT_PRICES_MAX + 1):
        replica.change(f"A{number}")
    stream = replica.watch()
    parts = [await stream.next(LONG_S), await stream.next(LONG_S)]
    assert [part.event_id for part in parts if isinstance(part, Item)] == [None, f"3-{SNAPSHOT_PRICES_MAX + 1}"]


async def test_a_stream_resumes_after_what_it_had() -> None:
    replica = Replica()
    for asset in ("BTC", "ETH", "SOL"):
        replica.change(asset)
    resumed = await batch(replica.watch(resume_epoch=3, resume_sequence=2))
    assert [asset for asset, _ in prices(resumed)] == ["SOL"]
    for epoch, sequence in ((2, 2), (3, 4), (0, 0)):
        whole = await batch(replica.watch(resume_epoch=epoch, resume_sequence=sequence))
        assert len(whole["prices"]) == 3


async def test_a_change_is_rendered_once_and_a_batch_once_for_all_who_are_in_step() -> None:
    replica = Replica()
    replica.change("BTC", "0")
    streams = [replica.watch() for _ in range(64)]
    for stream in streams:
        await batch(stream)
    rendered, joined = replica.answers.rendered, replica.live.joined
    waiting = [asyncio.create_task(batch(stream)) for stream in streams]
    await asyncio.sleep(0)
    for number in range(1, 51):
        replica.change(f"A{number}", str(number))
    found = await asyncio.gather(*waiting)
    assert all(prices(each) == prices(found[0]) for each in found)
    assert len(found[0]["prices"]) == 50
    assert replica.answers.rendered - rendered == 50
    assert replica.live.joined - joined == 1


async def test_a_slow_reader_gets_fewer_newer_prices_and_what_it_missed_adds_up() -> None:
    replica = Replica()
    replica.change("BTC", "0")
    replica.change("ETH", "0")
    everything, only_btc = replica.watch(), replica.watch(assets=["btc"])
    for stream in (everything, only_btc):
        await batch(stream)
    taken, missed = {everything: 0, only_btc: 0}, {everything: 0, only_btc: 0}
    for _ in range(5):
        for number in range(100):
            replica.change("BTC", str(number))
            replica.change("ETH", str(number))
        for stream in taken:
            found = await batch(stream)
            assert prices(found)[0] == ("BTC", "99")
            taken[stream] += len(found["prices"])
            missed[stream] += int(found["skipped"])
    assert taken[everything] + missed[everything] == 1_000
    assert taken[only_btc] + missed[only_btc] == 500
    assert taken == {everything: 10, only_btc: 5}
    assert len(replica.live._entries) == 2, "nothing is kept for a reader"


async def test_what_the_service_folded_before_counts_as_missed_too() -> None:
    replica = Replica()
    stream = replica.watch()
    await batch(stream)
    replica.skipped += 7
    replica.change()
    assert (await batch(stream))["skipped"] == "7"


async def test_silence_is_filled_with_heartbeats_and_an_interval_folds() -> None:
    replica = Replica()
    stream = replica.watch(heartbeat_ms=20)
    await batch(stream)
    beat = await batch(stream)
    assert (beat["prices"], beat["snapshot"]) == ([], False)
    paced = replica.watch(interval_ms=50)
    await batch(paced)
    for number in range(3):
        replica.change("BTC", str(number))
        replica.live.wake()
    assert prices(await batch(paced)) == [("BTC", "2")]
    quiet = replica.watch()
    await batch(quiet)
    assert await quiet.next(0.01) is Pause.SILENCE


@pytest.mark.parametrize("lost", [{"connected": False}, {"epoch": 4}])
async def test_a_stream_fails_with_its_replica(lost: dict[str, Any]) -> None:
    replica = Replica()
    stream = replica.watch()
    await batch(stream)
    waiting = asyncio.create_task(batch(stream))
    await asyncio.sleep(0)
    for name, value in lost.items():
        setattr(replica, name, value)
    replica.change()
    with pytest.raises(TrinityError) as caught:
        await waiting
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_no_stream_is_made_here_while_the_replica_is_not_connected() -> None:
    replica = Replica(connected=False)
    assert replica.live.open(WATCH_PRICES, price_pb2.WatchPricesRequest()) is None
    assert Replica().live.open(f"{SERVICE}.GetPrice", price_pb2.GetPriceRequest()) is None


async def test_an_asset_without_a_price_here_is_for_the_service_to_judge() -> None:
    replica = Replica()
    replica.change("BTC")
    assert replica.live.open(WATCH_PRICES, price_pb2.WatchPricesRequest(assets=["btc"])) is not None
    assert replica.live.open(WATCH_PRICES, price_pb2.WatchPricesRequest(assets=["BTC", "NOPE"])) is None


async def test_a_stream_that_is_ended_says_why() -> None:
    replica = Replica()
    for why in (Pause.GONE, TrinityError(Reason.STOPPING, "stopping")):
        stream = replica.watch()
        await batch(stream)
        waiting = asyncio.create_task(stream.next(LONG_S))
        await asyncio.sleep(0)
        stream.end(why)
        if isinstance(why, Pause):
            assert await waiting is why
        else:
            with pytest.raises(TrinityError, match="stopping"):
                await waiting


async def test_events_lines_arrays_and_sockets_all_show_the_same_batches() -> None:
    replica = Replica()
    replica.change("BTC", "10")
    async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
        app = create_app(
            descriptor_set=own_contract(), channels={SERVICE: channel}, live=replica.live, resumes=price_resumes()
        )
        async with serving_app(app) as stage:

            async def bodies(accept: str, count: int) -> list[str]:
                found: list[str] = []
                async with stage.client.stream("GET", "/v1/prices:watch", headers={"accept": accept}) as response:
                    async for text in response.aiter_text():
                        found.append(text)
                        if len(found) == count:
                            break
                        replica.change("BTC", str(10 + len(found)))
                return found

            events = await bodies("text/event-stream", 2)
            assert events[0].startswith("id: 3-1\ndata: ")
            assert '"price":"11"' in events[1]
            lines = await bodies("application/x-ndjson", 2)
            assert json.loads(lines[1])["prices"][0]["price"] == "11"
            array = await bodies("application/json", 2)
            assert [each["prices"][0]["price"] for each in json.loads("".join(array) + "]")] == ["11", "11"]
            async with connect(f"ws://127.0.0.1:{stage.port}/v1/prices:watch", proxy=None) as socket:
                assert json.loads(await socket.recv())["snapshot"] is True
                replica.change("BTC", "12")
                assert prices(json.loads(await socket.recv())) == [("BTC", "12")]
            assert replica.live.streams <= 4
            # A stream with a deadline is the service's, which is not there.
            late = await stage.get("/v1/prices:watch", x_request_timeout="0.5")
            assert late.status_code in (503, 504)
