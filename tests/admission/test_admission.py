"""One request from its key to its count: every refusal, its order and its price, and streams that outlive nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from admission.stage import Desk, change, make_key, record_of
from trinity_admission.admission import SWEEP_S, Admission
from trinity_admission.refusals import RefusedError
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome, Transport

A, B = make_key(1), make_key(2)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ask(admission: Admission, key: Any = A, *, outcome: Outcome = Outcome.LOCAL, **question: Any) -> str:
    """Ask, answer and close; "ok" or the reason of the refusal."""
    question = {"transport": Transport.HTTP, "method": "GetPrice", "scopes": ("prices.read",), **question}
    try:
        admitted = admission.admit(key if not hasattr(key, "text") else key.text, **question)
    except TrinityError as error:
        return str(error.reason)
    try:
        admitted.answered(outcome)
    finally:
        admitted.close()
    return "ok"


def test_an_answer_is_counted_once_under_its_key_transport_method_asset_and_outcome(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    assert ask(admission, assets=("BTC",)) == "ok"
    assert ask(admission, assets=("BTC",)) == "ok"
    assert ask(admission, assets=("BTC",), outcome=Outcome.LIVE) == "ok"
    assert ask(admission, method="ListAssets", transport=Transport.GRPC, outcome=Outcome.SERVED) == "ok"
    assert desk.counts.of(A.key_id) == {
        ("http", "GetPrice", "BTC", 1): 2,
        ("http", "GetPrice", "BTC", 3): 1,
        ("grpc", "ListAssets", "", 4): 1,
    }


def test_several_assets_count_once_and_under_none(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    ask(admission, method="BatchGetPrices", assets=("BTC", "ETH"))
    ask(admission, method="WatchPrices", assets=())
    assert desk.counts.of(A.key_id) == {("http", "BatchGetPrices", "", 1): 1, ("http", "WatchPrices", "", 1): 1}


def test_made_up_assets_make_no_counters(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=1_000))
    for number in range(100):
        ask(admission, assets=(f"X{number}",), outcome=Outcome.REFUSED)
    assert desk.counts.of(A.key_id) == {("http", "GetPrice", "", 5): 100}


def test_nothing_is_counted_of_a_request_that_was_never_answered(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    admission.admit(A.text, transport=Transport.HTTP, method="GetPrice").close()
    assert desk.counts.of(A.key_id) == {}


def test_an_answer_that_the_kernel_did_not_take_is_given_back(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    admitted = admission.admit(A.text, transport=Transport.UDP, method="GetPrice", assets=("BTC",))
    admitted.answered(Outcome.LOCAL)
    admitted.unsent()
    admitted.unsent()
    admitted.close()
    assert desk.counts.of(A.key_id) == {}


@pytest.mark.parametrize(
    ("fields", "question", "reason"),
    [
        ({"allowed_networks": ["10.0.0.0/8"]}, {"address": "192.0.2.1"}, "NETWORK_NOT_ALLOWED"),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"address": ""}, "NETWORK_NOT_ALLOWED"),
        ({"transports": [2]}, {}, "TRANSPORT_NOT_ALLOWED"),
        ({"scopes": ["reports.read"]}, {}, "MISSING_SCOPE"),
        ({"scopes": ["admin"]}, {"scopes": ("mesh",)}, "MISSING_SCOPE"),
        ({"assets": ["BTC"]}, {"assets": ("ETH",)}, "ASSET_NOT_ALLOWED"),
        ({"assets": ["BTC"]}, {"assets": ("BTC", "ETH")}, "ASSET_NOT_ALLOWED"),
        ({"assets": ["BTC"]}, {"assets": ()}, "ASSET_NOT_ALLOWED"),
    ],
)
def test_what_the_key_may_not_do_is_refused_and_counted_as_such(
    desk: Desk, fields: dict[str, Any], question: dict[str, Any], reason: str
) -> None:
    admission = desk.open(record_of(A, **fields))
    assert ask(admission, **question) == reason
    assert [outcome for (*_, outcome) in desk.counts.of(A.key_id)] == [Outcome.REFUSED]
    assert admission.refusals == {reason: 1}


@pytest.mark.parametrize(
    ("fields", "question"),
    [
        ({"allowed_networks": ["10.0.0.0/8", "2001:db8::/32"]}, {"address": "2001:db8::7"}),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"address": "::ffff:10.1.2.3"}),
        ({"transports": [1, 3]}, {"transport": Transport.GRPC}),
        ({"scopes": ["admin"]}, {"scopes": ("prices.read", "keys.manage")}),
        ({"scopes": []}, {"scopes": ()}),
        ({"assets": ["BTC", "ETH"]}, {"assets": ("ETH", "BTC")}),
        ({"assets": ["BTC"]}, {"assets": None}),
    ],
)
def test_what_the_key_may_do_is_let_in(desk: Desk, fields: dict[str, Any], question: dict[str, Any]) -> None:
    assert ask(desk.open(record_of(A, **fields)), **question) == "ok"


def test_an_asset_that_is_known_later_is_judged_then(desk: Desk) -> None:
    admission = desk.open(record_of(A, assets=["BTC"]))
    admitted = admission.admit(A.text, transport=Transport.HTTP, method="GetPrice")
    admitted.ask(None)
    admitted.ask(("BTC",))
    with pytest.raises(RefusedError) as caught:
        admitted.ask(("ETH",))
    assert caught.value.reason is Reason.ASSET_NOT_ALLOWED
    assert desk.counts.of(A.key_id) == {}, "who answers counts it"
    admitted.answered(Outcome.REFUSED)
    admitted.close()
    assert desk.counts.of(A.key_id) == {("http", "GetPrice", "ETH", 5): 1}


def test_a_refusal_tells_the_limits_and_what_to_do(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=2, rate_per_s=4))
    assert [ask(admission) for _ in range(2)] == ["ok", "ok"]
    with pytest.raises(RefusedError) as caught:
        admission.admit(A.text, transport=Transport.HTTP, method="GetPrice")
    error = caught.value
    assert error.reason is Reason.RATE_LIMITED
    assert error.retry_after_ms == 250
    assert error.fields == {"ratelimit-policy": '"rate";q=2;w=1', "ratelimit": '"rate";r=0;t=1'}
    assert A.text not in str(error)
    assert desk.counts.of(A.key_id)["http", "GetPrice", "", 5] == 1


def test_a_stranger_on_a_foreign_network_cannot_drain_a_keys_bucket(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=1, rate_per_s=1, allowed_networks=["10.0.0.0/8"]))
    for _ in range(50):
        assert ask(admission, address="192.0.2.1") == "NETWORK_NOT_ALLOWED"
    assert ask(admission, address="10.0.0.1") == "ok"


def test_every_other_refusal_costs_a_token(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=3, rate_per_s=1, assets=["BTC"]))
    reasons = [
        ask(admission, scopes=("keys.manage",)),
        ask(admission, assets=("ETH",)),
        ask(admission, scopes=("keys.manage",)),
        ask(admission, assets=("BTC",)),
    ]
    assert reasons == ["MISSING_SCOPE", "ASSET_NOT_ALLOWED", "MISSING_SCOPE", "RATE_LIMITED"]


def test_each_key_has_its_own_bucket_on_all_transports_together(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=2, rate_per_s=1), record_of(B, burst=2, rate_per_s=1))
    assert ask(admission) == "ok"
    assert ask(admission, transport=Transport.UDP) == "ok"
    assert ask(admission, transport=Transport.GRPC) == "RATE_LIMITED"
    assert [ask(admission, B) for _ in range(3)] == ["ok", "ok", "RATE_LIMITED"]
    desk.clock.move(1)
    assert ask(admission) == "ok"


def test_a_share_of_the_rate_is_given_where_several_hosts_serve(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=20, rate_per_s=10), share=0.5)
    assert [ask(admission) for _ in range(11)].count("ok") == 10
    desk.clock.move(1)
    assert [ask(admission) for _ in range(11)].count("ok") == 5


def test_rotating_the_plan_gives_nobody_a_fresh_bucket(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=5, rate_per_s=1))
    assert [ask(admission) for _ in range(6)].count("ok") == 5
    desk.say(change(record_of(A, burst=6, rate_per_s=1), version=2))
    assert [ask(admission) for _ in range(6)].count("ok") == 1


def test_a_changed_record_counts_from_the_next_request_whoever_holds_the_old_one(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    held = admission.find(A.text)
    assert ask(admission, held) == "ok"
    desk.say(change(record_of(A, scopes=["reports.read"]), version=2))
    assert ask(admission, held) == "MISSING_SCOPE"
    desk.say(change(record_of(A), version=3))
    assert ask(admission, held) == "ok"
    desk.say(change(record_of(A, revoked=True), version=4))
    assert ask(admission, held) == "INVALID_KEY"
    assert ask(admission, A) == "INVALID_KEY"


def test_a_bad_key_is_refused_and_counted_nowhere(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    assert ask(admission, B) == "INVALID_KEY"
    assert ask(admission, "tbk_x") == "INVALID_KEY"
    assert not desk.counts.counted


def test_an_expired_key_is_refused_by_the_wall_clock(desk: Desk) -> None:
    expire_s = desk.clock.unix_ns() / 1e9 + 10
    admission = desk.open(record_of(A, expire_s=expire_s))
    held = admission.find(A.text)
    assert ask(admission, held) == "ok"
    desk.clock.jump_wall(10)
    assert ask(admission, held) == "INVALID_KEY"
    desk.clock.jump_wall(-10)
    assert ask(admission, held) == "ok"


def test_a_wall_clock_that_jumps_changes_no_rate(desk: Desk) -> None:
    admission = desk.open(record_of(A, burst=2, rate_per_s=1))
    assert [ask(admission) for _ in range(3)] == ["ok", "ok", "RATE_LIMITED"]
    for seconds in (10**6, -(2 * 10**6)):
        desk.clock.jump_wall(seconds)
        assert ask(admission) == "RATE_LIMITED"


def test_known_keys_go_on_for_a_day_without_anything_behind(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    desk.clock.move(86_400)
    assert ask(admission) == "ok"
    desk.clock.move(1)
    assert ask(admission) == "BACKEND_UNAVAILABLE"


def test_what_cannot_be_counted_is_not_answered_and_costs_no_quota(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    desk.counts.full = True
    with pytest.raises(TrinityError) as caught:
        ask(admission)
    assert caught.value.reason is Reason.LEDGER_FULL
    assert ask(admission, outcome=Outcome.FAILED) == "ok", "what is not billed may go uncounted"
    assert ask(admission, scopes=("keys.manage",)) == "MISSING_SCOPE"
    desk.counts.full = False
    assert ask(admission) == "ok"


def test_callers_without_keys_are_counted_under_a_name(desk: Desk) -> None:
    admission = desk.open()
    admitted = admission.unkeyed("udp-demo", transport=Transport.UDP, method="GetPrice", assets=("BTC",))
    admitted.answered(Outcome.LOCAL)
    admitted.close()
    assert desk.counts.of("udp-demo") == {("udp", "GetPrice", "BTC", 1): 1}


class Streams:
    """Streams that are open, and why those that are not were ended."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.ended: list[str] = []

    def open(self, key: Any = A, **question: Any) -> Any:
        question = {"transport": Transport.HTTP, "method": "WatchPrices", "scopes": ("prices.read",), **question}
        admitted = self.admission.admit(key.text, **question)
        admitted.answered(Outcome.SERVED)
        admitted.opened(lambda error: self.ended.append(str(error.reason)))
        return admitted


