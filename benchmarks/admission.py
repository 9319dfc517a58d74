"""CPU that admission costs an answer, beside what it is made of; and how soon a revoked key stops.

    python benchmarks/admission.py

Rows are microseconds of one process: the best of many short runs, because the machine is shared. The
ledger is the real one, on the disk. Revocation is measured through a real gRPC server: from the
moment its stream is given the batch until the first request is refused, and until an open
stream of that key is told to end.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import platform
import random
import tempfile
import time
import timeit
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from trinity.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from trinity_admission.admission import SWEEP_S, Admission
from trinity_admission.key_watch import KeyWatch
from trinity_admission.keyring import Keyring
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import LedgerConfig
from trinity_admission.quota import Grant
from trinity_admission.shared_state import SharedState
from trinity_admission.udp_sessions import Claim, UdpSessions
from trinity_core.errors import TrinityError
from trinity_core.keys import KeyText, mint
from trinity_core.udp_mac import text_mac
from trinity_core.udp_session import open_session
from trinity_core.usage import Outcome, Transport
from trinity_mesh.clock import SystemClock
from trinity_mesh.server import MeshServer, Service

HERE = Path(__file__).resolve().parent
ASSETS = ("BTC", "ETH")
PEPPER = bytes(range(32))
DAY_MS = 86_400_000
CALLS = 2_000
RUNS = 60
REVOCATIONS = 50
STREAMS = 5_000
RICH = {"rate_per_s": 10_000_000, "burst": 100_000_000}
QUESTION: dict[str, Any] = {"transport": Transport.HTTP, "method": "GetPrice", "scopes": ("prices.read",)}
MASTER = b"m" * 32


def make_key(seed: int) -> KeyText:
    """A key of a customer."""
    return mint(env="bench", random_bytes=random.Random(seed).randbytes)


def record_of(key: KeyText, **fields: Any) -> account_pb2.KeyRecord:
    """The key as the account service sends it."""
    known: dict[str, Any] = {**RICH, "scopes": ["prices.read"], "associate": "acme", **fields}
    return account_pb2.KeyRecord(key_id=key.key_id, digest=key.digest(PEPPER), **known)


def snapshot(*records: account_pb2.KeyRecord) -> account_pb2.WatchKeysResponse:
    """A whole stream's first batch."""
    return account_pb2.WatchKeysResponse(keys=records, snapshot=True, snapshot_complete=True, version=1)


class OneStream(account_service_pb2_grpc.AccountServiceServicer):
    """Sends what is put into its queue."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[account_pb2.WatchKeysResponse] = asyncio.Queue()

    async def WatchKeys(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Until the caller cancels."""
        while True:
            yield await self.batches.get()


class NoCalls:
    """Leases that are never renewed."""

    def ask(self, *_: Any, **__: Any) -> None:
        """Nobody is asked."""


def us(act: Callable[[], object]) -> float:
    """Microseconds of one call."""
    return round(min(timeit.repeat(act, number=CALLS, repeat=RUNS)) / CALLS * 1e6, 2)


