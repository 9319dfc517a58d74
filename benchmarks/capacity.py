"""What 8-vCPU tasks would carry, and how many a load needs, computed from CPU per answer.

    python benchmarks/capacity.py            write docs/capacity.md
    python benchmarks/capacity.py --check    exit 1 if it differs

Nothing is measured here: the figures are those of benchmarks/results/lanes.json and
tick_path.json, the arithmetic is on the page, and so is every assumption.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "capacity.md"

TASK_VCPUS = 8
SERVICE_VCPUS = 1
"""Of each task: feeds, price, account and usage service, and everything that is not a gateway worker."""
WORKERS = TASK_VCPUS - SERVICE_VCPUS
TARGET = 0.7
"""Part of a worker's core that answers may take at the load computed for."""
VCPU_FACTORS = (1.0, 0.75, 0.5)
"""What a vCPU does in the time of the core that was measured."""
ANSWER_BYTES = 850
"""Bytes of one answer of the HTTP lane with its head, as they leave a task."""

TCP_LOAD, TCP_TASKS = 369_600, 3
COMBINED_LOAD, COMBINED_TASKS = 746_374, 10
"""The documented loads of the system that we follow, requests/s, and the tasks it has for each."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One way in, and what an answer costs there."""

    name: str
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What one worker of a task has for answers."""

    factor: float
    replica_cores: float
    """Part of a measured core that a worker's replica takes."""

    def per_core(self, cpu_us: float) -> float:
        """Answers a second of one worker."""
        return max(0.0, self.factor * TARGET - self.replica_cores) * 1e6 / cpu_us

    def per_task(self, cpu_us: float) -> float:
        """Answers a second of one task."""
        return self.per_core(cpu_us) * WORKERS

    def tasks(self, parts: Sequence[tuple[float, float]]) -> int:
        """Tasks that loads need together; each is answers a second and the CPU of one."""
        return math.ceil(sum(load / self.per_task(cpu_us) for load, cpu_us in parts))


def page() -> str:
    """The whole page."""
    lanes = json.loads((RESULTS / "lanes.json").read_text("utf-8"))
    use = json.loads((RESULTS / "tick_path.json").read_text("utf-8"))["use"]
    rows = {row["name"]: row for row in lanes["rows"]}
    replica = float(use["replica"]["cores"])
    service = float(use["feed worker"]["cores"]) + float(use["price service"]["cores"])
    http = Lane("http lane", rows["http lane"]["cpu_us"])
    udp = _udp(rows)
    machines = [Machine(factor, replica) for factor in VCPU_FACTORS]
    parts = [
        _head(lanes),
        "## Answers a second\n\n" + _carried(rows, replica),
        "## Tasks for a load\n\n" + _needed(http, udp, machines),
        "## What is assumed\n\n" + _assumed(http, udp, replica, service),
    ]
    return "\n".join(parts)


def _udp(rows: Mapping[str, Mapping[str, Any]]) -> Lane:
    """The dearest form of datagram that was measured: where binary with MAC is spoken, that."""
    names = [name for name in rows if name.startswith("udp ")]
    name = next((name for name in names if name.startswith("udp binary")), "")
    name = name or max(names, key=lambda each: rows[each]["cpu_us"])
    return Lane(name, rows[name]["cpu_us"])


def _head(lanes: Mapping[str, Any]) -> str:
    machine = lanes["machine"]
    others = machine["part_of_the_servers_core_that_others_used_at_most"]
    caution = (
        f"\n**These are provisional:** others used up to {others:.0%} of the server's core while it was measured.\n"
        if others > 0.05
        else ""
    )
    return f"""# Capacity

Made by `benchmarks/capacity.py` from the results of `benchmarks/lanes.py` and `benchmarks/tick_path.py`; do not edit.
It is arithmetic, not a measurement of tasks: what one answer costs in CPU, measured on one core, and what
follows for tasks of {TASK_VCPUS} vCPU under the assumptions at the end. Measured on {machine["system"]}.
{caution}"""


