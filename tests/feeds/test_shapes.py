"""Shapes: fast where a frame fits, field by field where it does not, an error where nothing does."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_feeds.shapes import NULL, MisfitError, Shape


class Row(msgspec.Struct):
    name: str | None = None
    time: Annotated[int, msgspec.Meta(ge=10, lt=1_000)] | None = None
    code: int | None = None
    good: bool | None = None
    value: msgspec.Raw = NULL
    symbol: str | None = msgspec.field(default=None, name="instId")


class Message(msgspec.Struct):
    rows: list[Row] | None = None
    first: Row | None = None
    named: dict[str, Row] | None = None


SHAPE: Shape[Message] = Shape(Message)
EITHER: Shape[Message | list[msgspec.Raw]] = Shape(Message | list[msgspec.Raw])


def one(**fields: Any) -> Row:
    rows = SHAPE.read(json.dumps({"rows": [fields]})).rows
    assert rows is not None
    return rows[0]


def test_a_frame_that_fits_is_read_whole() -> None:
    row = one(name="x", time=12, code=-3, good=True, instId="y", weather="fine")
    assert (row.name, row.time, row.code, row.good, row.symbol) == ("x", 12, -3, True, "y")


@pytest.mark.parametrize("dirt", [[], {}, True, [1], {"a": 1}])
def test_a_value_that_does_not_fit_costs_its_field_only(dirt: Any) -> None:
    row = one(name=dirt, time=12, code=-3, instId="y")
    assert (row.name, row.time, row.code, row.symbol) == (None, 12, -3, "y")
    row = one(name="x", time=dirt, code=dirt, instId="y")
    assert (row.name, row.time, row.code, row.symbol) == ("x", None, None, "y")


def test_a_number_for_a_string_keeps_its_literal() -> None:
    rows = SHAPE.read(b'{"rows":[{"name":1.50},{"name":"z"}]}').rows
    assert rows is not None
    assert [row.name for row in rows] == ["1.50", "z"]


def test_numbers_out_of_bounds_are_missing() -> None:
    for time in (9, 1_000, -1, 10**30, 1e300):
        assert one(time=time).time is None
    assert one(time="12").time == 12
    assert one(time="abc", code="-5").code == -5


def test_one_dirty_row_costs_no_other() -> None:
    message = SHAPE.read(b'{"rows":[{"name":[]},5,null,{"name":"b"}],"first":7,"named":{"a":{"name":{}},"b":3}}')
    assert message.rows is not None
    assert [row.name for row in message.rows] == [None, "b"]
    assert message.first is None
    assert message.named == {"a": Row()}


def test_a_raw_field_holds_the_literal_or_null() -> None:
    assert bytes(one(value=1.5).value) == b"1.5"
    assert bytes(one(value="1.5", name=[]).value) == b"1.5"
    assert bytes(one(value=[1], name=[]).value) == b"null"
    assert bytes(one(name="x").value) == b"null"


def test_alternatives_are_told_apart() -> None:
    assert isinstance(EITHER.read(b'[1,"a"]'), list)
    assert isinstance(EITHER.read(b'{"rows":5}'), Message)


@pytest.mark.parametrize("frame", [b"5", b"null", b'"x"', b"[]", b"true"])
def test_json_of_another_kind_is_a_misfit(frame: bytes) -> None:
    with pytest.raises(MisfitError):
        SHAPE.read(frame)


@pytest.mark.parametrize("frame", [b"", b"{", b"\xff", b'{"rows":[}', b'{"rows":5', b'{"rows":"\xff"}'])
def test_what_is_no_json_is_an_error(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        SHAPE.read(frame)
    assert not isinstance(caught.value, MisfitError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["rows", "first", "named", "name", "time", "code", "good", "value", "instId"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    text = json.dumps(value)
    try:
        message = EITHER.read(text)
    except ValueError:
        return
    if isinstance(message, Message) and message.rows:
        assert all(row.time is None or 10 <= row.time < 1_000 for row in message.rows)
