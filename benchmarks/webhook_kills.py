"""Alerts under kill -9: what was made beside what arrived, for endpoints served rightly and some served wrongly.

    python benchmarks/webhook_kills.py [seed …]

The machinery is that of tests/system/test_webhook_kills.py: two webhook workers, PostgreSQL and the
price service are real processes, killed in turn and then at random while prices cross a threshold
as fast as alerts of it are stored; the receiver refuses 10 % and leaves 2 % unanswered. For the
wrong endpoints what is to be sent counts as delivered before it is sent, as without an outbox.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from system.webhook_kills import GOOD, WRONG, Result, fight

SEEDS = (11, 5, 23)
ROUNDS = 6
TURNS = 15
DUPLICATES_MAX = 0.05
CLEARED_MAX_S = 10.0


async def battles(seeds: list[int]) -> dict[int, Result]:
    """One after the other."""
    found = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found[seed] = result = await fight(Path(folder), seed=seed, rounds=ROUNDS, turns=TURNS)
        good, wrong = result.verdicts[GOOD], result.verdicts[WRONG]
        print(
            f"seed {seed}: {result.kills.total()} kills, {good.made:,} alerts made, {good.lost} lost, "
            f"{good.duplicates} taken again ({100 * good.duplicates / good.taken:.1f} %), backlog gone after "
            f"{result.cleared_s:.1f} s; without an outbox {wrong.lost} of {wrong.made:,} lost",
            flush=True,
        )
    return found


def main() -> None:
    """Fight, print, and keep the results; fails when an alert was lost or a goal is missed."""
    results = asyncio.run(battles(list(map(int, sys.argv[1:])) or list(SEEDS)))
    document = {
        "goals": {"lost": 0, "duplicates": DUPLICATES_MAX, "cleared_s": CLEARED_MAX_S},
        "battles": {
            str(seed): {
                "kills": dict(result.kills),
                "with an outbox": asdict(result.verdicts[GOOD]),
                "without": asdict(result.verdicts[WRONG]),
                "cleared_s": round(result.cleared_s, 1),
                "disordered": result.disordered,
            }
            for seed, result in results.items()
        },
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    place = Path(__file__).resolve().parent / "results" / "webhook_kills.json"
    place.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    for result in results.values():
        good = result.verdicts[GOOD]
        assert (good.lost, good.strange, result.disordered) == (0, 0, 0), "an alert was lost, made up or out of order"
        assert good.duplicates <= DUPLICATES_MAX * good.taken, "too many alerts came again"
        assert result.cleared_s <= CLEARED_MAX_S, "the backlog stayed for too long"


if __name__ == "__main__":
    main()
