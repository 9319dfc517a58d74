"""Calls of the account service from a command: by the mesh's own socket, or with a key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.account.v1 import account_service_pb2_grpc
from trinity_cli.dialling import dial
from trinity_cli.exits import asking
from trinity_cli.target import resolve, target_options
from trinity_mesh.channels import call

PAGE_SIZE: Final = 1_000

account_options = target_options(
    "gRPC address of the account service (unix:/path; or host:port, with an admin's key in $TRINITY_KEY)"
)
"""Adds --address and --ready-file to a command."""


class Accounts:
    """The account service that the options of a command name."""

    def __init__(self, address: str | None, ready_file: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        """Raises CommandError as `resolve` does."""
        self._target = resolve("account", address, ready_file, environ)
        self._metadata = credentials(self._target.account, environ)

    def ask(self, request: Message) -> Any:
        """The answer of the RPC that takes this message. Raises CommandError."""
        (answer,) = self._run(request, field="", limit=0)
        return answer

    def all(self, request: Any, field: str, *, limit: int) -> tuple[list[Any], bool]:
        """The entries of a list, page by page up to a limit, and whether there are more. Raises CommandError."""
        pages = self._run(request, field=field, limit=limit)
        entries = [entry for page in pages for entry in getattr(page, field)]
        return entries[:limit], len(entries) > limit or bool(pages[-1].next_page_token)

    def _run(self, request: Any, *, field: str, limit: int) -> list[Any]:
        with asking(self._target.where("account")):
            return asyncio.run(self._pages(request, field, limit))

    async def _pages(self, request: Any, field: str, limit: int) -> list[Any]:
        """One answer, or the pages of a list."""
        name = type(request).__name__.removesuffix("Request")
        found, count = [], 0
        async with dial(self._target.account, "account") as channel:
            method = getattr(account_service_pb2_grpc.AccountServiceStub(channel), name)
            while True:
                answer = await call(method(request, metadata=self._metadata))
                found.append(answer)
                if not field:
                    return found
                count += len(getattr(answer, field))
                if count >= limit or not answer.next_page_token:
                    return found
                request.page_token = answer.next_page_token


def credentials(address: str, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The metadata with $TRINITY_KEY. Who may open the mesh's own socket is its operator, and needs no key."""
    key = environ.get("TRINITY_KEY")
    return (("authorization", f"Bearer {key}"),) if key and not address.startswith("unix:") else ()


def moment(message: Timestamp, *, present: bool = True) -> str:
    """A time for people, UTC to the minute; "-" where there is none."""
    return message.ToJsonString()[:16].replace("T", " ") if present else "-"


def words(values: Any, nothing: str) -> str:
    """A list for people; `nothing` says what an empty one means."""
    return ",".join(values) or nothing
