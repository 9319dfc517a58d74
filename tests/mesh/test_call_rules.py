"""The pure parts of calls: order of interceptors, method rules, budget, percentile, circuit, ejection, addresses."""

from __future__ import annotations

import random

import pytest

# Registers the contracts whose methods are asked about.
from trinity.account.v1 import account_service_pb2  # noqa: F401
from trinity.price.v1 import price_service_pb2  # noqa: F401
from trinity_mesh.addresses import parse_addresses
from trinity_mesh.breaker import Breaker, BreakerSettings, Circuit
from trinity_mesh.config import ConfigError
from trinity_mesh.ejection import Ejection, EjectionSettings, Record
from trinity_mesh.hedging import HedgeSettings, Latencies
from trinity_mesh.method_rules import NEVER, repeats
from trinity_mesh.ordering import SERVER_ORDER, OrderError, checked
from trinity_mesh.retrying import Failure, RetryBudget, RetrySettings, wait_s

MS = 1_000_000


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("errors", "request_ids"), "belong as request_ids, errors"),
        (("errors", "errors"), "errors' twice"),
        (("errors", "magic"), "no interceptor 'magic'"),
    ],
)
def test_a_wrong_list_of_interceptors_is_refused_in_words(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(OrderError, match=said):
        checked(names, SERVER_ORDER, side="the server")


def test_a_list_may_leave_places_out() -> None:
    checked(("request_ids", "validation"), SERVER_ORDER, side="the server")


def test_only_what_its_contract_calls_idempotent_is_repeated_and_only_reads_are_hedged() -> None:
    read = repeats("/trinity.price.v1.PriceService/GetPrice")
    assert (read.idempotent, read.read) == (True, True)
    assert repeats("/trinity.account.v1.AccountService/CreateKey") == NEVER
    assert repeats("/grpc.health.v1.Nobody/Knows") == NEVER
    changing = repeats("/trinity.account.v1.AccountService/RevokeKey")
    assert not changing.read


def test_waits_grow_stay_below_their_bound_and_never_pass_the_deadline() -> None:
    settings = RetrySettings(attempts_max=5, first_ms=100, cap_ms=250)
    again = Failure(again=True, backend=True)
    for seed in range(200):
        rng = random.Random(seed)
        for attempts, bound in ((1, 0.1), (2, 0.2), (3, 0.25), (4, 0.25)):
            wait = wait_s(settings, again, attempts=attempts, left_s=9, rng=rng)
            assert wait is not None
            assert 0 <= wait <= bound
            short = wait_s(settings, again, attempts=attempts, left_s=0.05, rng=rng)
            assert short is None or short < 0.05
        assert wait_s(settings, again, attempts=5, left_s=9, rng=rng) is None
        asked = wait_s(settings, Failure(again=True, backend=False, after_ms=700), attempts=1, left_s=9, rng=rng)
        assert asked is not None
        assert 0.7 <= asked <= 0.8


def test_a_budget_below_half_repeats_nothing_until_calls_succeed_again() -> None:
    budget = RetryBudget(RetrySettings(tokens_max=10, token_ratio=0.5))
    for _ in range(5):
        assert budget.allows()
        budget.failed()
    assert not budget.allows()
    budget.succeeded()
    assert budget.allows()
    for _ in range(100):
        budget.succeeded()
    assert budget.tokens == 10


def test_the_wait_for_a_hedge_follows_the_slowest_twentieth_within_its_bounds() -> None:
    latencies = Latencies(HedgeSettings(min_ms=10, first_ms=50, max_ms=250))
    assert latencies.after_s == 0.05
    for number in range(200):
        latencies.answered(0.1 if number % 10 == 0 else 0.02)
    assert latencies.after_s == pytest.approx(0.1)
    for _ in range(300):
        latencies.answered(0.001)
    assert latencies.after_s == 0.01
    for _ in range(300):
        latencies.answered(9.0)
    assert latencies.after_s == 0.25


def test_a_circuit_opens_after_failures_in_a_row_lets_one_try_it_and_waits_longer_each_time() -> None:
    breaker = Breaker(BreakerSettings(failures=3, open_ms=100, open_ms_max=300))
    for _ in range(2):
        breaker.failed(0, trial=False)
    breaker.succeeded(trial=False)
    for _ in range(3):
        assert breaker.allows(0)
        breaker.failed(0, trial=breaker.began(0))
    assert breaker.circuit is Circuit.OPEN
    assert not breaker.allows(99 * MS)
    assert breaker.left_ms(40 * MS) == 60
    now = 100 * MS
    for length in (200, 300, 300):
        assert breaker.allows(now)
        trial = breaker.began(now)
        assert trial
        assert not breaker.allows(now), "one tries it, the others wait"
        breaker.failed(now, trial=trial)
        assert not breaker.allows(now + (length - 1) * MS)
        now += length * MS
    trial = breaker.began(now)
    breaker.succeeded(trial=trial)
    assert breaker.circuit is Circuit.CLOSED


def test_a_trial_whose_caller_went_away_leaves_room_for_another() -> None:
    breaker = Breaker(BreakerSettings(failures=1, open_ms=1))
    breaker.failed(0, trial=False)
    assert breaker.began(1 * MS)
    assert not breaker.allows(1 * MS)
    breaker.given_up(trial=True)
    assert breaker.allows(1 * MS)


def test_backends_that_fail_often_are_ejected_but_only_a_share_of_them_and_not_for_ever() -> None:
    ejection = Ejection(EjectionSettings(calls_min=10, failures_percent=50, base_ms=1_000, share_percent=50), now_ns=0)
    records = [Record() for _ in range(4)]
    for bad, record in zip((9, 10, 6, 1), records, strict=True):
        record.good, record.bad = 10 - bad, bad
    assert ejection.due(1_000 * MS)
    ejection.judge(records, 1_000 * MS)
    assert [record.ejected(1_000 * MS) for record in records] == [True, True, False, False]
    assert [record.ejected(2_000 * MS) for record in records] == [False] * 4
    records[0].bad = 10
    ejection.judge(records, 2_000 * MS)
    assert records[0].ejected(3_999 * MS), "the second time is longer"
    assert not records[0].ejected(4_000 * MS)


def test_a_backend_with_few_calls_is_not_judged_and_the_last_one_is_never_ejected() -> None:
    ejection = Ejection(EjectionSettings(calls_min=10, share_percent=100), now_ns=0)
    few, alone = Record(), Record()
    few.bad = 9
    ejection.judge([few, Record()], 1_000 * MS)
    assert not few.ejected(1_000 * MS)
    alone.bad = 100
    ejection.judge([alone], 2_000 * MS)
    assert not alone.ejected(2_000 * MS)


def test_addresses_are_one_several_or_a_name_for_several() -> None:
    assert parse_addresses("unix:/run/a.sock").static == ("unix:/run/a.sock",)
    assert parse_addresses("10.0.0.1:1, 10.0.0.2:1").static == ("10.0.0.1:1", "10.0.0.2:1")
    name = parse_addresses("dns:price.internal:50051")
    assert (name.static, name.host, name.port, name.name) == (
        (),
        "price.internal",
        50051,
        "dns:///price.internal:50051",
    )
    assert parse_addresses("dns:[::1]:7").host == "::1"


@pytest.mark.parametrize("text", ["", "a:1,", "a:1,a:1", "dns:name", "dns:name:0", "a:1,dns:b:2"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        parse_addresses(text)
