"""What a process tells is read when somebody looks, served to scrapers, and put together for a whole mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.listener import METRICS, metrics_listener, scrape
from trinity_mesh.telemetry.merging import merged
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, Histogram, Sample
from trinity_mesh.telemetry.readings import Readings


def values(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def readings(*sources: object) -> Readings:
    made = Readings()
    for source in sources:
        made.add(source)  # type: ignore[arg-type]
    return made


def test_sources_are_read_anew_at_each_look() -> None:
    count = 0

    def source() -> Iterator[Sample]:
        yield Sample(catalogue.BOOK_TICKS, (), count)

    made = readings(source)
    count = 5
    assert values(made.exposition()) == {("trinity_book_ticks_total",): 5}
    count = 6
    assert values(made.exposition()) == {("trinity_book_ticks_total",): 6}


def test_values_of_several_sources_with_the_same_labels_are_added_up() -> None:
    def histogram(value: float) -> Histogram:
        made = Histogram(LATENCY_BOUNDS)
        made.add(value)
        return made

    made = readings(
        lambda: [Sample(catalogue.LIMIT_HITS, ("a",), 1), Sample(catalogue.LANE_DURATION, (), histogram(0.5))],
        lambda: [Sample(catalogue.LIMIT_HITS, ("a",), 2), Sample(catalogue.LANE_DURATION, (), histogram(7))],
    )
    told = values(made.exposition())
    assert told["trinity_limit_hits_total", "limit=a"] == 3
    assert told["trinity_http_lane_duration_seconds_count",] == 2
    assert told["trinity_http_lane_duration_seconds_sum",] == 7.5
    assert told["trinity_http_lane_duration_seconds_bucket", "le=0.5"] == 1
    assert told["trinity_http_lane_duration_seconds_bucket", "le=+Inf"] == 2


def test_a_source_that_fails_is_left_out_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterator[Sample]:
        raise RuntimeError("boom")

    made = readings(broken, lambda: [Sample(catalogue.BOOK_TICKS, (), 1)])
    assert values(made.exposition()) == {("trinity_book_ticks_total",): 1}
    assert made.failures == 1
    assert "cannot be read" in caplog.text


def test_a_source_is_read_no_more_once_its_part_has_ended() -> None:
    made = Readings()
    with made.reading(lambda: [Sample(catalogue.BOOK_TICKS, (), 1)]):
        assert values(made.exposition())
    assert values(made.exposition()) == {}


@pytest.mark.parametrize("where", ["unix", "tcp"])
async def test_metrics_are_served_to_whoever_asks_for_them(where: str, tmp_path: Path) -> None:
    async def page() -> bytes:
        return b"a_total 1\n"

    address = f"unix:{tmp_path}/m.sock" if where == "unix" else "127.0.0.1:0"
    async with metrics_listener(address, {METRICS: page}) as told:
        assert await scrape(told, timeout_s=20) == b"a_total 1\n"
        with pytest.raises(TrinityError):
            await scrape(told, page="/else", timeout_s=20)
    if where == "unix":
        assert not (tmp_path / "m.sock").exists()
    with pytest.raises(TrinityError) as caught:
        await scrape(told, timeout_s=20)
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_the_socket_of_metrics_is_for_its_own_user_alone(tmp_path: Path) -> None:
    async def page() -> bytes:
        return b""

    async with metrics_listener(f"unix:{tmp_path}/m.sock", {METRICS: page}):
        assert (tmp_path / "m.sock").stat().st_mode & 0o777 == 0o600


async def test_an_address_that_is_taken_is_named_with_what_to_do() -> None:
    async def page() -> bytes:
        return b""

    async with metrics_listener("127.0.0.1:0", {METRICS: page}) as taken:
        with pytest.raises(TrinityError, match=f"{taken}.*TRINITY_TELEMETRY_LISTEN"):
            async with metrics_listener(taken, {METRICS: page}):
                raise AssertionError("it was taken")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", b"200"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"\x16\x03\x01 junk\r\n\r\n", b"404"),
    ],
)
async def test_a_request_gets_its_answer_and_the_connection_ends(request_bytes: bytes, status: bytes) -> None:
    async def page() -> bytes:
        return b"a_total 1\n"

    async with metrics_listener("127.0.0.1:0", {METRICS: page}) as told:
        host, _, port = told.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_bytes)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.split()[1] == status
    assert body == b"" if request_bytes.startswith(b"HEAD") else body


async def test_a_head_that_never_ends_is_not_waited_for_without_bound() -> None:
    async def page() -> bytes:
        return b""

    async with metrics_listener("127.0.0.1:0", {METRICS: page}) as told:
        host, _, port = told.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert await reader.read() == b""
        writer.close()


def test_the_metrics_of_a_mesh_are_those_of_its_processes_each_with_its_name() -> None:
    one = readings(lambda: [Sample(catalogue.BOOK_TICKS, (), 1), Sample(catalogue.VENUE_LAG, ("okx",), 0.5)])
    two = readings(lambda: [Sample(catalogue.BOOK_TICKS, (), 2)])
    text = merged({"price": one.exposition(), "price-2": two.exposition()})
    assert values(text) == {
        ("trinity_book_ticks_total", "process=price"): 1,
        ("trinity_book_ticks_total", "process=price-2"): 2,
        ("trinity_venue_lag_seconds", "process=price", "venue=okx"): 0.5,
    }
    assert text.count(b"# TYPE trinity_book_ticks_total") == 1
