"""Shares of a quota: whoever asks, dies or is slow, no more is answered than the arithmetic promises."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from trinity_core.leases import Lease, Standing, renewed

IDLE = Standing(quota=1_000, billed=0, used_by_others=0, held_by_others=0)


def ask(
    standing: Standing, old: Lease | None = None, *, used: int = 0, wanted: int = 50, used_before: int | None = None
) -> tuple[int, int]:
    return renewed(standing, old, used=used, wanted=wanted, share=4, least=10, used_before=used_before)


def test_a_first_lease_is_what_was_wanted_and_no_more_than_its_share() -> None:
    assert ask(IDLE, wanted=50) == (50, 0)
    assert ask(IDLE, wanted=5_000) == (250, 0)


def test_the_end_of_a_quota_is_not_cut_into_crumbs() -> None:
    assert ask(Standing(1_000, 980, 0, 0), wanted=50) == (10, 0)
    assert ask(Standing(1_000, 993, 0, 0), wanted=50) == (7, 0)
    assert ask(Standing(1_000, 1_000, 0, 0), wanted=50) == (0, 0)
    assert ask(Standing(1_000, 5_000, 0, 0), wanted=50) == (0, 0), "a plan that was made smaller"


def test_what_others_hold_is_not_given_twice() -> None:
    assert ask(Standing(100, 0, 0, 95), wanted=50) == (5, 0)
    assert ask(Standing(100, 0, 95, 0), wanted=50) == (5, 0)


def test_a_renewal_counts_from_what_was_used() -> None:
    assert ask(IDLE, Lease(50, 0, live=True), used=40) == (90, 40)
    assert ask(IDLE, Lease(50, 40, live=True), used=30) == (90, 40), "an older word changes nothing"


def test_what_was_allowed_is_taken_back_only_by_expiry() -> None:
    assert ask(IDLE, Lease(200, 10, live=True), used=10, wanted=5) == (200, 10)
    assert ask(IDLE, Lease(200, 10, live=False), used=10, wanted=5) == (15, 10)


def test_use_beyond_a_lease_is_believed_once_the_holder_knows_the_month() -> None:
    assert ask(IDLE, Lease(50, 40, live=False), used=400) == (450, 400)


def test_a_last_word_of_the_month_before_does_not_use_up_the_new_one() -> None:
    assert ask(IDLE, None, used=900, wanted=50, used_before=880) == (50, 0)
    assert ask(Standing(1_000, 30, 0, 0), None, used=900, wanted=50, used_before=880) == (80, 30)


def test_use_before_the_first_lease_is_believed() -> None:
    assert ask(IDLE, None, used=400, wanted=50) == (450, 400), "a gateway that could not ask until now"
    assert ask(IDLE, None, used=400, wanted=50, used_before=880) == (450, 400), "less than before: it began anew"


@dataclass
class Gateway:
    """A holder that answers as it is allowed, tells now and then, and may die."""

    allowed: int = 0
    used: int = 0
    told: int = 0
    recorded: int = 0
    expires: int = 0


@dataclass
class World:
    """An associate, its quota, its gateways, and a ledger that records late."""

    dice: random.Random
    quota: int
    ttl: int = 20
    now: int = 0
    gateways: list[Gateway] = field(default_factory=list)
    dead: list[Gateway] = field(default_factory=list)
    untold_at_death: int = 0

    def lease(self, gateway: Gateway, wanted: int) -> None:
        others = [each for each in (*self.gateways, *self.dead) if each is not gateway]
        standing = Standing(
            quota=self.quota,
            billed=sum(each.recorded for each in (*self.gateways, *self.dead)),
            used_by_others=sum(each.told for each in others),
            held_by_others=sum(max(0, each.allowed - each.told) for each in others if each.expires > self.now),
        )
        old = Lease(gateway.allowed, gateway.told, live=gateway.expires > self.now) if gateway.expires else None
        gateway.allowed, gateway.told = renewed(
            standing, old, used=gateway.used, wanted=wanted, share=4, least=10, used_before=None
        )
        gateway.expires = self.now + self.ttl

    @property
    def answered(self) -> int:
        return sum(each.used for each in (*self.gateways, *self.dead))

    def step(self, *, deaths: bool) -> None:
        self.now += 1
        dice = self.dice
        for gateway in self.gateways:
            if gateway.expires > self.now:
                gateway.used = min(gateway.allowed, gateway.used + dice.randint(0, 12))
            due = gateway.expires <= self.now + 3 or gateway.allowed - gateway.used < 10
            if due and dice.random() < 0.7:
                self.lease(gateway, wanted=dice.randint(1, 100))
        for gateway in (*self.gateways, *self.dead):
            if dice.random() < 0.5:
                gateway.recorded += dice.randint(0, gateway.used - gateway.recorded)
        if deaths and dice.random() < 0.05:
            gone = self.gateways.pop(dice.randrange(len(self.gateways)))
            self.untold_at_death += gone.used - gone.told
            self.dead.append(gone)
            self.gateways.append(Gateway())


@pytest.mark.parametrize("seed", range(30))
def test_gateways_that_live_never_answer_more_than_the_quota(seed: int) -> None:
    dice = random.Random(seed)
    world = World(dice, quota=dice.randint(50, 1_500), gateways=[Gateway() for _ in range(dice.randint(1, 8))])
    for _ in range(400):
        world.step(deaths=False)
        assert world.answered <= world.quota
    assert world.answered >= world.quota - 10 * len(world.gateways), "and what there is can be used"


@pytest.mark.parametrize("seed", range(30))
def test_gateways_that_die_cost_no_more_than_what_they_did_not_tell(seed: int) -> None:
    dice = random.Random(seed)
    world = World(dice, quota=dice.randint(500, 5_000), gateways=[Gateway() for _ in range(dice.randint(1, 8))])
    for _ in range(400):
        world.step(deaths=True)
        assert world.answered <= world.quota + world.untold_at_death


def test_what_a_dead_gateway_did_not_use_comes_back() -> None:
    world = World(random.Random(1), quota=100, gateways=[Gateway(), Gateway()])
    gone, left = world.gateways
    world.lease(gone, wanted=25)
    gone.used = gone.recorded = 5
    for _ in range(3):
        world.lease(left, wanted=100)
        left.used = left.recorded = left.allowed
    world.now += world.ttl
    while left.used < 95:
        before = left.used
        world.lease(left, wanted=100)
        left.used = left.recorded = left.allowed
        assert left.used > before
    world.lease(left, wanted=100)
    assert (left.allowed, world.answered) == (95, 100)
