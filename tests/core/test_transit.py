"""How long a message was under way, on one clock and on two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trinity_core.transit import Transit

MS = 1_000_000


def test_on_one_clock_the_transit_is_the_difference() -> None:
    transit = Transit(clock_id="a")
    assert transit.observe(clock_id="a", sent_mono_ns=100, now_ns=130) == 30
    assert transit.local(100) == 100


def test_a_difference_below_zero_counts_as_none() -> None:
    assert Transit(clock_id="a").observe(clock_id="a", sent_mono_ns=100, now_ns=90) == 0


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10_000), min_size=1))
def test_on_two_clocks_a_stall_shows_whatever_the_offset(offset: int, delays: list[int]) -> None:
    transit = Transit(clock_id="a")
    now = 10**15
    transit.observe(clock_id="b", sent_mono_ns=now - offset, now_ns=now)
    for delay in delays:
        now += 5 * MS
        seen = transit.observe(clock_id="b", sent_mono_ns=now - offset - delay * MS, now_ns=now)
        assert seen == delay * MS
        assert transit.local(now - offset) == now


def test_a_smallest_delay_is_forgotten_after_its_window_so_that_drift_does_not_add_up() -> None:
    transit = Transit(clock_id="a", window_ms=1_000)
    for step in range(10_000):
        now = step * 10 * MS
        drift = now // 20_000  # 50 parts in a million
        seen = transit.observe(clock_id="b", sent_mono_ns=now - drift, now_ns=now)
        assert seen < 1 * MS


def test_an_empty_clock_id_is_never_taken_for_ours() -> None:
    transit = Transit(clock_id="")
    transit.observe(clock_id="", sent_mono_ns=0, now_ns=50)
    assert transit.observe(clock_id="", sent_mono_ns=0, now_ns=60) == 10
