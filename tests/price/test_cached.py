"""A stored price is judged by its age, and a clock that is wrong can only make it older."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from price.made import made_price
from price.virtual_clock import VirtualClock
from trinity.price.v1 import price_pb2
from trinity_core.price_mirror import MirroredPrice
from trinity_core.prices import State
from trinity_mesh.wire import unstamp
from trinity_price.cached import CachedPrice, judge_cached
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall

S = 10**9


def stored_by(clock: VirtualClock, *, clock_id: str = "c", state: State = State.FRESH, sandbox: bool = False) -> bytes:
    """What another run mirrors at this moment: a price received 2 s ago, fresh for 8 s more, stale in 58 s."""
    publication = Publication(clock=clock, clock_id=clock_id, wall=AnchoredWall(clock=clock), epoch=9)
    if sandbox:
        publication.mark_sandbox()
    publication.put([made_price("BTC", 5, at_ns=clock.monotonic_ns() - 2 * S, state=state)])
    found = publication.frame_of("BTC")
    assert found is not None
    return found[0] + publication.tail(sequence=5)


def judged(
    value: bytes, ago_ms: int, clock: VirtualClock, *, asset: str = "BTC", clock_id: str = "c"
) -> CachedPrice | None:
    return judge_cached(
        asset,
        MirroredPrice(value, ago_ms),
        now_mono_ns=clock.monotonic_ns(),
        now_unix_ns=clock.unix_ns(),
        wall_offset_ns=clock.unix_ns() - clock.monotonic_ns(),
        clock_id=clock_id,
    )


@pytest.mark.parametrize(
    ("after_s", "state"), [(0, State.FRESH), (7.999, State.FRESH), (8, State.DELAYED), (57.999, State.DELAYED)]
)
def test_a_price_ages_in_the_store(after_s: float, state: State) -> None:
    clock = VirtualClock()
    value = stored_by(clock)
    clock.move(after_s)
    found = judged(value, round(after_s * 1_000), clock)
    assert found is not None
    assert found.message.state == state.value
    assert found.message.tier == price_pb2.TIER_CACHE
    assert found.age_ms == pytest.approx(2_000 + after_s * 1_000)
    assert (found.message.sequence, found.message.epoch) == (5, 9)
    assert unstamp(found.message.receive_time) == clock.unix_ns() - found.age_ms * 10**6


def test_a_stale_price_is_none() -> None:
    clock = VirtualClock()
    value = stored_by(clock)
    clock.move(58)
    assert judged(value, 58_000, clock) is None


@pytest.mark.parametrize("state", [State.STALE, State.HALTED])
def test_a_price_that_its_maker_did_not_trust_is_none(state: State) -> None:
    clock = VirtualClock()
    assert judged(stored_by(clock, state=state), 0, clock) is None


def test_a_divergent_price_stays_divergent_and_a_delayed_one_delayed() -> None:
    clock = VirtualClock()
    for state in (State.DIVERGENT, State.DELAYED):
        found = judged(stored_by(clock, state=state), 0, clock)
        assert found is not None
        assert found.message.state == state.value


@given(
    true_s=st.floats(0, 60),
    wall_error_s=st.floats(-100_000, 100_000),
    store_error_ms=st.integers(-60_000, 60_000),
    same_host=st.booleans(),
)
def test_no_single_wrong_clock_makes_a_price_younger(
    true_s: float, wall_error_s: float, store_error_ms: int, same_host: bool
) -> None:
    """One of three clocks is wrong; what is said is never fresher than the truth."""
    for wrong in ("wall", "store"):
        clock = VirtualClock()
        value = stored_by(clock)
        clock.move(true_s)
        ago_ms = int(true_s * 1_000) + 1
        if wrong == "wall":
            clock.jump_wall(wall_error_s)
        else:
            ago_ms = max(0, ago_ms + store_error_ms)
        found = judged(value, ago_ms, clock, clock_id="c" if same_host else "another")
        if found is not None:
            assert found.age_ms >= 2_000 + true_s * 1_000 - 0.001
            assert true_s < 58
            if found.message.state == State.FRESH.value:
                assert true_s < 8


@pytest.mark.parametrize("value", [b"", b"\xff\xff", b"\x0a\x03abc", price_pb2.Price(asset="BTC").SerializeToString()])
def test_a_value_that_is_none_of_ours_is_none(value: bytes) -> None:
    assert judged(value, 0, VirtualClock()) is None


def test_a_price_of_another_asset_is_none() -> None:
    clock = VirtualClock()
    assert judged(stored_by(clock), 0, clock, asset="ETH") is None


def test_a_simulated_price_says_so() -> None:
    clock = VirtualClock()
    found = judged(stored_by(clock, sandbox=True), 0, clock)
    assert found is not None
    assert found.message.sandbox
