"""The bridge as one ASGI application: from a request to its answer, whatever form it takes."""

from __future__ import annotations

from typing import Any

from trinity_http.answer import Answer, LocalAnswers
from trinity_http.core import Core
from trinity_http.metering import HttpMeter
from trinity_http.payload import ClientGoneError
from trinity_http.request import Receive, Request, Scope, Send
from trinity_http.router import Missed, missed_error
from trinity_http.streams import Streams
from trinity_http.unary import Unary
from trinity_http.websocket import Sockets
from trinity_mesh.telemetry import tracing


class Bridge:
    """Serves the routes of one contract over HTTP and WebSocket."""

    def __init__(self, core: Core, *, local: LocalAnswers | None, meter: HttpMeter | None = None) -> None:
        self.core = core
        self._meter = meter
        self._unary = Unary(core, local=local)
        self._streams = Streams(core)
        self._sockets = Sockets(core)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket connection."""
        if scope["type"] == "websocket":
            await self._sockets.answer(scope, receive, send)
            return
        request = Request(scope)
        if self._meter is not None:
            send = self._meter.begin(request, send)
        if tracing.on:
            send = _traced(request, send)
        try:
            answer = await self._answer(request, receive, send)
        except ClientGoneError:
            return
        except Exception as error:
            answer = self.core.failure_of(error, "", request).answer()
        if answer is not None:
            await self.core.send(request, answer, send)

    async def _answer(self, request: Request, receive: Receive, send: Send) -> Answer | None:
        core = self.core
        found = core.router.find(request.method, request.raw_path)
        if request.method == "OPTIONS" and (
            isinstance(found, Missed) or b"access-control-request-method" in request.headers
        ):
            allow = core.router.allowed(request.raw_path)
            if allow:
                return core.cors.options(request, allow)
        if isinstance(found, Missed):
            raise missed_error(found, core.router, request.method, request.raw_path)
        request.route = found.target.binding.template.source
        call, admitted = await core.admit(request, found.target, "http")
        try:
            if found.target.method.server_streaming:
                return await self._streams.answer(request, found, call, admitted, receive, send)
            return await self._unary.answer(request, found, call, admitted, receive)
        finally:
            admitted.close()


def _traced(request: Request, send: Send) -> Send:
    """What to send the answer with while its span is open: from now on to the answer's first byte."""
    span = tracing.requested(request.method, request.headers)

    async def traced(message: Any) -> None:
        nonlocal span
        if span is not None and message["type"] == "http.response.start":
            ended, span = span, None
            ended.answered(request.route, message["status"])
        await send(message)

    return traced
