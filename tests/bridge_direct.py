"""The bridge called as an ASGI application, with no server and no service, for tests of very many requests."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from bridge_stage import SERVICE
from trinity_http.app import create_app
from trinity_http.contract import Contract


class Answering:
    """Answers every unary call without a service: with the request where it can, else with an empty response."""

    conditional: frozenset[str] = frozenset()

    def __init__(self, contract: Contract) -> None:
        self._kinds = {method.full_name: contract.types.of(method.output) for method in contract.methods}

    def answer(self, method: str, request: Message) -> Message:
        kind = self._kinds[method]
        return request if isinstance(request, kind) else kind()


class Direct:
    """Calls the application without a server."""

    def __init__(self, data: bytes) -> None:
        self.runner = asyncio.Runner()
        contract = Contract.of(data)

        async def make() -> Any:
            self.channel = grpc.aio.insecure_channel("unix:/nowhere.sock")
            return create_app(descriptor_set=contract, channels={SERVICE: self.channel}, local=Answering(contract))

        self.app = self.runner.run(make())

    def close(self) -> None:
        self.runner.run(self.channel.close())
        self.runner.close()

    def ask(self, method: str, path: str, query: str, given_headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        sent: list[Any] = []
        events = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(events, {"type": "http.disconnect"})

        async def send(event: Any) -> None:
            sent.append(event)

        encoded = [(name.encode(), value.encode("utf-8")) for name, value in given_headers.items()]
        if body:
            encoded.append((b"content-length", b"%d" % len(body)))
        scope = {
            "type": "http",
            "method": method,
            "path": "/" + path.strip("/"),
            "raw_path": path.encode("utf-8"),
            "root_path": "",
            "query_string": query.encode("utf-8"),
            "headers": encoded,
            "http_version": "1.1",
        }
        self.runner.run(self.app(scope, receive, send))
        assert sent, "a client that is there is always answered"
        return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])
