"""The short way: it lets in what the long way would, counts and charges it alike, and leaves all else to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.stage import Desk, change, make_key, record_of
from trinity_admission.fast_pass import FastPass
from trinity_admission.quota import Grant
from trinity_core.errors import TrinityError
from trinity_core.usage import Outcome, Transport

A = make_key(1)
HTTP: dict[str, Any] = {"transport": Transport.HTTP, "method": "GetPrice", "scopes": ("prices.read",)}


class NoCalls:
    """Leases that are never renewed."""

    def ask(self, *_: Any, **__: Any) -> None:
        return None


def fast(desk: Desk, address: str = "192.0.2.1", **fields: Any) -> FastPass | None:
    admission = desk.open(record_of(A, **fields), leases=NoCalls())
    return admission.fast_pass(admission.find(A.text), address=address, **HTTP)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_answer_is_counted_and_told_its_limits(desk: Desk) -> None:
    short = fast(desk)
    assert short is not None
    assert short.answer("BTC") == b'ratelimit-policy: "rate";q=20;w=2\r\nratelimit: "rate";r=19;t=1\r\n'
    assert short.answer("BTC") is not None
    assert short.answer("ETH") is not None
    assert desk.counts.of(A.key_id) == {("http", "GetPrice", "BTC", 1): 2, ("http", "GetPrice", "ETH", 1): 1}


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"allowed_networks": ["10.0.0.0/8"]}, "192.0.2.1"),
        ({"scopes": ["reports.read"]}, "192.0.2.1"),
        ({"transports": [2]}, "192.0.2.1"),
    ],
)
def test_who_may_not_ask_this_way_gets_no_pass(desk: Desk, fields: dict[str, Any], address: str) -> None:
    assert fast(desk, address, **fields) is None
    assert not desk.counts.counted


def test_who_waits_for_the_disk_gets_no_pass(desk: Desk) -> None:
    desk.counts.strict = True
    assert fast(desk) is None


def test_whatever_is_not_plainly_good_goes_the_long_way_and_nothing_is_counted(desk: Desk) -> None:
    short = fast(desk, assets=["BTC"], burst=3)
    assert short is not None
    assert [short.answer(asset) for asset in ("ETH", "NOPE", "")] == [None] * 3
    assert [short.answer("BTC") is not None for _ in range(4)] == [True, True, True, False]
    desk.clock.move(1)
    desk.counts.full = True
    other = desk.admission.fast_pass(desk.admission.find(A.text), address="", **{**HTTP, "method": "Other"})
    assert other is not None
    assert other.answer("BTC") is None
    desk.counts.full = False
    assert short.answer("BTC") is not None
    assert sum(desk.counts.of(A.key_id).values()) == 4


def test_a_pass_ends_with_its_key_its_record_its_time_and_its_age(desk: Desk) -> None:
    for end in ("revoke", "change", "expire", "age"):
        expire_s = desk.clock.unix_ns() / 1e9 + 100
        short = fast(desk, expire_s=expire_s)
        assert short is not None
        assert short.answer("BTC") is not None
        if end == "revoke":
            desk.say(change(record_of(A, revoked=True), version=2))
        elif end == "change":
            desk.say(change(record_of(A, scopes=[]), version=2))
        elif end == "expire":
            desk.clock.jump_wall(100)
        else:
            desk.clock.jump_wall(-90_000)
            desk.clock.move(86_401)
        assert short.answer("BTC") is None, end


def test_a_lease_is_used_up_and_renewed_the_long_way(desk: Desk) -> None:
    short = fast(desk, monthly_quota=100, burst=1_000)
    assert short is not None
    assert short.answer("BTC") is None, "there is no lease yet"
    seat = desk.admission._seats[A.key_id]
    lease = seat.lease
    assert lease is not None
    lease.asked(desk.clock.monotonic_ns())
    grant = Grant(20, False, 60 * 10**9, desk.clock.unix_ns() + 10**12)
    lease.granted(grant, desk.clock.monotonic_ns(), again_ns=10**9)
    assert [short.answer("BTC") is not None for _ in range(11)] == [True] * 10 + [False], (
        "half of it, then it is renewed"
    )
    assert (lease.used, lease.reserved) == (10, 0)
    assert b'"month";q=100' in (short._lines)
    desk.clock.jump_wall(2_000)
    assert short.answer("BTC") is None, "the month is over"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["BTC", "ETH", "NOPE"]), st.booleans(), st.integers(0, 300)), max_size=60))
def test_both_ways_together_give_what_one_would(steps: list[tuple[str, bool, int]]) -> None:
    mixed, plain = Desk(), Desk()
    short = fast(mixed, burst=5, rate_per_s=5)
    assert short is not None
    plain.open(record_of(A, burst=5, rate_per_s=5))

    def long(desk: Desk, asset: str) -> Any:
        try:
            admitted = desk.admission.admit(A.text, assets=(asset,), **HTTP)
        except TrinityError as error:
            return str(error.reason)
        admitted.answered(Outcome.LOCAL)
        admitted.close()
        fields = admitted.fields()
        return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()

    for asset, quick, wait_ms in steps:
        for desk in (mixed, plain):
            desk.clock.move(wait_ms / 1_000)
        told = short.answer(asset) if quick else None
        assert (long(mixed, asset) if told is None else told) == long(plain, asset)
    assert mixed.counts.counted == plain.counts.counted


def several(desk: Desk, *assets: str, **fields: Any) -> list[bool]:
    """Whether each of five questions for all the assets is let in, and that all of it is counted or nothing."""
    short = fast(desk, **fields)
    assert short is not None
    let_in = []
    for _ in range(5):
        before = sum(desk.counts.counted.values())
        slots = short.answers_at(assets, desk.clock.monotonic_ns(), desk.clock.unix_ns())
        assert sum(desk.counts.counted.values()) - before == (len(assets) if slots else 0)
        let_in.append(bool(slots))
    return let_in


def test_several_answers_are_let_in_together_or_not_at_all(desk: Desk) -> None:
    assert several(desk, "BTC", "ETH", "BTC", burst=7) == [True, True, False, False, False]
    assert desk.counts.of(A.key_id) == {("http", "GetPrice", "BTC", 1): 4, ("http", "GetPrice", "ETH", 1): 2}
    assert not any(several(desk, "BTC", "NOPE"))
    assert not any(several(desk, "BTC", "ETH", assets=["ETH"]))
    assert not any(several(desk, "BTC", "ETH", monthly_quota=100)), "nothing is leased yet"


def test_several_answers_are_charged_to_the_lease(desk: Desk) -> None:
    short = fast(desk, monthly_quota=1_000, burst=1_000)
    assert short is not None
    held = desk.keyring.get(A.key_id)
    assert held is not None
    lease = desk.admission._seat(held).lease
    assert lease is not None
    now_ns = desk.clock.monotonic_ns()
    lease.asked(now_ns)
    lease.granted(Grant(40, False, 3_600 * 10**9, 1 << 62), now_ns, again_ns=10**9)
    let_in = [short.answers_at(("BTC", "ETH", "SOL"), now_ns, desk.clock.unix_ns()) for _ in range(20)]
    used = 3 * sum(map(bool, let_in))
    assert 0 < used <= 40
    assert lease.used == used == sum(desk.counts.counted.values())


def test_what_cannot_be_counted_whole_goes_the_long_way(desk: Desk) -> None:
    short = fast(desk)
    assert short is not None
    now_ns, unix_ns = desk.clock.monotonic_ns(), desk.clock.unix_ns()
    assert short.answers_at(("BTC", "ETH"), now_ns, unix_ns)
    desk.counts.full = True
    assert short.answers_at(("BTC", "ETH"), now_ns, unix_ns) is None
    assert sum(desk.counts.counted.values()) == 2


def test_a_pass_knows_when_its_key_is_good(desk: Desk) -> None:
    short = fast(desk, expire_s=desk.clock.unix_ns() / 1e9 + 5)
    assert short is not None
    now_ns, unix_ns = desk.clock.monotonic_ns(), desk.clock.unix_ns()
    assert short.good(now_ns, unix_ns)
    assert not short.good(now_ns, unix_ns + 5 * 10**9)
    assert not short.good(desk.keyring.good_until_ns + 1, unix_ns)
    desk.say(change(record_of(A, burst=9), version=2))
    assert not short.good(now_ns, unix_ns)


def test_callers_without_a_key_are_counted_by_their_name(desk: Desk) -> None:
    admission = desk.open(record_of(A))
    short = admission.unkeyed_pass("demo", transport=Transport.UDP, method="GetPrice")
    assert short is not None
    assert short.answer_at("BTC", desk.clock.unix_ns())
    assert short.answer_at("BTC", desk.clock.unix_ns())
    assert short.answer_at("NOPE", desk.clock.unix_ns()) is None
    desk.counts.full = True
    assert short.answer_at("ETH", desk.clock.unix_ns()) is None
    assert desk.counts.of("demo") == {("udp", "GetPrice", "BTC", 1): 2}
    desk.counts.strict = True
    assert admission.unkeyed_pass("demo", transport=Transport.UDP, method="GetPrice") is None
