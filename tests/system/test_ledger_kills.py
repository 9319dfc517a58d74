"""Usage is exact though gateways, the usage service and PostgreSQL are killed at any time.

The same kills hit two variants that are wrong on purpose, to show that the checker would see it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ledger_kills import DELTAS, LEDGER, NO_ADOPTION, Battle, Tally, Verdict, fight, judge
from stores import MISSING, programs

SOME = 50_000
"""Answers of each variant between two kills."""
TOGETHER = {f"{LEDGER}-0": (f"{LEDGER}-0", f"{DELTAS}-0", f"{NO_ADOPTION}-0")}


async def kills(battle: Battle) -> None:
    """Each part at least once, some together, then at random; never before answers are under way again."""
    await battle.go_on(SOME)
    for victims in (
        TOGETHER["ledger-0"],
        ("usage",),
        ("ledger-1",),
        ("postgres",),
        ("ledger-0", "ledger-1", "usage"),
        ("postgres", *TOGETHER["ledger-0"]),
    ):
        await battle.kill(*victims)
        await battle.go_on(SOME)
    dice = random.Random(11)
    for _ in range(8):
        victim = dice.choice(("ledger-0", "ledger-1", "ledger-0", "ledger-1", "usage", "postgres"))
        await battle.kill(*TOGETHER.get(victim, (victim,)))
        await battle.go_on(dice.randint(0, SOME))


@pytest.fixture(scope="module")
def wheels() -> None:
    """PostgreSQL of the wheel."""
    if programs("wheels") is None:
        pytest.skip(MISSING["wheels"])


@pytest.mark.usefixtures("wheels")
async def test_every_answer_is_billed_once_whoever_is_killed(tmp_path: Path) -> None:
    result = await fight(tmp_path, kills, seed=7)
    good = result.verdicts[LEDGER]
    assert (good.lost, good.double) == (0, 0)
    assert good.answered <= good.billed <= good.answered + good.in_flight
    assert good.answered >= 6 * SOME
    assert good.breaks >= 4, "requests were under way when gateways were killed"
    assert result.hours >= 3, "hours turned"
    assert result.closed > 0, "and were closed, though more of them came"
    assert result.files > 5, "files of the dead, and files that were full"
    assert result.verdicts[DELTAS].double > 0, "adding up differences must bill twice"
    assert result.verdicts[NO_ADOPTION].lost > 0, "what dead processes counted must be missing where nobody looks at it"


def test_the_judge_sees_one_answer_too_few_and_one_too_many() -> None:
    tally = Tally([10] * 8, [9] * 8)
    assert judge(tally, [9, 10, 9, 10, 9, 10, 9, 10]) == Verdict(72, 76, 8, 0, 0, 0)
    assert judge(tally, [8, 9, 9, 9, 9, 9, 9, 9]).lost == 1
    assert judge(tally, [8, 11, 9, 9, 9, 9, 9, 9]) == Verdict(72, 73, 8, 1, 1, 0), "one does not make up for the other"
