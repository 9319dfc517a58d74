"""Streams over HTTP: what each framing looks like, and how its three ends differ: done, failed, cut."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from bridge_stage import SERVICE, Stage, error_of, shelf_stage, until
from trinity_http.resume import FieldsResume
from trinity_http.settings import GatewaySettings, HttpLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")
NDJSON, EVENTS = "application/x-ndjson", "text/event-stream"


async def broken_off(stage: Stage, path: str, accept: str) -> bytes:
    """The body of a stream that must not end whole."""
    body = b""
    async with stage.client.stream("GET", path, headers={"accept": accept}) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            async for part in response.aiter_raw():
                body += part
    return body


async def test_a_stream_is_a_json_array_by_default(stage: Stage) -> None:
    for accept in ("*/*", "application/json", "text/html, application/json;q=0.9"):
        response = await stage.get("/v1/count?to=3", accept=accept)
        assert response.headers["content-type"] == "application/json"
        assert [item["number"] for item in response.json()] == ["1", "2", "3"]
    assert (await stage.get("/v1/count")).json() == []


async def test_a_stream_is_one_object_a_line_on_request(stage: Stage) -> None:
    response = await stage.get("/v1/count?to=3", accept=NDJSON)
    assert response.headers["content-type"] == NDJSON
    assert [json.loads(line)["number"] for line in response.text.splitlines()] == ["1", "2", "3"]
    assert response.text.endswith("\n")


async def test_a_stream_is_events_on_request_and_says_when_it_is_done(stage: Stage) -> None:
    response = await stage.get("/v1/count?to=2", accept=EVENTS)
    assert response.headers["content-type"] == EVENTS
    assert response.headers["cache-control"] == "no-store"
    events = response.text.split("\n\n")
    assert events == [
        'data: {"number":"1","padding":""}',
        'data: {"number":"2","padding":""}',
        "event: end\ndata: {}",
        "",
    ]


async def test_what_a_client_likes_best_is_chosen(stage: Stage) -> None:
    response = await stage.get("/v1/count?to=1", accept="application/json;q=0.5, text/event-stream, */*;q=0.1")
    assert response.headers["content-type"] == EVENTS
    assert error_of(await stage.get("/v1/count?to=1", accept="text/csv")) == (406, "NOT_ACCEPTABLE")


async def test_a_failure_before_the_first_message_is_a_status(stage: Stage) -> None:
    for accept in ("*/*", NDJSON, EVENTS):
        assert error_of(await stage.get("/v1/count?to=x", accept=accept)) == (400, "INVALID_FIELD")
    assert error_of(await stage.get("/v1/count?to=3&nobody=1")) == (400, "UNKNOWN_PARAMETER")
    response = await stage.client.get("/v1/count?to=1&silent_after=1", headers={"grpc-timeout": "0n"})
    assert error_of(response) == (504, "DEADLINE_EXCEEDED")


async def test_a_failed_array_has_its_error_last_and_stays_open(stage: Stage) -> None:
    body = await broken_off(stage, "/v1/count?to=5&fail_after=2", "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    items = json.loads(body + b"]")
    assert [item["number"] for item in items[:2]] == ["1", "2"]
    assert items[2]["error"]["code"] == 15
    assert len(items) == 3


async def test_failed_lines_have_their_error_last(stage: Stage) -> None:
    body = await broken_off(stage, "/v1/count?to=5&fail_after=2", NDJSON)
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line.get("number") for line in lines] == ["1", "2", None]
    assert lines[2]["error"]["message"] == "lost count"


async def test_failed_events_have_an_event_of_their_own(stage: Stage) -> None:
    body = await broken_off(stage, "/v1/count?to=5&fail_after=2", EVENTS)
    last = body.decode().split("\n\n")[-2].split("\n")
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["code"] == 15
    assert b"event: end" not in body


async def test_bytes_are_joined_and_a_failure_breaks_them_off(stage: Stage) -> None:
    response = await stage.get("/v1/files/a/b:stream")
    assert (response.headers["content-type"], response.content) == ("text/csv", b"one,two,three")
    assert await broken_off(stage, "/v1/files/a:stream?note=fail", "*/*") == b"one,two,three"


async def test_a_deadline_that_passes_in_mid_stream_is_shown(stage: Stage) -> None:
    body = await broken_off_with(stage, "/v1/count?to=2&silent_after=1", {"accept": NDJSON, "x-request-timeout": "0.3"})
    assert json.loads(body.splitlines()[-1])["error"]["code"] == 4


async def broken_off_with(stage: Stage, path: str, headers: dict[str, str]) -> bytes:
    body = b""
    async with stage.client.stream("GET", path, headers=headers) as response:
        with pytest.raises(httpx.RemoteProtocolError):
            async for part in response.aiter_raw():
                body += part
    return body


@pytest.mark.parametrize("accept", ["application/json", NDJSON, EVENTS])
async def test_a_service_that_falls_silent_for_too_long_counts_as_lost(
    shelf_set: bytes, tmp_path: Path, accept: str
) -> None:
    patience = {f"{SERVICE}.Count": lambda request: 0.3}
    async with shelf_stage(shelf_set, tmp_path, patience=patience) as stage:
        body = await broken_off(stage, "/v1/count?to=2&silent_after=2", accept)
        assert b"fell silent" in body
        assert await asyncio.wait_for(stage.shelf.cancelled.get(), 20) == "Count"


async def test_a_silent_stream_of_events_is_kept_alive_by_comments(stage: Stage) -> None:
    async with stage.client.stream("GET", "/v1/count?to=2&silent_after=1", headers={"accept": EVENTS}) as response:
        seen = ""
        async for part in response.aiter_text():
            seen += part
            if seen.count(": nothing new\n\n") == 2:
                break
    assert seen.startswith('data: {"number":"1"')
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Count"


async def test_a_client_that_goes_away_cancels_its_stream(stage: Stage) -> None:
    async with stage.client.stream("GET", "/v1/count?to=2&silent_after=1", headers={"accept": NDJSON}) as response:
        assert await anext(response.aiter_lines())
        assert len(stage.app.state.bridge.core.streams) == 1
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Count"
    await until(lambda: not stage.app.state.bridge.core.streams)


async def test_an_open_stream_shows_its_headers_before_its_first_message(stage: Stage) -> None:
    async with stage.client.stream("POST", "/v1/sum:running", json=[]) as response:
        assert response.status_code == 200
        assert await response.aread() == b"[]"


async def test_a_slow_client_holds_the_service_back(shelf_set: bytes, tmp_path: Path) -> None:
    limits = HttpLimits(write_buffer_bytes=16_384, send_buffer_bytes=16_384, drain_ms=1_000)
    async with shelf_stage(shelf_set, tmp_path, limits=limits) as stage:
        reader, writer = await stage.connect()
        writer.write(b"GET /v1/count?to=2000&padding=65536 HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        counted, still = -1, 0
        async with asyncio.timeout(20):
            while still < 20:
                await asyncio.sleep(0.01)
                still = still + 1 if stage.shelf.counted == counted else 0
                counted = stage.shelf.counted
        # 2,000 messages are 128 MiB; what is under way is bounded by buffers, not by the stream.
        assert counted < 300
        writer.transport.abort()
        await until(lambda: not stage.app.state.bridge.core.streams)


async def test_a_stream_goes_on_where_the_client_says(shelf_set: bytes, tmp_path: Path) -> None:
    from trinity_http.contract import Contract

    types = Contract.of(shelf_set).types
    request, response = types.find("shelf.v1.CountRequest"), types.find("shelf.v1.CountReply")
    assert request is not None
    assert response is not None
    resume = FieldsResume(request=request.DESCRIPTOR, response=response.DESCRIPTOR, ids=["number"], resumes=["from"])
    async with shelf_stage(shelf_set, tmp_path, resumes={"shelf.v1.Shelf.Count": resume}) as stage:
        first = await stage.get("/v1/count?to=2&from=5", accept=EVENTS)
        assert [line for line in first.text.splitlines() if line.startswith("id")] == ["id: 6", "id: 7"]
        again = await stage.get("/v1/count?to=1&from=5", accept=EVENTS, last_event_id="7")
        assert '"number":"8"' in again.text
        for wrong in ("x", "7-1", "-1", "99999999999999999999999", "18446744073709551616"):
            bad = await stage.get("/v1/count?to=1", accept=EVENTS, last_event_id=wrong)
            assert error_of(bad) == (400, "INVALID_FIELD")
    with pytest.raises(ValueError, match="no uint64 field to"):
        FieldsResume(request=request.DESCRIPTOR, response=response.DESCRIPTOR, ids=["number"], resumes=["to"])


async def test_one_stream_more_than_the_bound_is_refused(shelf_set: bytes, tmp_path: Path) -> None:
    async with shelf_stage(shelf_set, tmp_path, settings=GatewaySettings(streams_max=1)) as stage:
        path = "/v1/count?to=2&silent_after=1"
        async with stage.client.stream("GET", path, headers={"accept": NDJSON}) as response:
            assert await anext(response.aiter_lines())
            refused = await stage.get(path)
            assert error_of(refused) == (429, "TOO_MANY_STREAMS")
            assert refused.headers["retry-after"] == "1"


async def test_a_gateway_that_stops_tells_its_streams_and_ends(shelf_set: bytes, tmp_path: Path) -> None:
    async with shelf_stage(shelf_set, tmp_path) as stage:
        async with stage.client.stream("GET", "/v1/count?to=2&silent_after=1", headers={"accept": NDJSON}) as response:
            lines = response.aiter_lines()
            assert await anext(lines)
            stage.stopping.set()
            last = json.loads(await anext(lines))
            assert last["error"]["details"][0]["reason"] == "STOPPING"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(lines)
        await asyncio.wait_for(stage.serving, 10)


async def test_a_stream_over_http_1_0_is_refused(stage: Stage) -> None:
    answer = await stage.raw(b"GET /v1/count?to=1 HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 501 ")
    unary = await stage.raw(b"GET /v1/any/x HTTP/1.0\r\n\r\n")
    assert unary.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in unary.lower()