async def swept(desk: Desk) -> None:
    await desk.clock.advance(SWEEP_S)
    desk.admission.sweep()


async def test_a_stream_is_counted_once_when_it_opens(desk: Desk) -> None:
    streams = Streams(desk.open(record_of(A)))
    admitted = streams.open(assets=("BTC",))
    await swept(desk)
    admitted.close()
    assert desk.counts.of(A.key_id) == {("http", "WatchPrices", "BTC", 4): 1}
    assert not desk.admission.streams


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"revoked": True}, "INVALID_KEY"),
        ({"scopes": ["reports.read"]}, "MISSING_SCOPE"),
        ({"transports": [2]}, "TRANSPORT_NOT_ALLOWED"),
        ({"assets": ["ETH"]}, "ASSET_NOT_ALLOWED"),
        ({"allowed_networks": ["10.0.0.0/8"]}, "NETWORK_NOT_ALLOWED"),
    ],
)
async def test_an_open_stream_ends_with_what_allowed_it(desk: Desk, fields: dict[str, Any], reason: str) -> None:
    streams = Streams(desk.open(record_of(A), record_of(B)))
    streams.open(assets=("BTC",), address="192.0.2.1")
    streams.open(B)
    desk.say(change(record_of(A, **fields), version=2))
    await swept(desk)
    assert streams.ended == [reason]
    await swept(desk)
    assert streams.ended == [reason], "once"
    assert len(desk.admission.streams) == 1


