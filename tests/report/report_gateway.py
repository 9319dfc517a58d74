"""Our own gateway in front of a report service, in this process or as one of its own.

python -m report.report_gateway ADDRESS READY    # serves until it is told to stop
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bridge_stage import Stage, serving_app
from raw_http import RawAnswer, parse_answer
from report.small_report import ACME, ADMIN, GLOBEX
from trinity_admission.principal import Principal, metadata_of
from trinity_core.errors import Reason, TrinityError
from trinity_core.tables import Form
from trinity_http import answer
from trinity_http.app import create_app
from trinity_http.main import open_upstream_channel, own_contract
from trinity_http.reports import SERVICE, with_reports
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.process import write_json

KEYS = {
    "acme": ACME,
    "globex": GLOBEX,
    "admin": ADMIN,
    "prices": Principal("acmekey00002", "acme", frozenset({"prices.read"})),
}
"""Who asks, by key."""
ACCEPTS = {
    Form.JSON: "application/json",
    Form.CSV: "text/csv",
    Form.TSV: "text/tab-separated-values",
    Form.TEXT: "text/plain",
}


class Keys:
    """Knows KEYS; scopes are left to the service."""

    async def authenticate(self, key: str) -> answer.Principal:
        if key not in KEYS:
            raise TrinityError(Reason.INVALID_KEY, "no such key")
        return answer.Principal(KEYS[key].key_id, scopes=None, metadata=metadata_of(KEYS[key]))


@dataclass(frozen=True)
class Gateway:
    """The gateway, and how it is asked."""

    base: str
    port: int

    async def get(self, path: str, key: str = "acme", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(base_url=self.base, timeout=60) as client:
            return await client.get(path, headers={"authorization": f"Bearer {key}", **sent})

    async def open(self, path: str, key: str = "acme", **headers: str) -> tuple[asyncio.StreamReader, Any]:
        """A request over a socket of its own, which the server closes after it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
        lines = [f"GET {path} HTTP/1.1", "host: x", "connection: close", f"authorization: Bearer {key}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return reader, writer

    async def raw(self, path: str, key: str = "acme", **headers: str) -> RawAnswer:
        """The answer to the letter."""
        reader, writer = await self.open(path, key, **headers)
        try:
            async with asyncio.timeout(60):
                return parse_answer(await reader.read())
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def report_gateway(address: str, *, limits: HttpLimits | None = None) -> AsyncIterator[Gateway]:
    """Serve the report service at an address, until left."""
    async with open_upstream_channel(address) as channel:
        app = create_app(
            descriptor_set=own_contract(),
            channels={SERVICE: channel},
            settings=with_reports(GatewaySettings()),
            authenticate=Keys(),
        )
        stage: Stage
        async with serving_app(app, limits=limits) as stage:
            yield Gateway(stage.base, stage.port)


def check_proof(exported: RawAnswer, rows: int) -> None:
    """Check an export against its trailers."""
    assert exported.after == b""
    assert exported.headers["trailer"] == "x-export-rows, x-export-sha256"
    assert exported.trailers == [
        ("x-export-rows", str(rows)),
        ("x-export-sha256", hashlib.sha256(exported.body).hexdigest()),
    ]


async def _serve(address: str, ready: Path) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with report_gateway(address) as gateway:
        write_json(ready, {"port": gateway.port})
        await stopping.wait()


def ready_port(ready: Path) -> int:
    """The port that a gateway's process told."""
    port: int = json.loads(ready.read_text())["port"]
    return port


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
