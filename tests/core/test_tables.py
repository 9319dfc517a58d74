"""Tables read back as they were written, whatever the cells hold, and no cell becomes a formula."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trinity_core.aligned import writer_of
from trinity_core.table_readers import End, read_table
from trinity_core.tables import Column, Form, Kind, defused, undefused

COLUMNS = (
    Column("name", "name"),
    Column("key_note", "keyNote"),
    Column("count", "count", Kind.COUNT),
    Column("billed", "billed", Kind.FLAG),
)
ONE = (Column("only", "only"),)
FORMULA_STARTS = "=+-@\t\r\n"
HOSTILE = (
    *("", " ", "  ", "-", "--", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n", "\n", "'=1", "''=1", "'", "'quoted'"),
    *('"', '""', 'a"b', "a,b", "a\tb", "a\nb", "a\r\nb", "\\", "\\n", "\\t", "a\\", "\\s", "\\-", "\\x41", "#end"),
    *(
        "\0",
        "a\0b",
        "\x1b[31mred",
        "\x7f",
        "\x85",
        "\u2028",
        "\u00a0",
        "\ufeff",
        "\u202egnp.exe",
        "\u200f",
        "\U0010ffff",
    ),
    *("שלום", "مرحبا", "日本語", "e\u0301", "  two  spaces  ", "a b", "1e400", "null", "true"),
)

texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.text(alphabet="=+-@\t\r\n '\",\\sn#", max_size=12),
)
rows_of_texts = st.lists(
    st.tuples(texts, texts, st.integers(0, 2**64 - 1).map(str), st.sampled_from(["true", "false"])).map(list),
    max_size=12,
)


def written(form: Form, columns: Sequence[Column], rows: list[list[str]], *, defuse: bool, step: int = 1) -> bytes:
    writer = writer_of(form, columns, defuse=defuse)
    parts = [writer.head()]
    parts += [writer.rows(rows[at : at + step]) for at in range(0, len(rows), step)]
    return b"".join([*parts, writer.flush(), writer.tail()])


@pytest.mark.parametrize("form", Form)
@given(rows=rows_of_texts, defuse=st.booleans())
@example(rows=[[hostile, hostile, "0", "true"] for hostile in HOSTILE], defuse=True)
@example(rows=[[hostile, hostile, "0", "true"] for hostile in HOSTILE], defuse=False)
def test_what_is_read_back_is_what_was_written(form: Form, rows: list[list[str]], defuse: bool) -> None:
    data = written(form, COLUMNS, rows, defuse=defuse)
    assert read_table(form, data, COLUMNS, defused=defuse and form is not Form.JSON).rows == rows


@pytest.mark.parametrize("form", Form)
@given(cells=st.lists(texts, max_size=8))
def test_a_table_of_one_column_has_no_lost_rows(form: Form, cells: list[str]) -> None:
    rows = [[cell] for cell in cells]
    assert read_table(form, written(form, ONE, rows, defuse=False), ONE, defused=False).rows == rows


@pytest.mark.parametrize("form", Form)
@given(rows=rows_of_texts, step=st.integers(1, 5))
def test_how_rows_come_does_not_change_the_table(form: Form, rows: list[list[str]], step: int) -> None:
    assert written(form, COLUMNS, rows, defuse=True, step=step) == written(form, COLUMNS, rows, defuse=True, step=99)


@given(rows=rows_of_texts)
def test_a_csv_is_read_by_a_reader_that_is_not_ours(rows: list[list[str]]) -> None:
    text = written(Form.CSV, COLUMNS, rows, defuse=False).decode()
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [["name", "key_note", "count", "billed"], *rows]


def test_records_of_a_csv_end_with_crlf_and_only_cells_that_need_it_are_quoted() -> None:
    rows = [["plain", "it's", "1", "true"], ['say "hi"', "a,b", "2", "false"], ["two\nlines", "", "3", "true"]]
    assert written(Form.CSV, COLUMNS, rows, defuse=True) == (
        b'name,key_note,count,billed\r\nplain,it\'s,1,true\r\n"say ""hi""","a,b",2,false\r\n"two\nlines",,3,true\r\n'
    )


def test_a_tsv_has_a_line_a_row_and_a_tab_a_column_whatever_stands_in_its_cells() -> None:
    data = written(Form.TSV, COLUMNS, [[hostile, hostile, "1", "true"] for hostile in HOSTILE], defuse=False)
    lines = data.decode().split("\n")
    assert len(lines) == len(HOSTILE) + 2
    assert all(line.count("\t") == 3 for line in lines[:-1])
    assert written(Form.TSV, COLUMNS, [["a\tb", "c\r\nd\\", "1", "true"]], defuse=False).endswith(
        b"a\\tb\tc\\r\\nd\\\\\t1\ttrue\n"
    )


@given(rows=rows_of_texts)
def test_a_json_table_is_one_array_with_an_object_a_line(rows: list[list[str]]) -> None:
    data = written(Form.JSON, COLUMNS, rows, defuse=True)
    items = json.loads(data)
    assert [list(item.values())[:3] for item in items] == [row[:3] for row in rows]
    assert [item["billed"] for item in items] == [row[3] == "true" for row in rows]
    assert len(data.decode().split("\n")) == len(rows) + 3


