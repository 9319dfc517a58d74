"""No alert is lost though workers, PostgreSQL and the price service are killed at any time.

A part of the endpoints is served wrongly on purpose, to show that a lost alert would be seen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stores import MISSING, programs
from system.webhook_kills import GOOD, WRONG, fight


@pytest.fixture(scope="module")
def wheels() -> None:
    """PostgreSQL of the wheel."""
    if programs("wheels") is None:
        pytest.skip(MISSING["wheels"])


@pytest.mark.usefixtures("wheels")
@pytest.mark.timeout(300)
async def test_every_alert_arrives_whoever_is_killed(tmp_path: Path) -> None:
    result = await fight(tmp_path, seed=11, rounds=3, turns=15)
    good, wrong = result.verdicts[GOOD], result.verdicts[WRONG]
    assert good.made == good.wanted > 500, "each turn of a price made one alert for each subscription"
    assert (good.lost, good.strange) == (0, 0)
    assert good.duplicates <= 0.05 * good.taken
    assert result.disordered == 0
    assert result.cleared_s <= 60.0, "a backlog that stays is broken, not slow"
    assert result.kills.keys() == {"worker", "postgres", "price"}
    assert result.troubled >= 0.05 * good.taken, "the receiver failed and hung"
    served = good.taken + wrong.made
    assert 0.9 * served <= result.counted <= 1.1 * served, "what is sent again is counted again"
    assert wrong.lost > 0, "what counts as delivered before it is sent must be lost"
