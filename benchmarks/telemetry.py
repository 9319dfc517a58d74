"""What telemetry costs the lanes of a real gateway worker: all of it on, beside all of it off, in alternating runs.

    python benchmarks/telemetry.py [--runs 7] [--seconds 1.5] [--only "http lane"]

Two meshes run, `trinity up` with one gateway worker each. One counts for metrics, is scraped every 5 s
(Prometheus' own example: every 15), gathers CloudWatch's lines every 5 s and logs as usual; of the other
TRINITY_TELEMETRY_METRICS is off. A row is measured on both in turn, first the one and then the other, and the
next time the other way round; the process that is measured is alone on the first core. What counts is CPU of
the server's processes for each answer, user and system, the kernel's share included: others who use the
machine change rates, and that less. `cost` is the median of the runs' own ratios, `of best` the ratio of the
least disturbed run of each.
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
import threading
import timeit
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _lane_mesh import Mesh, our_mesh
from _lane_peers import TEXT_PATTERN, TEXT_ROOM, Workshop
from _lane_process import CORES, LOAD_CORE, SERVER_CORE, PeerError, move, on_core, used

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "telemetry.json"
GOAL = 0.05
"""Most that telemetry may add to the CPU of an answer of the hot lane, and of a datagram."""
GOAL_ROWS = ("http lane", "udp text")
CONNECTIONS, DATAGRAMS = 64, 128
WARM_S = 0.3
SCRAPE_S = 5.0
_BOTH = {"PYTHONHASHSEED": "0"}
"""Two processes of one program differ by the seeds of their hashes alone; here they have the same."""
ON = {**_BOTH, "TRINITY_TELEMETRY_EMF_PERIOD_S": "5"}
OFF = {**_BOTH, "TRINITY_TELEMETRY_METRICS": "false"}


@dataclass(slots=True)
class Row:
    """One lane, measured with telemetry on and off."""

    name: str
    part: str
    """The part whose processes are measured: "gateway" or "price"."""
    load: Callable[[Mesh], list[str]]
    """The load's command line."""
    on: list[float] = field(default_factory=list)
    """CPU of an answer, microseconds."""
    off: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """What telemetry adds, as a part of what is spent without it."""
        return statistics.median(on / off for on, off in zip(self.on, self.off, strict=True)) - 1

    @property
    def cost_of_best(self) -> float:
        """The same of the least disturbed runs: those that took the least CPU."""
        return min(self.on) / min(self.off) - 1


def main() -> int:
    """Measure, print and write; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="alternating runs of each row")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run")
    parser.add_argument("--only", default="", help="rows whose name has this in it; then nothing is written")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="telemetry-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        meshes = {}
        for kind, environ in (("on", ON), ("off", OFF)):
            (folder / kind).mkdir()
            own = {**environ, "TRINITY_TELEMETRY_EMF": str(folder / kind / "emf.log")} if kind == "on" else environ
            meshes[kind] = stack.enter_context(our_mesh(folder / kind, own))
            meshes[kind].first_price("/price?asset=BTC")
        scrapes = stack.enter_context(_scraped(meshes["on"]))
        rows = [row for row in _rows(Workshop(folder), folder, arguments.seconds) if arguments.only in row.name]
        for turn in range(arguments.runs):
            print(f"  run {turn + 1} of {arguments.runs}", file=sys.stderr, flush=True)
            for row in rows:
                kinds = ("on", "off") if turn % 2 else ("off", "on")
                try:
                    measured = {kind: _measured(meshes[kind], row) for kind in kinds}
                except PeerError as error:
                    print(f"  {error}", file=sys.stderr)
                    continue
                row.on.append(measured["on"])
                row.off.append(measured["off"])
    rows = [row for row in rows if row.on]
    return _report(rows, arguments, scrapes=len(scrapes))


@contextlib.contextmanager
def _scraped(mesh: Mesh) -> Iterator[list[int]]:
    """Read a mesh's metrics every 5 s, as a scraper does; yields the sizes of what was read."""
    stopped, sizes = threading.Event(), list[int]()

    def scrape() -> None:
        while not stopped.wait(SCRAPE_S):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://{mesh.metrics}/metrics", timeout=5) as got,
            ):
                sizes.append(len(got.read()))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        stopped.set()
        thread.join()


