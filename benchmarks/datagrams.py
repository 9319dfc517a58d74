"""CPU that one datagram costs a gateway worker: at the desk alone, and from socket to socket.

    python benchmarks/datagrams.py

Rows are microseconds of CPU of one process: the best of many short runs, because the machine is shared. Keys,
sessions, the ledger on the disk and the replica are the real ones. Datagrams come in batches of
64, as they do under load, each with a sequence of its own. "desk" is from bytes to bytes;
"socket" is a readable event over loopback, with its system calls. What the client does is not measured.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import platform
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trinity.account.v1 import account_pb2
from trinity.price.v1 import price_pb2
from trinity_admission.admission import Admission
from trinity_admission.keyring import Keyring
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import LedgerConfig
from trinity_admission.udp_sessions import UdpSessions
from trinity_client import PriceBook
from trinity_core import udp_frame
from trinity_core.keys import mint
from trinity_core.udp_mac import SessionMacs, signed_line
from trinity_core.udp_session import UdpSession, open_session
from trinity_mesh.clock import SystemClock, clock_id
from trinity_udp.admitting import Admitting
from trinity_udp.batches import batches_of
from trinity_udp.config import UdpConfig
from trinity_udp.endpoint import Endpoint
from trinity_udp.gathering import Run
from trinity_udp.main import BookReplica, make_price_endpoint
from trinity_udp.messages import can_batch

HERE = Path(__file__).resolve().parent
ASSETS = ("BTC", "ETH", "SOL", "XRP", "ADA")
MASTER, PEPPER = b"m" * 32, bytes(range(32))
BATCH = 64
RUNS = 200
SOURCE, PORT = b"\xc0\x00\x02\x07", 40_000
PLENTY = 10**9


class Desk:
    """A worker's endpoint for prices, and a client with a session."""

    def __init__(self, ledger: Ledger, *, quick: bool = True, batched: bool = True) -> None:
        self.clock = SystemClock()
        key = mint(env="bench", random_bytes=random.Random(1).randbytes)
        record = account_pb2.KeyRecord(
            key_id=key.key_id,
            digest=key.digest(PEPPER),
            associate="acme",
            scopes=["prices.read"],
            rate_per_s=10_000_000,
            burst=100_000_000,
        )
        keyring = Keyring(pepper=PEPPER, age_max_ms=86_400_000, keys_max=10)
        batch = account_pb2.WatchKeysResponse(keys=[record], snapshot=True, snapshot_complete=True, version=1)
        keyring.receive(batch, mono_ns=self.clock.monotonic_ns())
        admission = Admission(keyring=keyring, counts=ledger, leases=None, clock=self.clock, assets=ASSETS)
        doors = Admitting(admission, UdpSessions(master=MASTER, keyring=keyring, sessions_max=1_000))
        if not quick:
            doors.short = None  # type: ignore[assignment]
        config = UdpConfig(
            listen=("127.0.0.1:0",),
            batched=batched,
            demo_per_s=1e9,
            demo_burst=PLENTY,
            session_per_s=1e9,
            session_burst=PLENTY,
        )
        self.endpoint: Endpoint = make_price_endpoint(
            config=config,
            replica=BookReplica(make_book(self.clock)),
            assets=ASSETS,
            lookup=None,
            clock=self.clock,
            doors=doors,
        )
        now_s = self.clock.unix_ns() // 10**9
        self.session: UdpSession = open_session(MASTER, key_id=key.key_id, now_s=now_s, nonce=random.randrange(1 << 18))
        self.session_key = self.session.key(MASTER)
        self.macs = SessionMacs(self.session_key)
        self.sequence = 0

    def plain(self) -> bytes:
        """A line without a session."""
        self.sequence += 1
        return b"GET BTC USD id=%d" % self.sequence

    def text(self) -> bytes:
        """A line with a session."""
        self.sequence += 1
        now_s = self.clock.unix_ns() // 10**9
        line = signed_line(
            self.session_key, "GET BTC USD id=7", session=self.session.text, unix_s=now_s, sequence=self.sequence
        )
        return line.encode()

    def binary(self, *assets: str) -> bytes:
        """A binary query with a MAC."""
        self.sequence += 1
        signed = udp_frame.make_frame(
            udp_frame.MAC,
            request_id=self.sequence.to_bytes(8, "big"),
            session_id=self.session.session_id,
            unix_s=self.clock.unix_ns() // 10**9,
            sequence=self.sequence,
            payload=price_pb2.UdpQuery(assets=assets or ["BTC"]).SerializeToString(),
        )
        return signed + self.macs.query(signed)


