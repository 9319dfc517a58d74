"""One call and its attempts, in virtual time: retries, hedges, deadlines, and who is asked."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio
import pytest

from jumping_time import run_jumping
from mesh.scripted_backends import READ, WRITE, Scripted, always, lost, refusal
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.hedging import HedgeSettings
from trinity_mesh.mesh_channel import CallSettings
from trinity_mesh.retrying import RetrySettings

NO_HEDGE = CallSettings(hedge=HedgeSettings(enabled=False))
STOPPING = TrinityError(Reason.STOPPING, "the service is stopping")


def run(main: Coroutine[Any, Any, None]) -> None:
    run_jumping(main)


def test_a_lost_read_is_asked_again_of_the_other_backend_and_says_so() -> None:
    async def main() -> None:
        stage = Scripted(always(0.01, lost()), always(0.01, "answer"), settings=NO_HEDGE)
        call = stage.channel.unary_unary(READ)
        assert await call("?", timeout=1, metadata=(("x-own", "kept"),)) == "answer"
        first, second = (each.seen for each in stage.backends)
        assert [how["metadata"] for how in first] == [(("x-own", "kept"),)]
        assert [how["metadata"] for how in second] == [(("x-own", "kept"), ("grpc-previous-rpc-attempts", "1"))]

    run(main())


def test_a_call_that_may_have_had_an_effect_is_never_made_again() -> None:
    async def main() -> None:
        stage = Scripted(always(0.01, lost()), always(0.01, "answer"))
        with pytest.raises(grpc.aio.AioRpcError, match="reset"):
            await stage.channel.unary_unary(WRITE)("?", timeout=1)
        assert [len(each.seen) for each in stage.backends] == [1, 0]

    run(main())


def test_an_answer_that_is_a_refusal_is_not_asked_for_again() -> None:
    async def main() -> None:
        for reason in (Reason.NO_PRICE, Reason.STALE_PRICE, Reason.STORE_UNAVAILABLE, Reason.RATE_LIMITED):
            stage = Scripted(always(0.01, refusal(TrinityError(reason, "no", retry_after_ms=10))), always(0, "answer"))
            with pytest.raises(grpc.aio.AioRpcError):
                await stage.channel.unary_unary(READ)("?", timeout=1)
            assert sum(len(each.seen) for each in stage.backends) == 1, reason

    run(main())


def test_an_overloaded_server_is_asked_again_when_it_says_and_not_sooner() -> None:
    async def main() -> None:
        full = refusal(TrinityError(Reason.OVERLOADED, "full", retry_after_ms=200))
        stage = Scripted(lambda number: (0.0, full if number == 1 else "answer"))
        assert await stage.channel.unary_unary(READ)("?", timeout=1) == "answer"
        first, second = (how["at_s"] for how in stage.backends[0].seen)
        assert second - first >= 0.2

    run(main())


def test_a_wait_that_leaves_no_time_for_an_answer_is_no_wait() -> None:
    async def main() -> None:
        full = refusal(TrinityError(Reason.OVERLOADED, "full", retry_after_ms=2_000))
        stage = Scripted(always(0.0, full))
        began = stage.now_s()
        with pytest.raises(grpc.aio.AioRpcError, match="full"):
            await stage.channel.unary_unary(READ)("?", timeout=1)
        assert stage.now_s() - began < 0.001

    run(main())


def test_a_server_that_pushes_back_for_good_is_left_alone() -> None:
    async def main() -> None:
        stage = Scripted(always(0.0, refusal(STOPPING, ("grpc-retry-pushback-ms", "-1"))))
        with pytest.raises(grpc.aio.AioRpcError):
            await stage.channel.unary_unary(READ)("?", timeout=1)
        assert len(stage.backends[0].seen) == 1

    run(main())


def test_no_call_outlasts_its_deadline_whatever_its_backends_do() -> None:
    """A thousand seeded calls to backends that fail, stall and push back: none ends later than a millisecond after."""

    async def main() -> None:
        for seed in range(1_000):
            rng = random.Random(seed)

            def answer(_: int, rng: random.Random = rng) -> tuple[float, Any]:
                busy = TrinityError(Reason.OVERLOADED, "full", retry_after_ms=rng.randrange(500))
                return rng.random() * 0.5, rng.choice([None, lost(), refusal(STOPPING), refusal(busy), "answer"])

            stage = Scripted(answer, answer, seed=seed)
            timeout, began = rng.random(), stage.now_s()
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stage.channel.unary_unary(READ)("?", timeout=timeout)
            assert stage.now_s() - began <= timeout + 0.001
            for how in (how for each in stage.backends for how in each.seen):
                assert how["at_s"] + how["timeout"] <= began + timeout + 0.001

    run(main())


def test_a_slow_read_is_asked_of_a_second_backend_and_the_loser_is_cancelled() -> None:
    async def main() -> None:
        stage = Scripted(always(3.0, "late"), always(0.02, "answer"))
        began = stage.now_s()
        assert await stage.channel.unary_unary(READ)("?", timeout=5) == "answer"
        assert stage.now_s() - began == pytest.approx(0.07, abs=0.001)
        assert stage.backends[0].calls[0].cancels == 1
        assert (stage.channel.tally.hedges, stage.channel.tally.overtaken) == (1, 1)

    run(main())


def test_a_first_answer_that_comes_before_the_second_wins() -> None:
    async def main() -> None:
        stage = Scripted(always(0.06, "answer"), always(3.0, "late"))
        assert await stage.channel.unary_unary(READ)("?", timeout=5) == "answer"
        assert stage.backends[1].calls[0].cancels == 1
        assert stage.channel.tally.overtaken == 0

    run(main())


def test_a_second_backend_that_fails_does_not_end_a_call_whose_first_still_works() -> None:
    async def main() -> None:
        stage = Scripted(always(0.5, "answer"), always(0.01, lost()))
        assert await stage.channel.unary_unary(READ)("?", timeout=5) == "answer"

    run(main())


def test_a_backend_that_is_silent_costs_no_read_an_error_and_is_soon_asked_no_more() -> None:
    async def main() -> None:
        stage = Scripted(always(0, None), always(0.001, "answer"))
        call = stage.channel.unary_unary(READ)
        for _ in range(200):
            assert await call("?", timeout=1) == "answer"
        assert len(stage.backends[0].seen) <= 10

    run(main())


def test_one_failing_service_is_not_asked_three_times_by_everybody() -> None:
    async def main() -> None:
        stage = Scripted(always(0.001, lost()))
        call = stage.channel.unary_unary(READ)
        for _ in range(1_000):
            with pytest.raises(grpc.aio.AioRpcError):
                await call("?", timeout=1)
        # Half of a hundred tokens, and then none for as long as nothing succeeds.
        assert len(stage.backends[0].seen) <= 1_050

    run(main())


def test_a_hedge_that_the_budget_does_not_allow_is_counted_and_not_sent() -> None:
    async def main() -> None:
        stage = Scripted(always(3.0, "late"), always(0.02, "answer"))
        while stage.channel._budget.allows():
            stage.channel._budget.failed()
        assert await stage.channel.unary_unary(READ)("?", timeout=5) == "late"
        assert (stage.channel.tally.hedges, stage.channel.tally.refused) == (0, 1)

    run(main())


def test_a_call_that_is_given_up_takes_its_attempts_along() -> None:
    async def main() -> None:
        stage = Scripted(always(0, None), always(0, None))
        waiting = asyncio.ensure_future(stage.channel.unary_unary(READ)("?", timeout=5))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert [each.calls[0].cancels for each in stage.backends] == [1, 1]

    run(main())


def test_a_call_cancelled_while_it_waits_to_be_made_again_ends_at_once() -> None:
    async def main() -> None:
        settings = CallSettings(retry=RetrySettings(first_ms=500, cap_ms=500))
        stage = Scripted(always(0.0, lost()), settings=settings, seed=3)
        call = stage.channel.unary_unary(READ)("?", timeout=5)
        waiting = asyncio.ensure_future(call)
        await asyncio.sleep(0.01)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert call.done()

    run(main())


def test_a_call_may_be_awaited_by_two() -> None:
    async def main() -> None:
        stage = Scripted(lambda number: (0.01, lost() if number == 1 else "answer"))
        call = stage.channel.unary_unary(READ)("?", timeout=5)
        ended: list[Any] = []
        call.add_done_callback(ended.append)
        assert await asyncio.gather(call, call) == ["answer", "answer"]
        assert ended == [call]

    run(main())


def test_one_backend_that_times_out_again_and_again_is_refused_at_once_and_found_again() -> None:
    async def main() -> None:
        stage = Scripted(always(0, None))
        backend = stage.backends[0]
        call = stage.channel.unary_unary(READ)
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError, match="Deadline"):
                await call("?", timeout=0.5)
        began = stage.now_s()
        with pytest.raises(grpc.aio.AioRpcError, match="not answered") as caught:
            await call("?", timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (stage.now_s(), len(backend.seen)) == (began, 5)
        backend.answer = always(0.001, "answer")
        await asyncio.sleep(0.5)
        assert await call("?", timeout=0.5) == "answer"

    run(main())


def test_an_impatient_caller_opens_no_circuit_for_the_others() -> None:
    async def main() -> None:
        stage = Scripted(always(0.1, "answer"))
        call = stage.channel.unary_unary(READ)
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError, match="Deadline"):
                await call("?", timeout=0.01)
        assert await call("?", timeout=0.5) == "answer"

    run(main())
