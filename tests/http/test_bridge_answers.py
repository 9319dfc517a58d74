"""Answers and errors: headers, methods, deadlines, metadata, and failures of the service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from bridge_stage import SERVICE, Stage, detail, error_of, serving_app, shelf_stage
from trinity_core.errors import HTTP_STATUS, Code
from trinity_http.app import create_app
from trinity_http.settings import GatewaySettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOOK = "/v1/shelves/1/books/2"


async def test_an_answer_is_compact_json_with_its_length_and_id(stage: Stage) -> None:
    response = await stage.get(BOOK)
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.content.startswith(
        b'{"name":"shelves/1/books/2","title":"On Shelves","pageCount":12,"cover":"COVER_HARD"'
    )


async def test_the_clients_request_id_is_kept_and_a_bad_one_is_not(stage: Stage) -> None:
    assert (await stage.get(BOOK, x_request_id="abc-1")).headers["x-request-id"] == "abc-1"
    given = "x" * 65
    assert (await stage.get(BOOK, x_request_id=given)).headers["x-request-id"] != given
    first, second = await stage.get(BOOK), await stage.get(BOOK)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert error_of(await stage.get("/nowhere", x_request_id="mine")) == (404, "UNKNOWN_PATH")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", BOOK, "DELETE, GET, HEAD, LOCK, OPTIONS, PATCH, PUT"),
        ("GET", BOOK + ":publish", None),
        ("DELETE", "/v1/echo", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/docs", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    stage: Stage, method: str, path: str, allow: str | None
) -> None:
    response = await stage.client.request(method, path)
    if allow is None:
        assert response.status_code == 200
        return
    assert error_of(response) == (405, "METHOD_NOT_ALLOWED")
    assert sorted(response.headers["allow"].split(", ")) == allow.split(", ")


async def test_head_is_get_without_its_body(stage: Stage) -> None:
    head, get = await stage.client.head(BOOK), await stage.get(BOOK)
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    missing = await stage.client.head("/nowhere")
    assert (missing.status_code, missing.content) == (404, b"")
    assert (await stage.client.head("/v1/count")).headers["content-type"] == "application/json"


async def test_options_tell_what_a_path_takes(stage: Stage) -> None:
    response = await stage.client.options("/v1/echo")
    assert (response.status_code, response.headers["allow"], response.content) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert error_of(await stage.client.options("/nowhere")) == (404, "UNKNOWN_PATH")


async def test_a_path_of_nobody_is_404_and_names_the_nearest(stage: Stage) -> None:
    response = await stage.get("/v1/ecko")
    assert error_of(response) == (404, "UNKNOWN_PATH")
    assert "did you mean /v1/echo?" in response.json()["message"]
    assert error_of(await stage.get("/v1/shelves/1/books/")) == (404, "UNKNOWN_PATH")
    assert error_of(await stage.get("/v1/echo/%zz")) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("text/html, application/*;q=0.1", 200),
        ("*/*;q=0.5, text/html", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/json;q=0, */*", 406),
        ("text/event-stream", 406),
    ],
)
async def test_only_json_is_offered_for_one_answer(stage: Stage, accept: str, status: int) -> None:
    response = await stage.get(BOOK, accept=accept)
    assert response.status_code == status
    if status != 200:
        assert error_of(response) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_every_code_of_the_service_has_its_status(stage: Stage, code: Code) -> None:
    response = await stage.get(f"/v1/fail/{int(code)}?message=told")
    status, reason = error_of(response)
    assert status == HTTP_STATUS[code]
    assert response.json()["code"] == code
    assert response.json()["message"] == "told"
    if code is not Code.DEADLINE_EXCEEDED:
        assert reason == code.name
        assert detail(response.json(), "google.rpc.ErrorInfo")["domain"] == SERVICE


async def test_details_of_the_service_reach_the_client_whatever_they_are(stage: Stage) -> None:
    response = await stage.get("/v1/fail/9?message=torn&detailed=true")
    assert error_of(response) == (400, "TORN")
    assert response.headers["retry-after"] == "2"
    status = response.json()
    assert detail(status, "google.rpc.ErrorInfo")["metadata"] == {"page": "7"}
    assert detail(status, "google.rpc.RetryInfo")["retryDelay"] == "1.500s"
    assert detail(status, "shelf.v1.Author")["givenName"] == "Ada"
    assert detail(status, "nobody.knows.This")["value"] == "AQ=="


async def test_a_bearer_is_asked_for_when_the_service_wants_one(stage: Stage) -> None:
    response = await stage.get("/v1/fail/16?message=who")
    assert response.headers["www-authenticate"] == 'Bearer realm="trinity-beast"'


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({}, 8_000, 10_000),
        ({"grpc-timeout": "500m"}, 1, 500),
        ({"grpc-timeout": "3S"}, 1_000, 3_000),
        ({"x-request-timeout": "2.5"}, 1_000, 2_500),
        ({"x-request-timeout": "2s"}, 500, 2_000),
        ({"x-request-timeout": "1500ms"}, 100, 1_500),
        ({"x-request-timeout": "1", "grpc-timeout": "1H"}, 1, 1_000),
        ({"grpc-timeout": "1H"}, 50_000, 60_000),
    ],
)
async def test_the_service_is_given_the_clients_deadline(
    stage: Stage, headers: dict[str, str], least: int, most: int
) -> None:
    response = await stage.client.get("/v1/wait/short", headers=headers)
    # gRPC rounds a deadline up to the few digits that it sends.
    assert least <= int(response.json()["deadlineMs"]) <= most * 1.05


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"grpc-timeout": "1"}, 400),
        ({"grpc-timeout": "123456789S"}, 400),
        ({"grpc-timeout": "-1S"}, 400),
        ({"x-request-timeout": "soon"}, 400),
        ({"x-request-timeout": "-1"}, 400),
        ({"x-request-timeout": "1e3"}, 400),
        ({"x-request-timeout": "0"}, 504),
        ({"grpc-timeout": "0m"}, 504),
    ],
)
async def test_a_deadline_that_is_none_is_refused(stage: Stage, headers: dict[str, str], status: int) -> None:
    code, _ = error_of(await stage.client.get("/v1/wait/short", headers=headers))
    assert code == status


async def test_a_deadline_that_passes_is_504_and_the_service_is_told(stage: Stage) -> None:
    response = await stage.client.get("/v1/wait/long", headers={"x-request-timeout": "0.05"})
    assert error_of(response) == (504, "DEADLINE_EXCEEDED")
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Wait"


async def test_a_client_that_goes_away_cancels_its_call(stage: Stage) -> None:
    while not stage.shelf.waiting.empty():
        stage.shelf.waiting.get_nowait()
    _, writer = await stage.connect()
    writer.write(b"GET /v1/wait/long HTTP/1.1\r\nhost: x\r\n\r\n")
    await writer.drain()
    assert await asyncio.wait_for(stage.shelf.waiting.get(), 10) == "long"
    writer.close()
    assert await asyncio.wait_for(stage.shelf.cancelled.get(), 10) == "Wait"


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_metadata_is_the_trace_the_id_and_what_the_settings_name(shelf_set: bytes, tmp_path: Path) -> None:
    settings = GatewaySettings(forward_headers=("x-tenant", "x-blob-bin"), return_metadata=("x-shelf",))
    async with shelf_stage(shelf_set, tmp_path, settings=settings) as stage:
        headers = {"traceparent": TRACE, "tracestate": "a=1", "x-tenant": "t", "x-blob-bin": "AQI", "x-other": "no"}
        headers |= {"authorization": "Bearer secret", "x-request-id": "r1", "grpc-trace-bin": "x", "cookie": "c"}
        response = await stage.client.get("/v1/wait/short", headers=headers)
        metadata = response.json()["metadata"]
        metadata.pop("user-agent")
        assert metadata == {
            "x-request-id": "r1",
            "traceparent": TRACE,
            "tracestate": "a=1",
            "x-tenant": "t",
            "x-blob-bin": "0102",
        }
        assert response.headers["x-shelf"] == "oak"
        assert "x-secret" not in response.headers
        bad = await stage.client.get("/v1/wait/short", headers={"x-blob-bin": "!"})
        assert error_of(bad) == (400, "INVALID_FIELD")


@pytest.mark.parametrize(
    "trace",
    [
        "x",
        TRACE[:-1],
        TRACE.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        TRACE.upper(),
        TRACE + "-x",
    ],
)
async def test_a_trace_that_is_none_is_not_passed_on(stage: Stage, trace: str) -> None:
    response = await stage.client.get("/v1/wait/short", headers={"traceparent": trace, "tracestate": "a=1"})
    assert not {"traceparent", "tracestate"} & set(response.json()["metadata"])


async def test_a_service_that_is_not_there_is_503_without_its_address(shelf_set: bytes, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/nobody.sock") as channel:
        app = create_app(descriptor_set=shelf_set, channels={SERVICE: channel})
        async with serving_app(app) as stage:
            for path in (BOOK, "/v1/count"):
                response = await stage.get(path)
                assert error_of(response) == (503, "BACKEND_UNAVAILABLE")
                assert response.headers["retry-after"] == "1"
                assert "sock" not in response.text


async def test_pages_of_allowed_origins_may_call(shelf_set: bytes, tmp_path: Path) -> None:
    settings = GatewaySettings(cors_origins=("https://good.example",))
    async with shelf_stage(shelf_set, tmp_path, settings=settings) as stage:
        good = await stage.get(BOOK, origin="https://good.example")
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        assert "x-request-id" in good.headers["access-control-expose-headers"]
        assert good.headers["vary"] == "origin"
        bad = await stage.get(BOOK, origin="https://bad.example")
        assert "access-control-allow-origin" not in bad.headers
        headers = {"origin": "https://good.example", "access-control-request-method": "PUT"}
        headers["access-control-request-headers"] = "authorization"
        preflight = await stage.client.options(BOOK, headers=headers)
        assert preflight.status_code == 204
        assert "PUT" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        refused = await stage.client.options(BOOK, headers=headers | {"origin": "https://bad.example"})
        assert "access-control-allow-methods" not in refused.headers
        failed = await stage.get("/nowhere", origin="https://good.example")
        assert failed.headers["access-control-allow-origin"] == "https://good.example"


async def test_unknown_names_are_ignored_where_the_settings_say_so(shelf_set: bytes, tmp_path: Path) -> None:
    async with shelf_stage(shelf_set, tmp_path, settings=GatewaySettings(ignore_unknown_fields=True)) as stage:
        assert (await stage.get("/v1/echo?nobody=1&small=2")).json()["small"] == 2
        answer = await stage.client.post("/v1/echo", json={"nobody": [1], "small": 2})
        assert answer.json()["small"] == 2
        assert error_of(await stage.get("/v1/echo?small=x")) == (400, "INVALID_FIELD")


async def test_a_client_stream_is_an_array_or_lines(stage: Stage) -> None:
    array = await stage.client.post("/v1/sum", json=[{"value": 1}, {"value": "2"}, {}])
    assert array.json() == {"value": "3", "count": 3, "unit": ""}
    lines = b'{"value":1}\n\n{"value":5}\r\n'
    headers = {"content-type": "application/x-ndjson"}
    assert (await stage.client.post("/v1/sum/kg", content=lines, headers=headers)).json() == {
        "value": "6",
        "count": 2,
        "unit": "kg",
    }
    assert (await stage.client.post("/v1/sum", json=[])).json()["count"] == 0
    running = await stage.client.post("/v1/sum:running", json=[{"value": 1}, {"value": 2}])
    assert [item["value"] for item in running.json()] == ["1", "3"]


@pytest.mark.parametrize(
    "body", [b"{}", b'[{"value":1},{"valu":2}]', b'[{"value":1},2]', b'[{"value":2000}]', b"[", b"[{}]x"]
)
async def test_a_client_stream_with_a_bad_item_is_refused_before_the_first_is_sent(stage: Stage, body: bytes) -> None:
    response = await stage.client.post("/v1/sum", content=body, headers={"content-type": "application/json"})
    assert error_of(response)[0] == 400


async def test_an_unforeseen_error_is_500_and_tells_nothing(
    shelf_set: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        conditional: frozenset[str] = frozenset()

        def answer(self, method: str, request: object) -> None:
            raise ZeroDivisionError("the secret")

    async with shelf_stage(shelf_set, tmp_path, local=Broken()) as stage:
        response = await stage.get(BOOK)
        assert error_of(response) == (500, "INTERNAL")
        assert "secret" not in response.text
        assert response.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize("text", ["unwritable", "garbage"])
async def test_an_answer_that_cannot_be_read_or_written_is_an_error_of_the_service(stage: Stage, text: str) -> None:
    assert error_of(await stage.get(f"/v1/echo?text={text}")) == (500, "BACKEND_ERROR")


async def test_middleware_that_is_added_sees_every_request(shelf_set: bytes, tmp_path: Path) -> None:
    async with shelf_stage(shelf_set, tmp_path) as stage:
        seen: list[str] = []

        class Seeing:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                seen.append(scope["path"])
                await self.app(scope, receive, send)

        plain = await stage.get(BOOK, x_request_id="same")
        stage.app.add_middleware(Seeing)
        answer = await stage.get(BOOK, x_request_id="same")
        assert (answer.status_code, answer.headers, answer.content) == (200, plain.headers, plain.content)
        assert (await stage.get("/healthz")).status_code == 200
        assert error_of(await stage.get("/nowhere")) == (404, "UNKNOWN_PATH")
        assert seen == [BOOK, "/healthz", "/nowhere"]


async def test_an_unforeseen_error_on_the_gateways_own_pages_is_a_status_too(shelf_set: bytes, tmp_path: Path) -> None:
    def ready() -> list[str]:
        raise ZeroDivisionError("the secret")

    async with shelf_stage(shelf_set, tmp_path, ready=ready) as stage:
        response = await stage.get("/readyz")
        assert error_of(response) == (500, "INTERNAL")
        assert "secret" not in response.text
