"""A secret is shown once. After that it is in no log, error, count, file or store, however it is misused."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from account.small_account import SECRETS
from account.tenant_stage import World, a_world
from account.tenant_ways import methods
from price.valkey import ValkeyServer
from price.virtual_clock import until
from processes import GENEROUS_S
from trinity.account.v1 import account_pb2
from trinity.report.v1 import report_pb2
from trinity_core.udp_mac import signed_line
from trinity_mesh.clock import SystemClock
from trinity_mesh.telemetry import tracing
from trinity_mesh.telemetry.config import TraceConfig
from trinity_mesh.telemetry.readings import process_readings
from trinity_storage.valkey import Valkey, ValkeyConfig
from trinity_udp.admitting import Admitting as Doors
from trinity_udp.config import UdpConfig
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_price_endpoint
from udp.counter import ASSETS, Shelf, make_price

METHODS = methods()
READERS = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"stream": ("XRANGE", "-", "+"),
}
"""How to read all of a value of Valkey, by its type."""


@dataclass
class Heard:
    """Everything that anybody could hear or find, and the secrets that must not be in it."""

    secrets: dict[str, list[bytes]] = field(default_factory=dict)
    places: dict[str, bytes] = field(default_factory=dict)

    def key(self, text: str) -> str:
        """Remember an API key; its secret, or the beginning of that, must be nowhere."""
        secret = text.rsplit("_", 1)[1]
        self.secrets[f"key {len(self.secrets)}"] = [
            secret[:10].encode(),
            secret[:10].lower().encode(),
            secret[-12:].encode(),
        ]
        return text

    def bytes_of(self, name: str, secret: bytes) -> bytes:
        """Remember a secret of bytes, in the forms in which it could be written."""
        forms = [secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()]
        forms += [base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")]
        self.secrets[name] = forms
        return secret

    def add(self, place: str, text: str | bytes) -> None:
        self.places[place] = self.places.get(place, b"") + (text.encode() if isinstance(text, str) else text) + b"\n"

    def found(self) -> list[str]:
        return [
            f"{name} stands in {place}: …{data[max(0, data.find(form) - 100) : data.find(form)]!r}"
            for place, data in self.places.items()
            for name, forms in self.secrets.items()
            for form in forms
            if form in data
        ]


@dataclass
class Misuse:
    """Sends things to every door, and hears what comes back."""

    world: World
    heard: Heard

    async def http(self, verb: str, path: str, **how: Any) -> httpx.Response:
        response = await self.world.http.client.request(verb, path, **how)
        self.heard.add("HTTP answers", f"{response.status_code} {dict(response.headers)}")
        self.heard.add("HTTP answers", response.content)
        return response

    async def grpc(self, name: str, request: Any, metadata: Iterable[tuple[str, str]], way: str = "direct") -> None:
        seen = await self.world.ways[way].send(METHODS[name], request, tuple(metadata))  # type: ignore[attr-defined]
        self.heard.add("gRPC answers", seen.shown)
        self.heard.add("gRPC answers", str(seen.told))

    async def in_every_wrong_place(self, text: str) -> None:
        """A whole key, good or not, where no key belongs."""
        bearer = {"authorization": f"Bearer {self.world.acme.whole.text}"}
        coded = quote(text, safe="").replace("_", "%5F")
        for path in (
            f"/v1/keys?key={text}",
            f"/v1/keys?{text}=1",
            f"/v1/keys?page_token={text}",
            f"/v1/keys?associate={text}",
            f"/v1/keys?associate={coded}",
            f"/v1/keys?page_size={text}",
            f"/{text}",
            f"/v1/{coded}",
            f"/v1/associates/{text}",
            f"/v1/plans/{text}",
            f"/v1/prices/{text}",
            f"/price?asset={text}",
            f"/price?asset=BTC&api_key={text}",
            f"/reports/usage?key_ids={text}",
            f"/reports/usage?methods={text[:60]}",
            f"/reports/export?format={text}",
            f"/reports/summary?start_time={text}",
        ):
            await self.http("GET", path)
            await self.http("GET", path, headers=bearer)
            await self.http("DELETE", path, headers=bearer)
        for path in (f"/v1/keys/{text}:rotate", f"/v1/keys/{text}:revoke", f"/v1/keys/{coded}:revoke"):
            await self.http("POST", path, headers=bearer, json={})
        for body in (
            {"key": text},
            {text: 1},
            {"name": text},
            {"name": f"my key is {text}, keep it"},
            {"associate": text},
            {"scopes": [text]},
            {"allowed_networks": [text]},
            {"lifetime": text},
            text,
            [text],
        ):
            await self.http("POST", "/v1/keys", headers=bearer, json=body)
            await self.http("POST", "/v1/udp/sessions", headers=bearer, json=body)
        await self.http("POST", "/v1/keys", headers=bearer, content=text)
        await self.http("POST", "/v1/keys", headers=bearer, content=f'{{"name": "{text}')
        for header in ("x-api-key", "cookie", "referer", "x-request-id", "accept", "traceparent", "x-export-end", text):
            await self.http("GET", "/v1/keys", headers={header: text})
            await self.http("GET", "/reports/export", headers={**bearer, header: text})
        for authorization in (text, f"Basic {text}", f"Bearer {text}!", f"Bearer {text} {text}", f"Token {text}"):
            await self.http("GET", "/v1/keys", headers={"authorization": authorization})
            await self.grpc(
                "AccountService.ListKeys", account_pb2.ListKeysRequest(), [("authorization", authorization)]
            )
        own = [("authorization", f"Bearer {self.world.acme.whole.text}")]
        for name, request in (
            ("AccountService.GetAssociate", account_pb2.GetAssociateRequest(associate=text)),
            ("AccountService.GetPlan", account_pb2.GetPlanRequest(plan=text)),
            ("AccountService.RevokeKey", account_pb2.RevokeKeyRequest(key_id=text)),
            ("AccountService.CreateKey", account_pb2.CreateKeyRequest(name=text, scopes=[text])),
            ("AccountService.CreateKey", account_pb2.CreateKeyRequest(name=text)),
            ("AccountService.ListKeys", account_pb2.ListKeysRequest(page_token=text)),
            ("ReportService.ListUsage", report_pb2.ListUsageRequest(key_ids=[text[:64]], methods=["GetPrice"])),
            ("ReportService.ListUsage", report_pb2.ListUsageRequest(associate=text)),
        ):
            await self.grpc(name, request, own)
            await self.grpc(name, request, [("x-trinity-principal", text)], way="gateway")
            await self.grpc(name, request, [("x-request-id", text), ("x-api-key", text)])


class Datagrams:
    """Lines to the endpoint, with a session and without."""

    def __init__(self, address: str, heard: Heard) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._socket.connect((host, int(port)))
        self._heard = heard
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, line: str) -> None:
        self._socket.send(line.encode())

    def signed(self, session: Any, key: bytes, query: str) -> str:
        self._sequence += 1
        now_s = SystemClock().unix_ns() // 10**9
        return signed_line(key, query, session=session, unix_s=now_s, sequence=self._sequence)

    def hear(self) -> int:
        """Take what has come; how much that was."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard.add("UDP answers", self._socket.recv(65_536))
                count += 1
        return count


