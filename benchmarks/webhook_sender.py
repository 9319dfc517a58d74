"""Signed deliveries over HTTPS to 1,000 endpoints, our sender beside plain loops with httpx.

    python benchmarks/webhook_sender.py

One receiver, in a process of its own, speaks TLS, reads each request whole and answers 204; its
certificate is made for the run and verified. Each endpoint has connections of its own and is sent one message after
the other, each with a body of its own of two prices, signed when it is sent. `httpx` is what one
would write first: a client an endpoint, one `post` after the other. Sides take turns; a side's
rate is its best turn, because the machine is shared. CPU is what both processes used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import resource
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_secrets import Scheme, SecretValue
from trinity_core.webhook_signing import Signer, headers
from trinity_core.webhook_urls import read_url
from trinity_core.webhooks import content_id
from trinity_mesh.clock import SystemClock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import Posting

HERE = Path(__file__).resolve().parent
ENDPOINTS = 1_000
TURN_S = 6.0
TURNS = 2
NAME = "hooks.acme.example"
PRICE = (
    '{"asset":"%s","quote":"USD","price":"67000.10","state":"fresh","confidence":"1.20","spread_bps":"0.36",'
    '"sources":["coinbase","kraken","okx"],"venue_time":"2026-01-02T03:04:05.123456789Z",'
    '"receive_time":"2026-01-02T03:04:05.223456789Z","sequence":%d,"epoch":"1767322800123456789","skipped":3}'
)
CLOCK = SystemClock()
Post = Callable[[int, str, int, str, bytes], Awaitable[bool]]


class Receiving(asyncio.Protocol):
    """Answers each whole request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport: Any = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests."""
        held = self._held + data
        while (end := held.find(b"\r\n\r\n")) >= 0:
            place = held.lower().find(b"content-length: ", 0, end) + 16
            length = int(held[place : held.find(b"\r", place)])
            if len(held) < end + 4 + length:
                break
            held = held[end + 4 + length :]
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        self._held = held


async def receive(certificate: str) -> None:
    """Be the receiver until stdin ends; says its port, and at the end its CPU."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiving, "127.0.0.1", 0, ssl=context, backlog=2_048)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(cpu_s(), flush=True)
    server.close()


def cpu_s() -> float:
    """What this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Names:
    """Every name is this machine."""

    async def resolve(self, _host: str) -> list[str]:
        """Its address."""
        return ["127.0.0.1"]


@contextlib.asynccontextmanager
async def ours(port: int, ca_file: str) -> AsyncIterator[Post]:
    """Our sender."""
    policy = AddressPolicy(loopback=True)
    config = SenderConfig(ca_file=ca_file)
    targets = [
        read_url(f"https://{NAME}:{port}/hooks/{number}", policy=policy, loopback=True) for number in range(ENDPOINTS)
    ]
    async with HttpsSender(config, policy=policy, clock=CLOCK, resolver=Names()) as sender:

        async def post(number: int, message: str, timestamp_s: int, signature: str, body: bytes) -> bool:
            posting = Posting(message, timestamp_s, signature, body)
            sent = await sender.post(f"whe_{number}", targets[number], posting)
            return sent.outcome is Outcome.DELIVERED

        yield post


@contextlib.asynccontextmanager
async def with_httpx(port: int, ca_file: str) -> AsyncIterator[Post]:
    """A client an endpoint, which keeps its connection; they share what reading the certificates costs."""
    context = ssl.create_default_context(cafile=ca_file)
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(verify=context, timeout=15, trust_env=False, limits=httpx.Limits(keepalive_expiry=60))
            )
            for _ in range(ENDPOINTS)
        ]

        async def post(number: int, message: str, timestamp_s: int, signature: str, body: bytes) -> bool:
            answer = await clients[number].post(
                f"https://localhost:{port}/hooks/{number}",
                content=body,
                headers={"content-type": "application/json", **headers(message, timestamp_s, signature)},
            )
            return answer.is_success

        yield post


async def rate(post: Post, receiver: Receiver) -> dict[str, float]:
    """Deliveries a second of one turn: every endpoint is connected first, then the clock runs."""
    signers = [Signer(SecretValue(Scheme.V1, os.urandom(32)), secret=f"whk_{number}") for number in range(ENDPOINTS)]
    count = 0

    async def once(number: int, sequence: int) -> None:
        nonlocal count
        prices = ",".join(PRICE % (asset, sequence) for asset in ("BTC", "ETH"))
        body = f'{{"type":"price.tick","timestamp":"2026-01-02T03:04:05Z","data":{{"prices":[{prices}]}}}}'.encode()
        message, timestamp_s = content_id(body), CLOCK.unix_ns() // 10**9
        signature = signers[number].sign(message, timestamp_s, body)
        if not await post(number, message, timestamp_s, signature, body):
            raise RuntimeError("a delivery failed")
        count += 1

    async def loop(number: int, until_ns: int) -> None:
        sequence = number * 10**9
        while CLOCK.monotonic_ns() < until_ns:
            sequence += 1
            await once(number, sequence)

    for start in range(0, ENDPOINTS, 100):
        await asyncio.gather(*(once(number, 0) for number in range(start, start + 100)))
    count, began_ns = 0, CLOCK.monotonic_ns()
    used = cpu_s() + receiver.cpu_s()
    until_ns = began_ns + int(TURN_S * 1e9)
    await asyncio.gather(*(loop(number, until_ns) for number in range(ENDPOINTS)))
    took_s = (CLOCK.monotonic_ns() - began_ns) / 1e9
    used = cpu_s() + receiver.cpu_s() - used
    return {"per_s": round(count / took_s), "cpu_us": round(used / count * 1e6, 1)}


class Receiver:
    """The receiver's process."""

    def __init__(self, certificate: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--receive", certificate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cpu_s(self) -> float:
        """What it has used."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read())

    def end(self) -> None:
        """Stop it."""
        self._process.communicate()


def make_certificate(folder: Path) -> str:
    """A certificate that is its own root, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.fromtimestamp(CLOCK.unix_ns() / 1e9, UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )
    place = folder / "receiver.pem"
    place.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(place)


async def main() -> None:
    """Measure, print, and keep the results."""
    sides = {"ours": ours, "httpx": with_httpx}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        for _ in range(TURNS):
            for name, side in sides.items():
                receiver = Receiver(certificate)
                async with side(receiver.port, certificate) as post:
                    turns[name].append(await rate(post, receiver))
                receiver.end()
    best = {name: max(found, key=lambda turn: turn["per_s"]) for name, found in turns.items()}
    for name, found in best.items():
        print(f"{found['per_s']:8,.0f} deliveries/s  {found['cpu_us']:8.1f} us CPU of both ends each  {name}")
    rows = [{"sender": name, "turn": n, **turn} for name, found in turns.items() for n, turn in enumerate(found, 1)]
    factor = round(best["ours"]["per_s"] / best["httpx"]["per_s"], 1)
    print(f"{factor:8.1f} times as many")
    result = {
        "rows": rows,
        "endpoints": ENDPOINTS,
        "ours_per_s": best["ours"]["per_s"],
        "httpx_per_s": best["httpx"]["per_s"],
        "times_httpx": factor,
        "goal": {"per_s_min": 2_000, "times_min": 3, "met": best["ours"]["per_s"] >= 2_000 and factor >= 3},
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    (HERE / "results" / "webhook_sender.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--receive"]:
        uvloop.run(receive(sys.argv[2]))
    else:
        uvloop.run(main())
