"""Usage under kill -9 for minutes: what was answered beside what was billed, and two ways that do not hold.

    python benchmarks/ledger_kills.py [kills] [answers]

The machinery is that of tests/system/test_ledger_kills.py: gateways, the usage service and
PostgreSQL are real processes, killed at random; the line to the usage service loses answers and
repeats messages; time runs fast, so that hours turn and close meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import platform
import random
import sys
import tempfile
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from ledger_kills import DELTAS, LEDGER, NO_ADOPTION, Battle, fight

KILLS = 300
ANSWERS = 50_000_000
TOGETHER = {f"{LEDGER}-0": (f"{LEDGER}-0", f"{DELTAS}-0", f"{NO_ADOPTION}-0")}
VICTIMS = (*(f"{LEDGER}-{number}" for number in (0, 1, 0, 1)), "usage", "postgres")


def main() -> None:
    """Print what was lost and billed twice; write benchmarks/results/ledger_kills.json. Fails when anything was."""
    kills, answers = (int(word) for word in (*sys.argv[1:], KILLS, ANSWERS)[:2])
    began = perf_counter()

    async def plan(battle: Battle) -> None:
        dice = random.Random(7)
        tally = battle.tallies[LEDGER]
        while battle.kills < kills or tally.total < answers:
            await battle.go_on(dice.randint(1_000, 60_000))
            # Some answers of the ledger variant have to come for each kill, so that both goals are met together.
            due = answers * min(1.0, battle.kills / kills) * 0.98
            while tally.total < due:
                await battle.go_on(10_000)
            victims = {dice.choice(VICTIMS) for _ in range(dice.choice((1, 1, 1, 2)))}
            await battle.kill(*(name for victim in sorted(victims) for name in TOGETHER.get(victim, (victim,))))

    with tempfile.TemporaryDirectory(prefix="trinity-kills-") as folder:
        result = asyncio.run(fight(Path(folder), plan, seed=7, clients=2))
    took = perf_counter() - began
    print(f"{result.kills} kills, {took:.0f} s, {result.hours} hours, {result.files} ledger files recorded")
    print(f"{'':14}{'answered':>14}{'billed':>14}{'in flight':>11}{'lost':>12}{'double':>12}")
    for name, verdict in result.verdicts.items():
        print(
            f"{name:14}{verdict.answered:14,}{verdict.billed:14,}{verdict.in_flight:11,}"
            f"{verdict.lost:12,}{verdict.double:12,}"
        )
    out = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seconds": round(took),
        **dataclasses.asdict(result),
    }
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("ledger_kills.json").write_text(json.dumps(out, indent=2) + "\n")
    good = result.verdicts[LEDGER]
    assert (good.lost, good.double) == (0, 0), "the ledger did not hold"
    assert result.verdicts[DELTAS].double > 0, "the control did not fail"
    assert result.verdicts[NO_ADOPTION].lost > 0, "the control did not fail"


if __name__ == "__main__":
    main()