async def database(url: str) -> bytes:
    """Every row of every table of every schema but PostgreSQL's own catalogue; bytes as they are."""
    found = b""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        assert {"api_keys", "usage_counters", "usage_sums", "quota_leases", "app_config"} <= {
            table["relname"] for table in tables
        }
        for schema, table in tables:
            for row in await connection.fetch(f'SELECT * FROM "{schema}"."{table}"'):
                for value in row.values():
                    found += (value if isinstance(value, bytes) else str(value).encode()) + b"\n"
        # What PostgreSQL itself remembers: statements that run, and their settings.
        for view in ("pg_stat_activity", "pg_prepared_statements", "pg_settings"):
            rows = await connection.fetch(f"SELECT t::text AS line FROM {view} t")
            found += "\n".join(row["line"] for row in rows).encode()
    finally:
        await connection.close()
    return found


async def cache(url: str) -> bytes:
    """Every key and value of Valkey."""
    found = b""
    async with Valkey(ValkeyConfig(timeout_ms=20_000), url=url, clock=SystemClock()) as valkey:
        for name in await valkey.call("KEYS", "*"):
            command, *rest = READERS[await valkey.call("TYPE", name)]
            found += name + b"=" + _flat(await valkey.call(command, name, *rest)) + b"\n"
    return found


