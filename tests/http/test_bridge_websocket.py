"""Streams over WebSocket, and handshakes that are refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bridge_stage import Stage, shelf_stage
from trinity_http.settings import GatewaySettings, HttpLimits

pytestmark = pytest.mark.asyncio(loop_scope="module")


def open_socket(stage: Stage, path: str, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{stage.port}{path}", open_timeout=10, close_timeout=10, **options)


async def refusal(stage: Stage, path: str, **headers: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with open_socket(stage, path, additional_headers=headers):
            pass
    response = caught.value.response
    status = json.loads(response.body or b"")
    assert response.headers["content-type"] == "application/json"
    info = status["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    return response.status_code, info["reason"]


async def test_each_message_is_a_text_frame_and_the_end_is_a_clean_close(stage: Stage) -> None:
    async with open_socket(stage, "/v1/count?to=3", additional_headers={"x-request-id": "ws-1"}) as socket:
        assert socket.response.headers["x-request-id"] == "ws-1"
        numbers = [json.loads(frame)["number"] async for frame in socket]
    assert numbers == ["1", "2", "3"]
    assert socket.close_code == 1000


async def test_a_failure_is_a_last_frame_and_another_close_code(stage: Stage) -> None:
    async with open_socket(stage, "/v1/count?to=5&fail_after=1") as socket:
        assert json.loads(await socket.recv())["number"] == "1"
        assert json.loads(await socket.recv())["error"]["message"] == "lost count"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert (socket.close_code, socket.close_reason) == (1011, "DATA_LOSS")


async def test_bytes_are_binary_frames(stage: Stage) -> None:
    async with open_socket(stage, "/v1/files/a:stream") as socket:
        assert [frame async for frame in socket] == [b"one,", b"two,", b"three"]


async def test_a_handshake_is_refused_as_a_request_would_be(stage: Stage) -> None:
    assert await refusal(stage, "/nowhere") == (404, "UNKNOWN_PATH")
    assert await refusal(stage, "/docs") == (404, "UNKNOWN_PATH")
    assert await refusal(stage, "/v1/tags/x") == (405, "METHOD_NOT_ALLOWED")
    assert await refusal(stage, "/v1/count?to=x") == (400, "INVALID_FIELD")
    assert await refusal(stage, "/v1/count?too=1") == (400, "UNKNOWN_PARAMETER")
    assert await refusal(stage, "/v1/echo") == (501, "UNIMPLEMENTED")
    assert await refusal(stage, "/v1/count?to=1", **{"x-request-timeout": "no"}) == (400, "INVALID_FIELD")


async def test_what_is_no_handshake_is_told_so(stage: Stage) -> None:
    request = b"GET /v1/count HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    answer = await stage.raw(request)
    assert answer.startswith(b"HTTP/1.1 4")
    status = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert status["details"][0]["reason"] == "INVALID_REQUEST"


async def test_a_client_that_leaves_ends_the_call(stage: Stage) -> None:
    async with open_socket(stage, "/v1/count?to=2&silent_after=1") as socket:
        await socket.recv()
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Count"


async def test_a_client_may_not_talk_on_a_stream_that_takes_nothing(stage: Stage) -> None:
    async with open_socket(stage, "/v1/count?to=2&silent_after=1") as socket:
        await socket.recv()
        await socket.send("hello")
        assert json.loads(await socket.recv())["error"]["details"][0]["reason"] == "UNIMPLEMENTED"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert socket.close_code == 1008
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Count"


async def test_requests_and_answers_cross_on_one_socket(stage: Stage) -> None:
    async with open_socket(stage, "/v1/sum:running") as socket:
        for value, total in ((1, "1"), (5, "6"), ("-3", "3")):
            await socket.send(json.dumps({"value": value}))
            assert json.loads(await socket.recv())["value"] == total
        await socket.send(json.dumps({"value": -100}))
        assert json.loads(await socket.recv())["error"]["message"] == "below zero"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


@pytest.mark.parametrize("frame", ["{", "[]", '{"valu":1}', '{"value":5000}', b"{}"])
async def test_a_frame_that_is_no_request_ends_the_stream_with_the_reason(stage: Stage, frame: str | bytes) -> None:
    async with open_socket(stage, "/v1/sum:running") as socket:
        await socket.send(frame)
        assert json.loads(await socket.recv())["error"]["code"] in (3, 12)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008


async def test_a_frame_beyond_the_bound_closes_the_socket(shelf_set: bytes, tmp_path: Path) -> None:
    limits = HttpLimits(websocket_message_bytes_max=1_000, drain_ms=1_000)
    async with (
        shelf_stage(shelf_set, tmp_path, limits=limits) as stage,
        open_socket(stage, "/v1/sum:running") as socket,
    ):
        await socket.send("x" * 2_000)
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009


async def test_a_gateway_that_stops_closes_its_sockets_as_restarting(shelf_set: bytes, tmp_path: Path) -> None:
    async with shelf_stage(shelf_set, tmp_path, settings=GatewaySettings(stream_open_ms=50)) as stage:
        async with open_socket(stage, "/v1/count?to=2&silent_after=1") as socket:
            await socket.recv()
            stage.stopping.set()
            assert json.loads(await socket.recv())["error"]["details"][0]["reason"] == "STOPPING"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1012
        await asyncio.wait_for(stage.serving, 10)
