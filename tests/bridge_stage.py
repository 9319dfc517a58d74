"""A stranger's service behind the bridge: real gRPC over a Unix socket, a real HTTP server in front."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.api
import grpc
import grpc.aio
import httpx
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

from trinity_http.app import create_app
from trinity_http.contract import Contract
from trinity_http.guard import ConnectionGuard
from trinity_http.server import listen_http, serve_http
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.clock import SystemClock

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "tests/http/protos"
SERVICE = "shelf.v1.Shelf"


def descriptor_set(folder: Path, *files: str, source_info: bool = True) -> bytes:
    """Compile .proto files below tests/http/protos, or below `folder`, into a descriptor set."""
    foreign = Path(next(iter(google.api.__path__))).parent.parent
    builtin = importlib.resources.files("grpc_tools") / "_proto"
    out = folder / "set.binpb"
    words = ["protoc", f"-I{PROTOS}", f"-I{folder}", f"-I{ROOT / 'protos'}", f"-I{foreign}", f"-I{builtin}"]
    words += ["--include_imports", f"--descriptor_set_out={out}", *(["--include_source_info"] if source_info else [])]
    assert protoc.main([*words, *files]) == 0
    return out.read_bytes()


class ShelfServer:
    """Answers every method of shelf.v1.Shelf, and remembers what it was asked."""

    def __init__(self, contract: Contract) -> None:
        self.types = contract.types
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.release = asyncio.Event()
        self.counted = 0
        self._methods = {method.name: method for method in contract.methods}

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: self._handler_of(name, method) for name, method in self._methods.items()}
        )

    def message(self, kind_name: str, /, **fields: Any) -> Any:
        kind = self.types.find(f"shelf.v1.{kind_name}")
        assert kind is not None
        return kind(**fields)

    def _handler_of(self, name: str, method: Any) -> Any:
        kinds = {True: "stream", False: "unary"}
        make = getattr(grpc, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}_rpc_method_handler")
        act = getattr(self, f"_{name}", self._echo)
        request_type = self.types.of(method.input)
        if method.client_streaming:
            behaviour = act
        elif method.server_streaming:

            async def behaviour(request: Any, context: Any) -> Any:
                self.requests[name].append(request)
                async for reply in act(request, context):
                    yield reply

        else:

            async def behaviour(request: Any, context: Any) -> Any:
                self.requests[name].append(request)
                return await act(request, context)

        return make(behaviour, request_deserializer=request_type.FromString, response_serializer=_serialize)

    async def _echo(self, request: Any, context: Any) -> Any:
        return request

    async def _Echo(self, request: Any, context: Any) -> Any:
        if request.text == "unwritable":
            request.value.number_value = float("inf")
        return b"\xff" if request.text == "garbage" else request

    async def _GetBook(self, request: Any, context: Any) -> Any:
        return self.message("Book", name=request.name, title="On Shelves", page_count=12, cover=2)

    _LockBook = _AnyMethod = _GetBook

    async def _PrintBook(self, request: Any, context: Any) -> Any:
        book = self.message("Book", name=request.name, title="On Shelves")
        if request.form != "plain":
            return self.message("PrintBookReply", book=book)
        return self.message("PrintBookReply", print=self.http_body("text/plain", b"On Shelves\n"))

    async def _ListBooks(self, request: Any, context: Any) -> Any:
        books = [self.message("Book", name=f"{request.parent}/books/{tag}", title=tag) for tag in request.tags]
        return self.message("ListBooksResponse", books=books, next_page_token="more")

    async def _CreateBook(self, request: Any, context: Any) -> Any:
        request.book.name = f"{request.parent}/books/1"
        return request.book

    async def _DeleteBook(self, request: Any, context: Any) -> Any:
        kind = self.types.find("google.protobuf.Empty")
        assert kind is not None
        return kind()

    async def _GetFile(self, request: Any, context: Any) -> Any:
        return self.http_body("text/markdown", f"# {request.path}".encode())

    async def _PutFile(self, request: Any, context: Any) -> Any:
        content = request.content
        return self.message(
            "FileReply",
            path=request.path,
            content_type=content.content_type,
            size=len(content.data),
            note=request.note,
            content=content,
        )

    async def _StreamFile(self, request: Any, context: Any) -> Any:
        if request.note == "late":
            self.waiting.put_nowait("StreamFile")
            await self.release.wait()
        await context.send_initial_metadata((("x-shelf", "oak"), ("x-secret", "no")))
        if request.note == "torn at once":
            await context.abort(grpc.StatusCode.DATA_LOSS, "torn page")
        context.set_trailing_metadata((("x-pages", "3"), ("x-secret", "no"), ("x-blob-bin", b"\x00")))
        for part in (b"one,", b"two,", b"three"):
            yield self.http_body("text/csv", part)
        if request.note == "fail":
            await context.abort(grpc.StatusCode.DATA_LOSS, "torn page")

    async def _Fail(self, request: Any, context: Any) -> Any:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        if not request.detailed:
            await context.abort(code, request.message)
        status = status_pb2.Status(code=request.code, message=request.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason="TORN", domain="shelf.test", metadata={"page": "7"})
        )
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(1_500)
        status.details.add().Pack(retry)
        status.details.add().Pack(self.message("Author", given_name="Ada"))
        status.details.add(type_url="type.googleapis.com/nobody.knows.This", value=b"\x01")
        await context.abort(code, request.message, (("grpc-status-details-bin", status.SerializeToString()),))

    async def _Wait(self, request: Any, context: Any) -> Any:
        left = context.time_remaining()
        await context.send_initial_metadata((("x-shelf", "oak"), ("x-secret", "no")))
        if request.id == "long":
            self.waiting.put_nowait(request.id)
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.put_nowait("Wait")
                raise
        metadata = {
            key: value if isinstance(value, str) else value.hex() for key, value in context.invocation_metadata()
        }
        deadline_ms = -1 if left is None else round(left * 1_000)
        return self.message("WaitReply", metadata=metadata, deadline_ms=deadline_ms)

    async def _Count(self, request: Any, context: Any) -> Any:
        start = getattr(request, "from")
        self.counted = 0
        try:
            if request.silent_after != -1:
                await context.send_initial_metadata((("x-shelf", "oak"), ("x-secret", "no")))
            if request.silent_after < 0:
                self.waiting.put_nowait("Count")
                await self.release.wait()
            for number in range(1, request.to + 1):
                yield self.message("CountReply", number=start + number, padding="x" * request.padding)
                self.counted += 1
                if number == request.fail_after:
                    await context.abort(grpc.StatusCode.DATA_LOSS, "lost count")
                if number == request.silent_after:
                    self.waiting.put_nowait("Count")
                    await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait("Count")
            raise

    async def _Add(self, requests: Any, context: Any) -> Any:
        total, count, unit = 0, 0, ""
        async for number in requests:
            total, count, unit = total + number.value, count + 1, unit or number.unit
        return self.message("Sum", value=total, count=count, unit=unit)

    async def _Running(self, requests: Any, context: Any) -> Any:
        total, count = 0, 0
        async for number in requests:
            total, count = total + number.value, count + 1
            if total < 0:
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "below zero")
            yield self.message("Sum", value=total, count=count)

    def http_body(self, content_type: str, data: bytes) -> Any:
        kind = self.types.find("google.api.HttpBody")
        assert kind is not None
        return kind(content_type=content_type, data=data)


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class Stage:
    """The service, the bridge and a client."""

    def __init__(self, *, base: str, port: int, shelf: Any, app: Any, stopping: asyncio.Event, serving: Any) -> None:
        self.base = base
        self.port = port
        self.shelf = shelf
        self.app = app
        self.stopping = stopping
        self.serving = serving
        self.guard: ConnectionGuard | None = None
        self.client = httpx.AsyncClient(base_url=base, timeout=20)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return everything until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def serving_app(app: Any, *, limits: HttpLimits | None = None, clock: Any = None, shelf: Any = None) -> Any:
    """Serve an application made by `create_app` on a free port."""
    listener = listen_http("127.0.0.1:0")
    port = listener.getsockname()[1]
    stopping, up = asyncio.Event(), asyncio.Event()
    guards = []

    def on_serving(guard: ConnectionGuard) -> None:
        guards.append(guard)
        up.set()

    serving = asyncio.create_task(
        serve_http(
            app,
            sockets=[listener],
            stopping=stopping,
            clock=clock or SystemClock(),
            limits=limits or HttpLimits(drain_ms=2_000),
            on_serving=on_serving,
        )
    )
    await asyncio.wait((serving, asyncio.create_task(up.wait())), return_when=asyncio.FIRST_COMPLETED)
    stage = Stage(base=f"http://127.0.0.1:{port}", port=port, shelf=shelf, app=app, stopping=stopping, serving=serving)
    stage.guard = guards[0]
    try:
        yield stage
    finally:
        await stage.client.aclose()
        stopping.set()
        await serving


@contextlib.asynccontextmanager
async def shelf_stage(
    data: bytes,
    folder: Path,
    *,
    settings: GatewaySettings | None = None,
    limits: HttpLimits | None = None,
    clock: Any = None,
    **ports: Any,
) -> Any:
    """Everything, running."""
    contract = Contract.of(data)
    shelf = ShelfServer(contract)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((shelf.handler(),))
    address = f"unix:{folder}/shelf.sock"
    server.add_insecure_port(address)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            app = create_app(
                descriptor_set=contract,
                channels={SERVICE: channel},
                settings=settings or GatewaySettings(stream_open_ms=100, stream_keepalive_ms=100),
                **ports,
            )
            async with serving_app(app, limits=limits, clock=clock, shelf=shelf) as stage:
                yield stage
    finally:
        shelf.release.set()
        await server.stop(None)


async def until(condition: Callable[[], object]) -> None:
    """Return once a condition holds that nobody announces; fail if it does not."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def error_of(response: httpx.Response) -> tuple[int, str]:
    """HTTP status and reason of an error answer, after checking that it is a whole google.rpc.Status."""
    assert response.headers["content-type"] == "application/json"
    status = response.json()
    assert set(status) == {"code", "message", "details"}, status
    assert status["message"]
    info = detail(status, "google.rpc.ErrorInfo")
    assert info["reason"]
    assert info["domain"]
    assert detail(status, "google.rpc.RequestInfo")["requestId"] == response.headers["x-request-id"]
    return response.status_code, info["reason"]


def detail(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The one detail of a type."""
    found = [item for item in status["details"] if item["@type"] == f"type.googleapis.com/{kind}"]
    assert len(found) == 1, json.dumps(status)
    return found[0]
