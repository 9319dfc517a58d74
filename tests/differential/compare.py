"""Asks both, and says what differs in their answers and in what the service received."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import grpc.aio

from bridge_stage import descriptor_set, serving_app
from differential.atlas import FORWARDED, ROW, SERVICE, Atlas
from differential.envoy import Envoy, running_envoy
from differential.rows import Row
from differential.wire import Ask, Got, Wire
from trinity_http.app import create_app
from trinity_http.contract import Contract
from trinity_http.settings import GatewaySettings

TOGETHER = 8
ERROR = 400
ROOM = [("grpc.max_metadata_size", 64 << 10), ("grpc.absolute_max_metadata_size", 64 << 10)]
"""For the path that Envoy sends on as metadata: by default gRPC refuses some of what is above 8 KiB, by chance."""
HEADERS = ("x-reply", "retry-after", "allow", "www-authenticate", "location")
"""Headers that are compared, beside Content-Type."""

ADDED = ("google.rpc.ErrorInfo", "google.rpc.RequestInfo")
"""Details that our bridge adds to an error that has none of them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one answer comes to."""

    status: int
    media: str
    """Content-Type without parameters."""
    body: Any
    """JSON as a value; other bodies as bytes; errors of the service as (code, message, details)."""
    whole: bool
    headers: dict[str, str]
    """Those of `HEADERS` that it had."""
    received: tuple[str, ...]
    """What the service was asked."""


class Facet(StrEnum):
    """One way in which two answers differ."""

    STATUS = "status"
    RECEIVED = "what the service was asked"
    BODY = "body"
    MEDIA = "media type"
    HEADERS = "headers"
    WHOLE = "whether the body came to its end"
    PLAIN_ERROR = "an error that is no google.rpc.Status"
    ADDED_DETAILS = "details added to an error of the service"


EVERYWHERE = frozenset({Facet.PLAIN_ERROR, Facet.ADDED_DETAILS})
"""Differences of all errors, which need no row of their own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to one row."""

    row: Row
    envoy: Seen
    ours: Seen

    @property
    def differences(self) -> frozenset[Facet]:
        """In what they differ."""
        envoy, ours = self.envoy, self.ours
        found = {Facet.RECEIVED} if envoy.received != ours.received else set()
        if envoy.status != ours.status:
            return frozenset(found | {Facet.STATUS})
        found |= {Facet.WHOLE} if envoy.whole != ours.whole else set()
        found |= {Facet.HEADERS} if envoy.headers != ours.headers else set()
        if ours.status >= ERROR and not isinstance(envoy.body, dict):
            return frozenset(found | {Facet.PLAIN_ERROR})
        found |= {Facet.MEDIA} if envoy.media != ours.media else set()
        if envoy.body != ours.body:
            added = ours.status >= ERROR and envoy.body == _without_added(ours.body, envoy.body)
            found |= {Facet.ADDED_DETAILS if added else Facet.BODY}
        return frozenset(found)


class Both:
    """The service, the bridge and Envoy."""

    def __init__(self, atlas: Atlas, envoy: Envoy, port: int) -> None:
        self.atlas = atlas
        self.envoy = envoy
        self.port = port

    async def ask(self, rows: Sequence[Row]) -> list[Pair]:
        """Both answers to each row, in their order."""
        envoy = await self._side([(row.ask, self.envoy.ports[row.framing]) for row in rows], "envoy")
        ours = await self._side([(row.ask, self.port) for row in rows], "ours")
        return [Pair(*found) for found in zip(rows, envoy, ours, strict=True)]

    async def _side(self, asks: list[tuple[Ask, int]], side: str) -> list[Seen]:
        found: list[Seen | None] = [None] * len(asks)
        waiting = iter(range(len(asks)))

        async def work() -> None:
            wires: dict[int, Wire] = {}
            for number in waiting:
                ask, port = asks[number]
                wire = wires.setdefault(port, Wire(port))
                tag = f"{side}-{number}"
                self.atlas.received.pop(tag, None)
                tagged = Ask(ask.method, ask.target, ask.body, (*ask.headers, (ROW, tag)), ask.chunked)
                got = await wire.ask(tagged)
                found[number] = _seen(got, tuple(self.atlas.received.pop(tag, ())))
            for wire in wires.values():
                wire.close()

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(work())
        return [seen for seen in found if seen is not None]


def atlas_set(folder: Path) -> bytes:
    """The descriptor set of atlas.v1, with the details of errors that its service sends."""
    return descriptor_set(folder, "atlas/v1/atlas.proto", "google/rpc/error_details.proto", source_info=False)


@contextlib.asynccontextmanager
async def both(data: bytes, folder: Path) -> AsyncIterator[Both]:
    """Everything, running."""
    contract = Contract.of(data)
    atlas = Atlas(contract)
    server = grpc.aio.server(options=ROOM)
    server.add_generic_rpc_handlers((atlas.handler(),))
    backend = folder / "atlas.sock"
    server.add_insecure_port(f"unix:{backend}")
    await server.start()
    try:
        with running_envoy(folder, backend=backend, descriptor_set=data, services=[SERVICE]) as envoy:
            async with grpc.aio.insecure_channel(f"unix:{backend}") as channel:
                settings = GatewaySettings(forward_headers=(ROW, *FORWARDED), return_metadata=("x-reply",))
                app = create_app(descriptor_set=contract, channels={SERVICE: channel}, settings=settings)
                async with serving_app(app) as stage:
                    yield Both(atlas, envoy, stage.port)
    finally:
        await server.stop(None)


def _seen(got: Got, received: tuple[str, ...]) -> Seen:
    media = got.headers.get("content-type", "").partition(";")[0]
    body: Any = got.body
    if media == "application/json":
        with contextlib.suppress(ValueError):
            body = json.loads(got.body)
    headers = {name: got.headers[name] for name in HEADERS if name in got.headers}
    return Seen(got.status, media, body, got.whole, headers, received)


def _without_added(ours: dict[str, Any], envoy: dict[str, Any]) -> dict[str, Any]:
    """Our error without the details that we put into it, and as Envoy shows that there are none."""
    own = [item["@type"] for item in envoy.get("details", ())]
    added = [f"type.googleapis.com/{name}" for name in ADDED]
    details = [item for item in ours["details"] if item["@type"] in own or item["@type"] not in added]
    return ours | {"details": details}
