"""The gateway as a FastAPI application, made of a descriptor set: routes, OpenAPI document, /docs, health.

    app = create_app(descriptor_set=data, channels={"acme.v1.Library": channel}, settings=GatewaySettings(), …)

FastAPI carries the application: its router, its middleware, its documentation page. The
routes of the contract are one ASGI application inside it (`bridge.py`), because what
FastAPI does for a hand-written route, once a field, would be done here for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import grpc.aio
import msgspec
from fastapi import FastAPI
from fastapi import Request as FastRequest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound, Route
from starlette.types import Receive, Scope, Send

from trinity_core.errors import Reason, TrinityError
from trinity_http.answer import Admission, Authenticator, LocalAnswers
from trinity_http.bridge import Bridge
from trinity_http.contract import Contract
from trinity_http.core import Core
from trinity_http.docs_page import DocsPage
from trinity_http.failures import UNFORESEEN
from trinity_http.live import LiveStreams
from trinity_http.metering import HttpMeter
from trinity_http.openapi import openapi_document
from trinity_http.request import Request
from trinity_http.resume import Patience, StreamResume
from trinity_http.settings import GatewaySettings

Ready = Callable[[], Sequence[str]]
"""Says why the gateway is not ready, a reason each; empty when it is."""


def create_app(
    *,
    descriptor_set: bytes | FileDescriptorSet | Contract,
    channels: Mapping[str, grpc.aio.Channel],
    settings: GatewaySettings | None = None,
    authenticate: Authenticator | None = None,
    admission: Admission | None = None,
    local: LocalAnswers | None = None,
    resumes: Mapping[str, StreamResume] = MappingProxyType({}),
    patience: Mapping[str, Patience] = MappingProxyType({}),
    live: LiveStreams | None = None,
    ready: Ready = tuple,
    meter: HttpMeter | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        descriptor_set: as `protoc --include_imports --include_source_info --descriptor_set_out` writes
            it, or a Contract made of one.
        channels: a channel for each service to serve, by full name; the others of the set are left
            out. Channels without interceptors are cheapest: deadlines are set here.
        settings: bounds and what is forwarded.
        authenticate: says whose key a request carries; None lets everybody call everything.
        admission: says who may ask now, and counts; None lets everything in.
        local: answers some calls in this process.
        resumes: how streams are resumed, by full method name.
        live: makes some streams in this process.
        patience: how long services of streams may be silent, by full method name; others may for ever.
        ready: asked by GET /readyz.
        meter: measures what the bridge answers.

    Raises ContractError, naming the method, when a rule cannot be served.
    `app.state.bridge` is the Bridge; its `core.stop()` ends open streams before a shutdown.
    """
    settings = settings or GatewaySettings()
    core = Core(
        contract=descriptor_set if isinstance(descriptor_set, Contract) else Contract.of(descriptor_set),
        channels=channels,
        settings=settings,
        authenticator=authenticate,
        admission=admission,
        resumes=resumes,
        patience=patience,
        live=live,
    )
    bridge = Bridge(core, local=local, meter=meter)
    app = Gateway(title=settings.title, version=settings.version, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.bridge = bridge
    document = openapi_document(
        core.contract,
        core.endpoints,
        settings=settings,
        secured=authenticate is not None,
        conditional=local.conditional if local is not None else (),
    )
    app.openapi = lambda: document  # type: ignore[method-assign]
    own = _OwnRoutes(core, ready)
    app.add_route("/healthz", own.healthz, methods=["GET"])
    app.add_route("/readyz", own.readyz, methods=["GET"])
    if settings.docs:
        text = msgspec.json.encode(document)
        page = DocsPage(title=settings.title, openapi_url="/openapi.json", assets=settings.docs_assets)
        app.add_route("/openapi.json", own.fixed(text, "application/json"), methods=["GET"])
        app.add_route("/docs", own.fixed(page.html, "text/html; charset=utf-8"), methods=["GET"])
        for path, (content, media_type) in page.assets.items():
            app.add_route(path, own.fixed(content, media_type, cache="public, max-age=86400"), methods=["GET"])
    app.add_exception_handler(HTTPException, own.refused)
    app.add_exception_handler(Exception, own.unforeseen)
    app.carry(bridge)
    return app


class Gateway(FastAPI):
    """A FastAPI application that carries a bridge.

    The bridge's route stands in the router like any other. As long as nobody has added
    middleware there is nothing on the way to it that its requests need, and they take
    the short way; with middleware they take the long one, through it.
    """

    _route: _BridgeRoute | None = None

    def carry(self, bridge: Bridge) -> None:
        """Lead every path that is not one of the application's own to the bridge."""
        own_paths = frozenset(route.path for route in self.routes if isinstance(route, Route))
        self._route = _BridgeRoute(bridge, own_paths)
        self.router.routes.insert(0, self._route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        route = self._route
        if route is not None and not self.user_middleware and route.owns(scope):
            await route.bridge(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class _BridgeRoute(BaseRoute):
    """Everything that is not the gateway's own page belongs to the contract, its 404s included."""

    def __init__(self, bridge: Bridge, own_paths: frozenset[str]) -> None:
        self.bridge = bridge
        self._own_paths = own_paths

    def owns(self, scope: Scope) -> bool:
        kind = scope["type"]
        return (kind == "http" and scope["path"] not in self._own_paths) or kind == "websocket"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if self.owns(scope) else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.bridge(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        raise NoMatchFound(name, path_params)


_JSON: Final = MappingProxyType({"content-type": "application/json", "cache-control": "no-store"})


class _OwnRoutes:
    """The pages that no contract describes."""

    def __init__(self, core: Core, ready: Ready) -> None:
        self._core = core
        self._ready = ready

    async def healthz(self, request: FastRequest) -> Response:
        """200 while the process answers at all."""
        return self._response(request, 200, b'{"status":"ok"}')

    async def readyz(self, request: FastRequest) -> Response:
        """200 when every part that answers need is there, else 503 with the reasons."""
        reasons = self._ready()
        if reasons:
            return self._failed(request, TrinityError(Reason.BACKEND_UNAVAILABLE, f"not ready: {'; '.join(reasons)}"))
        return self._response(request, 200, b'{"status":"ready"}')

    async def refused(self, request: FastRequest, error: Exception) -> Response:
        """What Starlette refuses on these pages, as any other error."""
        assert isinstance(error, HTTPException)
        if error.status_code == _METHOD_NOT_ALLOWED:
            allow = (error.headers or {}).get("Allow", "GET, HEAD")
            text = f"{request.url.path} does not take {request.method[:16]}; it takes {allow}"
            return self._failed(request, TrinityError(Reason.METHOD_NOT_ALLOWED, text, {"allow": allow}))
        return self._failed(request, TrinityError(Reason.UNKNOWN_PATH, f"there is nothing at {request.url.path[:128]}"))

    async def unforeseen(self, request: FastRequest, error: Exception) -> Response:
        """What nobody foresaw on these pages."""
        return self._failed(request, UNFORESEEN)

    def fixed(self, content: bytes, media_type: str, *, cache: str = "no-cache") -> Callable[..., Any]:
        """A page that never changes."""

        async def page(request: FastRequest) -> Response:
            return self._response(request, 200, content, {"content-type": media_type, "cache-control": cache})

        return page

    def _failed(self, request: FastRequest, error: TrinityError) -> Response:
        seen = Request(request.scope)
        failure = self._core.failures.of(error, seen.request_id)
        answer = failure.answer()
        headers = {name.decode("ascii"): value.decode("ascii") for name, value in answer.headers}
        return self._response(request, answer.status, answer.body, headers, request_id=seen.request_id)

    def _response(
        self,
        request: FastRequest,
        status: int,
        body: bytes,
        headers: Mapping[str, str] = _JSON,
        *,
        request_id: str = "",
    ) -> Response:
        common = {"x-request-id": request_id or Request(request.scope).request_id, "x-content-type-options": "nosniff"}
        return Response(body, status, {**headers, **common})


_METHOD_NOT_ALLOWED: Final = 405
