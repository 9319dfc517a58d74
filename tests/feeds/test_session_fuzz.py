"""Whatever a venue sends: no exception, no price that is none, no memory that grows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.venue_accents import ACCENTS, Accent
from feeds.venue_stage import DIRTY, Stage, frames
from trinity_core.ticks import Tick
from trinity_feeds.literals import ID_MAX, TIME_MAX_NS, TIME_MIN_NS, Volumes

ACCENT = st.sampled_from([kind() for kind in ACCENTS])
SCALAR = st.sampled_from(DIRTY) | st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.none()
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def is_sound(tick: Tick) -> bool:
    prices = [price for price in (tick.price, tick.bid, tick.ask) if price is not None]
    return (
        bool(prices)
        and all(price.is_finite() and price > 0 for price in prices)
        and (tick.volume_24h is None or (tick.volume_24h.is_finite() and tick.volume_24h >= 0))
        and (tick.venue_time_ns is None or TIME_MIN_NS <= tick.venue_time_ns < TIME_MAX_NS)
        and (tick.sequence is None or 0 <= tick.sequence <= ID_MAX)
    )


def check(stage: Stage, frame: str | bytes) -> None:
    ticks = stage.session.receive(frame, stage.now_ns, stage.unix_ns)
    assert all(is_sound(tick) for tick in ticks)
    assert len(stage.session.detail) <= 300
    assert stage.session.detail.isprintable()
    stage.run(1_000)


def stage_of(accent: Accent, *, replay: bool) -> Stage:
    stage = Stage(accent.venue, *accent.pair, replay=replay)
    stage.connect()
    return stage


@FUZZ
@given(ACCENT, st.lists(st.binary(max_size=200) | st.text(max_size=200), max_size=8), st.booleans())
def test_any_bytes_and_any_text(accent: Accent, garbage: list[str | bytes], replay: bool) -> None:
    stage = stage_of(accent, replay=replay)
    for frame in garbage:
        check(stage, frame)
    counts = stage.session.counts
    assert counts.frames == len(garbage)


def mutated(value: Any, draw: Any) -> Any:
    """One value somewhere in a JSON document, replaced."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: mutated(value[name], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], mutated(value[index], draw), *value[index + 1 :]]
    return draw(SCALAR | st.lists(SCALAR, max_size=2) | st.dictionaries(st.text(max_size=3), SCALAR, max_size=2))


@FUZZ
@given(ACCENT, st.data(), st.booleans())
def test_real_frames_with_a_value_replaced(accent: Accent, data: st.DataObject, replay: bool) -> None:
    stage = stage_of(accent, replay=replay)
    kinds = frames(accent.venue)
    for kind in data.draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=6)):
        value = json.loads(kinds[kind])
        for _ in range(data.draw(st.integers(1, 3))):
            value = mutated(value, data.draw)
        check(stage, json.dumps(value))
    check(
        stage,
        json.dumps(accent.ticker(accent.pair[0])) if not isinstance(accent.ticker(""), str) else accent.ticker(""),
    )


@FUZZ
@given(ACCENT, st.data())
def test_real_frames_cut_and_stitched(accent: Accent, data: st.DataObject) -> None:
    stage = stage_of(accent, replay=False)
    kinds = frames(accent.venue)
    for _ in range(5):
        frame = bytearray(kinds[data.draw(st.sampled_from(sorted(kinds)))])
        start = data.draw(st.integers(0, len(frame) - 1))
        frame[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
        check(stage, bytes(frame))


@FUZZ
@given(ACCENT, st.data())
def test_recorded_answers_with_a_value_replaced(accent: Accent, data: st.DataObject) -> None:
    session = stage_of(accent, replay=True).session
    rest = {kind: frame for kind, frame in frames(accent.venue).items() if kind.startswith("rest")}
    body = json.dumps(accent.rest(accent.pair[0])).encode()
    value = json.loads(data.draw(st.sampled_from([body, *rest.values()])))
    for _ in range(2):
        value = mutated(value, data.draw)
    assert all(is_sound(tick) for tick in session.read_answer(json.dumps(value).encode(), 0, 0))
    assert session.read_answer(data.draw(st.binary(max_size=50)), 0, 0) == []


@pytest.mark.parametrize("kind", ACCENTS, ids=lambda kind: kind.venue.value)
@pytest.mark.parametrize("replay", [False, True])
def test_a_flood_of_ever_new_symbols_and_prices_is_forgotten(kind: type[Accent], replay: bool) -> None:
    accent = kind()
    stage = Stage(accent.venue, *accent.pair, replay=replay)
    stage.connect()
    for number in range(9_000):
        symbol = accent.stranger.replace("B", f"B{number}").replace("A", f"A{number}").replace("a", f"a{number}")
        stage.hear(accent.ticker(symbol, price=f"{number}.5"))
        stage.hear(accent.ticker(accent.pair[0], price=f"{number}.25", volume=f"{number}.75"))
    session = stage.session
    assert len(session._markets) <= 4_096 + 2
    assert len(session._prices) <= Volumes.MAX
    assert len(session._volumes) <= Volumes.MAX
    assert session.counts.frames_invalid == 0