async def test_an_open_stream_outlives_a_change_that_does_not_concern_it(desk: Desk) -> None:
    streams = Streams(desk.open(record_of(A)))
    streams.open(assets=("BTC",))
    desk.say(change(record_of(A, rate_per_s=1, assets=["BTC"]), version=2))
    await swept(desk)
    assert streams.ended == []


async def test_an_open_stream_ends_with_its_keys_time_and_with_the_age_bound(desk: Desk) -> None:
    expire_s = desk.clock.unix_ns() / 1e9 + 10
    streams = Streams(desk.open(record_of(A, expire_s=expire_s), record_of(B)))
    streams.open()
    streams.open(B)
    await swept(desk)
    assert streams.ended == []
    desk.clock.jump_wall(10)
    await swept(desk)
    assert streams.ended == ["INVALID_KEY"]
    desk.clock.move(86_401)
    await swept(desk)
    assert streams.ended == ["INVALID_KEY", "BACKEND_UNAVAILABLE"]


async def test_a_stream_that_closes_by_itself_is_not_ended(desk: Desk) -> None:
    streams = Streams(desk.open(record_of(A)))
    streams.open().close()
    desk.say(change(record_of(A, revoked=True), version=2))
    await swept(desk)
    assert streams.ended == []


async def test_run_sweeps_by_itself_within_its_promise(desk: Desk) -> None:
    streams = Streams(desk.open(record_of(A)))
    streams.open()
    running = asyncio.create_task(desk.admission.run())
    desk.say(change(record_of(A, revoked=True), version=2))
    await desk.clock.advance(SWEEP_S)
    assert streams.ended == ["INVALID_KEY"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_kept_of_a_key_goes_with_the_key(desk: Desk) -> None:
    keys = [make_key(number) for number in range(300, 320)]
    admission = desk.open(*(record_of(key) for key in keys))
    for key in keys:
        ask(admission, key)
    assert len(admission._seats) == 20
    desk.say(change(*(record_of(key, revoked=True) for key in keys[:15]), version=2))
    await desk.clock.advance(3_600)
    admission.sweep()
    assert len(admission._seats) == 5


def test_hours_go_on_being_counted_in_the_same_places(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    for _ in range(3):
        assert ask(admission) == "ok"
        desk.clock.move(3_600)
        admission.sweep()
    assert desk.counts.of(A.key_id) == {("http", "GetPrice", "", 1): 3}
