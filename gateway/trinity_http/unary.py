"""Calls with one answer: bind, ask the local answers or the service, render."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from google.protobuf.message import Message

from trinity_core.errors import Code
from trinity_http.answer import Admitted, Answer, Call, Headers, LocalAnswers, Outcome, Rendered
from trinity_http.conditional import not_modified
from trinity_http.core import Core, counted
from trinity_http.endpoint import Endpoint
from trinity_http.failures import NO_STORE
from trinity_http.forward import deadline_s, returned
from trinity_http.framing import JSON_ARRAY
from trinity_http.negotiate import choose
from trinity_http.payload import ClientGoneError
from trinity_http.request import Receive, Request
from trinity_http.router import Found
from trinity_mesh.clock import SystemClock
from trinity_mesh.deadline_budget import serve_within


class Unary:
    """Answers calls whose service gives one response."""

    def __init__(self, core: Core, *, local: LocalAnswers | None) -> None:
        self._core = core
        self._local = local
        self._watch_after_s = core.settings.watch_after_ms / 1_000

    async def answer(
        self, request: Request, found: Found[Endpoint], call: Call, admitted: Admitted, receive: Receive
    ) -> Answer:
        """The answer, good or bad. Raises ClientGoneError when there is nobody to answer."""
        try:
            answer, outcome = await self._ask(request, found, call, admitted, receive)
        except ClientGoneError:
            raise
        except Exception as error:
            failure = self._core.failure_of(error, found.target.method.service, request)
            answer, outcome = failure.answer(), counted(failure)
        return await self._core.settled(admitted, answer, outcome, request)

    async def _ask(
        self, request: Request, found: Found[Endpoint], call: Call, admitted: Admitted, receive: Receive
    ) -> tuple[Answer, Outcome]:
        core, endpoint = self._core, found.target
        binding, renderer = endpoint.binding, endpoint.renderer
        if not renderer.raw and not renderer.other:
            choose(request.headers.get(b"accept"), _OFFERED)
        body = await core.body(request, endpoint, receive)
        timeout_s = deadline_s(request.headers, core.settings, streaming=False)
        serve_within(timeout_s, _CLOCK)
        if endpoint.method.client_streaming:
            payload: Any = core.payloads(found, request, body)
        else:
            message = call.request = binding.bind(found.values, request.query, body)
            admitted.bound(message)
            if self._local is not None:
                local = self._local.answer(endpoint.method.full_name, message)
                if local is not None:
                    return self._render(local, endpoint, request)
            payload = binding.serialize(message)
        answered = endpoint.invoke(payload, timeout=timeout_s, metadata=core.metadata(request, call.principal))
        response = renderer.parse(await self._until_gone(answered, receive))
        media_type, data = renderer.body(response)
        own: Headers = [(b"content-type", media_type), NO_STORE]
        if core.settings.return_metadata:
            own.extend(returned(await answered.initial_metadata(), core.settings.return_metadata))
        return Answer(200, own, data), Outcome(Code.OK, 200, response=response)

    def _render(self, local: Rendered | Message, endpoint: Endpoint, request: Request) -> tuple[Answer, Outcome]:
        if isinstance(local, Rendered):
            if local.response_body == endpoint.binding.rule.response_body:
                answer = not_modified(request, local.answer) or local.answer
                return answer, Outcome(Code.OK, answer.status, local=True, response=local.message)
            local = local.message
        media_type, data = endpoint.renderer.body(local)
        answer = Answer(200, [(b"content-type", media_type), NO_STORE], data)
        return answer, Outcome(Code.OK, 200, local=True, response=local)

    async def _until_gone(self, answered: Any, receive: Receive) -> bytes:
        """Await a call, and give it up when the client goes. Only calls that last are watched: it costs a task."""
        loop = asyncio.get_running_loop()
        watching: list[asyncio.Task[None]] = []

        def watch() -> None:
            watching.append(loop.create_task(_cancel_when_gone(answered, receive)))

        timer = loop.call_later(self._watch_after_s, watch)
        try:
            response: bytes = await answered
        except asyncio.CancelledError:
            if watching and watching[0].done() and not watching[0].cancelled():
                raise ClientGoneError from None
            raise
        finally:
            timer.cancel()
            for task in watching:
                task.cancel()
        return response


async def _cancel_when_gone(answered: Any, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answered.cancel()


_CLOCK: Final = SystemClock()
"""The one that channels count deadlines by."""
_OFFERED: Final = (JSON_ARRAY,)
