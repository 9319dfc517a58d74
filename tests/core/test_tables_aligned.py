"""Aligned columns stand under each other, in blocks, and show nothing that a terminal would obey."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trinity_core.aligned import writer_of
from trinity_core.tables import Column, Form, Kind

COLUMNS = (Column("asset", "asset"), Column("count", "count", Kind.COUNT), Column("note", "note"))


def lines(rows: list[list[str]], *, defuse: bool = False) -> list[str]:
    writer = writer_of(Form.TEXT, COLUMNS, defuse=defuse)
    return (writer.head() + writer.rows(rows) + writer.flush()).decode().split("\n")[:-1]


def test_texts_are_aligned_left_and_counts_right() -> None:
    assert lines([["BTC", "5", "x"], ["1INCH", "12345678", ""]]) == [
        "asset     count  note",
        "BTC           5  x",
        "1INCH  12345678  -",
    ]


def test_wide_characters_take_two_places_and_marks_none() -> None:
    _, first, second = lines([["日本", "1", "e\u0301e\u0301"], ["abcd", "1", "."]])
    assert first == "日本       1  e\u0301e\u0301"
    assert second == "abcd       1  ."


def test_no_rows_are_still_headings() -> None:
    assert lines([]) == ["asset  count  note"]


def test_one_long_cell_does_not_push_every_other_row_aside() -> None:
    told = lines([["x" * 200, "1", "y"], ["BTC", "2", "z"]])
    assert told[2] == "BTC        2  z"


def test_later_blocks_are_never_narrower() -> None:
    told = lines([["BTC", "1", "."]] * 600 + [["WIDEASSET", "1", "."]] + [["BTC", "1", "."]] * 600)
    starts = [line.index(" 1 ") for line in told[1:]]
    assert starts == sorted(starts)
    assert len(set(starts)) == 2


@given(st.lists(st.tuples(st.text(max_size=10), st.just("1"), st.text(max_size=10)).map(list), max_size=5))
def test_every_line_can_be_printed(rows: list[list[str]]) -> None:
    assert all(line.isprintable() for line in lines(rows))
    assert len(lines(rows)) == len(rows) + 1
