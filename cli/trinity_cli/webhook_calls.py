"""Calls of the webhook service from a command: by the mesh's own socket, or with a key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.webhook.v1 import webhook_service_pb2_grpc
from trinity_cli.account_calls import credentials
from trinity_cli.dialling import dial
from trinity_cli.exits import asking
from trinity_cli.output import Column, Output, proto_json
from trinity_cli.target import resolve, target_options
from trinity_mesh.channels import call

PAGE_SIZE: Final = 1_000

webhook_options = target_options(
    "gRPC address of the webhook service (unix:/path; or host:port, with a key in $TRINITY_KEY)"
)
"""Adds --address and --ready-file to a command."""


class Webhooks:
    """The webhook service that the options of a command name."""

    def __init__(self, address: str | None, ready_file: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        """Raises CommandError as `resolve` does."""
        self._target = resolve("webhook", address, ready_file, environ)
        self._metadata = credentials(self._target.webhook, environ)

    def ask(self, request: Message) -> Any:
        """The answer of the RPC that takes this message. Raises CommandError."""
        with asking(self._target.where("webhook")):
            return asyncio.run(self._pages(request, "", 0))[0]

    def all(self, request: Any, field: str, *, limit: int) -> tuple[list[Any], bool]:
        """The entries of a list, page by page up to a limit, and whether there are more. Raises CommandError."""
        with asking(self._target.where("webhook")):
            pages = asyncio.run(self._pages(request, field, limit))
        entries = [entry for page in pages for entry in getattr(page, field)]
        return entries[:limit], len(entries) > limit or bool(pages[-1].next_page_token)

    def whole(self, request: Any) -> list[Any]:
        """All answers of a call that is repeated while it names a next page. Raises CommandError."""
        with asking(self._target.where("webhook")):
            return asyncio.run(self._pages(request, None, 0))

    async def _pages(self, request: Any, field: str | None, limit: int) -> list[Any]:
        """One answer where `field` is empty; else the pages of a list, or all where `field` is None."""
        name = type(request).__name__.removesuffix("Request")
        found, count = [], 0
        async with dial(self._target.webhook, "webhook") as channel:
            method = getattr(webhook_service_pb2_grpc.WebhookServiceStub(channel), name)
            while True:
                answer = await call(method(request, metadata=self._metadata))
                found.append(answer)
                if field == "" or not answer.next_page_token:
                    return found
                if field is not None:
                    count += len(getattr(answer, field))
                    if count >= limit:
                        return found
                request.page_token = answer.next_page_token


def show(columns: tuple[Column, ...], row: tuple[str, ...], message: Message, *, as_json: bool) -> None:
    """One thing."""
    output = Output(as_json=as_json)
    if as_json:
        output.document(proto_json(message))
    else:
        output.table(columns, [row])


def duration(milliseconds: int | None) -> Duration | None:
    """A duration as contracts have it; None stays None."""
    if milliseconds is None:
        return None
    return Duration(seconds=milliseconds // 1_000, nanos=milliseconds % 1_000 * 10**6)


class Moment(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A time, RFC 3339, such as 2026-01-31T00:00:00Z."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Timestamp:
        """Read the text."""
        if isinstance(value, Timestamp):
            return value
        made = Timestamp()
        try:
            made.FromJsonString(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-01-31T00:00:00Z", param, ctx)
        return made
