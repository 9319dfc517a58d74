"""ProtoJSON as protobuf's conformance suite describes it: what a text means, what is refused, what is written.

Every row is one statement about kinds.v1.Kinds. What a text means is written in protobuf's
text format, so that the reader under test does not judge itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

Row = tuple[str, ...]

SIGNED32 = (-(1 << 31), (1 << 31) - 1, ("i32", "s32", "sf32"))
SIGNED64 = (-(1 << 63), (1 << 63) - 1, ("i64", "s64", "sf64"))
UNSIGNED32 = (0, (1 << 32) - 1, ("u32", "f32"))
UNSIGNED64 = (0, (1 << 64) - 1, ("u64", "f64"))
WHOLE = (SIGNED32, SIGNED64, UNSIGNED32, UNSIGNED64)
KEYS = {
    "int32": SIGNED32,
    "sint32": SIGNED32,
    "sfixed32": SIGNED32,
    "int64": SIGNED64,
    "sint64": SIGNED64,
    "sfixed64": SIGNED64,
    "uint32": UNSIGNED32,
    "fixed32": UNSIGNED32,
    "uint64": UNSIGNED64,
    "fixed64": UNSIGNED64,
}
BOXES = ("i32_box", "i64_box", "u32_box", "u64_box", "ratio_box", "amount_box")
ALL_BOXES = (*BOXES, "flag_box", "text_box", "data_box")
TYPE = "type.googleapis.com"


def one(sentence: str, field: str, value: str, means: str) -> Row:
    """A row about one field, given by its camel name."""
    return sentence, f'{{"{field}": {value}}}', means


def whole_numbers() -> Iterator[Row]:
    for smallest, largest, fields in WHOLE:
        for field in fields:
            for number in {smallest, largest, 0, 1}:
                yield one(f"{field} holds {number}", field, str(number), f"{field}: {number}")
                yield one(f"{field} holds {number} in quotes", field, f'"{number}"', f"{field}: {number}")
            yield one(f"{field} takes a fraction of zeros", field, "100000.000", f"{field}: 100000")
            yield one(f"{field} takes an exponent", field, "1e5", f"{field}: 100000")
            yield one(f"{field} takes a capital exponent with a sign", field, "1E+5", f"{field}: 100000")
            yield one(f"{field} takes a negative exponent of a whole number", field, "1000e-3", f"{field}: 1")
            yield one(f"{field} takes an exponent in quotes", field, '"1e5"', f"{field}: 100000")
            yield one(f"{field} takes an escape in quotes", field, '"1\\u0032"', f"{field}: 12")
            yield one(f"{field} takes minus zero", field, "-0", f"{field}: 0")
            digits = str(largest)
            exact = f"{digits[0]}.{digits[1:]}e{len(digits) - 1}"
            yield one(f"{field} loses no digit of its greatest in exponent form", field, exact, f"{field}: {largest}")
    yield one("int32 takes its least in exponent form", "i32", "-2.147483648e9", "i32: -2147483648")
    yield one("uint64 takes what a double holds", "u64", "18446744073709549568", "u64: 18446744073709549568")


def wrong_whole_numbers() -> Iterator[Row]:
    for smallest, largest, fields in WHOLE:
        for field in fields:
            for value in (
                str(largest + 1),
                f'"{largest + 1}"',
                str(smallest - 1),
                f'"{smallest - 1}"',
                '"1e536870000"',
            ):
                yield f"{field} refuses {value}, out of bounds", f'{{"{field}": {value}}}'
            for value in ("0.5", '"0.5"', "1e-1", "true", "false", '""', '"abc"', '"12abc"', '"3x3"', '"0x1"'):
                yield f"{field} refuses {value}", f'{{"{field}": {value}}}'
            for value in (
                '" 1"',
                '"1 "',
                '"12 34"',
                '"12,34"',
                '"12谷歌34"',
                "[1]",
                '{"a": 1}',
                '"+1"',
                '"01"',
                '"NaN"',
            ):
                yield f"{field} refuses {value}", f'{{"{field}": {value}}}'
            for value in ("+1", "01", "-01", ".5", "1.", "0x1", "--1", "1e", "Infinity"):
                yield f"{value} is no number of JSON for {field}", f'{{"{field}": {value}}}'


def real_numbers() -> Iterator[Row]:
    for field, values in (
        ("ratio", ("1.175494e-38", "-1.175494e-38", "3.402823e+38", "-3.402823e+38", "1e-50", "0", "0.1", "16777216")),
        ("amount", ("2.22507e-308", "-2.22507e-308", "1.79769e+308", "-1.79769e+308", "5e-324", "0.1", "1e-999")),
    ):
        for value in values:
            yield one(f"{field} holds {value}", field, value, f"{field}: {value}")
            yield one(f"{field} holds {value} in quotes", field, f'"{value}"', f"{field}: {value}")
        for name, means in (("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf")):
            yield one(f"{field} holds {name} in quotes", field, f'"{name}"', f"{field}: {means}")
        yield one(f"{field} keeps minus zero", field, "-0.0", f"{field}: -0.0")


def wrong_real_numbers() -> Iterator[Row]:
    for field, beyond in (("ratio", "3.502823e+38"), ("amount", "1.89769e+308")):
        for value in (beyond, f"-{beyond}", f'"{beyond}"', "1e999999999", '""', '"abc"', '"12abc"', '"12 34"'):
            yield f"{field} refuses {value}", f'{{"{field}": {value}}}'
        for value in (
            '"12,34"',
            '"12谷歌34"',
            "true",
            "false",
            '"nan"',
            '"inf"',
            '"infinity"',
            '"+Infinity"',
            "[1]",
            "{}",
        ):
            yield f"{field} refuses {value}", f'{{"{field}": {value}}}'
        for value in ("NaN", "Infinity", "-Infinity", "+1.0", "01.5", "1.e1"):
            yield f"{field} refuses {value} without quotes", f'{{"{field}": {value}}}'


READ: Sequence[Row] = [
    ("a message of one string", '{"text": "Hello!"}', 'text: "Hello!"'),
    ("an empty object", "{}", ""),
    ("space of every kind is no matter", '\n{\t"i32"\r:\n1 ,\n"i64" : 2\n}\n', "i32: 1 i64: 2"),
    ("no space at all", '{"i32":1,"i64":2}', "i32: 1 i64: 2"),
    (
        "camel case of every convention of names",
        '{"plain1":1,"twoWords2":2,"Led3":3,"inNer4":4,"digit0word5":5,"digit0Word6":6,"alreadyCamel7":7,'
        '"UpperCamel8":8,"mixedCase9":9,"MixedCase10":10,"LOUDWORD11":11,"LOUDWord12":12,"TwiceLed13":13,'
        '"TwiceLed14":14,"twiceWithin15":15,"twiceWithin16":16,"twiceEnded17":17,"TwiceEnded18":18}',
        "plain1: 1 two_words2: 2 _led3: 3 in__ner4_: 4 digit0word5: 5 digit_0_word6: 6 alreadyCamel7: 7 UpperCamel8: 8 "
        "mixed_Case9: 9 Mixed_Case10: 10 LOUD_WORD11: 11 LOUD_word12: 12 __twice_led13: 13 __Twice_led14: 14 "
        "twice__within15: 15 twice__Within16: 16 twice_ended17__: 17 Twice_ended18__: 18",
    ),
    (
        "names as the contract has them",
        '{"two_words2":2,"_led3":3,"in__ner4_":4,"digit_0_word6":6,"mixed_Case9":9,"Mixed_Case10":10,"LOUD_WORD11":11,'
        '"LOUD_word12":12,"__twice_led13":13,"twice__within15":15,"twice_ended17__":17,"Twice_ended18__":18}',
        "two_words2: 2 _led3: 3 in__ner4_: 4 digit_0_word6: 6 mixed_Case9: 9 Mixed_Case10: 10 LOUD_WORD11: 11 "
        "LOUD_word12: 12 __twice_led13: 13 twice__within15: 15 twice_ended17__: 17 Twice_ended18__: 18",
    ),
    ("a name with an escape", '{"pl\\u0061in1": 1}', "plain1: 1"),
    one("true", "flag", "true", "flag: true"),
    one("false", "flag", "false", "flag: false"),
    one("text beyond ASCII", "text", '"谷歌"', 'text: "谷歌"'),
    one("every short escape", "text", '"\\"\\\\\\/\\b\\f\\n\\r\\t"', r'text: "\"\\/\b\f\n\r\t"'),
    one("escapes with capital digits", "text", '"\\u8C37\\u6B4C"', 'text: "谷歌"'),
    one("escapes with small digits", "text", '"\\u8c37\\u6b4c"', 'text: "谷歌"'),
    one("a pair of surrogates", "text", '"\\uD83D\\uDE01"', 'text: "😁"'),
    one("an escaped NUL", "text", '"a\\u0000b"', r'text: "a\000b"'),
    one("characters that JavaScript dislikes", "text", '"\u2028\u2029"', 'text: "\u2028\u2029"'),
    one("an escaped BOM inside a text", "text", '"\\ufeff"', 'text: "\ufeff"'),
    one("base64 with padding", "data", '"AQI="', r'data: "\001\002"'),
    one("base64 without padding", "data", '"AQI"', r'data: "\001\002"'),
    one("base64 of the URL-safe alphabet", "data", '"-_"', r'data: "\373"'),
    one("no bytes", "data", '""', 'data: ""'),
    one("an enum by name", "colour", '"GREEN"', "colour: GREEN"),
    one("an enum by its zero", "colour", "0", "colour: RED"),
    one("an enum by number", "colour", "2", "colour: BLUE"),
    one("an enum by a negative number", "colour", "-1", "colour: DARK"),
    one("an enum by a number with a fraction of zeros", "colour", "2.0", "colour: BLUE"),
    one("a number that the enum does not have", "colour", "123", "colour: 123"),
    *(one(f"the alias {name}", "shade", f'"{name}"', "shade: GREY") for name in ("GREY", "GRAY", "gray", "gRaY")),
    one("a message in a message", "part", '{"a": 1234}', "part { a: 1234 }"),
    one("an empty message is there", "part", "{}", "part { }"),
    one("a message in itself", "inner", '{"inner": {"text": "x"}}', 'inner { inner { text: "x" } }'),
    *(
        one(f"many {field}", f"many{field[0].upper()}{field[1:]}", "[1, 2, 3]", f"many_{field}: [1, 2, 3]")
        for field in ("i32", "i64", "u32", "u64", "s32", "s64", "f32", "f64", "sf32", "sf64", "ratio", "amount")
    ),
    one("many enums", "manyColour", '["RED", 1, "BLUE"]', "many_colour: [RED, GREEN, BLUE]"),
    one("many texts", "manyText", '["a", ""]', 'many_text: ["a", ""]'),
    one("many bytes", "manyData", '["AAEC", "AQI="]', r'many_data: ["\000\001\002", "\001\002"]'),
    one("many messages", "manyPart", '[{"a": 1}, {}]', "many_part { a: 1 } many_part { }"),
    one("none of many", "manyI32", "[]", ""),
    *(
        one(f"a map by {kind}", f"{kind}Map", f'{{"{low}": 0, "{high}": 1}}',
            f"{kind}_map {{ key: {low} value: 0 }} {kind}_map {{ key: {high} value: 1 }}")
        for kind, (low, high, _) in KEYS.items()
    ),
    *(
        one(f"an escaped key of a map by {kind}", f"{kind}Map", '{"\\u0031": 2}', f"{kind}_map {{ key: 1 value: 2 }}")
        for kind in KEYS
    ),
    one("a map by bool", "boolMap", '{"true": true, "false": false}',
        "bool_map { key: true value: true } bool_map { key: false value: false }"),
    one("an escaped key of a map by bool", "boolMap", '{"tr\\u0075e": true}', "bool_map { key: true value: true }"),
    one("a map by text", "stringMap", '{"": "a", "b": ""}',
        'string_map { key: "" value: "a" } string_map { key: "b" value: "" }'),
    one("a map of messages", "partMap", '{"x": {"a": 1}}', 'part_map { key: "x" value { a: 1 } }'),
    one("a map of enums", "colourMap", '{"x": "BLUE", "y": 7}',
        'colour_map { key: "x" value: BLUE } colour_map { key: "y" value: 7 }'),
    one("a map of bytes", "dataMap", '{"x": "AQI="}', r'data_map { key: "x" value: "\001\002" }'),
    one("a map of doubles", "amountMap", '{"x": "NaN"}', 'amount_map { key: "x" value: nan }'),
    one("a map of durations", "durationMap", '{"x": "1s"}', 'duration_map { key: "x" value { seconds: 1 } }'),
    one("a map of boxes", "i64BoxMap", '{"x": "1"}', 'i64_box_map { key: "x" value { value: 1 } }'),
    one("null is a value in a map of values", "valueMap", '{"x": null}',
        'value_map { key: "x" value { null_value: NULL_VALUE } }'),
    one("the zero of a field that may be absent is there", "maybeI32", "0", "maybe_i32: 0"),
    one("an empty text that may be absent is there", "maybeText", '""', 'maybe_text: ""'),
    ("null before another of its group", '{"chooseU32": null, "chooseText": "x"}', 'choose_text: "x"'),
    ("null after another of its group", '{"chooseText": "x", "chooseU32": null}', 'choose_text: "x"'),
    *(
        one(f"the zero of {field} chooses it", f"choose{field[0].upper()}{field[1:]}", zero, means)
        for field, zero, means in (
            ("u32", "0", "choose_u32: 0"),
            ("part", "{}", "choose_part { }"),
            ("text", '""', 'choose_text: ""'),
            ("data", '""', 'choose_data: ""'),
            ("flag", "false", "choose_flag: false"),
            ("u64", "0", "choose_u64: 0"),
            ("ratio", "0.0", "choose_ratio: 0"),
            ("amount", "0.0", "choose_amount: 0"),
            ("colour", '"RED"', "choose_colour: RED"),
            ("nothing", "null", "choose_nothing: NULL_VALUE"),
            ("nothing", '"NULL_VALUE"', "choose_nothing: NULL_VALUE"),
            ("value", "null", "choose_value { null_value: NULL_VALUE }"),
        )
    ),
    *(one(f"zero in {box}", f"{box[:-4]}Box", "0", f"{box} {{ value: 0 }}") for box in BOXES),
    *(one(f"one in {box}, in quotes", f"{box[:-4]}Box", '"1"', f"{box} {{ value: 1 }}") for box in BOXES),
    *(one(f"{box} unset by null", f"{box[:-4]}Box", "null", "") for box in ALL_BOXES),
    *(
        one(f"many of {box}", f"many{box[0].upper()}{box[1:-4]}Box", "[0, 1]",
            f"many_{box} {{ value: 0 }} many_{box} {{ value: 1 }}")
        for box in BOXES
    ),
    one("false in a box", "flagBox", "false", "flag_box { value: false }"),
    one("an empty text in a box", "textBox", '""', 'text_box { value: "" }'),
    one("bytes in a box", "dataBox", '"AQI="', r'data_box { value: "\001\002" }'),
    one("many boxes of truth", "manyFlagBox", "[true, false]", "many_flag_box { value: true } many_flag_box { }"),
    one("many boxes of text", "manyTextBox", '["", "a"]', 'many_text_box { } many_text_box { value: "a" }'),
    one("many boxes of bytes", "manyDataBox", '["", "AQI="]', r'many_data_box { } many_data_box { value: "\001\002" }'),
    one("the greatest duration", "duration", '"315576000000.999999999s"',
        "duration { seconds: 315576000000 nanos: 999999999 }"),
    one("the least duration", "duration", '"-315576000000.999999999s"',
        "duration { seconds: -315576000000 nanos: -999999999 }"),
    one("a negative part of a second", "duration", '"-0.5s"', "duration { nanos: -500000000 }"),
    one("negative seconds", "duration", '"-5s"', "duration { seconds: -5 }"),
    one("many durations", "manyDuration", '["1.5s", "-1.5s"]',
        "many_duration { seconds: 1 nanos: 500000000 } many_duration { seconds: -1 nanos: -500000000 }"),
    one("null is no duration", "duration", "null", ""),
    *(
        one(f"the time {text}", "time", f'"{text}"', f"time {{ seconds: {seconds} nanos: {nanos} }}")
        for text, seconds, nanos in (
            ("0001-01-01T00:00:00Z", -62135596800, 0),
            ("9999-12-31T23:59:59.999999999Z", 253402300799, 999999999),
            ("1970-01-01T00:00:00.000Z", 0, 0),
            ("1970-01-01T00:00:00.000000001Z", 0, 1),
            ("1969-12-31T23:59:59.999999999Z", -1, 999999999),
            ("1970-01-01T00:00:01.000000001Z", 1, 1),
            ("1969-12-31T23:59:58.999999999Z", -2, 999999999),
            ("1970-01-01T00:00:10.500Z", 10, 500000000),
            ("1969-12-31T23:59:49.500Z", -11, 500000000),
            ("1993-02-10T00:00:00.000Z", 729302400, 0),
            ("1970-01-01T08:00:01+08:00", 1, 0),
            ("1969-12-31T16:00:01-08:00", 1, 0),
            ("1970-01-01T00:00:00-11:30", 41400, 0),
            ("1970-01-02T01:00:00+02:00", 82800, 0),
            ("2000-02-29T00:00:00Z", 951782400, 0),
            ("0001-01-01T00:00:00-00:01", -62135596740, 0),
            ("9999-12-31T23:59:59+00:01", 253402300739, 0),
            ("1970-01-01T00:00:00-00:00", 0, 0),
        )
    ),
    one("many times", "manyTime", '["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]',
        "many_time { seconds: -62135596800 } many_time { }"),
    one("a mask", "mask", '"foo,barBaz"', 'mask { paths: "foo" paths: "bar_baz" }'),
    one("an empty mask", "mask", '""', "mask { }"),
    one("a mask of deep paths", "mask", '"aB.cD"', 'mask { paths: "a_b.c_d" }'),
    one("an object", "object", '{"n":null,"i":1234,"b":true,"d":1.5,"s":"x","l":[1,"2"],"o":{"v":0}}',
        'object { fields { key: "n" value { null_value: NULL_VALUE } } fields { key: "i" '
        'value { number_value: 1234 } } fields { key: "b" value { bool_value: true } } '
        'fields { key: "d" value { number_value: 1.5 } } '
        'fields { key: "s" value { string_value: "x" } } fields { key: "l" value { list_value { '
        'values { number_value: 1 } values { string_value: "2" } } } } fields { key: "o" value { struct_value { '
        'fields { key: "v" value { number_value: 0 } } } } } }'),
    one("an empty list in an object", "object", '{"l":[]}', 'object { fields { key: "l" value { list_value { } } } }'),
    one("a value that is a number", "value", "1", "value { number_value: 1 }"),
    one("a value that is a fraction", "value", "1.5", "value { number_value: 1.5 }"),
    one("a value that is false", "value", "false", "value { bool_value: false }"),
    one("a value that is null", "value", "null", "value { null_value: NULL_VALUE }"),
    one("a value that is a text", "value", '"NaN"', 'value { string_value: "NaN" }'),
    one("a value that is a list", "value", '[0, "a"]',
        'value { list_value { values { number_value: 0 } values { string_value: "a" } } }'),
    one("a value that is an object", "value", '{"v": 1}',
        'value { struct_value { fields { key: "v" value { number_value: 1 } } } }'),
    one("many values", "manyValue", '[["a"], null]',
        'many_value { list_value { values { string_value: "a" } } } many_value { null_value: NULL_VALUE }'),
    one("many lists", "manyList", '[["a"]]', 'many_list { values { string_value: "a" } }'),
    one("null of an enum that is null", "nothing", "null", ""),
    one("25 lists deep", "value", "[" * 25 + "1" + "]" * 25,
        "value { " + "list_value { values { " * 25 + "number_value: 1 " + "} } " * 25 + "}"),
    one("25 objects deep", "value", '{"n":' * 25 + "1" + "}" * 25,
        "value { " + 'struct_value { fields { key: "n" value { ' * 25 + "number_value: 1 " + "} } } " * 25 + "}"),
    one("an any", "any", f'{{"@type": "{TYPE}/kinds.v1.Part", "a": 5}}',
        f"any {{ [{TYPE}/kinds.v1.Part] {{ a: 5 }} }}"),
    one("an any whose type stands last", "any", f'{{"a": 5, "@type": "{TYPE}/kinds.v1.Part"}}',
        f"any {{ [{TYPE}/kinds.v1.Part] {{ a: 5 }} }}"),
    one("an any in an any", "any",
        f'{{"@type": "{TYPE}/google.protobuf.Any", "value": {{"@type": "{TYPE}/kinds.v1.Part", "a": 5}}}}',
        f"any {{ [{TYPE}/google.protobuf.Any] {{ [{TYPE}/kinds.v1.Part] {{ a: 5 }} }} }}"),
    *(
        one(f"an any with {kind}", "any", f'{{"@type": "{TYPE}/google.protobuf.{kind}", "value": {value}}}',
            f"any {{ [{TYPE}/google.protobuf.{kind}] {{ {means} }} }}")
        for kind, value, means in (
            ("Int32Value", "12345", "value: 12345"),
            ("StringValue", '"x"', 'value: "x"'),
            ("Duration", '"1.5s"', "seconds: 1 nanos: 500000000"),
            ("Timestamp", '"1970-01-01T00:00:00Z"', ""),
            ("FieldMask", '"foo,barBaz"', 'paths: "foo" paths: "bar_baz"'),
            ("Struct", '{"foo": 1}', 'fields { key: "foo" value { number_value: 1 } }'),
            ("Value", '{"foo": 1}', 'struct_value { fields { key: "foo" value { number_value: 1 } } }'),
            ("Value", "1", "number_value: 1"),
            ("Value", "null", "null_value: NULL_VALUE"),
            ("ListValue", "[1]", "values { number_value: 1 }"),
        )
    ),
    one("an any with nothing in it", "any", f'{{"@type": "{TYPE}/google.protobuf.Empty"}}',
        f"any {{ [{TYPE}/google.protobuf.Empty] {{ }} }}"),
    one("an any of no type", "any", "{}", "any { }"),
    one("an any that is null", "any", "null", ""),
    *whole_numbers(),
    *real_numbers(),
]  # fmt: skip

REFUSED: Sequence[Row] = [
    ("null in the message's place", "null"),
    ("a list in the message's place", "[]"),
    ("nothing", ""),
    ("a name without quotes", "{i32: 1}"),
    ("a name in single quotes", "{'text': \"x\"}"),
    ("a value in single quotes", "{\"text\": 'x'}"),
    *((f"a comma too many in an object, {tail!r}", '{"i32": 1' + tail) for tail in (",}", " ,}", " , }", ",\n}")),
    *((f"a comma too many in a list, {tail!r}", '{"manyI32": [1, 2' + tail + "}") for tail in (",]", " ,]", ",\n]")),
    ("a comma too few on one line", '{"i32": 1 "i64": 2}'),
    ("a comma too few on two lines", '{\n"i32": 1\n"i64": 2\n}'),
    ("a comment", '{\n// no\n"i32": 1}'),
    ("a long comment", '{/* no */"i32": 1}'),
    ("more after the end", '{"i32": 1} {}'),
    ("a text that ends in an escape", '{"text": "abc\\'),
    ("a text without an end", '{"text": "abc'),
    ("an escape with a capital U", '{"text": "\\U8C37"}'),
    ("an escape that is none", '{"text": "\\x41"}'),
    ("an escape of other letters", '{"text": "\\uXXXX"}'),
    ("an escape that is too short", '{"text": "\\u8C3"}'),
    ("a high surrogate alone", '{"text": "\\uD800"}'),
    ("a low surrogate alone", '{"text": "\\uDC00"}'),
    ("surrogates in the wrong order", '{"text": "\\uDE01\\uD83D"}'),
    ("a high surrogate before another", '{"text": "\\uD83D\\uD83D\\uDE01"}'),
    ("half a pair in a name", '{"\\uD800": 1}'),
    ("a raw line feed in a text", '{"text": "a\nb"}'),
    ("a raw tab in a text", '{"text": "a\tb"}'),
    ("a number for a text", '{"text": 12345}'),
    ("truth for a text", '{"text": true}'),
    ("a list for a text", '{"text": ["x"]}'),
    *((f"{value} for truth", f'{{"flag": {value}}}') for value in ("0", "1", "True", "False", "TRUE", "FALSE", "1.0")),
    *((f"{value} for truth", f'{{"flag": {value}}}') for value in ('"true"', '"false"', '""', "[true]", "{}")),
    *((f"{value} for bytes", f'{{"data": {value}}}') for value in ("1", '"A"', '"AQI=="', '"A Q I"', '"ä"', '"AQI=x"')),
    *((f"{value} for an enum", f'{{"colour": {value}}}')
      for value in ("RED", '["RED"]', "[2]", "true", "0.5", "false")),
    *((f"{value} for an enum", f'{{"colour": {value}}}') for value in ('"PURPLE"', '"red"', '""', '"1"', "2147483648")),
    ("an unknown name in many enums", '{"manyColour": ["PURPLE"]}'),
    ("an unknown name in a map of enums", '{"colourMap": {"x": "PURPLE"}}'),
    *((f"{value} for a message", f'{{"part": {value}}}') for value in ("1", '"x"', "true", "[]", "[{}]")),
    *((f"many numbers with {value}", f'{{"manyI32": [1, {value}]}}') for value in ("false", '"x"', '{"a": 4}', "[2]")),
    *((f"many texts with {value}", f'{{"manyText": ["1", {value}]}}') for value in ("2", "false", '{"a": 4}')),
    *((f"many messages with {value}", f'{{"manyPart": [{{"a": 1}}, {value}]}}') for value in ("2", "false", '"2"')),
    ("one number where many stand", '{"manyI32": 1}'),
    ("one message where many stand", '{"manyPart": {"a": 1}}'),
    ("null among many numbers", '{"manyI32": [1, null]}'),
    ("null among many messages", '{"manyPart": [{"a": 1}, null]}'),
    ("null among many boxes", '{"manyI32Box": [1, null]}'),
    ("null among many durations", '{"manyDuration": ["1s", null]}'),
    ("null as the key of a map", '{"int32Map": {null: 1}}'),
    ("null as a value of a map", '{"int32Map": {"0": null}}'),
    ("null as a message of a map", '{"partMap": {"x": null}}'),
    *((f"a key of a map by {kind} without quotes", f'{{"{kind}Map": {{1: 2}}}}') for kind in KEYS),
    *((f"a key beyond {kind}", f'{{"{kind}Map": {{"{high + 1}": 0}}}}') for kind, (_, high, _) in KEYS.items()),
    *((f"a key below {kind}", f'{{"{kind}Map": {{"{low - 1}": 0}}}}') for kind, (low, _, _) in KEYS.items()),
    *((f"the key {key!r} of a map by int32", f'{{"int32Map": {{"{key}": 0}}}}') for key in ("", "x", " 1", "01")),
    ("truth without quotes as a key", '{"boolMap": {true: true}}'),
    *((f"the key {key!r} of a map by bool", f'{{"boolMap": {{"{key}": true}}}}') for key in ("1", "True", "", " true")),
    ("a list for a map", '{"stringMap": []}'),
    ("a key twice in a map", '{"stringMap": {"a": "1", "a": "2"}}'),
    ("a field twice", '{"part": {"a": 1}, "part": {}}'),
    ("a field in both of its spellings", '{"many_i32": [1], "manyI32": [2]}'),
    ("two of one group", '{"chooseU32": 1, "chooseText": "x"}'),
    ("two of one group in the other order", '{"chooseText": "x", "chooseU32": 1}'),
    *((f"a reserved name with {value}", f'{{"reserved_name": {value}}}') for value in ("true", "1", '"x"', '{"a": 1}')),
    ("a name that the message does not have", '{"unknown": 1}'),
    ("the name of an extension", '{"[kinds.v1.no_such]": 1}'),
    ("a deep name that the message does not have", '{"inner": {"part": {"b": 1}}}'),
    *(
        (f"the duration {text!r}", json.dumps({"duration": text}))
        for text in (
            *("1", "s", "", "1.s", ".5s", "1 s", " 1s", "1s ", "+1s", "1S", "1.0000000001s", "1e3s", "--1s", "0x1s"),
            *("-315576000001.000000000s", "315576000001.000000000s", "٣s"),
        )
    ),
    *((f"{value} for a duration", f'{{"duration": {value}}}') for value in ("1", "{}", '{"seconds": 1}', "true")),
    *(
        (f"the time {text!r}", json.dumps({"time": text}))
        for text in (
            *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "0001-01-01 00:00:00Z", "0001-01-01T00:00:00"),
            *("0001-01-01t00:00:00Z", "0001-01-01T00:00:00z", "1970-01-01T00:00:00+0800", "1970-01-01T00:00:00+08"),
            *("1970-00-01T00:00:00Z", "1970-13-01T00:00:00Z", "1970-01-00T00:00:00Z", "1970-01-32T00:00:00Z"),
            *("1970-04-31T00:00:00Z", "2001-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "1970-01-01T24:00:00Z"),
            *("1970-01-01T00:60:00Z", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60"),
            *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "1970-01-01T00:00:00.1234567890Z"),
            *("1970-01-01T00:00:00.123aZ", "1970-01-01T00:00:00.Z", "999-01-01T00:00:00Z", "00001-01-01T00:00:00Z"),
            *("1970-1-01T00:00:00Z", "1970-01-1T00:00:00Z", "1970-01-01T0:00:00Z", "1970-01-01", "", "now", "Z"),
            *(" 1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z ", "1970-01-01T00:00:00Z+00:00", "+1970-01-01T00:00:00Z"),
        )
    ),
    *((f"{value} for a time", f'{{"time": {value}}}') for value in ("0", "{}", "true", '{"seconds": 1}')),
    *((f"the mask {text!r}", json.dumps({"mask": text})) for text in ("foo,bar_bar", "a,,b", ",", "a b", "a.", "*")),
    ("a list for a mask", '{"mask": ["a"]}'),
    ("a list for an object", '{"object": []}'),
    ("an object for a list", '{"list": {}}'),
    ("a number beyond doubles in a value", '{"value": 1e999}'),
    ("200 lists deep", '{"value": ' + "[" * 200 + "1" + "]" * 200 + "}"),
    ("200 objects deep in a value", '{"value": ' + '{"n":' * 200 + "1" + "}" * 200 + "}"),
    ("200 objects deep in an object", '{"object": ' + '{"n":' * 200 + "1" + "}" * 200 + "}"),
    ("200 messages deep", '{"inner":' * 200 + "{}" + "}" * 200),
    ("an any of an empty type", '{"any": {"@type": "", "value": ""}}'),
    ("an any whose type is no URL", '{"any": {"@type": "not_a_url", "value": ""}}'),
    ("an any without a type", '{"any": {"a": 5}}'),
    ("an any of a type that is not known", f'{{"any": {{"@type": "{TYPE}/no.such.Type"}}}}'),
    ("an any of a number as type", '{"any": {"@type": 1}}'),
    ("an any with two values of its type",
     f'{{"any": {{"@type": "{TYPE}/google.protobuf.Duration", "value": "1s", "a": 1}}}}'),
    ("an any without the value that its type has", f'{{"any": {{"@type": "{TYPE}/google.protobuf.Duration"}}}}'),
    ("an any with a name that its type does not have", f'{{"any": {{"@type": "{TYPE}/kinds.v1.Part", "b": 5}}}}'),
    *((f"{value} in a box of truth", f'{{"flagBox": {value}}}') for value in ("1", '"true"', "{}", '{"value": true}')),
    *wrong_whole_numbers(),
    *wrong_real_numbers(),
]  # fmt: skip

IGNORED: Sequence[Row] = [
    *((f"an unknown name with {value}", f'{{"unknown": {value}}}', "")
      for value in ("1", '"a"', "true", "false", "null", '{"a": 1}', "[1, {}]", "1e999", "[[]]")),
    ("an unknown name among known ones", '{"i32": 1, "unknown": {"i32": 2}, "i64": 2}', "i32: 1 i64: 2"),
    ("an unknown name in a message", '{"part": {"a": 1, "b": 2}}', "part { a: 1 }"),
    ("an unknown name of an enum", '{"colour": "PURPLE"}', ""),
    ("an unknown name among many enums", '{"manyColour": ["RED", "PURPLE", "RED"]}', "many_colour: [RED, RED]"),
    ("only an unknown name among many enums", '{"manyColour": ["PURPLE"]}', ""),
    ("an unknown name in a map of enums", '{"colourMap": {"a": "RED", "b": "PURPLE"}}',
     'colour_map { key: "a" value: RED }'),
]  # fmt: skip

WRITTEN: Sequence[Row] = [
    ("what is not set is left out", "", "{}"),
    ("a zero is left out", "i32: 0", "{}"),
    ("64 bits are texts", "i64: 1 u64: 2 s64: -3 f64: 4 sf64: -5",
     '{"i64":"1","u64":"2","s64":"-3","f64":"4","sf64":"-5"}'),
    ("32 bits are numbers", "i32: 1 u32: 4294967295", '{"i32":1,"u32":4294967295}'),
    ("names are camel case", "two_words2: 2 _led3: 3 LOUD_word12: 12 __twice_led13: 13 twice__Within16: 16",
     '{"twoWords2":2,"Led3":3,"LOUDWord12":12,"TwiceLed13":13,"twiceWithin16":16}'),
    ("an enum by its name", "colour: BLUE", '{"colour":"BLUE"}'),
    ("an unknown number of an enum as it is", "colour: 123", '{"colour":123}'),
    ("of several names the first", "shade: gray", '{"shade":"GREY"}'),
    ("numbers that JSON does not have", "ratio: nan amount: -inf", '{"ratio":"NaN","amount":"-Infinity"}'),
    ("a float with its own digits", "ratio: 0.1 amount: 0.1", '{"ratio":0.1,"amount":0.1}'),
    ("minus zero is kept", "amount: -0.0", '{"amount":-0.0}'),
    ("bytes in padded standard base64", r'data: "\373\377"', '{"data":"+/8="}'),
    ("keys are texts", "int64_map { key: -1 value: 2 } bool_map { key: true value: false }",
     '{"int64Map":{"-1":"2"},"boolMap":{"true":false}}'),
    ("a duration without a fraction", "duration { seconds: 1 }", '{"duration":"1s"}'),
    ("a duration of milliseconds", "duration { seconds: 1 nanos: 10000000 }", '{"duration":"1.010s"}'),
    ("a duration of microseconds", "duration { seconds: 1 nanos: 10000 }", '{"duration":"1.000010s"}'),
    ("a duration of nanoseconds", "duration { seconds: 1 nanos: 10 }", '{"duration":"1.000000010s"}'),
    ("a negative duration below a second", "duration { nanos: -500000000 }", '{"duration":"-0.500s"}'),
    ("a time without a fraction", "time { seconds: 0 }", '{"time":"1970-01-01T00:00:00Z"}'),
    ("a time of milliseconds", "time { nanos: 10000000 }", '{"time":"1970-01-01T00:00:00.010Z"}'),
    ("a time of microseconds", "time { nanos: 10000 }", '{"time":"1970-01-01T00:00:00.000010Z"}'),
    ("a time of nanoseconds", "time { nanos: 10 }", '{"time":"1970-01-01T00:00:00.000000010Z"}'),
    ("the first second of year one", "time { seconds: -62135596800 }", '{"time":"0001-01-01T00:00:00Z"}'),
    ("a mask in camel case", 'mask { paths: "foo" paths: "bar_baz.x_y" }', '{"mask":"foo,barBaz.xY"}'),
    ("null that was chosen", "choose_nothing: NULL_VALUE", '{"chooseNothing":null}'),
    ("null that is only a zero is left out", "nothing: NULL_VALUE", "{}"),
    ("the zero of a chosen field", "choose_u64: 0", '{"chooseU64":"0"}'),
    ("an empty message that is there", "part { }", '{"part":{}}'),
    ("boxes as what they hold", "i64_box { value: 0 } flag_box { } text_box { }",
     '{"flagBox":false,"i64Box":"0","textBox":""}'),
    ("an any with nothing", f"any {{ [{TYPE}/google.protobuf.Empty] {{ }} }}",
     f'{{"any":{{"@type":"{TYPE}/google.protobuf.Empty"}}}}'),
    ("a whole number in a value", "value { number_value: 1 }", '{"value":1.0}'),
]  # fmt: skip

UNWRITABLE: Sequence[Row] = [
    ("a duration below the least", "duration { seconds: -315576000001 }"),
    ("a duration beyond the greatest", "duration { seconds: 315576000001 }"),
    ("nanoseconds of another sign", "duration { seconds: 1 nanos: -1 }"),
    ("nanoseconds of another sign below zero", "duration { seconds: -1 nanos: 1 }"),
    ("too few nanoseconds", "duration { seconds: -1 nanos: -1000000000 }"),
    ("too many nanoseconds", "duration { seconds: 1 nanos: 1000000000 }"),
    ("a time before year one", "time { seconds: -62135596801 }"),
    ("a time after year 9999", "time { seconds: 253402300800 }"),
    ("a time of negative nanoseconds", "time { nanos: -1 }"),
    ("a time of too many nanoseconds", "time { nanos: 1000000000 }"),
    ("a mask with capitals", 'mask { paths: "fooBar" }'),
    ("a mask with a digit after an underscore", 'mask { paths: "foo_3_bar" }'),
    ("a mask with two underscores", 'mask { paths: "foo__bar" }'),
    ("a value that is no number", "value { number_value: nan }"),
    ("a value without bound", "value { number_value: inf }"),
    ("an any of an unknown type", 'any { type_url: "type.googleapis.com/no.such.Type" value: "x" }'),
]