async def main() -> None:
    """Measure, print, and keep the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Ledger(LedgerConfig(), spool=folder / "spool", clock=SystemClock()) as ledger:
            rows = [{"step": step, "us": cost} for step, cost in costs(ledger, folder)]
            streams_ms = round(sweep_ms(ledger), 2)
        heard = await revocations(folder)
    for row in rows:
        print(f"{row['us']:8.2f} us  {row['step']}")
    print(f"{streams_ms:8.2f} ms  {STREAMS} open streams judged anew, every {SWEEP_S} s")
    print(f"{heard['median_ms']:8.2f} ms  a revoked key is refused (median; worst {heard['worst_ms']} ms)")
    result = {
        "rows": rows,
        "open_streams_judged_ms": streams_ms,
        "open_streams": STREAMS,
        "revocation_to_refusal_ms": heard,
        "revocation_to_end_of_streams_ms_at_most": round(heard["worst_ms"] + SWEEP_S * 1_000, 2),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    (HERE / "results" / "admission.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def desk(ledger: Ledger, *, cell_of: Any = None, **fields: Any) -> tuple[Admission, Any, Keyring]:
    """An admission of one key."""
    clock = SystemClock()
    key = make_key(random.randrange(1 << 30))
    keyring = Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=10_000)
    keyring.receive(snapshot(record_of(key, **fields)), mono_ns=clock.monotonic_ns())
    extra = {} if cell_of is None else {"cell_of": cell_of}
    leases: Any = NoCalls()
    return (
        Admission(keyring=keyring, counts=ledger, leases=leases, clock=clock, assets=ASSETS, **extra),
        key,
        keyring,
    )


def answered(admission: Admission, held: Any, *, fields: bool = False) -> Callable[[], None]:
    """One request as an adapter has it."""

    def act() -> None:
        admitted = admission.admit(held, address="192.0.2.1", assets=("BTC",), **QUESTION)
        admitted.answered(Outcome.LOCAL)
        if fields:
            admitted.fields()
        admitted.close()

    return act


def costs(ledger: Ledger, folder: Path) -> list[tuple[str, float]]:
    """Every row."""
    clock = SystemClock()
    admission, key, keyring = desk(ledger)
    held = admission.find(key.text)
    text = key.text.encode("ascii")
    unknown = make_key(987_654).text

    def find_unknown() -> None:
        admission.find(unknown)

    slot = ledger.slot("udp-demo", Transport.UDP, "GetPrice", "BTC", Outcome.LOCAL)
    found = [
        ("read the monotonic clock", us(clock.monotonic_ns)),
        ("one HMAC-SHA256 of a key", us(lambda: hmac.digest(PEPPER, text, "sha256"))),
        ("count in the ledger", us(lambda: ledger.count(slot))),
        ("find: a presented key, checked", us(lambda: admission.find(key.text))),
        ("find: an unknown key", us(lambda: _refused(find_unknown))),
        ("admit + answered", us(answered(admission, held))),
        ("admit + answered + RateLimit fields", us(answered(admission, held, fields=True))),
    ]
    fast = admission.fast_pass(held, address="192.0.2.1", **QUESTION)
    assert fast is not None
    found.append(("fast pass: all of it, fields as bytes", us(lambda: fast.answer("BTC"))))
    with SharedState(folder / "rates", clock=clock, clock_id="bench") as shared:
        other, other_key, _ = desk(ledger, cell_of=shared.cell_of)
        found.append(("admit + answered, bucket shared", us(answered(other, other.find(other_key.text)))))
    fields = {"allowed_networks": ["192.0.2.0/24"], "assets": ["BTC", "ETH"], "monthly_quota": 10**15}
    other, other_key, _ = desk(ledger, **fields)
    leased(other, other_key.key_id)
    found.append(("admit + answered, networks, assets, quota", us(answered(other, other.find(other_key.text)))))
    poor, poor_key, _ = desk(ledger, rate_per_s=1, burst=1)
    ask = answered(poor, poor.find(poor_key.text))
    found.append(("refused and counted: RATE_LIMITED", us(lambda: _refused(ask, always=False))))
    found.append(("datagram session proven", us(proving(keyring, key, clock))))
    return found


def leased(admission: Admission, key_id: str) -> None:
    """Give a key a lease that lasts."""
    held = admission._keyring.get(key_id)
    assert held is not None
    lease = admission._seat(held).lease
    assert lease is not None
    now_ns = admission.now_ns()
    lease.asked(now_ns)
    lease.granted(Grant(10**15, False, 3_600 * 10**9, 1 << 62), now_ns, again_ns=10**9)


def proving(keyring: Keyring, key: Any, clock: SystemClock) -> Callable[[], object]:
    """One line of a session that is known, each with the next sequence."""
    sessions = UdpSessions(master=MASTER, keyring=keyring, sessions_max=1_000)
    now_s = clock.unix_ns() // 10**9
    session = open_session(MASTER, key_id=key.key_id, now_s=now_s, nonce=1)
    line = b"GET BTC USD s=00112233445566ff t=1790000000 q=12345"
    mac = text_mac(session.key(MASTER), line)
    sequence = 0

    def act() -> None:
        nonlocal sequence
        sequence += 1
        claim = Claim(session.session_id, now_s, sequence, mac, line)
        sessions.prove(claim, mono_ns=clock.monotonic_ns(), unix_ns=now_s * 10**9)

    return act


def sweep_ms(ledger: Ledger) -> float:
    """Milliseconds of one look at all open streams."""
    admission, key, _ = desk(ledger)
    for _ in range(STREAMS):
        admitted = admission.admit(key.text, **QUESTION)
        admitted.opened(lambda _: None)
    return min(timeit.repeat(admission.sweep, number=1, repeat=20)) * 1e3


async def revocations(folder: Path) -> dict[str, float]:
    """Milliseconds from the service's word to the first refusal."""
    clock, account = SystemClock(), OneStream()
    keys = [make_key(number) for number in range(REVOCATIONS)]
    account.batches.put_nowait(snapshot(*map(record_of, keys)))
    keyring = Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=10_000)
    heard = asyncio.Event()
    service = Service(
        descriptor=account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
        add=lambda server: account_service_pb2_grpc.add_AccountServiceServicer_to_server(account, server),
    )
    took: list[float] = []
    async with (
        MeshServer(address=f"unix:{folder}/account.sock", services=[service]),
        KeyWatch(f"unix:{folder}/account.sock", keyring=keyring, clock=clock, on_change=heard.set) as watch,
    ):
        await watch.ready()
        for version, key in enumerate(keys, start=2):
            heard.clear()
            began = time.perf_counter()
            record = record_of(key, revoked=True)
            account.batches.put_nowait(account_pb2.WatchKeysResponse(keys=[record], version=version))
            await heard.wait()
            _refused(lambda key=key: keyring.find(key.text, mono_ns=clock.monotonic_ns(), unix_ns=0))  # type: ignore[misc]
            took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return {"median_ms": round(took[len(took) // 2], 2), "worst_ms": round(took[-1], 2)}


def _refused(act: Callable[[], object], *, always: bool = True) -> None:
    try:
        act()
    except TrinityError:
        return
    assert not always, "this was let in"


if __name__ == "__main__":
    asyncio.run(main())