def _rows(workshop: Workshop, folder: Path, seconds: float) -> list[Row]:
    files = iter(range(1_000_000))

    def file(data: bytes) -> str:
        path = folder / f"{next(files)}.data"
        path.write_bytes(data)
        return str(path)

    def http(target: str) -> Callable[[Mesh], list[str]]:
        program = str(workshop.c("load_http"))

        def words(mesh: Mesh) -> list[str]:
            request = file(mesh.http_request(target))
            return [program, str(mesh.http_port), *map(str, (CONNECTIONS, WARM_S, seconds, 0)), request]

        return words

    def udp(mesh: Mesh) -> list[str]:
        cookie = mesh.cookie()
        line = TEXT_PATTERN + (f" c={cookie}".encode("ascii") if cookie else b"")
        pattern = file(line.ljust(TEXT_ROOM) + b"\n")
        return [
            str(workshop.c("load_udp")),
            "text",
            str(mesh.udp_port),
            *map(str, (DATAGRAMS, WARM_S, seconds)),
            pattern,
        ]

    def grpc(mesh: Mesh) -> list[str]:
        request = file(b"\x0a\x03BTC")
        method = "/trinity.price.v1.PriceService/GetPrice"
        return [str(workshop.c("load_grpc")), mesh.price_address, *map(str, (4, 16, WARM_S, seconds)), method, request]

    return [
        Row("http lane", "gateway", http("/price?asset=BTC")),
        Row("udp text", "gateway", udp),
        Row("http bridge, the gateway's part", "gateway", http("/price?asset=BTC&method=vwap")),
        Row("grpc GetPrice", "price", grpc),
    ]


def _measured(mesh: Mesh, row: Row) -> float:
    """One run: CPU of an answer, microseconds."""
    words, pids = row.load(mesh), mesh.pids(row.part)
    move(pids, SERVER_CORE)
    try:
        before = used(pids)
        with on_core(LOAD_CORE):
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        after = used(pids)
    finally:
        move(pids, LOAD_CORE)
    if done.returncode:
        raise PeerError(f"{row.name}: {done.stderr.strip()[-400:]}")
    # The load's own figures leave its warm-up out, the processes' do not: both are of one process and one load.
    answers, server_s = json.loads(done.stdout)["answers"], after.server_s - before.server_s
    if not answers or server_s <= 0:
        raise PeerError(f"{row.name}: nothing was answered; is the machine too busy?")
    return server_s / answers * 1e6


def _look_ns() -> float:
    """What the fast lane's question whether to time an answer costs, which cannot be switched off, nanoseconds."""
    return min(timeit.repeat("if not lane.n & lane.look: pass", _LOOK, number=1_000_000, repeat=5)) * 1_000


_LOOK = """
class Lane:
    n, look = 12345, -1
lane = Lane()
"""


def _report(rows: Sequence[Row], arguments: argparse.Namespace, *, scrapes: int) -> int:
    for row in rows:
        pairs = ", ".join(f"{on / off - 1:+.0%}" for on, off in zip(row.on, row.off, strict=True))
        print(f"{row.name}, each run: {pairs}", file=sys.stderr)
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}} {'off, us':>10}{'on, us':>10}{'cost':>8}{'of best':>9}")
    for row in rows:
        off, on = statistics.median(row.off), statistics.median(row.on)
        print(f"{row.name:{width}} {off:>10.2f}{on:>10.2f}{row.cost:>8.1%}{row.cost_of_best:>9.1%}")
    look_ns = _look_ns()
    print(f"what stays when it is off: {look_ns:.0f} ns an answer of the http lane")
    missed = [row.name for row in rows if row.name in GOAL_ROWS and row.cost >= GOAL]
    for name in (row.name for row in rows if row.name in GOAL_ROWS):
        print(f"{'MISSED' if name in missed else 'met'}: {name}: telemetry costs less than {GOAL:.0%} of CPU")
    result = {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}, {len(CORES)} cores",
            "python": platform.python_version(),
            "runs": arguments.runs,
            "seconds_a_run": arguments.seconds,
            "scrapes": scrapes,
            "load_average": os.getloadavg()[0],
        },
        "rows": [
            {
                "name": row.name,
                "off_cpu_us": round(statistics.median(row.off), 3),
                "on_cpu_us": round(statistics.median(row.on), 3),
                "cost": round(row.cost, 4),
                "cost_of_best": round(row.cost_of_best, 4),
            }
            for row in rows
        ],
        "stays_when_off_ns": round(look_ns, 1),
    }
    if arguments.only:
        return 1 if missed else 0
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
