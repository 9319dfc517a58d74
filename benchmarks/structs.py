"""What a frozen value costs to make: dataclass beside msgspec.Struct, in one run."""

from __future__ import annotations

import json
import platform
import statistics
import timeit
from dataclasses import make_dataclass
from pathlib import Path

import msgspec

from trinity_core.ticks import Tick

ROUNDS = 7
NUMBER = 100_000


def main() -> None:
    """Print the two costs and their ratio; write benchmarks/results/structs.json."""
    names = Tick.__struct_fields__
    values = tuple(range(len(names)))
    dataclass = make_dataclass("DataclassTick", names, frozen=True, slots=True)
    struct = msgspec.defstruct("StructTick", names, frozen=True, gc=False)
    costs: dict[str, list[float]] = {"dataclass": [], "struct": []}
    for _ in range(ROUNDS):
        for name, kind in (("dataclass", dataclass), ("struct", struct)):
            costs[name].append(timeit.timeit(lambda kind=kind: kind(*values), number=NUMBER) / NUMBER)
    medians = {name: statistics.median(cost) for name, cost in costs.items()}
    ratio = medians["dataclass"] / medians["struct"]
    for name, cost in medians.items():
        print(f"{name:10} {cost * 1e9:8.0f} ns")
    print(f"a frozen dataclass costs {ratio:.1f} times a frozen Struct")
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": [{"name": name, "cpu_us": cost * 1e6, "per_second": 1 / cost} for name, cost in medians.items()],
        "ratios": {"dataclass/struct": ratio},
    }
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("structs.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
