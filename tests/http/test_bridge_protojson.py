"""ProtoJSON, read strictly and written whole. The cases follow protobuf's own description of the mapping."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_http.contract import Contract
from trinity_http.json_text import parse_json
from trinity_http.protojson_read import JsonReader
from trinity_http.protojson_write import JsonWriter
from trinity_http.wellknown import Unwritable

I64, U64 = (1 << 63) - 1, (1 << 64) - 1


class Json:
    """Reads and writes shelf.v1.Everything."""

    def __init__(self, data: bytes) -> None:
        self.contract = Contract.of(data)
        self.kind: Any = self.contract.types.find("shelf.v1.Everything")
        self.reader = JsonReader(self.contract.types)
        self.lenient = JsonReader(self.contract.types, ignore_unknown=True)
        self.writer = JsonWriter(self.contract.types)
        self.sparse = JsonWriter(self.contract.types, show_zero=False)

    def read(self, text: str | bytes, *, lenient: bool = False) -> Any:
        message = self.kind()
        reader = self.lenient if lenient else self.reader
        reader.read(text.encode() if isinstance(text, str) else text, message)
        return message

    def fail(self, text: str | bytes) -> TrinityError:
        with pytest.raises(TrinityError) as caught:
            self.read(text)
        assert caught.value.reason in (Reason.INVALID_FIELD, Reason.INVALID_JSON)
        caught.value.message.encode()
        return caught.value

    def write(self, message: Any) -> Any:
        return json.loads(self.sparse.write(message))


@pytest.fixture(scope="module")
def pj(shelf_set: bytes) -> Json:
    return Json(shelf_set)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("small", "2147483647", 2147483647),
        ("small", "-2147483648", -2147483648),
        ("small", "1e5", 100_000),
        ("small", "100000.000", 100_000),
        ("small", "2.147483647e9", 2147483647),
        ("small", '"1e5"', 100_000),
        ("small", '"2\\u003147483647"', 2147483647),
        ("small", "-0", 0),
        ("big", '"9223372036854775807"', I64),
        ("big", "9223372036854775807", I64),
        ("big", "9223372036854775807.0", I64),
        ("big", "-9.223372036854775808e18", -I64 - 1),
        ("usmall", "4294967295", 4294967295),
        ("ubig", "18446744073709551615", U64),
        ("ubig", '"18446744073709551615"', U64),
        ("ubig", "1.8446744073709551615e19", U64),
        ("zigzag", "-1", -1),
        ("fixed_small", "1", 1),
        ("fixed_big", '"-1"', -1),
        ("single", "3.402823e+38", 3.4028230607370965e38),
        ("single", '"Infinity"', math.inf),
        ("real", "1.79769e+308", 1.79769e308),
        ("real", '"-Infinity"', -math.inf),
        ("real", '"1.5"', 1.5),
        ("real", "5e-324", 5e-324),
        ("real", "1e-999", 0.0),
        ("real", "123456789012345678901234567890", 1.2345678901234568e29),
        ("flag", "true", True),
        ("flag", "null", False),
        ("text", '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude01\\u0000"', '"\\/\b\f\n\r\tä😁\0'),
        ("data", '"AQI="', b"\x01\x02"),
        ("data", '"AQI"', b"\x01\x02"),
        ("data", '"-_"', b"\xfb"),
        ("cover", '"COVER_HARD"', 2),
        ("cover", "2", 2),
        ("cover", "123", 123),
        ("cover", "2.0", 2),
        ("maybe", "0", 0),
        ("choice_number", "0", 0),
    ],
)
def test_a_scalar_is_read_in_every_form_that_protojson_has(pj: Json, field: str, text: str, value: Any) -> None:
    name = pj.kind.DESCRIPTOR.fields_by_name[field].json_name
    assert getattr(pj.read(f'{{"{name}": {text}}}'), field) == value
    assert getattr(pj.read(f'{{"{field}": {text}}}'), field) == value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *[("small", text) for text in ("2147483648", "-2147483649", "0.5", "true", "false", '""', '" 1"', '"1 "')],
        *[
            ("small", text)
            for text in ('"12abc"', '"0x1"', '"+1"', '"01"', '"1_0"', '"1."', '"٣"', "[]", "{}", '"NaN"')
        ],
        *[
            ("small", text)
            for text in ("1e999999999", '"1e536870000"', "1e-99999999999999999999", "0." + "0" * 400 + "1")
        ],
        *[("big", text) for text in ("9223372036854775808", '"-9223372036854775809"', "1e19", "9" * 5_000)],
        *[("usmall", text) for text in ("-1", "4294967296")],
        *[("ubig", text) for text in ("-1", "18446744073709551616", '"1e20"')],
        *[("single", text) for text in ("3.502823e+38", "-3.502823e+38", '""', "true", '"1,5"', '"nan"', '"inf"')],
        *[("real", text) for text in ("1.89769e+308", "-1.89769e+308", "1e999", "false", '"abc"', '"NaN "', "9" * 400)],
        *[("flag", text) for text in ("0", "1", '"true"', '""', "[]")],
        *[("text", text) for text in ("1", "true", "[]", "{}", "1.5")],
        *[("data", text) for text in ("1", '"A"', '"AQI=="', '"A Q I"', '"äö"', '"=AQI"', '"AQI====="')],
        *[("cover", text) for text in ('"soft"', '"1"', '""', "true", "false", "1.5", "2147483648", '["COVER_SOFT"]')],
        *[("inner", text) for text in ("1", '"x"', "[]", "true")],
        *[("numbers", text) for text in ("1", "{}", '"1"', "[null]", "[1,true]", "[[1]]")],
        *[("authors", text) for text in ("{}", "[null]", "[1]", "[[]]")],
        *[("labels", text) for text in ("[]", '{"a":1}', '{"a":null}', '"x"')],
        *[("flags", text) for text in ('{"x":true}', '{"1":1}', '{"01":true}', '{"2147483648":true}', '{"":true}')],
        *[("any", text) for text in ('{"a":1}', '{"@type":""}', '{"@type":"nothing"}', '{"@type":1}', "[]")],
        ("any", '{"@type":"type.googleapis.com/nobody.knows.This"}'),
        ("any", '{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s","more":1}'),
        ("any", '{"@type":"type.googleapis.com/google.protobuf.Duration"}'),
        ("any", '{"@type":"type.googleapis.com/shelf.v1.Author","given":"x"}'),
        ("list", "{}"),
        ("object", "[]"),
        ("value", "1e999"),
        ("big_or_none", '"x"'),
        ("flag_or_none", "{}"),
    ],
)
def test_what_a_field_cannot_take_is_refused_and_the_field_named(pj: Json, field: str, text: str) -> None:
    name = pj.kind.DESCRIPTOR.fields_by_name[field].json_name
    error = pj.fail(f'{{"{name}": {text}}}')
    assert error.reason is Reason.INVALID_FIELD
    assert error.violations[0].field.startswith(name)
    assert len(error.message) < 600


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "1",
        '"x"',
        "[]",
        "{",
        "}",
        '{"text"}',
        '{"text":}',
        '{"text":"a",}',
        "{text:1}",
        "{'text':'a'}",
        '{"text":"a"} x',
        '{"text":"a"}{}',
        '{"small":01}',
        '{"small":+1}',
        '{"small":.5}',
        '{"small":1.}',
        '{"small":0x1}',
        '{"real":NaN}',
        '{"real":Infinity}',
        '{"real":-Infinity}',
        '{"text":"\t"}',
        '{"text":"\\x41"}',
        '{"text":"\\U0041"}',
        '{"text":"\\u12"}',
        '{"text":"\\ud800"}',
        '{"text":"\\udc00"}',
        '{"text":"\\ude01\\ud83d"}',
        '{"text":"\\ud800\\u0041"}',
        '{"labels":{"\\ud800":"x"}}',
        '{"object":{"\\udfff":1}}',
        '{"\\ud800":1}',
        '{"text":"a","text":"b"}',
        '{"object":{"a":1,"a":2}}',
        "// no\n{}",
        "\ufeff{}",
        "[" * 100_000,
        '{"value":' * 5_000,
        '{"value":' + "[" * 900 + "]" * 900 + "}",
        '{"unknown":' + "[" * 900 + "]" * 900 + "}",
        b'{"text":"\xff"}',
        b'{"text":"\xed\xa0\x80"}',
        b"\xff\xfe{\x00}\x00",
        b"\x00",
    ],
)
def test_what_is_no_json_object_is_refused(pj: Json, text: str | bytes) -> None:
    assert pj.fail(text).reason in (Reason.INVALID_JSON, Reason.INVALID_FIELD)


def test_an_escaped_backslash_before_a_surrogates_digits_is_no_surrogate(pj: Json) -> None:
    assert pj.read('{"text":"\\\\ud800"}').text == "\\ud800"
    assert pj.read('{"text":"\\\\\\ud83d\\ude01"}').text == "\\😁"
    assert pj.fail('{"text":"\\\\\\ud83d"}').reason is Reason.INVALID_JSON


def test_a_field_given_in_both_spellings_is_refused(pj: Json) -> None:
    assert "both of its spellings" in pj.fail('{"fixed_small":1,"fixedSmall":2}').message


def test_an_unknown_field_is_refused_with_the_nearest_name_and_ignored_on_request(pj: Json) -> None:
    error = pj.fail('{"inner":{"zigzg":1}}')
    assert error.violations[0].field == "inner.zigzg"
    assert "did you mean zigzag?" in error.message
    assert pj.read('{"zigzg":{"a":[1]},"small":3}', lenient=True).small == 3


def test_an_unknown_enum_name_is_ignored_where_unknown_things_are(pj: Json) -> None:
    text = '{"cover":"NEW","covers":["COVER_SOFT","NEW","COVER_HARD"],"small":1}'
    message = pj.read(text, lenient=True)
    assert (message.cover, list(message.covers), message.small) == (0, [1, 2], 1)
    assert pj.fail(text).violations[0].field == "cover"


def test_two_members_of_one_group_are_refused_and_null_is_none(pj: Json) -> None:
    assert "choice_text is set already" in pj.fail('{"choiceText":"a","choiceNumber":0}').message
    assert pj.read('{"choiceText":"a","choiceNumber":null}').WhichOneof("choice") == "choice_text"
    assert pj.read('{"choiceText":null,"choiceNumber":1}').WhichOneof("choice") == "choice_number"


def test_null_leaves_every_kind_of_field_unset_except_a_value(pj: Json) -> None:
    names = [field.json_name for field in pj.kind.DESCRIPTOR.fields]
    message = pj.read(json.dumps(dict.fromkeys(names)))
    assert [field.name for field, _ in message.ListFields()] == ["value"]
    assert message.value.WhichOneof("kind") == "null_value"


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("0001-01-01T00:00:00Z", -62135596800, 0),
        ("9999-12-31T23:59:59.999999999Z", 253402300799, 999999999),
        ("1969-12-31T23:59:59.999999999Z", -1, 999999999),
        ("1970-01-01T08:00:01+08:00", 1, 0),
        ("1970-01-01T00:00:00-11:30", 41400, 0),
        ("2000-02-29T00:00:00.5Z", 951782400, 500000000),
        ("0001-01-01T00:00:00-00:01", -62135596740, 0),
    ],
)
def test_a_time_is_read(pj: Json, text: str, seconds: int, nanos: int) -> None:
    when = pj.read(f'{{"when":"{text}"}}').when
    assert (when.seconds, when.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00",
        "0001-01-01 00:00:00Z",
        "0001-01-01T00:00:00z",
        "0001-01-01t00:00:00Z",
        "1970-01-01T08:00:01+0800",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+00:60",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "1970-13-01T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "2001-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.1234567890Z",
        "1970-01-01T00:00:00.Z",
        "1970-1-01T00:00:00Z",
        "970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Zx",
        "1970-01-01",
        "１970-01-01T00:00:00Z",
        "",
    ],
)
def test_a_time_that_is_none_is_refused(pj: Json, text: str) -> None:
    assert pj.fail(json.dumps({"when": text})).violations[0].field == "when"


@pytest.mark.parametrize(
    "text", ["1", "1.5", "s", "-s", "1.s", ".5s", "1.0000000001s", "315576000001s", "+1s", "1 s", ""]
)
def test_a_duration_that_is_none_is_refused(pj: Json, text: str) -> None:
    assert pj.fail(json.dumps({"wait": text})).violations[0].field == "wait"


def test_durations_and_masks_come_back_as_they_went(pj: Json) -> None:
    waits = '["1s","1.010s","1.000010s","1.000000010s","315576000000.999999999s"]'
    text = f'{{"wait":"-0.500s","waits":{waits},"mask":"a,bC.dE"}}'
    message = pj.read(text)
    assert (message.wait.seconds, message.wait.nanos) == (0, -500_000_000)
    assert list(message.mask.paths) == ["a", "b_c.d_e"]
    assert pj.write(message) == json.loads(text)
    assert pj.fail('{"mask":"a,b_c"}').violations[0].field == "mask"


def test_zero_values_are_shown_and_absent_ones_are_not(pj: Json) -> None:
    shown = json.loads(pj.writer.write(pj.kind()))
    assert shown == {
        "text": "",
        "data": "",
        "flag": False,
        "small": 0,
        "big": "0",
        "usmall": 0,
        "ubig": "0",
        "zigzag": "0",
        "fixedSmall": 0,
        "fixedBig": "0",
        "single": 0,
        "real": 0,
        "cover": "COVER_UNSPECIFIED",
        "numbers": [],
        "texts": [],
        "covers": [],
        "authors": [],
        "labels": {},
        "flags": {},
        "people": {},
        "waits": [],
        "@odd": "",
        "nothing": None,
    }
    assert pj.sparse.write(pj.kind()) == b"{}"


def test_everything_is_written_in_its_form(pj: Json) -> None:
    message = pj.kind(
        text='a"\\\n\u2028ä😁\0',
        data=b"\xfb\xff",
        big=-(1 << 63),
        ubig=U64,
        single=0.1,
        real=math.nan,
        cover=77,
        covers=[1, 2],
        maybe=0,
        choice_number=0,
        oddly_named="x",
    )
    message.flags[-3] = True
    message.labels["k"] = "v"
    message.people["p"].given_name = "Ada"
    message.big_or_none.value = 0
    message.flag_or_none.value = False
    message.data_or_none.value = b"x"
    message.real_or_none.value = -math.inf
    message.object["a"] = [1, None, {"b": "c"}, True, 1.5]
    message.list.extend([1, "x"])
    message.value.string_value = ""
    message.any.Pack(message.inner)
    message.when.seconds = 951782400
    written = pj.write(message)
    assert written == {
        "text": 'a"\\\n\u2028ä😁\0',
        "data": "+/8=",
        "big": "-9223372036854775808",
        "ubig": "18446744073709551615",
        "single": 0.1,
        "real": "NaN",
        "cover": 77,
        "covers": ["COVER_SOFT", "COVER_HARD"],
        "labels": {"k": "v"},
        "flags": {"-3": True},
        "people": {"p": {"givenName": "Ada"}},
        "when": "2000-02-29T00:00:00Z",
        "bigOrNone": "0",
        "flagOrNone": False,
        "dataOrNone": "eA==",
        "realOrNone": "-Infinity",
        "object": {"a": [1, None, {"b": "c"}, True, 1.5]},
        "value": "",
        "list": [1, "x"],
        "any": {"@type": "type.googleapis.com/shelf.v1.Everything"},
        "maybe": 0,
        "choiceNumber": 0,
        "@odd": "x",
    }
    again = pj.read(json.dumps(written))
    assert math.isnan(again.real)
    again.real = message.real = 0.0
    assert again == message


def test_an_any_shows_what_it_holds_well_known_or_not(pj: Json) -> None:
    inner = '{"@type":"a/google.protobuf.Duration","value":"1.500s"}'
    text = f'{{"any":{{"@type":"type.googleapis.com/google.protobuf.Any","value":{inner}}}}}'
    assert pj.write(pj.read(text)) == json.loads(text)
    empty = '{"any":{"@type":"type.googleapis.com/google.protobuf.Empty"}}'
    assert pj.write(pj.read(empty)) == json.loads(empty)
    assert pj.write(pj.read('{"any":{}}')) == {"any": {}}


@pytest.mark.parametrize("field", ["when", "wait", "mask", "value", "any", "object"])
def test_what_has_no_json_form_is_an_error_of_the_writer(pj: Json, field: str) -> None:
    message = pj.kind()
    match field:
        case "when":
            message.when.seconds = 253402300800
        case "wait":
            message.wait.seconds, message.wait.nanos = 1, -1
        case "mask":
            message.mask.paths.append("a__b")
        case "value":
            message.value.number_value = math.inf
        case "any":
            message.any.type_url, message.any.value = "type.googleapis.com/shelf.v1.Author", b"\xff"
        case _:
            message.object.fields["x"].number_value = math.nan
    with pytest.raises(Unwritable):
        pj.writer.write(message)


def test_a_float_is_written_with_the_digits_that_it_has(pj: Json) -> None:
    for value in (0.1, 16777216.0, 3.4028234663852886e38, 1.401298464324817e-45, -1.5, 1e10, 123456.789):
        written = pj.write(pj.kind(single=value))["single"]
        assert pj.read(json.dumps({"single": written})).single == pj.kind(single=value).single
        assert len(repr(written)) <= 14


def test_nesting_is_taken_to_its_bound_and_refused_beyond_it(pj: Json) -> None:
    deep = '{"inner":' * 60 + "{}" + "}" * 60
    assert pj.write(pj.read(deep)) == json.loads(deep)
    assert "deep" in pj.fail('{"inner":' * 120 + "{}" + "}" * 120).message
    assert "deep" in pj.fail('{"value":' + "[" * 150 + "]" * 150 + "}").message


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "text",
    "data",
    "small",
    "ubig",
    "single",
    "cover",
    "inner",
    "numbers",
    "authors",
    "labels",
    "flags",
    "people",
]
FIELDS += [
    "when",
    "wait",
    "mask",
    "bigOrNone",
    "object",
    "value",
    "list",
    "any",
    "choiceText",
    "choiceAuthor",
    "nothing",
]


@settings(max_examples=300, deadline=None)
@example({"nothing": 1})
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON_VALUES, max_size=4))
def test_any_json_object_is_read_or_refused_and_what_is_read_comes_back(pj: Json, value: dict[str, Any]) -> None:
    try:
        message = pj.read(json.dumps(value))
    except TrinityError as error:
        assert error.row.http_status == 400
        error.message.encode()
        return
    assert pj.read(pj.writer.write(message)) == message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ud8019.eE+-ntfalsru ', max_size=40).map(str.encode))
def test_any_bytes_are_json_as_the_standard_says_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data)
    except TrinityError as error:
        assert error.reason is Reason.INVALID_JSON
        return
    assert value == value or isinstance(value, str)
    json.loads(data)
