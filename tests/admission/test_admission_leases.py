"""Leases from a real server: exact while it answers, on trust while it does not, exact again afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from admission.scripted_usage import ScriptedUsage, usage_server
from admission.stage import Desk, change, make_key, record_of
from price.virtual_clock import until
from trinity_admission.admission import Admission
from trinity_admission.quota_leases import Leases
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome, Transport
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.deadline_budget import serve_within

A = make_key(1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Stage:
    """A usage service, leases from it, and an Admission of one key with a quota."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk()
        self.usage = ScriptedUsage(self.desk.clock)
        self.server = usage_server(self.usage, folder)
        self.channel = open_channel(f"unix:{folder}/usage.sock")
        self.leases = Leases(
            self.channel,
            holder="gateway-1",
            clock=self.desk.clock,
            ahead_s=10,
            deadline_ms=1_000,
            again_ms=1_000,
            calls_max=10,
        )
        self.admission: Admission = self.desk.open(
            record_of(A, monthly_quota=10, rate_per_s=1_000, burst=1_000), leases=self.leases
        )

    async def ask(self) -> str:
        """One request, answered if it is let in."""
        held = self.admission.find(A.text)
        await self.admission.prepare(held)
        return self.ask_at_once()

    def ask_at_once(self, outcome: Outcome = Outcome.LOCAL) -> str:
        try:
            admitted = self.admission.admit(A.text, transport=Transport.HTTP, method="GetPrice")
        except TrinityError as error:
            return str(error.reason)
        admitted.answered(outcome)
        admitted.close()
        return "ok"

    @property
    def billed(self) -> int:
        return sum(n for (*_, outcome), n in self.desk.counts.of(A.key_id).items() if outcome <= Outcome.SERVED)


@pytest.fixture
async def stage(folder: Path) -> AsyncIterator[Stage]:
    made = Stage(folder)
    async with made.server:
        yield made
        made.usage.release.set()
        await made.leases.close()
        await made.channel.close()


async def test_a_caller_in_a_hurry_does_not_bound_the_lease_of_all(stage: Stage) -> None:
    serve_within(0.001, SystemClock())
    assert await stage.ask() == "ok"
    assert (stage.leases.grants, stage.leases.failures) == (1, 0)


async def test_a_quota_is_kept_exactly_while_the_service_answers(stage: Stage) -> None:
    assert [await stage.ask() for _ in range(12)] == ["ok"] * 10 + ["QUOTA_EXHAUSTED"] * 2
    assert stage.billed == 10
    assert stage.usage.requests[0].holder == "gateway-1"
    assert stage.usage.requests[0].key_id == A.key_id
    assert stage.usage.requests[0].used == 0


async def test_a_quota_that_comes_in_small_leases_is_kept_exactly_too(stage: Stage) -> None:
    stage.usage.share = 3
    assert [await stage.ask() for _ in range(12)] == ["ok"] * 10 + ["QUOTA_EXHAUSTED"] * 2
    assert all(request.used <= 10 for request in stage.usage.requests)


async def test_a_refusal_says_when_the_quota_begins_anew(stage: Stage) -> None:
    stage.usage.quota = 0
    assert await stage.ask() == "QUOTA_EXHAUSTED"
    with pytest.raises(TrinityError) as caught:
        stage.admission.admit(A.text, transport=Transport.HTTP, method="GetPrice")
    assert caught.value.retry_after_ms == 86_400_000
    fields: Any = caught.value
    assert '"month";r=0;t=86400' in fields.fields["ratelimit"]
    assert '"month";q=10' in fields.fields["ratelimit-policy"]


async def test_refused_and_failed_answers_use_up_nothing(stage: Stage) -> None:
    assert await stage.ask() == "ok"
    for outcome in (Outcome.REFUSED, Outcome.FAILED):
        for _ in range(20):
            assert stage.ask_at_once(outcome) == "ok"
    for _ in range(20):
        stage.admission.admit(A.text, transport=Transport.HTTP, method="GetPrice").close()
    assert [await stage.ask() for _ in range(10)] == ["ok"] * 9 + ["QUOTA_EXHAUSTED"]