def make_book(clock: SystemClock) -> PriceBook:
    """A replica with prices that stay fresh."""
    book = PriceBook("unix:/nowhere", clock=clock)
    now_s = clock.unix_ns() // 10**9
    batch = price_pb2.WatchPricesResponse(snapshot=True, snapshot_complete=True, epoch=1, clock_id=clock_id())
    batch.sent_time.seconds, batch.sent_monotonic_ns = now_s, clock.monotonic_ns()
    for number, asset in enumerate(ASSETS, 1):
        price = price_pb2.Price(
            asset=asset,
            quote="USD",
            price="67000.10",
            state=price_pb2.STATE_FRESH,
            source_count=6,
            sequence=number,
            epoch=1,
        )
        price.receive_time.seconds = now_s
        price.fresh_until.seconds = price.stale_at.seconds = now_s + 86_400
        batch.prices.append(price)
    batch.sequence = len(ASSETS)
    book._replica.opened()
    book._replica.receive(batch, clock.monotonic_ns())
    return book


def at_desk(desk: Desk, make: Callable[[], bytes], *, answered: bool) -> float:
    """CPU of one datagram, microseconds, from bytes to bytes."""
    take = desk.endpoint._desk.take
    best = float("inf")
    for _ in range(RUNS):
        batch = [make() for _ in range(BATCH)]
        mono_ns, unix_ns = desk.clock.monotonic_ns(), desk.clock.unix_ns()
        start = time.process_time_ns()
        for datagram in batch:
            reply = take(datagram, SOURCE, PORT, mono_ns, unix_ns)
        best = min(best, time.process_time_ns() - start)
        assert bool(reply.data) is answered
    return best / BATCH / 1e3


def in_runs(desk: Desk, make: Callable[[], bytes]) -> float:
    """CPU of one datagram, microseconds, from bytes to bytes, where one address sent the whole batch."""
    take_run = desk.endpoint._desk.take_run
    best = float("inf")
    for _ in range(RUNS):
        run = Run(SOURCE, [make() for _ in range(BATCH)], [(PORT, SOURCE)] * BATCH, range(BATCH), alone=True)
        mono_ns, unix_ns = desk.clock.monotonic_ns(), desk.clock.unix_ns()
        start = time.process_time_ns()
        replies = take_run(run, mono_ns, unix_ns)
        best = min(best, time.process_time_ns() - start)
        assert replies is not None
        assert all(reply.data for reply in replies)
    return best / BATCH / 1e3


async def at_socket(desk: Desk, make: Callable[[], bytes], *, batched: bool) -> float:
    """CPU of one datagram, microseconds, from one readable event to its end."""
    best = float("inf")
    async with desk.endpoint as endpoint:
        bound = endpoint._sockets[0]
        asyncio.get_running_loop().remove_reader(bound)
        batches = batches_of(bound, batch_max=BATCH, batched=batched)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(bound.getsockname())
            for _ in range(RUNS):
                for _ in range(BATCH):
                    client.send(make())
                start = time.process_time_ns()
                endpoint._on_readable(bound, batches)
                best = min(best, time.process_time_ns() - start)
                for _ in range(BATCH):
                    client.recv(2_048)
    return best / BATCH / 1e3


