"""Usage under kill -9 for minutes: what was answered beside what was billed, and two ways that do not hold.

    python benchmarks/ledger_kills.py [kills] [answers]           stand-ins: gateways that only count
    python benchmarks/ledger_kills.py --mesh [kills] [answers]    a whole mesh, as `trinity up` runs it

The machinery is that of tests/system/test_ledger_kills.py: gateways, the usage service and
PostgreSQL are real processes, killed at random; the line to the usage service loses answers and
repeats messages; time runs fast, so that hours turn and close meanwhile. Or that of
tests/system/test_ledger_mesh.py: two real gateway workers, clients over HTTP and UDP that keep
their own count, and the bill as the customer reads it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import platform
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import ledger_kills
from ledger_kills import DELTAS, LEDGER, NO_ADOPTION, Verdict
from system import mesh_kills

KILLS = 300
ANSWERS = 50_000_000
MESH_KILLS = 100
MESH_ANSWERS = 100_000
TOGETHER = {f"{LEDGER}-0": (f"{LEDGER}-0", f"{DELTAS}-0", f"{NO_ADOPTION}-0")}
VICTIMS = (*(f"{LEDGER}-{number}" for number in (0, 1, 0, 1)), "usage", "postgres")
MESH_VICTIMS = (*mesh_kills.GATEWAYS, *mesh_kills.GATEWAYS, "usage", "postgres")
ALONE = 0.75
"""Part of the first worker's deaths that the wrong gateways do not share; each that they do costs three starts."""


async def stand_ins(folder: Path, kills: int, answers: int) -> ledger_kills.Result:
    """Gateways that only count, many answers."""

    async def plan(battle: ledger_kills.Battle) -> None:
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

    return await ledger_kills.fight(folder, plan, seed=7, clients=2)


async def mesh(folder: Path, kills: int, answers: int) -> mesh_kills.Result:
    """A whole mesh; only kills of its own parts are counted against `kills`."""

    async def plan(battle: mesh_kills.Battle) -> None:
        dice = random.Random(7)
        tally = battle.tallies[LEDGER]

        def killed() -> int:
            return sum(battle.kills[name] for name in set(MESH_VICTIMS))

        await battle.go_on(30)
        while killed() < kills or tally.total < answers:
            await battle.go_on(dice.randint(1, 30))
            due = answers * min(1.0, killed() / kills) * 0.98
            while tally.total < due:
                await battle.go_on(10)
            victims = sorted({dice.choice(MESH_VICTIMS) for _ in range(dice.choice((1, 1, 1, 2)))})
            if mesh_kills.GATEWAYS[0] in victims and dice.random() > ALONE:
                victims += [DELTAS, NO_ADOPTION]
            await battle.kill(*victims)

    return await mesh_kills.fight(folder, plan, seed=7, http=2, udp=2, lines=5)


def main() -> None:
    """Print what was lost and billed twice; write benchmarks/results/ledger_kills.json. Fails when anything was."""
    words = sys.argv[1:]
    whole = "--mesh" in words
    numbers = [int(word) for word in words if word != "--mesh"]
    kills, answers = (*numbers, *((MESH_KILLS, MESH_ANSWERS) if whole else (KILLS, ANSWERS))[len(numbers) :])
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="trinity-kills-") as folder:
        result = asyncio.run((mesh if whole else stand_ins)(Path(folder), kills, answers))
    took = perf_counter() - began
    facts = {"seconds": round(took), **dataclasses.asdict(result)}
    print(", ".join(f"{name} {value}" for name, value in facts.items() if name != "verdicts"))
    show(result.verdicts)
    write("mesh" if whole else "stand_ins", facts)
    good = result.verdicts[LEDGER]
    assert (good.lost, good.double) == (0, 0), "the ledger did not hold"
    assert result.verdicts[DELTAS].double > 0, "the control did not fail"
    assert result.verdicts[NO_ADOPTION].lost > 0, "the control did not fail"


def show(verdicts: Mapping[str, Verdict]) -> None:
    """One line a variant."""
    print(f"{'':14}{'answered':>14}{'billed':>14}{'in flight':>11}{'lost':>12}{'double':>12}")
    for name, verdict in verdicts.items():
        print(
            f"{name:14}{verdict.answered:14,}{verdict.billed:14,}{verdict.in_flight:11,}"
            f"{verdict.lost:12,}{verdict.double:12,}"
        )


def write(form: str, facts: Mapping[str, Any]) -> None:
    """Renew one form's part of the results."""
    path = Path(__file__).with_name("results") / "ledger_kills.json"
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {"machine": f"{platform.machine()}, Python {platform.python_version()}", form: facts}
    path.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
