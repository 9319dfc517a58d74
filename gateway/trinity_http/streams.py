"""Calls that stream: a JSON array, lines, or events, one message in hand at a time.

The service's next message is asked for only when the one before has been taken by the
connection, so that a slow client gets what the service sends then (for prices: the
newest), not what has piled up. See framing.py for how a stream ends.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from trinity_core.errors import Code, Reason, TrinityError
from trinity_http.answer import Admitted, Answer, Call, Headers, Outcome
from trinity_http.core import Core, counted
from trinity_http.endpoint import Endpoint
from trinity_http.failures import NO_STORE
from trinity_http.forward import deadline_s, returned
from trinity_http.framing import OFFERED, Framing, Octets, framing_of
from trinity_http.live import Item, LiveStream
from trinity_http.negotiate import choose
from trinity_http.payload import ClientGoneError
from trinity_http.request import TRAILERS, Receive, Request, Send
from trinity_http.router import Found
from trinity_http.upstream import Pause, Upstream


class Streams:
    """Answers calls whose service streams its responses."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._open_s = core.settings.stream_open_ms / 1_000
        self._silence_s = core.settings.stream_keepalive_ms / 1_000

    async def answer(
        self, request: Request, found: Found[Endpoint], call: Call, admitted: Admitted, receive: Receive, send: Send
    ) -> Answer | None:
        """Stream, and return None; or return the answer that stands in a stream's place.

        Raises ClientGoneError when there is nobody to answer.
        """
        try:
            framing, upstream = await self._open(request, found, call, admitted, receive)
        except ClientGoneError:
            raise
        except Exception as error:
            return await self._refused(error, found, request, admitted)
        if upstream is None:
            head = Answer(200, [(b"content-type", framing.media_type), NO_STORE], b"")
            return await self._core.settled(admitted, head, Outcome(Code.OK, 200), request)
        self._core.opened(upstream)
        watching = asyncio.ensure_future(_end_when_gone(upstream, receive))
        try:
            return await self._run(request, found, admitted, framing, upstream, send)
        finally:
            self._core.streams.discard(upstream)
            watching.cancel()
            await upstream.close()

    async def _open(
        self, request: Request, found: Found[Endpoint], call: Call, admitted: Admitted, receive: Receive
    ) -> tuple[Framing, Upstream | LiveStream | None]:
        """Bind the request and start its call; no call for HEAD. Raises TrinityError and ClientGoneError."""
        core, endpoint = self._core, found.target
        core.check_stream_room()
        if request.http_version == "1.0":
            raise TrinityError(Reason.UNIMPLEMENTED, "a stream needs HTTP/1.1; over 1.0 its end could not be told")
        accept = request.headers.get(b"accept")
        framing: Framing = Octets(_OCTETS) if endpoint.renderer.raw else framing_of(choose(accept, OFFERED))
        body = await core.body(request, endpoint, receive)
        timeout_s = deadline_s(request.headers, core.settings, streaming=True)
        if endpoint.method.client_streaming:
            payload: Any = core.payloads(found, request, body)
        else:
            message = call.request = endpoint.binding.bind(found.values, request.query, body)
            admitted.bound(message)
            resume = core.resumes.get(endpoint.method.full_name)
            last_id = request.headers.get(b"last-event-id")
            if resume is not None and last_id:
                resume.resume(message, last_id.decode("latin-1"))
            payload = endpoint.binding.serialize(message)
        if request.method == "HEAD":
            return framing, None
        # A deadline is the service's to keep.
        live = None if call.request is None or timeout_s is not None else core.live(endpoint, call.request)
        if live is not None:
            return framing, live
        metadata = core.metadata(request, call.principal)
        return framing, core.upstream(
            endpoint.invoke(payload, timeout=timeout_s, metadata=metadata), endpoint, call.request
        )

    async def _run(
        self,
        request: Request,
        found: Found[Endpoint],
        admitted: Admitted,
        framing: Framing,
        upstream: Upstream | LiveStream,
        send: Send,
    ) -> Answer | None:
        core, endpoint = self._core, found.target
        try:
            # Until the first message an error can still be a status; a silent service is opened towards the client.
            first = await upstream.next(self._open_s)
            while first is Pause.SILENCE and endpoint.renderer.raw:
                # What the bytes are is known with the first of them only, so there is nothing to say before.
                first = await upstream.next(self._open_s)
            if first is Pause.GONE:
                raise ClientGoneError
            if isinstance(first, bytes) and endpoint.renderer.raw:
                framing = Octets(endpoint.renderer.body(endpoint.renderer.parse(first))[0])
            told = await core.returned(upstream, first)
        except ClientGoneError:
            raise
        except Exception as error:
            return await self._refused(error, found, request, admitted)
        try:
            extra = await admitted.answer(Outcome(Code.OK, 200))
        except TrinityError as error:
            return core.failure_of(error, "", request).answer()
        admitted.opened(upstream.end)
        own = [(b"content-type", framing.media_type), NO_STORE, *framing.headers, *told, *extra]
        trailers = core.settings.return_trailers if endpoint.renderer.raw and request.takes_trailers else ()
        if trailers:
            own.append((b"trailer", ", ".join(trailers).encode("ascii")))
        start = {"type": "http.response.start", "status": 200, "headers": core.headers_of(request, own)}
        await send({**start, "trailers": True} if trailers else start)
        try:
            if await self._pump(first, endpoint, admitted, framing, upstream, send):
                last: Headers = []
                if trailers and isinstance(upstream, Upstream):
                    last = returned(await upstream.trailing(), trailers)
                await send({"type": "http.response.body", "body": framing.end()})
                if trailers:
                    await send({"type": TRAILERS, "headers": last})
        except Exception as error:
            failure = core.failure_of(error, endpoint.method.service, request)
            await send({"type": "http.response.body", "body": framing.failure(failure.body), "more_body": True})
            # Returning here leaves the answer unfinished: the server closes the connection without the last chunk.
        return None

    async def _pump(
        self,
        response: bytes | Item | Pause,
        endpoint: Endpoint,
        admitted: Admitted,
        framing: Framing,
        upstream: Upstream | LiveStream,
        send: Send,
    ) -> bool:
        """Pass messages on until the stream is done (True) or the client gone (False)."""
        renderer = endpoint.renderer
        resume = self._core.resumes.get(endpoint.method.full_name)
        while True:
            if isinstance(response, Item):
                admitted.sent(1)
                part = framing.item(response.body, response.event_id)
            elif isinstance(response, bytes):
                message = renderer.parse(response)
                event_id = resume.event_id(message) if resume is not None else None
                admitted.sent(1)
                part = framing.item(renderer.body(message)[1], event_id)
            elif response is Pause.SILENCE:
                part = framing.silence()
            else:
                return response is Pause.END
            if part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            response = await upstream.next(self._silence_s)

    async def _refused(self, error: Exception, found: Found[Endpoint], request: Request, admitted: Admitted) -> Answer:
        failure = self._core.failure_of(error, found.target.method.service, request)
        return await self._core.settled(admitted, failure.answer(), counted(failure), request)


async def _end_when_gone(upstream: Upstream | LiveStream, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    upstream.end(Pause.GONE)


_OCTETS: Final = b"application/octet-stream"