def rows_at_desk(ledger: Ledger) -> Iterator[tuple[str, float]]:
    """Every row of the desk alone."""
    desk, slow = Desk(ledger), Desk(ledger, quick=False)
    for each in (desk, slow):
        for first in (each.text(), each.binary(), each.binary(*ASSETS)):
            each.endpoint._desk.take(first, SOURCE, PORT, each.clock.monotonic_ns(), each.clock.unix_ns())
    replayed, payload = desk.binary(), b"x" * 37
    yield "HMAC-SHA256 of 37 bytes, hmac.digest", best_of(lambda: hmac.digest(MASTER, payload, "sha256"))
    yield "the same, key put in before", best_of(lambda: desk.macs.query(payload))
    yield "desk: text, no session", at_desk(desk, desk.plain, answered=True)
    cookie = desk.endpoint._doors.cookies.make(bytes(8), SOURCE, now_s=desk.clock.unix_ns() // 10**9)
    proven = b"GET BTC USD id=7 c=" + cookie.hex().encode()
    yield "desk: text, no session, address proven by cookie", at_desk(desk, lambda: proven, answered=True)
    yield "desk: text, session", at_desk(desk, desk.text, answered=True)
    yield "desk: binary, MAC both ways", at_desk(desk, desk.binary, answered=True)
    yield "desk: binary, MAC both ways, 2 assets", at_desk(desk, lambda: desk.binary("BTC", "ETH"), answered=True)
    yield "desk, a run: text, no session", in_runs(desk, desk.plain)
    yield "desk, a run: text, no session, address proven by cookie", in_runs(desk, lambda: proven)
    yield "desk, a run: binary, MAC both ways", in_runs(desk, desk.binary)
    yield "desk, a run: binary, MAC both ways, 2 assets", in_runs(desk, lambda: desk.binary("BTC", "ETH"))
    yield "desk: garbage", at_desk(desk, lambda: b"\0" * 60, answered=False)
    yield "desk: binary, wrong MAC", at_desk(desk, lambda: forged(desk.binary()), answered=False)
    yield "desk: binary, came before", at_desk(desk, lambda: replayed, answered=False)
    stranger = Desk(ledger)
    stranger.session = open_session(b"x" * 32, key_id="stranger", now_s=desk.clock.unix_ns() // 10**9, nonce=1)
    yield "desk: binary, unknown session", at_desk(desk, stranger.binary, answered=False)
    yield "desk, the long way: text, no session", at_desk(slow, slow.plain, answered=True)
    yield "desk, the long way: text, session", at_desk(slow, slow.text, answered=True)
    yield "desk, the long way: binary, MAC both ways", at_desk(slow, slow.binary, answered=True)


async def rows_at_socket(ledger: Ledger) -> list[tuple[str, float]]:
    """Every row from socket to socket."""
    rows = []
    for batched in (True, False):
        if batched and not can_batch():
            print("this system has no recvmmsg; its rows are left out")
            continue
        how = "recvmmsg" if batched else "recvfrom"
        for name, ask in (
            ("text, no session", Desk.plain),
            ("text, session", Desk.text),
            ("binary, MAC both ways", Desk.binary),
        ):
            desk = Desk(ledger, batched=batched)
            make = functools.partial(ask, desk)
            rows.append((f"socket, {how}: {name}", await at_socket(desk, make, batched=batched)))
    return rows


def forged(datagram: bytes) -> bytes:
    """The datagram with another last byte."""
    return datagram[:-1] + bytes((datagram[-1] ^ 1,))


def best_of(act: Callable[[], object]) -> float:
    """CPU of one call, microseconds."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time_ns()
        for _ in range(BATCH):
            act()
        best = min(best, time.process_time_ns() - start)
    return best / BATCH / 1e3


async def main() -> None:
    """Measure, print, and keep the results."""
    with tempfile.TemporaryDirectory() as name:
        async with Ledger(LedgerConfig(), spool=Path(name) / "spool", clock=SystemClock()) as ledger:
            measured = [*rows_at_desk(ledger), *await rows_at_socket(ledger)]
    rows = []
    for step, cost in measured:
        print(f"{cost:8.2f} us {1e6 / cost:12,.0f} /s  {step}")
        rows.append({"step": step, "us": round(cost, 2), "per_second": round(1e6 / cost)})
    result = {"rows": rows, "batch": BATCH, "python": platform.python_version(), "machine": platform.machine()}
    (HERE / "results" / "datagrams.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(main())
