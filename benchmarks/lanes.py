"""The HTTP, UDP and gRPC lanes of a real gateway worker beside their peers: server on one core, load on another.

    python benchmarks/lanes.py [--runs 5] [--seconds 1.5] [--only http,udp,grpc,watch]

The mesh is `trinity up` with one gateway worker; every check that a customer's request meets is on.
The worker is alone on the first core, each peer takes its place there in turn, and load and all else are
on the last. Rows are measured in alternating runs, and medians count. CPU is user and system
time of the server's processes for each answer, the kernel's share included. `at half load` rows
are an open loop at half of the row's own median, their latencies told from the moment each request was due until
the kernel had the answer; the load shares its core with the rest of the mesh, and where that kept it
from running, it stood still and made up for nothing (peers/load_http.c).
Peers that this machine lacks are named and skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _lane_peers as peers
from _lane_goals import goal_lines, ratios_of
from _lane_mesh import Mesh, binary_pattern, our_mesh
from _lane_peers import Peer, Workshop
from _lane_process import CORES, LOAD_CORE, SERVER_CORE, PeerError, free_port, move, on_core, used
from google.protobuf import json_format

from trinity.price.v1 import price_pb2

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "lanes.json"
CONNECTIONS = 64
DATAGRAMS = 128
CLIENTS = 32
"""Sockets of the rows that come from many clients, who have but a few datagrams under way each."""
GRPC_CONNECTIONS, GRPC_STREAMS = 4, 16
GET_PRICE = "/trinity.price.v1.PriceService/GetPrice"
WARM_S = 0.3
REST_S = 5.0
FAILURES_MAX = 2
"""Runs of a row that may fail before it is given up, and named."""
IDLE = 0.1
"""Where a greater part of the server's core was idle, the server was not the bottleneck of its row."""
LOST = 0.01
"""A greater part of lost datagrams is told."""
OTHERS = 0.05
"""Where others used a greater part of the server's core, the row's rate and latencies are theirs too."""
_NO_KEY = "00"
"""Stands for a session's key where nothing is signed."""
COLUMNS = ("per_second", "cpu_us", "p50_us", "p99_us", "p999_us")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one row."""

    row: dict[str, float]
    """Its columns; without those that are not measured."""
    busy: float = 1.0
    """Part of a core that the server used."""
    others: float = 0.0
    """Part of the server's core that others used."""
    paused: float = 0.0
    """Part of the time for which the load of an open loop was kept from its core by others, and stood still."""


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    run: Callable[[float], Sample]
    """Measures once; takes a rate for an open loop, 0 for a closed one."""
    half: bool = False
    """Whether it is also measured at half load."""
    is_half: bool = False
    """Whether this is such a measurement."""
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def medians(self) -> dict[str, float | None]:
        """The medians of all runs."""
        return {
            name: statistics.median(sample.row[name] for sample in self.samples)
            if name in self.samples[0].row
            else None
            for name in COLUMNS
        }