@pytest.mark.parametrize("form", [Form.CSV, Form.TSV, Form.TEXT])
@given(rows=rows_of_texts)
@example(rows=[[hostile, hostile, "0", "true"] for hostile in HOSTILE])
def test_no_defused_cell_begins_like_a_formula(form: Form, rows: list[list[str]]) -> None:
    data = written(form, COLUMNS, rows, defuse=True)
    for row in read_table(form, data, COLUMNS, defused=False).rows:
        assert all(cell[:1] not in {*FORMULA_STARTS} or not cell for cell in row)


@given(texts)
def test_defusing_is_taken_back_exactly_and_leaves_everything_else_alone(cell: str) -> None:
    assert undefused(defused(cell)) == cell
    if cell.lstrip("'")[:1] not in {*FORMULA_STARTS} or not cell:
        assert defused(cell) == cell


@given(texts, texts)
def test_two_cells_never_become_one_by_defusing(one: str, other: str) -> None:
    assert (defused(one) == defused(other)) == (one == other)


def test_counts_and_flags_are_never_defused() -> None:
    assert written(Form.CSV, COLUMNS, [["=1", "-", "-5", "true"]], defuse=True).endswith(b"'=1,'-,-5,true\r\n")


@pytest.mark.parametrize("form", Form)
def test_a_cell_of_a_mebibyte_survives(form: Form) -> None:
    big = ('=HYPERLINK("x"),\t\n\\ ' * 60_000)[: 1 << 20]
    rows = [[big, "small", "1", "true"], ["next", big, "2", "false"]]
    data = written(form, COLUMNS, rows, defuse=True)
    assert read_table(form, data, COLUMNS, defused=form is not Form.JSON).rows == rows


@pytest.mark.parametrize("form", [Form.JSON, Form.TEXT])
def test_a_lone_surrogate_survives_where_it_can_be_written(form: Form) -> None:
    data = written(form, COLUMNS, [["a\ud800b", "\udfff", "1", "true"]], defuse=True)
    assert read_table(form, data, COLUMNS, defused=True).rows[0][:2] == ["a\ud800b", "\udfff"]


@pytest.mark.parametrize("form", [Form.CSV, Form.TSV])
def test_a_lone_surrogate_is_marked_where_it_cannot_be_written(form: Form) -> None:
    data = written(form, COLUMNS, [["a\ud800b", "\udfff", "1", "true"]], defuse=True)
    assert read_table(form, data, COLUMNS, defused=True).rows[0][:2] == ["a\N{REPLACEMENT CHARACTER}b", "\ufffd"]


@pytest.mark.parametrize("form", Form)
@given(rows=rows_of_texts)
def test_the_last_record_tells_the_rows_and_the_sum_of_all_before(form: Form, rows: list[list[str]]) -> None:
    writer = writer_of(form, COLUMNS, defuse=True)
    body = writer.head() + writer.rows(rows) + writer.flush()
    digest = hashlib.sha256(body).hexdigest()
    data = body + writer.mark(rows=len(rows), sha256=digest) + writer.tail()
    table = read_table(form, data, COLUMNS, defused=form is not Form.JSON)
    assert table.rows == rows
    assert table.end == End(len(rows), digest)


@given(rows=rows_of_texts)
def test_the_last_record_of_a_csv_has_as_many_fields_as_every_other(rows: list[list[str]]) -> None:
    writer = writer_of(Form.CSV, COLUMNS, defuse=True)
    data = writer.head() + writer.rows(rows) + writer.mark(rows=len(rows), sha256="0" * 64)
    assert {len(record) for record in csv.reader(io.StringIO(data.decode(), newline=""))} == {len(COLUMNS)}


@pytest.mark.parametrize("form", Form)
@given(rows=rows_of_texts, data=st.data())
def test_a_cut_table_is_no_table_or_lacks_its_last_record(
    form: Form, rows: list[list[str]], data: st.DataObject
) -> None:
    writer = writer_of(form, COLUMNS, defuse=False)
    whole = writer.head() + writer.rows(rows) + writer.flush()
    whole += writer.mark(rows=len(rows), sha256="0" * 64) + writer.tail()
    cut = whole[: data.draw(st.integers(0, len(whole) - 2))]
    try:
        table = read_table(form, cut, COLUMNS, defused=False)
    except ValueError:
        return
    assert table.end is None


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Form.CSV, 'name,key_note,count,billed\r\n"a"b,c,1,true\r\n'),
        (Form.CSV, 'name,key_note,count,billed\r\n"a,c,1,true\r\n'),
        (Form.CSV, "name,key_note,count,billed\n"),
        (Form.CSV, "name,key_note\r\n"),
        (Form.CSV, "name,key_note,count,billed\r\na,b,1\r\n"),
        (Form.CSV, ""),
        (Form.TSV, "name\tkey_note\tcount\tbilled\na\\q\tb\t1\ttrue\n"),
        (Form.TEXT, "name  key_note  count  billed\na\\\n"),
        (Form.JSON, '[{"name":"a"}]'),
    ],
)
def test_what_no_writer_makes_is_refused(form: Form, text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_table(form, text.encode(), COLUMNS, defused=False)
