"""Bounds of whole numbers as patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trinity_http.digits import whole_pattern

I64, U64 = 1 << 63, 1 << 64

bounds = st.tuples(st.integers(-U64, U64), st.integers(-U64, U64)).map(sorted)


@example((0, 0), 0)
@example((0, U64 - 1), U64 - 1)
@example((-I64, I64 - 1), 0)
@given(bounds, st.integers(-2, 2))
def test_a_pattern_matches_the_numbers_in_its_bounds_and_no_others(bound: list[int], near: int) -> None:
    smallest, largest = bound
    pattern = re.compile(whole_pattern(smallest, largest))
    for number in (
        smallest + near,
        largest + near,
        (smallest + largest) // 2,
        near,
        -near,
        largest * 10,
        largest // 10,
    ):
        assert bool(pattern.fullmatch(str(number))) == (smallest <= number <= largest)


@pytest.mark.parametrize("text", ["-0", "00", "01", "", "-", "+1", "1.0", "1e1", " 1", "1\n"])
def test_other_spellings_are_not_matched(text: str) -> None:
    assert not re.fullmatch(whole_pattern(-100, 100), text)
