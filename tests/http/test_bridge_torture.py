"""JSON made to break parsers, through the whole application: taken or refused, never our fault, never slow.

The classes are those of the public test-suites for JSON parsers: structure, numbers, strings,
encodings, depth, size, truncation, mutation, noise.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge_direct import Direct

DOCUMENT = (
    b'{"text":"a\\u00e4\\ud83d\\ude01\\n","small":-12,"big":"9223372036854775807","real":1.5e-3,"flag":true,'
    b'"nothing":null,"cover":"COVER_HARD","numbers":[1,2.0],"labels":{"k":"v"},"flags":{"-1":false},'
    b'"inner":{"texts":["",""]},"when":"2026-01-02T03:04:05.006Z","wait":"-1.5s","mask":"a,bC","bigOrNone":"1",'
    b'"object":{"o":[{}]},"value":[null],"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}'
)
"""A valid body with everything in it, to be cut, bent and repeated."""

NUMBERS = [
    *("0", "-0", "-0.0", "0e0", "0e+1", "0E-0", "1e1", "1E+2", "1e-2", "123.456", "1.0", "-1", "9" * 18, "9" * 19),
    *("1e308", "1e309", "-1e309", "1e-400", "1e999999999", "1e-999999999", "1e99999999999999999999", "0." + "0" * 400),
    *("9" * 400, "1" + "0" * 5000, "0." + "3" * 5000, "5e-324", "2e-324", "1.7976931348623157e308", "0.1e-6176"),
    *(
        "-",
        "+1",
        "--1",
        "-+1",
        "01",
        "-01",
        "00",
        "0x1",
        "0b1",
        "1_000",
        "1,000",
        ".1",
        "1.",
        "-.1",
        "1.e1",
        "1e",
        "1e+",
    ),
    *("1e+-1", "1ee1", "1e1.5", "0e", "-0e", "1 000", "1a", "NaN", "-NaN", "nan", "Infinity", "-Infinity", "+Infinity"),
    *("inf", "1e5e5", "１", "٣", "½", "1\u0000", "0.0.0", "1/2", "true1", "- 1", "1.5f", "1d", "1L", "0o7", "1e٣"),
]
STRINGS = [
    *(
        '""',
        '"a"',
        '"\\u0000"',
        '"\\u0022"',
        '"\\\\u0000"',
        '"\\/"',
        '"\\ud83d\\ude01"',
        '"\\uD834\\uDd1e"',
        '"\\ufffe"',
    ),
    *('"\\ud800"', '"\\udfff"', '"\\ude01\\ud83d"', '"\\ud800\\ud800"', '"\\ud800\\n"', '"\\ud800abc"', '"\\uD800\\u"'),
    *(
        '"\\u"',
        '"\\u1"',
        '"\\u12"',
        '"\\u123"',
        '"\\u00g0"',
        '"\\U0001F600"',
        '"\\x41"',
        '"\\a"',
        '"\\0"',
        '"\\\'"',
        '"\\',
    ),
    *(
        '"',
        '"a',
        "'a'",
        "a",
        '"a\nb"',
        '"a\tb"',
        '"a\rb"',
        '"a\x00b"',
        '"\x1f"',
        '"\x7f"',
        '"\u2028"',
        '"a" "b"',
        '"a""b"',
    ),
    *('"\\\\"', '"\\\\\\"', '"' + "\\" * 999 + '"', '"' + "\\\\" * 999 + '"', "`a`", "“a”", '"\ufeff"', '"\U0010ffff"'),
]
STRUCTURES = [
    *(
        "",
        " ",
        "\n",
        "null",
        "true",
        "1",
        '"a"',
        "[]",
        "[[]]",
        "[{}]",
        "{}",
        " {} ",
        "\t{\r}\n",
        "{}{}",
        "{} {}",
        "{},",
    ),
    *("{", "}", "[", "]", "[}", "{]", "}{", "{{}}", "{[]}", "[}]", "{}}", "{}]", '{"a"', '{"a":', '{"a":}', '{"a" 1}'),
    *(
        '{"a":1,}',
        "{,}",
        '{"a":1,,"b":2}',
        "{:1}",
        '{"a"::1}',
        "{1:1}",
        "{null:1}",
        "{a:1}",
        "{'a':1}",
        '{"a":1 "b":2}',
    ),
    *('{"text":"a","text":"b"}', '{"":1}', '{"\\u0000":1}', '{"a":1/**/}', "//\n{}", "/**/{}", "#\n{}", "{}#", "{}//"),
    *(
        '{"text" : "a" }',
        '{"text"\u00a0:"a"}',
        "\u00a0{}",
        "\u2003{}",
        "\x0c{}",
        "\x0b{}",
        "\u2060{}",
        "*",
        "&",
        "<a/>",
        "][",
    ),
    *(
        '{"inner":{"inner":}}',
        '{"inner":[}',
        '{"numbers":[1,]}',
        '{"numbers":[,1]}',
        '{"numbers":[1,,2]}',
        '{"numbers":[1 2]}',
    ),
    *(
        '{"numbers":[1',
        '{"numbers":[',
        '{"numbers":[1,',
        '{"value":tru}',
        '{"value":nul}',
        '{"value":True}',
        '{"value":undefined}',
    ),
    *(
        '{"__proto__":{}}',
        '{"constructor":1}',
        '{"@type":1}',
        '{"value":{"a":1,"a":2}}',
        '{"labels":{"a":"1","\\u0061":"2"}}',
    ),
]
BYTES = [
    *(
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"\xfe\xff\x00{\x00}",
        b"\x00\x00\x00{",
        b"{\x00}",
        b"\x00",
        b"\xff",
        b"\xc3",
    ),
    *(b'{"text":"\xc0\x80"}', b'{"text":"\xe0\x80\xaf"}', b'{"text":"\xf0\x80\x80\xaf"}', b'{"text":"\xed\xa0\x80"}'),
    *(b'{"text":"\xf4\x90\x80\x80"}', b'{"text":"\xf8\x88\x80\x80\x80"}', b'{"text":"\xe2\x82"}', b'{"text":"\x80"}'),
    *(
        b'{"text":"\xe9"}',
        b'{"\xff":1}',
        b'{"text":"a\xed\xb0\x80"}',
        b'{"text":"\xfc\x80\x80\x80\x80\xaf"}',
        b"{\xa0}",
    ),
    b'{"text":"\xf0\x9f\x98"}',
    "{}".encode("utf-16"),
    "{}".encode("utf-32"),
    DOCUMENT.decode().encode("utf-16"),
]
DEEP: dict[str, Callable[[int], str]] = {
    "open lists": lambda n: "[" * n,
    "open objects": lambda n: '{"a":' * n,
    "open lists in a value": lambda n: '{"value":' + "[" * n,
    "closed lists in a value": lambda n: '{"value":' + "[" * n + "]" * n + "}",
    "closed objects in a value": lambda n: '{"value":' + '{"a":' * n + "1" + "}" * (n + 1),
    "lists and objects by turns": lambda n: '{"value":' + '[{"a":' * n + "1" + "}]" * n + "}",
    "messages": lambda n: '{"inner":' * n + "{}" + "}" * n,
    "open messages": lambda n: '{"inner":' * n,
    "anys": lambda n: '{"any":{"@type":"a/google.protobuf.Any","value":' * n + "{}" + "}}" * n,
    "an unknown name": lambda n: '{"unknown":' + "[" * n + "]" * n + "}",
    "closing only": lambda n: "]" * n,
}
LONG: dict[str, Callable[[int], bytes]] = {
    "one text": lambda n: b'{"text":"' + b"a" * n + b'"}',
    "one text of escapes": lambda n: b'{"text":"' + b"\\u0061" * (n // 6) + b'"}',
    "one text of pairs": lambda n: b'{"text":"' + b"\\ud83d\\ude01" * (n // 12) + b'"}',
    "one text of half pairs": lambda n: b'{"text":"' + b"\\ud83d" * (n // 6) + b'"}',
    "one text of backslashes": lambda n: b'{"text":"' + b"\\\\" * (n // 2) + b'"}',
    "one text without an end": lambda n: b'{"text":"' + b"a" * n,
    "one base64": lambda n: b'{"data":"' + b"AAAA" * (n // 4) + b'"}',
    "one base64 of padding": lambda n: b'{"data":"' + b"=" * n + b'"}',
    "one whole number": lambda n: b'{"big":' + b"9" * n + b"}",
    "one fraction": lambda n: b'{"real":0.' + b"7" * n + b"}",
    "one whole fraction": lambda n: b'{"big":1.' + b"0" * n + b"}",
    "one exponent": lambda n: b'{"real":1e' + b"9" * n + b"}",
    "one whole number of an exponent": lambda n: b'{"big":0.' + b"0" * n + b"1e" + str(n + 1).encode() + b"}",
    "one name": lambda n: b'{"' + b"a" * n + b'":1}',
    "one duration": lambda n: b'{"wait":"' + b"1" * n + b's"}',
    "one time": lambda n: b'{"when":"2026-01-02T03:04:05.' + b"1" * n + b'Z"}',
    "one mask of names": lambda n: b'{"mask":"' + b"a," * (n // 2) + b'a"}',
    "one mask of capitals": lambda n: b'{"mask":"a' + b"A" * n + b'"}',
    "one enum": lambda n: b'{"cover":"' + b"A" * n + b'"}',
    "one type": lambda n: b'{"any":{"@type":"' + b"a/" * (n // 2) + b'"}}',
    "many numbers": lambda n: b'{"numbers":[' + b"1," * (n // 2) + b"1]}",
    "many wrong numbers": lambda n: b'{"numbers":[' + b"1," * (n // 2) + b"x]}",
    "many lists": lambda n: b'{"value":[' + b"[]," * (n // 3) + b"[]]}",
    "many objects": lambda n: b'{"authors":[' + b"{}," * (n // 3) + b"{}]}",
    "many names": lambda n: b'{"labels":{' + b",".join(b'"%06d":""' % i for i in range(n // 12)) + b"}}",
    "many names twice": lambda n: b'{"object":{' + b",".join(b'"%06d":1' % (i // 2) for i in range(n // 11)) + b"}}",
    "many unknown names": lambda n: b"{" + b",".join(b'"x%06d":1' % i for i in range(n // 12)) + b"}",
    "much space": lambda n: b"{" + b" " * n + b"}",
    "many lines": lambda n: b"\n" * n + b"x",
    "much after the end": lambda n: b"{}" + b" " * n + b"x",
    "much that is not UTF-8": lambda n: b"\xff" * n,
}  # fmt: skip


def ask(direct: Direct, body: bytes) -> int:
    """The answer's status, having judged its form."""
    return judged(direct.ask("POST", "/v1/echo", "", {"content-type": "application/json"}, body), body)