def _flat(value: Any) -> bytes:
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | set):
        return b" ".join(map(_flat, value))
    return value if isinstance(value, bytes) else str(value).encode()


def files(folder: Path) -> bytes:
    """Everything that processes of the mesh have written: ledgers, the copy of the keys, shared rates."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert {"keys.bin", "rates"} <= {path.name for path in found}
    assert any(path.suffix == ".uctr" for path in found)
    return b"".join(path.name.encode() + path.read_bytes() for path in found)


@contextlib.asynccontextmanager
async def endpoint_of(world: World) -> AsyncIterator[Endpoint]:
    endpoint = make_price_endpoint(
        config=UdpConfig(listen=("127.0.0.1:0",)),
        replica=Shelf({"BTC": make_price()}),
        assets=ASSETS,
        lookup=None,
        clock=SystemClock(),
        doors=Doors(world.part.admission, world.part.sessions),
    )
    async with endpoint:
        yield endpoint


async def test_no_secret_is_found_anywhere_however_keys_and_sessions_are_used_and_misused(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    for name in ("httpx", "httpcore"):
        # The test's own client.
        caplog.set_level(logging.WARNING, logger=name)
    # Last, since each call sets what is heard at all.
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    exporter = InMemorySpanExporter()
    tracing.begin(TraceConfig(ratio=1), service="test", exporter=exporter)
    request.addfinalizer(tracing.end)
    for name in ("pepper", "udp_master", "cursor"):
        heard.bytes_of(name, getattr(SECRETS, name))
    with ValkeyServer() as server:
        async with a_world("http", database_url, tmp_path, valkey_url=server.url) as world:
            misuse = Misuse(world, heard)
            for who in (world.acme.whole, world.globex.whole, world.admin, world.bare, *world.acme.by_scope.values()):
                heard.key(who.text)
            bearer = {"authorization": f"Bearer {world.acme.whole.text}"}

            # Made and rotated over HTTP and over gRPC: the only answers that may show a secret, each its own.
            async def shown(path: str) -> dict[str, Any]:
                response = await world.http.client.post(path, headers=bearer, json={})
                answer: dict[str, Any] = response.raise_for_status().json()
                heard.key(answer.pop("secret"))
                heard.add("HTTP answers", f"{dict(response.headers)} {json.dumps(answer)}")
                return answer

            made = await shown("/v1/keys")
            rotated = await shown(f"/v1/keys/{made['key']['keyId']}:rotate")
            again = await world.account.caller()(account_pb2.CreateKeyRequest(associate="acmeco"))
            heard.key(again.secret)
            revoked = await world.account.key("acmeco")
            heard.key(revoked.secret)
            await misuse.http("POST", f"/v1/keys/{revoked.key.key_id}:revoke", headers=bearer, json={})

            # Used well, wrongly, and where no key belongs.
            wrong = again.secret[:-1] + ("0" if again.secret[-1] != "0" else "1")
            forged = world.acme.whole.text[:-49] + revoked.secret[-49:]
            for text in (world.acme.whole.text, revoked.secret, wrong, forged):
                await misuse.http("GET", "/v1/keys", headers={"authorization": f"Bearer {text}"})
                await misuse.grpc(
                    "AccountService.ListKeys", account_pb2.ListKeysRequest(), [("authorization", f"Bearer {text}")]
                )
            await misuse.in_every_wrong_place(again.secret)

            # Sessions, used well and with their keys in wrong places.
            opened = await world.http.client.post("/v1/udp/sessions", headers=bearer, json={})
            session = opened.raise_for_status().json()
            session_key = heard.bytes_of("session key", base64.b64decode(session["sessionKey"]))
            async with endpoint_of(world) as endpoint:
                lines = Datagrams(endpoint.addresses[0], heard)
                session_id = session["sessionId"]
                for line in (
                    lines.signed(session_id, session_key, "GET BTC USD"),
                    lines.signed(session_id, b"x" * 32, "GET BTC USD"),
                    lines.signed("0" * 16, session_key, "GET BTC USD"),
                    f"GET BTC USD id={world.acme.whole.text}",
                    f"GET {world.acme.whole.text} USD",
                    f"GET BTC {world.acme.whole.text}",
                    f"{world.acme.whole.text}",
                    f"GET BTC USD s={session_id} t=1 q=1 m={session_key.hex()[:32]}",
                    f"GET BTC USD id={session_key.hex()}",
                    lines.signed(session_id, session_key, f"GET {session_key.hex()} USD"),
                    "PING",
                ):
                    lines.send(line)
                tally = endpoint.tally
                await until(lambda: tally.replied + sum(tally.dropped.values()) >= 11, within_s=GENEROUS_S)
                assert lines.hear()
                lines.close()
                heard.add("counts", str(endpoint.tally.as_mapping()))
            await misuse.http("GET", f"/v1/keys?session_key={session['sessionKey']}", headers=bearer)
            await misuse.http("POST", "/v1/udp/sessions", headers=bearer, json={"sessionKey": session["sessionKey"]})
            await misuse.http("GET", "/v1/keys", headers={"authorization": f"Bearer {session['sessionKey']}"})

            # What can be asked for without a secret, and what the parts count.
            for path in (
                "/healthz",
                "/readyz",
                "/openapi.json",
                "/v1/keys",
                "/v1/associates/acmeco",
                "/reports/export",
            ):
                await misuse.http("GET", path, headers=bearer)
            part = world.part
            for each in (part.admission.refusals, part.watch.state, part.collector, part.ledger, part.keyring, part):
                heard.add("counts", f"{each!r} {each}")
            for value in (world.account.part.servicer, part.admission.find(world.acme.whole.text), SECRETS):
                heard.add("counts", f"{value!r} {value}")
            caching = world.account.part.caching
            assert caching is not None
            await until(lambda: caching.stored >= 10 and caching.waiting == 0, within_s=GENEROUS_S)
            await until(lambda: (world.folder / "run/keys.bin").exists(), within_s=GENEROUS_S)
            heard.add("files", files(world.folder))
        heard.add("the database", await database(database_url))
        heard.add("the cache", await cache(server.url))
    heard.add("metrics", process_readings().exposition())
    for span in exporter.get_finished_spans():
        heard.add("traces", span.to_json())
    for record in caplog.records:
        heard.add("logs", f"{record.getMessage()} {record.exc_text or ''} {record.args}")
    heard.add("logs", caplog.text)
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
    # The search sees what is there: ids of keys are in every place that knows keys at all.
    key_id = rotated["key"]["keyId"].encode()
    for place in ("the database", "the cache", "HTTP answers"):
        assert key_id in heard.places[place], place
    assert hashlib.sha256(b"").digest() not in heard.places["the database"]
    assert set(heard.places) >= {
        "HTTP answers",
        "gRPC answers",
        "UDP answers",
        "counts",
        "files",
        "logs",
        "metrics",
        "traces",
    }
    assert heard.found() == []
