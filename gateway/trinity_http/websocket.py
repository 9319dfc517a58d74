"""Streams over WebSocket: each message a text frame, an error a last frame `{"error": …}` and close code 1011.

Authentication, routes, query parameters and refusals are those of GET: a handshake that
is refused gets the same google.rpc.Status over HTTP. On a method that also streams its
requests, each text frame of the client is one of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from trinity_core.errors import Code, Reason, TrinityError
from trinity_http.answer import Admitted, Answer, Call, Outcome
from trinity_http.core import STOPPING, Core, counted
from trinity_http.endpoint import Endpoint
from trinity_http.failures import Failure
from trinity_http.forward import deadline_s
from trinity_http.live import Item, LiveStream
from trinity_http.request import Receive, Request, Scope, Send
from trinity_http.router import Found, Missed, missed_error
from trinity_http.upstream import Pause, Upstream

CLOSE_DONE: Final = 1000
CLOSE_POLICY: Final = 1008
CLOSE_FAILED: Final = 1011
CLOSE_RESTART: Final = 1012


class Sockets:
    """Answers WebSocket handshakes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._open_s = core.settings.stream_open_ms / 1_000

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake to its end."""
        request = Request(scope)
        try:
            found = self._find(request)
            call, admitted = await self._core.admit(request, found.target, "websocket")
        except Exception as error:
            await self._refuse(scope, request, self._core.failure_of(error, "", request).answer(), send)
            return
        try:
            await self._serve(scope, request, found, call, admitted, receive, send)
        finally:
            admitted.close()

    def _find(self, request: Request) -> Found[Endpoint]:
        missed: Missed | None = None
        for method in ("GET", "POST"):
            found = self._core.router.find(method, request.raw_path)
            if isinstance(found, Missed):
                missed = missed or found
            elif found.target.method.server_streaming:
                return found
            else:
                raise TrinityError(
                    Reason.UNIMPLEMENTED, f"{found.target.method.name} does not stream; ask for it over plain HTTP"
                )
        raise missed_error(missed or Missed(()), self._core.router, "GET", request.raw_path)

    async def _serve(
        self,
        scope: Scope,
        request: Request,
        found: Found[Endpoint],
        call: Call,
        admitted: Admitted,
        receive: Receive,
        send: Send,
    ) -> None:
        core, endpoint = self._core, found.target
        upstream: Upstream | LiveStream | None = None
        invoked: Any = None
        first: bytes | Item | Pause = Pause.SILENCE
        try:
            core.check_stream_room()
            timeout_s = deadline_s(request.headers, core.settings, streaming=True)
            metadata = core.metadata(request, call.principal)
            if endpoint.method.client_streaming:
                invoked = endpoint.invoke(timeout=timeout_s, metadata=metadata)
                upstream = core.upstream(invoked, endpoint, None)
            else:
                message = call.request = endpoint.binding.bind(found.values, request.query, None)
                admitted.bound(message)
                upstream = core.live(endpoint, message) if timeout_s is None else None
                if upstream is None:
                    payload = endpoint.binding.serialize(message)
                    invoked = endpoint.invoke(payload, timeout=timeout_s, metadata=metadata)
                    upstream = core.upstream(invoked, endpoint, message)
                first = await upstream.next(self._open_s)
            told = await core.returned(upstream, first)
        except Exception as error:
            if upstream is not None:
                await upstream.close()
            failure = core.failure_of(error, endpoint.method.service, request)
            refusal = await core.settled(admitted, failure.answer(), counted(failure), request)
            await self._refuse(scope, request, refusal, send)
            return
        try:
            extra = await admitted.answer(Outcome(Code.OK, 101))
        except TrinityError as error:
            await upstream.close()
            await self._refuse(scope, request, core.failure_of(error, "", request).answer(), send)
            return
        core.opened(upstream)
        admitted.opened(upstream.end)
        listening: asyncio.Future[None] | None = None
        try:
            headers = [(b"x-request-id", request.request_id.encode("ascii")), *told, *extra]
            await send({"type": "websocket.accept", "headers": headers})
            listening = asyncio.ensure_future(self._listen(found, request, invoked, upstream, receive))
            await self._pump(first, endpoint, request, admitted, upstream, send)
        finally:
            core.streams.discard(upstream)
            if listening is not None:
                listening.cancel()
            await upstream.close()

    async def _pump(
        self,
        response: bytes | Item | Pause,
        endpoint: Endpoint,
        request: Request,
        admitted: Admitted,
        upstream: Upstream | LiveStream,
        send: Send,
    ) -> None:
        renderer = endpoint.renderer
        try:
            while response is not Pause.END:
                if response is Pause.GONE:
                    return
                if isinstance(response, Item):
                    admitted.sent(1)
                    await send({"type": "websocket.send", "text": response.body.decode("utf-8")})
                elif isinstance(response, bytes):
                    data = renderer.body(renderer.parse(response))[1]
                    admitted.sent(1)
                    kind, value = ("bytes", data) if renderer.raw else ("text", data.decode("utf-8"))
                    await send({"type": "websocket.send", kind: value})
                response = await upstream.next(_WAIT_S)
        except Exception as error:
            if _is_disconnect(error):
                return
            failure = self._core.failure_of(error, endpoint.method.service, request)
            text = '{"error":' + failure.body.decode("utf-8") + "}"
            await send({"type": "websocket.send", "text": text})
            await send(
                {"type": "websocket.close", "code": _close_code(error, failure), "reason": _close_reason(failure)}
            )
            return
        await send({"type": "websocket.close", "code": CLOSE_DONE})

    async def _listen(
        self, found: Found[Endpoint], request: Request, invoked: Any, upstream: Upstream | LiveStream, receive: Receive
    ) -> None:
        """Take what the client sends: requests of a method that streams them, or nothing but its end."""
        binding = found.target.binding
        values, query = found.values, request.query
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                upstream.end(Pause.GONE)
                return
            if event["type"] != "websocket.receive":
                continue
            try:
                text = event.get("text")
                if not found.target.method.client_streaming or text is None:
                    raise TrinityError(Reason.UNIMPLEMENTED, "this stream takes no messages of that kind")
                if len(text) > self._core.settings.body_bytes_max:
                    raise TrinityError(Reason.BODY_TOO_LARGE, "the message is too great")
                message = binding.bind_item(binding.parse(text.encode("utf-8")), values=values, query=query)
                values, query = (), b""
                await invoked.write(binding.serialize(message))
            except TrinityError as error:
                upstream.end(error)
                return
            except Exception:
                # The call has ended; `_pump` learns why and tells.
                return

    async def _refuse(self, scope: Scope, request: Request, answer: Answer, send: Send) -> None:
        """Answer a handshake with an HTTP error; where the server cannot, close it with the policy code."""
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": CLOSE_POLICY})
            return
        headers = self._core.headers_of(request, [*answer.headers, (b"content-length", b"%d" % len(answer.body))])
        await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


def _close_code(error: Exception, failure: Failure) -> int:
    if error is STOPPING:
        return CLOSE_RESTART
    return CLOSE_POLICY if failure.code in _CLIENTS else CLOSE_FAILED


def _close_reason(failure: Failure) -> str:
    """A close frame has room for 123 bytes; a stranger's reason may be longer, or no ASCII."""
    return failure.reason.encode("ascii", "replace")[:_CLOSE_REASON_MAX].decode("ascii")


def _is_disconnect(error: Exception) -> bool:
    """Servers raise an OSError, or one of their own of that name, when they send to a client that has gone."""
    return isinstance(error, OSError) or type(error).__name__ in ("ClientDisconnected", "WebSocketDisconnect")


_CLOSE_REASON_MAX: Final = 100
_CLIENTS: Final = frozenset({Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED})
"""Codes for which the client, or its key, is to blame."""
_WAIT_S: Final = 3_600.0