def judged(answer: tuple[int, bytes], sent: object) -> int:
    status, content = answer
    assert status in (200, 400), (status, sent, content)
    value = json.loads(content)
    if status == 400:
        assert set(value) == {"code", "message", "details"}
        assert value["code"] == 3
        assert len(value["message"]) < 700
        kinds = {detail["@type"].rpartition(".")[2]: detail for detail in value["details"]}
        assert {"ErrorInfo", "RequestInfo"} <= set(kinds)
        if kinds["ErrorInfo"]["reason"] in ("INVALID_FIELD", "UNKNOWN_PARAMETER"):
            assert kinds["BadRequest"]["fieldViolations"][0]["field"]
    return status


def standard(text: str) -> bool:
    """Whether the standard library takes it as RFC 8259 has it."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: ascii(text)[:40])
@pytest.mark.parametrize("field", ["small", "big", "ubig", "single", "real", "value", "text", "cover", "numbers"])
def test_a_number_of_any_form_is_taken_or_refused(direct: Direct, field: str, text: str) -> None:
    shown = f"[{text}]" if field == "numbers" else text
    status = ask(direct, f'{{"{field}":{shown}}}'.encode())
    assert status == 400 or standard(shown)
    assert ask(direct, f'{{"{field}":{json.dumps(text)}}}'.encode()) in (200, 400)


@pytest.mark.parametrize("text", STRINGS, ids=lambda text: ascii(text)[:40])
@pytest.mark.parametrize(
    "where", ['{"text":%s}', "{%s:1}", '{"labels":{%s:"a"}}', '{"value":[%s]}', '{"cover":%s}', "%s"]
)
def test_a_text_of_any_form_is_taken_or_refused(direct: Direct, where: str, text: str) -> None:
    status = ask(direct, (where % text).encode())
    assert status == 400 or standard(where % text)


@pytest.mark.parametrize("text", STRUCTURES, ids=lambda text: ascii(text)[:40])
def test_a_structure_of_any_form_is_taken_or_refused(direct: Direct, text: str) -> None:
    status = ask(direct, text.encode())
    assert status == 400 or not text or standard(text)
    ask(direct, f'{{"value":{text}}}'.encode())


@pytest.mark.parametrize("data", BYTES, ids=lambda data: ascii(data)[:40])
def test_bytes_that_are_not_utf_8_are_refused(direct: Direct, data: bytes) -> None:
    assert ask(direct, data) == 400


@pytest.mark.parametrize("kind", sorted(DEEP))
def test_any_depth_is_taken_or_refused(direct: Direct, kind: str) -> None:
    for depth in (1, 2, 30, 49, 50, 51, 98, 99, 100, 101, 200, 500, 1_000, 10_000, 100_000):
        data = DEEP[kind](depth).encode()[: 1 << 20]
        status = ask(direct, data)
        assert status == 400 or depth <= 100


def test_a_document_cut_anywhere_is_refused(direct: Direct) -> None:
    assert ask(direct, DOCUMENT) == 200
    for end in range(1, len(DOCUMENT)):
        assert ask(direct, DOCUMENT[:end]) == 400


def test_a_document_cut_at_its_front_is_refused(direct: Direct) -> None:
    for start in range(1, len(DOCUMENT)):
        assert ask(direct, DOCUMENT[start:]) == 400


def test_a_document_with_any_byte_missing_or_twice_is_taken_or_refused(direct: Direct) -> None:
    for at in range(len(DOCUMENT)):
        ask(direct, DOCUMENT[:at] + DOCUMENT[at + 1 :])
        ask(direct, DOCUMENT[: at + 1] + DOCUMENT[at:])


@pytest.mark.parametrize(
    "byte", [0, 9, 10, 32, 34, 39, 44, 45, 46, 48, 58, 91, 92, 93, 101, 117, 123, 125, 127, 128, 255]
)
def test_a_document_with_any_byte_changed_is_taken_or_refused(direct: Direct, byte: int) -> None:
    for at in range(len(DOCUMENT)):
        ask(direct, DOCUMENT[:at] + bytes([byte]) + DOCUMENT[at + 1 :])


def test_a_document_with_any_bit_flipped_is_taken_or_refused(direct: Direct) -> None:
    for at in range(len(DOCUMENT)):
        for bit in range(8):
            ask(direct, DOCUMENT[:at] + bytes([DOCUMENT[at] ^ (1 << bit)]) + DOCUMENT[at + 1 :])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,\\u d8019.eE+-ntfalsru\x00', max_size=60).map(str.encode))
def test_noise_is_taken_or_refused(direct: Direct, data: bytes) -> None:
    ask(direct, data)


PIECES = st.sampled_from(
    [*NUMBERS, *STRINGS, *STRUCTURES, *(f'"{name}":' for name in ("text", "value", "inner", "any"))]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(["{", '"value":', "[", "1e999", "]", "}"])
@given(st.lists(PIECES | st.sampled_from(list('{}[],:"')), max_size=12))
def test_pieces_of_json_in_any_order_are_taken_or_refused(direct: Direct, pieces: list[str]) -> None:
    ask(direct, "".join(pieces).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "name", ["text", "small", "real", "flag", "data", "cover", "when", "wait", "mask", "big_or_none"]
)
def test_a_query_value_of_any_form_is_taken_or_refused(direct: Direct, name: str) -> None:
    values = [text.encode("utf-8", "surrogatepass") for text in (*NUMBERS, *STRINGS, *STRUCTURES)] + BYTES
    for value in values:
        judged(direct.ask("GET", "/v1/echo", f"{name}={quote_from_bytes(value)}", {}, b""), value)
    for raw in (
        "%",
        "%%",
        "%4",
        "%zz",
        "%ff",
        "%c0%80",
        "%ed%a0%80",
        "+",
        "%00",
        "=",
        "==",
        "&",
        ";",
        "#",
        "é",
        "a=b=c",
    ):
        judged(direct.ask("GET", "/v1/echo", f"{name}={raw}", {}, b""), raw)


def test_a_path_value_of_any_form_is_taken_or_refused(direct: Direct) -> None:
    values = [text.encode("utf-8", "surrogatepass") for text in (*NUMBERS, *STRINGS, *STRUCTURES)] + BYTES
    for value in values:
        text = quote_from_bytes(value, safe="")
        for path in (f"/v1/echo/deep/x/{text}", f"/v1/echo/deep/{text}/1"):
            status, content = direct.ask("GET", path, "", {}, b"")
            assert status in (200, 400, 404), (status, path, content)
            assert status == 200 or {"code", "message", "details"} == set(json.loads(content))


def test_names_of_parameters_of_any_form_are_taken_or_refused(direct: Direct) -> None:
    names = [*"[].%&=;+", "a[", "a]", "labels[", "labels[]", "labels[a", "labels[a]b", "labels[[a]]", "flags[x]"]
    names += [
        "inner.",
        ".inner",
        "inner..text",
        "inner." * 500 + "text",
        "x" * 5000,
        "labels[" + "a" * 5000 + "]",
        "%00",
    ]
    for name in names:
        judged(direct.ask("GET", "/v1/echo", f"{name}=1", {}, b""), name)


class Work:
    """Counts calls, of Python functions and of C functions, while it is entered."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Work:
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _seen(self, frame: Any, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")


@pytest.mark.parametrize("kind", sorted(LONG))
def test_the_work_grows_with_the_size_and_no_faster(direct: Direct, kind: str) -> None:
    ask(direct, LONG[kind](1_000))
    counts = []
    for size in (20_000, 80_000):
        with Work() as work:
            ask(direct, LONG[kind](size))
        counts.append(work.calls)
    assert counts[1] < 4.5 * counts[0] + 500


@pytest.mark.parametrize("kind", sorted(LONG))
def test_a_body_of_a_megabyte_is_taken_or_refused(direct: Direct, kind: str) -> None:
    ask(direct, LONG[kind]((1 << 20) - 64))


def test_a_body_beyond_the_bound_is_refused_as_too_large(direct: Direct) -> None:
    status, content = direct.ask("POST", "/v1/echo", "", {}, b'{"text":"' + b"a" * (1 << 20) + b'"}')
    assert status == 413
    assert json.loads(content)["details"][0]["reason"] == "BODY_TOO_LARGE"


@pytest.mark.parametrize("letter", string.punctuation)
def test_lines_of_a_stream_of_requests_are_refused_with_their_place(direct: Direct, letter: str) -> None:
    headers = {"content-type": "application/x-ndjson"}
    status, content = direct.ask("POST", "/v1/sum", "", headers, b'{"value":1}\n' + letter.encode() + b"\n")
    assert status == 400, content
    assert json.loads(content)["details"][0]["reason"] in ("INVALID_JSON", "INVALID_FIELD")
