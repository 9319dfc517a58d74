"""A whole mesh bills every answer once, whoever is killed: clients' own counts beside the customer's report.

tests/system/test_ledger_kills.py is the broader test of the ledger itself: there hours turn and close, and
the line to the usage service loses and repeats messages. Here everything is as `trinity up` runs it.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from ledger_kills import DELTAS, LEDGER, NO_ADOPTION, Verdict
from system.askers import ASSETS
from system.billing import Ask, Kind, Tally, judge
from system.mesh_kills import GATEWAYS, TOGETHER, Battle, fight
from trinity_core.usage import Outcome, Transport

SOME = 200
"""Answers of each variant between two kills."""


async def kills(battle: Battle) -> None:
    """Each part at least once, some together, in an order of chance; never before answers are under way again."""
    dice = random.Random(5)
    rounds = [
        ("gateway-1",),
        ("usage",),
        ("gateway-2",),
        ("postgres",),
        (*GATEWAYS, "usage"),
        ("gateway-2", "postgres"),
    ]
    dice.shuffle(rounds)
    await battle.go_on(SOME)
    for victims in rounds:
        await battle.kill(*(name for victim in victims for name in TOGETHER.get(victim, (victim,))))
        await battle.go_on(dice.randint(SOME // 2, SOME))


@pytest.mark.timeout(240)
async def test_a_mesh_bills_every_answer_once_whoever_is_killed(tmp_path: Path) -> None:
    result = await fight(tmp_path, kills, seed=7)
    good = result.verdicts[LEDGER]
    assert (good.lost, good.double) == (0, 0), good
    assert good.answered <= good.billed <= good.answered + good.in_flight
    assert result.answers["http"] >= 6 * SOME // 2
    assert result.answers["udp"] >= 6 * SOME // 2
    assert result.kinds > 2 * len(ASSETS)
    assert good.breaks >= 3, "requests were under way when gateways were killed"
    assert result.files >= 3, "gateways left ledgers behind, and another process recorded them"
    assert set(result.kills) == {*GATEWAYS, DELTAS, NO_ADOPTION, "usage", "postgres"}
    assert result.verdicts[DELTAS].double > 0, "adding up differences must bill twice"
    assert result.verdicts[NO_ADOPTION].lost > 0, "what dead processes counted must be missing where nobody looks at it"


BTC = Ask(Transport.HTTP, "GetPrice", "BTC")
LOCAL, FAILED = Kind(BTC, Outcome.LOCAL), Kind(BTC, Outcome.FAILED)


@pytest.mark.parametrize(
    ("billed", "expected"),
    [
        ({LOCAL: 8}, Verdict(8, 8, 1, 0, 0, 0)),
        ({LOCAL: 9}, Verdict(8, 9, 1, 0, 0, 0)),
        ({LOCAL: 8, FAILED: 1}, Verdict(8, 9, 1, 0, 0, 0)),
        ({LOCAL: 7}, Verdict(8, 7, 1, 1, 0, 0)),
        ({LOCAL: 7, FAILED: 1}, Verdict(8, 8, 1, 1, 0, 0)),
        ({LOCAL: 10}, Verdict(8, 10, 1, 0, 1, 0)),
        ({LOCAL: 9, FAILED: 1}, Verdict(8, 10, 1, 0, 1, 0)),
        ({LOCAL: 8, Kind(BTC._replace(asset="ETH"), Outcome.LOCAL): 1}, Verdict(8, 9, 1, 0, 1, 0)),
    ],
)
def test_the_judge_sees_an_answer_too_few_too_many_or_under_another_name(
    billed: dict[Kind, int], expected: Verdict
) -> None:
    assert judge(Tally(Counter({BTC: 9}), Counter({LOCAL: 8})), billed) == expected
