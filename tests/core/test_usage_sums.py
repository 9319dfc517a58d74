"""Sums of usage: of every group the right figure, the greatest first, and totals that miss nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.usage import Outcome, Transport
from trinity_core.usage_log import UsageRow
from trinity_core.usage_sums import SUMS_MAX, GroupBy, Sum, Summing, group_texts

DAY = 20_000 * 86_400

rows = st.lists(
    st.builds(
        UsageRow,
        hour=st.integers(0, 60).map(lambda hours: DAY + 3_600 * hours),
        associate=st.just("acme"),
        key_id=st.sampled_from(["k1", "k2", "k3"]),
        key_name=st.just("name"),
        transport=st.sampled_from([1, 2, 3]),
        method=st.sampled_from(["GetPrice", "WatchPrices"]),
        asset=st.sampled_from(["", "BTC", "ETH"]),
        outcome=st.integers(1, 6),
        count=st.integers(1, 2**53),
    ),
    max_size=40,
)
groupings = st.lists(st.sampled_from(GroupBy), max_size=4, unique=True)


def summed(found: list[UsageRow], group_by: list[GroupBy]) -> Summing:
    summing = Summing(group_by)
    summing.add(found)
    return summing


@given(rows, groupings)
def test_every_answer_is_in_one_group_and_in_the_totals(found: list[UsageRow], group_by: list[GroupBy]) -> None:
    result = summed(found, group_by).result()
    assert result.billed == sum(row.count for row in found if row.billed) == sum(one.billed for one in result.sums)
    assert (
        result.unbilled == sum(row.count for row in found) - result.billed == sum(one.unbilled for one in result.sums)
    )
    assert not result.truncated


@given(rows, groupings)
def test_the_greatest_comes_first(found: list[UsageRow], group_by: list[GroupBy]) -> None:
    totals = [one.billed + one.unbilled for one in summed(found, group_by).result().sums]
    assert totals == sorted(totals, reverse=True)


@given(rows, groupings, st.integers(0, 40))
def test_sums_of_two_parts_are_the_sums_of_the_whole(found: list[UsageRow], group_by: list[GroupBy], cut: int) -> None:
    parts = summed(found[:cut], group_by)
    parts.add_sums(summed(found[cut:], group_by).result().sums)
    assert parts.result() == summed(found, group_by).result()


def test_no_grouping_gives_one_sum_even_of_nothing() -> None:
    assert Summing([]).result().sums == [Sum((), 0, 0)]
    assert Summing([GroupBy.ASSET]).result().sums == []


def test_more_groups_than_allowed_are_cut_off_but_counted() -> None:
    rows = [UsageRow(0, "a", f"k{n:05}", "", 1, "GetPrice", "BTC", 1, n + 1) for n in range(SUMS_MAX + 5)]
    result = summed(rows, [GroupBy.KEY]).result()
    assert len(result.sums) == SUMS_MAX
    assert result.truncated
    assert result.billed == sum(row.count for row in rows)
    assert result.sums[0].group == (f"k{SUMS_MAX + 4:05}",)


@pytest.mark.parametrize(
    ("by", "value", "text"),
    [
        (GroupBy.ASSET, "BTC", "BTC"),
        (GroupBy.TRANSPORT, int(Transport.GRPC), "grpc"),
        (GroupBy.OUTCOME, int(Outcome.FAILED), "failed"),
        (GroupBy.HOUR, DAY + 7_200, "2024-10-04T02:00:00Z"),
        (GroupBy.DAY, DAY, "2024-10-04T00:00:00Z"),
    ],
)
def test_values_of_groups_are_told_as_the_contract_has_them(by: GroupBy, value: str | int, text: str) -> None:
    assert group_texts((value,), [by]) == [text]
