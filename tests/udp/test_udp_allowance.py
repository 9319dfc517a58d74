"""Token buckets by prefix, and their memory under a million forged sources."""

from __future__ import annotations

import sys

import pytest

from trinity_udp.allowance import Allowance, prefix_of, source_of

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:0:aa00::1", "2001:db8:0:aaff:ffff::2", True),
        ("2001:db8:0:aa00::1", "2001:db8:0:ab00::1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_a_prefix_is_a_24_or_a_56(one: str, other: str, same: bool) -> None:
    assert (prefix_of(source_of(one)) == prefix_of(source_of(other))) is same


def test_a_prefix_may_ask_in_a_burst_and_then_at_its_rate() -> None:
    allowance = Allowance(per_s=10, burst=5, prefixes_max=10)
    assert [allowance.take(b"a", now_ns=0) for _ in range(6)] == [True] * 5 + [False]
    assert not allowance.take(b"a", now_ns=SECOND // 10 - 1)
    assert allowance.take(b"a", now_ns=SECOND // 10)
    assert not allowance.take(b"a", now_ns=SECOND // 10)
    assert [allowance.take(b"a", now_ns=60 * SECOND) for _ in range(6)] == [True] * 5 + [False]


def test_one_prefix_does_not_spend_anothers_tokens() -> None:
    allowance = Allowance(per_s=1, burst=1, prefixes_max=10)
    assert allowance.take(b"a", now_ns=0)
    assert not allowance.take(b"a", now_ns=0)
    assert allowance.take(b"b", now_ns=0)


def test_several_tokens_are_taken_together_or_not_at_all() -> None:
    allowance = Allowance(per_s=1, burst=10, prefixes_max=10)
    assert not allowance.take(b"a", now_ns=0, count=11)
    assert allowance.take(b"a", now_ns=0, count=10)
    assert not allowance.take(b"a", now_ns=0)


def test_a_prefix_that_keeps_asking_is_remembered_while_others_come_and_go() -> None:
    allowance = Allowance(per_s=0.001, burst=3, prefixes_max=100)
    answers = []
    for number in range(1_000):
        allowance.take(b"other-%d" % number, now_ns=number)
        if number % 20 == 0:
            answers.append(allowance.take(b"regular", now_ns=number))
    assert answers == [True, True, True] + [False] * (len(answers) - 3)


def test_memory_stays_flat_under_a_million_forged_sources() -> None:
    allowance = Allowance(per_s=50, burst=500, prefixes_max=20_000)

    def flood(start: int) -> int:
        for number in range(start, start + 500_000):
            allowance.take(prefix_of(number.to_bytes(3, "big") + b"\1"), now_ns=number)
        return sys.getallocatedblocks()

    first = flood(0)
    second = flood(500_000)
    assert len(allowance) <= 20_000
    assert second - first < 30_000