def main() -> int:
    """Measure everything once over, print and write it. 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each row")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run")
    parser.add_argument(
        "--only", default="http,udp,grpc,watch", help="parts to measure; without all, nothing is written"
    )
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    # Whoever ends the benchmark ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="lanes-") as name, contextlib.ExitStack() as stack:
        bench = Bench(Path(name), stack, arguments.seconds)
        rows = bench.rows(parts)
        measured = bench.measure(rows, arguments.runs)
    return _report(measured, bench, arguments, whole=len(parts) == 4)


class Bench:
    """Everything that runs, and the rows that measure it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, seconds: float) -> None:
        self._folder = folder
        self._stack = stack
        self._seconds = seconds
        self._workshop = Workshop(folder)
        self._files = 0
        self.skipped: dict[str, str] = {}
        """Rows that cannot be measured here, and why."""
        self.facts: dict[str, float] = {}
        """What else is worth knowing of this run."""

    def rows(self, parts: Sequence[str]) -> list[Row]:
        """Start everything; the rows that can be measured."""
        mesh = self._stack.enter_context(our_mesh(self._folder))
        move(mesh.pids("gateway"), SERVER_CORE)
        fields, body = mesh.first_price("/price?asset=BTC")
        price = self._file(body)
        makers = {
            "http": lambda: self._http_rows(mesh, price, fields),
            "udp": lambda: self._udp_rows(mesh, price),
            "grpc": lambda: self._grpc_rows(mesh, price),
            "watch": lambda: [Row("watch prices, to one subscriber", self._watch)],
        }
        return [row for part in parts for row in makers[part]()]

    def measure(self, rows: Sequence[Row], runs: int) -> list[Row]:
        """Measure all rows in turns, then those at half load in turns; what failed is left out and named."""
        done = self._in_turns(list(rows), runs, lambda row: 0.0)
        peaks = {id(row): row.medians()["per_second"] or 0.0 for row in done}
        halves = {id(row): Row(f"{row.name}, at half load", row.run, is_half=True) for row in done if row.half}
        rates = {id(half): peaks[original] / 2 for original, half in halves.items()}
        done_halves = {id(row) for row in self._in_turns(list(halves.values()), runs, lambda row: rates[id(row)])}
        ordered: list[Row] = []
        for row in done:
            ordered.append(row)
            half = halves.get(id(row))
            if half is not None and id(half) in done_halves:
                ordered.append(half)
        return ordered

    def _in_turns(self, rows: list[Row], runs: int, rate_of: Callable[[Row], float]) -> list[Row]:
        for turn in range(runs):
            print(f"  run {turn + 1} of {runs}: {len(rows)} rows", file=sys.stderr, flush=True)
            for row in list(rows):
                try:
                    row.samples.append(row.run(rate_of(row)))
                except PeerError as error:
                    row.failures.append(str(error))
                    print(f"  {row.name}: {error}", file=sys.stderr)
                    if len(row.failures) == FAILURES_MAX:
                        rows.remove(row)
                        self.skipped[row.name] = "; ".join(row.failures)
        return [row for row in rows if row.samples]

    def _http_rows(self, mesh: Mesh, price: Path, fields: dict[str, str]) -> list[Row]:
        constant = {name: value for name, value in fields.items() if name not in _SERVERS_OWN}
        hot = self._file(mesh.http_request("/price?asset=BTC"))
        ours = Peer(mesh.http_port, mesh.pids("gateway"))
        bridged = Peer(mesh.http_port, [*ours.pids, *mesh.pids("price")])
        called = self._file(mesh.http_request("/price?asset=BTC&method=vwap"))
        rows = [
            Row("http lane", self._http(ours, hot), half=True),
            Row(
                "http bridge, with its call to the price service", self._http(bridged, called, bridged.pids), half=True
            ),
        ]
        others = {
            "go net/http, body rendered once": lambda: peers.go_http(
                self._workshop, self._folder, price, mesh.key, "ready"
            ),
            "go net/http, encoding/json": lambda: peers.go_http(
                self._workshop, self._folder, price, mesh.key, "encode"
            ),
            "nginx, a constant": lambda: peers.nginx(self._folder, price, constant),
            "uvicorn + fastapi": lambda: peers.fastapi(self._folder, price),
            "envoy transcoder before grpcio": lambda: peers.envoy(self._folder, price),
        }
        for name, start in others.items():
            with self._skipping(name):
                rows.append(Row(name, self._http(self._stack.enter_context(start()), hot), half=True))
        return rows

    def _udp_rows(self, mesh: Mesh, price: Path) -> list[Row]:
        ours = Peer(mesh.udp_port, mesh.pids("gateway"))
        cookie = mesh.cookie()
        proof = f" c={cookie}" if cookie else ""
        line = peers.TEXT_PATTERN + proof.encode("ascii")
        text = self._file(line.ljust(peers.TEXT_ROOM) + b"\n")
        plain = self._file(peers.TEXT_PATTERN + b"\n")
        rows = [
            Row(f"udp text, {'with a cookie' if cookie else 'no session'}", self._udp("text", ours, text)),
            Row(f"udp text, {CLIENTS} clients", self._udp("text", ours, text, _NO_KEY, CLIENTS)),
            Row("udp text, signed by a session", self._udp_session(mesh, "signed")),
        ]
        if mesh.speaks_binary():
            rows.append(Row("udp binary, MAC both ways", self._udp_session(mesh, "binary")))
            rows.append(
                Row(f"udp binary, MAC both ways, {CLIENTS} clients", self._udp_session(mesh, "binary", CLIENTS))
            )
        else:
            self.skipped["udp binary, MAC both ways"] = "the gateway does not answer a binary datagram"
        with self._skipping("go udp, text"):
            peer = self._stack.enter_context(peers.go_udp(self._workshop, self._folder))
            rows.append(Row("go udp, text", self._udp("text", peer, plain)))
        with self._skipping("go udp, HMAC both ways"):
            self._workshop.go("udp_peer")
            payload = self._file(_payload(price))
            rows.append(Row("go udp, HMAC both ways", lambda _: self._go_signed(payload)))
        with self._skipping(f"go udp, HMAC both ways, {CLIENTS} clients"):
            rows.append(Row(f"go udp, HMAC both ways, {CLIENTS} clients", lambda _: self._go_signed(payload, CLIENTS)))
        with self._skipping("c recvmmsg, text"):
            peer = self._stack.enter_context(peers.c_udp(self._workshop, self._folder))
            rows.append(Row("c recvmmsg, text", self._udp("text", peer, plain)))
        return rows

    def _grpc_rows(self, mesh: Mesh, price: Path) -> list[Row]:
        ours = Peer(mesh.price_address, mesh.pids("price"))
        began = used(ours.pids)
        time.sleep(REST_S)
        self.facts["part_of_a_core_that_prices_take_with_nobody_asking"] = (
            used(ours.pids).server_s - began.server_s
        ) / REST_S
        rows = [Row("grpc GetPrice", self._grpc(ours, ours.pids))]
        with self._skipping("bare grpc.aio"):
            peer = self._stack.enter_context(peers.grpc_handler(self._folder, price, "aio"))
            rows.append(Row("bare grpc.aio", self._grpc(peer)))
        return rows

    def _http(self, peer: Peer, request: Path, moved: Sequence[int] = ()) -> Callable[[float], Sample]:
        def run(rate: float) -> Sample:
            words = (peer.address, CONNECTIONS, WARM_S, self._seconds, rate, request)
            return self._loaded("load_http", words, peer.pids, moved=moved)

        return run

    def _udp(
        self, form: str, peer: Peer, pattern: Path, key: str = _NO_KEY, sockets: int = 1
    ) -> Callable[[float], Sample]:
        def run(_: float) -> Sample:
            words = (form, peer.address, DATAGRAMS, WARM_S, self._seconds, pattern, key, sockets)
            return self._loaded("load_udp", words, peer.pids)

        return run

    def _udp_session(self, mesh: Mesh, form: str, sockets: int = 1) -> Callable[[float], Sample]:
        ours = Peer(mesh.udp_port, mesh.pids("gateway"))

        def run(_: float) -> Sample:
            session = mesh.session()
            signed = peers.TEXT_PATTERN + f" s={session.session_id}".encode("ascii")
            pattern = self._file(binary_pattern(session.session_id) if form == "binary" else signed)
            return self._udp(form, ours, pattern, session.key.hex(), sockets)(0)

        return run

    def _go_signed(self, payload: Path, sockets: int = 1) -> Sample:
        session_id, key = peers.a_session()
        port = free_port()
        with peers.go_udp_signed(self._workshop, self._folder, payload, session_id, key, port) as peer:
            return self._udp("binary", peer, self._file(binary_pattern(session_id)), key, sockets)(0)

    def _grpc(self, peer: Peer, moved: Sequence[int] = ()) -> Callable[[float], Sample]:
        request = self._file(b"\x0a\x03BTC")  # GetPriceRequest: asset

        def run(_: float) -> Sample:
            words = (peer.address, GRPC_CONNECTIONS, GRPC_STREAMS, WARM_S, self._seconds, GET_PRICE, request)
            return self._loaded("load_grpc", words, peer.pids, moved=moved)

        return run

    def _watch(self, _: float) -> Sample:
        words = [sys.executable, str(HERE / "watch.py"), "--once"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise PeerError(f"watch.py: {done.stderr.strip()[-400:]}")
        return Sample(json.loads(done.stdout))

    def _loaded(
        self,
        program: str,
        words: Sequence[object],
        pids: Sequence[int],
        *,
        moved: Sequence[int] = (),
    ) -> Sample:
        """Run a load once; `moved` processes are on the server's core meanwhile."""
        load = [str(self._workshop.c(program)), *map(str, words)]
        homes = {pid: min(os.sched_getaffinity(pid)) for pid in moved}
        move(moved, SERVER_CORE)
        try:
            before, began = used(pids), time.monotonic()
            with on_core(LOAD_CORE):
                done = subprocess.run(load, capture_output=True, text=True, check=False, timeout=120)
            after, took = used(pids), time.monotonic() - began
        finally:
            for pid, core in homes.items():
                move([pid], core)
        if done.returncode:
            raise PeerError(done.stderr.strip()[-400:])
        told = json.loads(done.stdout)
        lost = told["lost"] / max(1, told["answers"] + told["lost"])
        if lost > LOST:
            print(f"  {lost:.1%} of the datagrams were lost: {' '.join(load[1:3])}", file=sys.stderr)
        server_s = after.server_s - before.server_s
        row = {name: told[name] for name in COLUMNS if name in told}
        row["cpu_us"] = server_s / max(1, told["answers"]) * 1e6
        others = max(0.0, after.core_s - before.core_s - server_s) / took
        return Sample(row, server_s / took, others, told["paused"])

    @contextlib.contextmanager
    def _skipping(self, name: str) -> Iterator[None]:
        try:
            yield
        except PeerError as error:
            self.skipped[name] = str(error)

    def _file(self, data: bytes) -> Path:
        self._files += 1
        path = self._folder / f"{self._files}.data"
        path.write_bytes(data)
        return path


_SERVERS_OWN = frozenset({"date", "content-type", "content-length", "server", "connection"})
"""Header fields that every server writes by itself."""


def _payload(price: Path) -> bytes:
    """The price as a binary answer would hold it."""
    return bytes(json_format.Parse(price.read_text("utf-8"), price_pb2.Price()).SerializeToString())


def _report(rows: Sequence[Row], bench: Bench, arguments: argparse.Namespace, *, whole: bool) -> int:
    """Print and write what was measured."""
    skipped = bench.skipped
    table = {row.name: row.medians() for row in rows}
    width = max([len(name) for name in table], default=0)
    heads = ("answers/s", "cpu us", "p50 us", "p99 us", "p99.9 us", "busy", "others")
    print(f"{'':{width}} " + "".join(f"{head:>10}" for head in heads))
    for row in rows:
        told = table[row.name]
        cells = [
            f"{told[name]:,.{2 if name == 'cpu_us' else 0}f}" if told[name] is not None else "" for name in COLUMNS
        ]
        cells += [f"{_median(row, name):.0%}" for name in ("busy", "others")]
        print(f"{row.name:{width}} " + "".join(f"{cell:>10}" for cell in cells))
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    lines, good = goal_lines(table)
    print("\n".join(["", *lines, ""]))
    bound = [row.name for row in rows if not row.is_half and _median(row, "busy") + _median(row, "others") < 1 - IDLE]
    others = max((_median(row, "others") for row in rows), default=0.0)
    paused = max((_median(row, "paused") for row in rows), default=0.0)
    if paused:
        print(f"at half load the load was kept from its core for up to {paused:.0%} of the time, and stood still then")
    if bound:
        print(f"not the server but the load was the limit, the rate is a lower bound, CPU counts: {'; '.join(bound)}")
    if others > OTHERS:
        print(f"others used up to {others:.0%} of the server's core: take these figures for provisional")
    result = {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}, {len(CORES)} cores, {_processor()}",
            "python": platform.python_version(),
            "runs": arguments.runs,
            "seconds_a_run": arguments.seconds,
            "part_of_the_servers_core_that_others_used_at_most": others,
            "part_of_the_time_that_loads_at_half_load_stood_still_at_most": paused,
            "rates_that_are_lower_bounds": bound or ["none"],
            **bench.facts,
            "skipped": [f"{name}: {reason}" for name, reason in skipped.items()] or ["none"],
        },
        "rows": [{"name": name, **row} for name, row in table.items()],
        "ratios": ratios_of(table),
    }
    if whole:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(_rounded(result), indent=2) + "\n")
    return 0 if good or not whole else 1


def _median(row: Row, name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in row.samples)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
