"""What services tell beside their messages: at the beginning as headers, at the end of bytes as trailers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from bridge_stage import Stage, error_of, shelf_stage
from raw_http import RawAnswer, parse_answer
from trinity_http.settings import GatewaySettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = GatewaySettings(
    stream_open_ms=50,
    stream_keepalive_ms=100,
    return_metadata=("x-shelf",),
    return_trailers=("x-pages", "x-sum", "x-blob-bin"),
)


class TrailerPages:
    """Middleware with pages of its own that send trailers as ASGI has them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/pages/"):
            await self._app(scope, receive, send)
            return
        assert scope["extensions"] == {"http.response.trailers": {}}
        page = scope["path"].removeprefix("/pages/")
        headers = [(b"content-length", b"4")] if page == "sized" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": b"bo", "more_body": True})
        await send({"type": "http.response.body", "body": b"dy"})
        if page == "forgotten":
            return
        name, value = {
            "broken-name": (b"a b", b"1"),
            "broken-value": (b"a", b"1\r\nb: 2"),
        }.get(page, (b"a", b"1"))
        await send({"type": "http.response.trailers", "headers": [(name, value)], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"b", b"2")]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def telling(shelf_set: bytes, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("telling")
    async with shelf_stage(shelf_set, folder, settings=SETTINGS) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def paged(shelf_set: bytes, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("paged")
    async with shelf_stage(shelf_set, folder) as stage:
        stage.app.add_middleware(TrailerPages)
        yield stage


async def ask(stage: Stage, path: str, *, method: str = "GET", close: bool = True) -> RawAnswer:
    connection = b"connection: close\r\n" if close else b""
    return parse_answer(await stage.raw(f"{method} {path} HTTP/1.1\r\nhost: x\r\n".encode() + connection + b"\r\n"))


async def test_bytes_end_with_the_trailers_that_are_allowed_and_were_announced(telling: Stage) -> None:
    answer = await ask(telling, "/v1/files/a:stream")
    assert (answer.body, answer.headers["content-type"]) == (b"one,two,three", "text/csv")
    assert answer.headers["trailer"] == "x-pages, x-sum, x-blob-bin"
    assert answer.trailers == [("x-pages", "3")]
    assert answer.after == b""


async def test_a_connection_goes_on_behind_trailers(telling: Stage) -> None:
    request = b"GET /v1/files/a:stream HTTP/1.1\r\nhost: x\r\n"
    # The second request waits in the pipeline while the first is answered.
    first = parse_answer(await telling.raw(request + b"\r\n" + request + b"connection: close\r\n\r\n"))
    second = parse_answer(first.after)
    assert first.trailers == second.trailers == [("x-pages", "3")]
    assert (first.body, second.after) == (second.body, b"")
    async with httpx.AsyncClient(base_url=telling.base) as client:
        for _ in range(3):
            assert (await client.get("/v1/files/a:stream")).content == b"one,two,three"


async def test_bytes_that_break_off_have_no_trailers(telling: Stage) -> None:
    answer = await ask(telling, "/v1/files/a:stream?note=fail", close=False)
    assert (answer.status, answer.body, answer.trailers) == (200, b"one,two,three", None)
    assert answer.after == b""


async def test_an_error_before_the_first_byte_is_an_ordinary_answer(telling: Stage) -> None:
    response = await telling.get("/v1/files/a:stream?note=torn%20at%20once")
    assert error_of(response) == (500, "DATA_LOSS")
    assert "trailer" not in response.headers


async def test_streams_of_messages_have_headers_but_no_trailers(telling: Stage) -> None:
    for path in ("/v1/count?to=2", "/v1/count"):
        answer = await ask(telling, path)
        assert answer.headers["x-shelf"] == "oak"
        assert answer.trailers == []
        assert not {"trailer", "x-secret"} & set(answer.headers)


async def test_head_announces_nothing(telling: Stage) -> None:
    head = await telling.raw(b"HEAD /v1/files/a:stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert b"trailer" not in head


async def test_a_silent_stream_is_opened_with_what_was_told_by_then(telling: Stage) -> None:
    for silent, told in (("-2", "oak"), ("-1", None)):
        telling.shelf.release.clear()
        async with telling.client.stream("GET", f"/v1/count?to=2&silent_after={silent}") as response:
            assert (response.status_code, response.headers.get("x-shelf")) == (200, told)
            telling.shelf.release.set()
            await response.aread()
            assert [item["number"] for item in response.json()] == ["1", "2"]


async def test_bytes_wait_for_the_first_of_them_which_tell_what_they_are(telling: Stage) -> None:
    telling.shelf.release.clear()
    asked = asyncio.create_task(telling.get("/v1/files/a:stream?note=late"))
    while await asyncio.wait_for(telling.shelf.waiting.get(), 20) != "StreamFile":
        pass
    # Longer than `stream_open_ms`: a stream of messages would be open by now.
    assert not (await asyncio.wait((asked,), timeout=0.2))[0]
    telling.shelf.release.set()
    response = await asked
    assert (response.headers["content-type"], response.headers["x-shelf"]) == ("text/csv", "oak")
    assert response.content == b"one,two,three"


async def test_a_websocket_is_told_with_its_handshake(telling: Stage) -> None:
    async with connect(f"{telling.base.replace('http', 'ws')}/v1/count?to=1") as socket:
        assert socket.response is not None
        assert socket.response.headers["x-shelf"] == "oak"
        assert "x-secret" not in socket.response.headers


async def test_nothing_is_told_unless_the_settings_say_so(stage: Stage) -> None:
    for path in ("/v1/files/a:stream", "/v1/count?to=2"):
        answer = await ask(stage, path)
        assert answer.trailers == []
        assert not {"trailer", "x-shelf", "x-secret"} & set(answer.headers)


async def test_any_application_may_send_trailers_in_parts(paged: Stage) -> None:
    answer = await ask(paged, "/pages/whole")
    assert (answer.body, answer.trailers, answer.after) == (b"body", [("a", "1"), ("b", "2")], b"")
    async with httpx.AsyncClient(base_url=paged.base) as client:
        for _ in range(2):
            assert (await client.get("/pages/whole")).content == b"body"


async def test_an_answer_of_a_known_length_ends_with_its_body(paged: Stage) -> None:
    answer = await ask(paged, "/pages/sized")
    assert (answer.body, answer.after) == (b"body", b"")
    head = await paged.raw(b"HEAD /pages/whole HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert head.partition(b"\r\n\r\n")[2] == b""


async def test_trailers_that_never_come_leave_the_answer_incomplete(paged: Stage) -> None:
    answer = await ask(paged, "/pages/forgotten", close=False)
    assert (answer.body, answer.trailers) == (b"body", None)


@pytest.mark.parametrize("page", ["broken-name", "broken-value"])
async def test_what_is_no_trailer_is_never_written(paged: Stage, caplog: pytest.LogCaptureFixture, page: str) -> None:
    answer = await ask(paged, f"/pages/{page}", close=False)
    assert (answer.body, answer.trailers, answer.after) == (b"body", None, b"")
    assert "is no trailer" in caplog.text


@pytest.mark.parametrize("name", ["content-length", "trailer", "set-cookie", "cache-control", "X-Upper", "grpc-status"])
async def test_what_must_be_known_before_the_body_is_no_trailer(name: str) -> None:
    with pytest.raises(ValueError, match="return_trailers"):
        GatewaySettings(return_trailers=(name,))