async def test_without_the_service_keys_go_on_and_the_service_hears_of_it_afterwards(stage: Stage) -> None:
    stage.usage.error = TrinityError(Reason.STORE_UNAVAILABLE, "no store")
    assert [await stage.ask() for _ in range(15)] == ["ok"] * 15
    assert stage.leases.failures >= 1
    assert stage.billed == 15
    stage.usage.error, stage.usage.quota = None, 20
    await stage.desk.clock.advance(3)
    assert await stage.ask() == "ok"
    await until(lambda: stage.leases.grants)
    assert stage.usage.requests[-1].used >= 15
    assert {await stage.ask() for _ in range(4)} == {"ok"}
    assert await stage.ask() == "QUOTA_EXHAUSTED"


async def test_a_service_that_is_not_there_is_not_waited_for_again_and_again(stage: Stage) -> None:
    await stage.server.stop()
    assert await stage.ask() == "ok"
    await until(lambda: stage.leases.failures == 1)
    assert [await stage.ask() for _ in range(50)] == ["ok"] * 50
    assert stage.leases.failures == 1, "the clock stands, so it is not asked again yet"


async def test_who_cannot_wait_is_let_in_on_trust_until_the_service_knows_of_it(stage: Stage) -> None:
    stage.usage.release.clear()
    assert [stage.ask_at_once() for _ in range(12)] == ["ok"] * 12
    await until(lambda: stage.usage.requests)
    stage.usage.release.set()
    await until(lambda: stage.leases.grants == 1)
    assert stage.ask_at_once() == "ok", "the service has not heard yet of the twelve"
    await until(lambda: stage.leases.grants == 2)
    assert stage.ask_at_once() == "QUOTA_EXHAUSTED"
    assert [request.used for request in stage.usage.requests] == [1, 13]


async def test_as_many_as_come_at_once_are_let_in_as_the_quota_has(stage: Stage) -> None:
    for share in (10**9, 4, 1):
        stage.usage.quota += 10 if share < 10**9 else 0
        stage.usage.share = share
        told = await asyncio.gather(*(stage.ask() for _ in range(30)))
        assert sorted(told) == ["QUOTA_EXHAUSTED"] * 20 + ["ok"] * 10, share
        await stage.desk.clock.advance(2)
    assert stage.billed == 30


async def test_a_new_month_begins_with_a_new_lease(stage: Stage) -> None:
    assert [await stage.ask() for _ in range(11)][-1] == "QUOTA_EXHAUSTED"
    stage.usage.reset_s += 31 * 86_400
    await stage.desk.clock.advance(86_400)
    assert [await stage.ask() for _ in range(11)] == ["ok"] * 10 + ["QUOTA_EXHAUSTED"]
    first_of_month = next(request for request in stage.usage.requests[1:] if request.used == 0)
    assert first_of_month.wanted > 0


async def test_a_greater_plan_opens_a_used_up_quota_at_once(stage: Stage) -> None:
    assert [await stage.ask() for _ in range(11)][-1] == "QUOTA_EXHAUSTED"
    stage.usage.quota = 12
    stage.desk.say(change(record_of(A, monthly_quota=12, rate_per_s=1_000, burst=1_000), version=2))
    assert [await stage.ask() for _ in range(3)] == ["ok", "ok", "QUOTA_EXHAUSTED"]


async def test_a_key_that_the_service_does_not_know_is_refused(stage: Stage) -> None:
    stage.usage.error = TrinityError(Reason.UNKNOWN_KEY, "no such key")
    assert await stage.ask() == "QUOTA_EXHAUSTED"
    assert stage.leases.failures == 0


async def test_calls_under_way_are_bounded(folder: Path) -> None:
    desk = Desk()
    usage = ScriptedUsage(desk.clock)
    usage.release.clear()
    keys = [make_key(number) for number in range(50, 60)]
    async with usage_server(usage, folder), open_channel(f"unix:{folder}/usage.sock") as channel:
        leases = Leases(
            channel, holder="g", clock=desk.clock, ahead_s=1, deadline_ms=60_000, again_ms=1_000, calls_max=3
        )
        admission = desk.open(*(record_of(key, monthly_quota=5) for key in keys), leases=leases)
        for key in keys:
            admission.admit(key.text, transport=Transport.UDP, method="GetPrice")
        await until(lambda: len(usage.requests) == 3)
        usage.release.set()
        await until(lambda: leases.grants == 3)
        await asyncio.sleep(0)  # The calls that brought them are over.
        for key in keys:
            admission.admit(key.text, transport=Transport.UDP, method="GetPrice")
        await until(lambda: leases.grants == 6)
        await leases.close()
