"""`trinity top`: what it works out from two looks, in a wide terminal and a narrow one, once and as JSON."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from rich.console import Console

from cli.processes import finish, start
from trinity_cli.output import Output, Terminal
from trinity_cli.top import view
from trinity_cli.top_figures import Board, Look, board_of, quantile_ms
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.listener import METRICS, metrics_listener
from trinity_mesh.telemetry.merging import merged
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, Histogram, Sample
from trinity_mesh.telemetry.readings import Readings

GET = "trinity.price.v1.PriceService/GetPrice"
WATCH = "trinity.price.v1.PriceService/WatchPrices"


def times(*seconds: float) -> Histogram:
    made = Histogram(LATENCY_BOUNDS)
    for value in seconds:
        made.add(value)
    return made


def text(process: str, *samples: Sample) -> bytes:
    readings = Readings()
    readings.add(lambda: samples)
    return merged({process: readings.exposition()})


def price(good: int, bad: int) -> bytes:
    return text(
        "price",
        Sample(catalogue.SERVER_STARTED, (GET,), good + bad),
        Sample(catalogue.SERVER_DURATION, (GET, "OK"), times(*[0.002] * good)),
        Sample(catalogue.SERVER_DURATION, (GET, "NOT_FOUND"), times(*[0.002] * bad)),
        Sample(catalogue.SERVER_DURATION, (WATCH, "CANCELLED"), times(*[3_000.0] * good)),
        Sample(catalogue.BOOK_PRICES, ("fresh",), 150),
    )


def gateway(answers: int, dropped: int, *, live: bool = True) -> bytes:
    return text(
        "gateway-1",
        Sample(catalogue.LANE_ANSWERS, (), answers),
        Sample(catalogue.LANE_DURATION, (), times(*[0.00004] * answers)),
        Sample(catalogue.HTTP_DURATION, ("http", "GET", "/price", "200"), times(*[0.01] * answers)),
        Sample(catalogue.HTTP_DURATION, ("http", "GET", "/price", "404"), times(*[0.01] * dropped)),
        Sample(catalogue.UDP_RECEIVED, ("udp",), 2 * answers),
        Sample(catalogue.UDP_REPLIED, ("udp",), answers),
        Sample(catalogue.UDP_BUSY, ("udp",), 0.001 * answers),
        Sample(catalogue.UDP_DROPPED, ("udp", "bad_text"), dropped),
        Sample(catalogue.VENUE_STATE, ("kraken", "live"), live),
        Sample(catalogue.VENUE_STATE, ("kraken", "closed"), not live),
        Sample(catalogue.VENUE_LAG, ("kraken",), 0.012),
        Sample(catalogue.VENUE_FAULTS, ("kraken", "gap"), 2),
        Sample(catalogue.VENUE_FAULTS, ("kraken", "reconnect"), 3),
        Sample(catalogue.WEBHOOK_ATTEMPTS, ("tick", "delivered"), answers),
        Sample(catalogue.LIMIT_HITS, ("http.streams",), dropped),
        Sample(catalogue.CALL_RETRIES, ("unix:/price",), dropped),
        Sample(catalogue.SHEDDING_REFUSALS, ("full",), dropped),
    )


UP = text("up", Sample(catalogue.PROCESS_UP, ("price",), 1), Sample(catalogue.PROCESS_UP, ("gateway-1",), 0))


def board(*, live: bool = True) -> Board:
    before = Look(UP + price(10, 1) + gateway(100, 5), 0)
    return board_of(before, Look(UP + price(30, 5) + gateway(300, 9, live=live), 2_000_000_000))


def test_rates_and_times_are_those_between_two_looks() -> None:
    shown = board()
    services = {each.name: each for each in shown.services}
    assert services["price"].up
    assert not services["gateway-1"].up
    assert services["price"].calls_per_s == 12
    assert services["price"].errors_per_s == 2
    assert services["price"].avg_ms == pytest.approx(2), "a stream that lasted for an hour is not in it"
    lanes = {each.name: each for each in shown.lanes}
    assert lanes["http fast lane"].per_s == 100
    assert lanes["http prices"].per_s == 102
    assert lanes["http prices"].errors_per_s == 2
    assert lanes["http prices"].avg_ms == pytest.approx(10)
    assert lanes["udp prices"].per_s == 100
    assert lanes["udp prices"].errors_per_s == 2
    assert lanes["udp prices"].avg_ms == pytest.approx(0.5)
    [venue] = shown.venues
    assert (venue.name, venue.state, venue.faults, venue.reconnects) == ("kraken", "live", 2, 3)
    assert venue.lag_ms == pytest.approx(12)
    assert [(each.name, each.per_s, each.total) for each in shown.webhooks] == [("tick delivered", 100, 300)]
    errors = [(each.name, each.per_s, each.total) for each in shown.errors]
    for name in ("http.streams", "retries", "shed full"):
        assert (name, 2, 9) in errors
    assert shown.prices == {"fresh": 150}


def test_a_process_that_began_anew_shows_no_negative_rate() -> None:
    before, now = Look(UP + gateway(300, 9), 0), Look(UP + gateway(10, 0), 1_000_000_000)
    assert all(each.per_s >= 0 and each.errors_per_s >= 0 for each in board_of(before, now).lanes)


def test_a_quantile_lies_within_its_bucket() -> None:
    assert quantile_ms({0.001: 50.0, 0.002: 100.0, float("inf"): 100.0}, 0.5) == pytest.approx(1)
    assert quantile_ms({0.001: 50.0, 0.002: 100.0, float("inf"): 100.0}, 0.75) == pytest.approx(1.5)
    assert quantile_ms({0.001: 0.0, float("inf"): 10.0}, 0.99) == pytest.approx(1), "beyond the last bound: at least it"
    assert quantile_ms({}, 0.5) is None


@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_the_view_fits_a_terminal_of_any_width(width: int) -> None:
    output = Output(as_json=False)
    out = io.StringIO()
    output.console = Terminal(file=out, width=width, force_terminal=False)
    console: Console = output.console
    console.print(view(output, board()))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("kraken" in line for line in lines)
    assert any("FAILED" in line for line in lines)


async def test_once_and_json_are_for_scripts() -> None:
    looks = iter([UP + price(10, 1) + gateway(100, 5), UP + price(30, 5) + gateway(300, 9)])

    async def page() -> bytes:
        return next(looks)

    async with metrics_listener("127.0.0.1:0", {METRICS: page}) as address:
        process = await start("top", "--once", "--json", "--interval", "0.2", "--address", address)
        done = await finish(process)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [each["name"] for each in told["services"]] == ["up", "price", "gateway-1"]
    assert told["venues"][0]["state"] == "live"


async def test_where_there_are_no_metrics_it_is_said_what_to_do() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for address in (f"127.0.0.1:{port}", "unix:/nowhere/m.sock"):
        done = await finish(await start("top", "--once", "--address", address))
        assert done.code == 5
        assert done.out == b""
        assert len(done.err.splitlines()) == 2, done.err
        assert b"trinity up" in done.err
    server.close()


async def test_what_is_no_text_of_metrics_is_said_to_be_none() -> None:
    async def page() -> bytes:
        return b"<html> { not metrics"

    async with metrics_listener("127.0.0.1:0", {METRICS: page}) as address:
        done = await finish(await start("top", "--once", "--address", address))
    assert done.code == 5
    assert b"no text of metrics" in done.err