def _carried(rows: Mapping[str, Mapping[str, Any]], replica: float) -> str:
    """What each lane carries, and its peers by the same arithmetic."""
    machine = Machine(1.0, replica)
    lines = ["| lane | CPU of one answer, us | a worker | a task |", "|---|---|---|---|"]
    for name, row in rows.items():
        if name.endswith("at half load") or name.startswith("watch"):
            continue
        cpu = row["cpu_us"]
        shown = (name, f"{cpu:.2f}", f"{machine.per_core(cpu):,.0f}", f"{machine.per_task(cpu):,.0f}")
        lines.append(f"| {' | '.join(shown)} |")
    return (
        "\n".join(lines)
        + f"""

a worker = (target {TARGET} - replica {replica:.2f}) / CPU of one answer; a task = {WORKERS} workers. Peers are computed
as if they had the same replica to keep and the same share left; what they do not check, they do not pay for.
"""
    )


def _needed(http: Lane, udp: Lane, machines: Sequence[Machine]) -> str:
    datagrams = COMBINED_LOAD - TCP_LOAD
    loads = (
        (f"{TCP_LOAD:,} TCP requests/s", TCP_TASKS, ((TCP_LOAD, http.cpu_us),)),
        (
            f"{COMBINED_LOAD:,} requests/s: {TCP_LOAD:,} TCP, {datagrams:,} UDP",
            COMBINED_TASKS,
            ((TCP_LOAD, http.cpu_us), (datagrams, udp.cpu_us)),
        ),
        ("1,000,000 TCP requests/s", None, ((1_000_000, http.cpu_us),)),
        ("1,000,000 UDP requests/s", None, ((1_000_000, udp.cpu_us),)),
    )
    factors = " | ".join(f"ours, a vCPU is {machine.factor:g} of the core" for machine in machines)
    lines = [f"| load | documented tasks | {factors} |", f"|---|---|{'---|' * len(machines)}"]
    for name, documented, parts in loads:
        counts = " | ".join(f"{machine.tasks(parts):,}" for machine in machines)
        lines.append(f"| {name} | {documented or ''} | {counts} |")
    documented = (TCP_LOAD / TCP_TASKS / TASK_VCPUS, COMBINED_LOAD / COMBINED_TASKS / TASK_VCPUS)
    ours = machines[0].per_task(http.cpu_us) / TASK_VCPUS
    return (
        "\n".join(lines)
        + f"""

All tasks have {TASK_VCPUS} vCPU. For each vCPU the documented figures are {documented[0]:,.0f} TCP requests/s and
{documented[1]:,.0f} combined; ours is {ours:,.0f} TCP requests/s, the vCPU without a worker counted in, at the first
factor. One more task than computed is wise, so that one may be lost.
"""
    )


def _assumed(http: Lane, udp: Lane, replica: float, service: float) -> str:
    gigabits = Machine(1.0, replica).per_task(http.cpu_us) * ANSWER_BYTES * 8 / 1e9
    items = (
        f"TCP requests are those of `{http.name}`, UDP requests those of `{udp.name}`; the replica answers all.",
        "CPU of one answer is user and system time of the server's process. So the kernel's work in its calls is in "
        "it, and on the loopback also what the kernel does to deliver the answer; a network card's interrupts are not.",
        f"A worker is used to {TARGET:.0%}. The rest is for peaks, for a network card's interrupts, and for all that "
        "is no answer.",
        "One worker a vCPU, each with its own listening sockets (SO_REUSEPORT), and the kernel spreads connections and "
        "datagrams evenly enough. That throughput grows with the workers was not measured: this machine has too few "
        "cores.",
        f"{SERVICE_VCPUS} vCPU of a task is left to the feeds and the services. At 5,000 ticks/s the feed worker and "
        f"the price service used {service:.2f} of a core, and the replica of each worker {replica:.2f} "
        "(`benchmarks/tick_path.py`).",
        "A vCPU is a hardware thread that may share its core with another, and which processor it gets is not told; "
        "the core that was measured was a virtual machine's too. Hence the three factors.",
        "Connections are kept alive, and one request is in flight on each: no pipelining. TLS ends at the load "
        "balancer, and connecting costs nothing beside what is asked on a connection.",
        f"The network carries it: {gigabits:.1f} Gbit/s of answers from a task at the first factor, {ANSWER_BYTES} "
        "bytes each.",
        f"How the documented {COMBINED_LOAD:,} divides is not told; all beyond the documented TCP load is taken for "
        "UDP.",
        "Every check, limit and count of a real request is in our figures. What is in the documented ones is not "
        "known.",
    )
    return "\n".join(f"- {item}" for item in items) + "\n"


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only check that the page is fresh")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, "utf-8")
        print(text)
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        sys.exit("capacity: docs/capacity.md is not fresh; run benchmarks/capacity.py and commit it")


if __name__ == "__main__":
    main()
