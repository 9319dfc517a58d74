"""The table: what both transcoders are asked, each row with a sentence of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from differential.wire import Ask

JSON = (("content-type", "application/json"),)
LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One request to both."""

    sentence: str
    ask: Ask
    framing: str = "array"


def rows() -> list[Row]:
    """Every row; sentences are unique."""
    found = [*_paths(), *_methods(), *_queries(), *_query_values(), *_bodies(), *_json(), *_parts(), *_files()]
    found += [*_errors(), *_streams(), *_calls()]
    sentences = [row.sentence for row in found]
    assert len(set(sentences)) == len(sentences), [one for one in sentences if sentences.count(one) > 1]
    return found


def get(sentence: str, target: str | bytes, *headers: tuple[str, str], framing: str = "array") -> Row:
    """A GET."""
    return Row(sentence, Ask("GET", target.encode() if isinstance(target, str) else target, b"", headers), framing)


def send(
    sentence: str,
    method: str,
    target: str,
    body: str | bytes = b"",
    headers: tuple[tuple[str, str], ...] = JSON,
    *,
    chunked: bool = False,
) -> Row:
    """A request with a body."""
    data = body.encode() if isinstance(body, str) else body
    return Row(sentence, Ask(method, target.encode(), data, headers, chunked))


def _paths() -> Iterator[Row]:
    for sentence, target in (
        ("a variable of several segments", "/v1/regions/north/places/oslo"),
        ("a variable of one segment", "/v1/places/oslo"),
        ("a variable with an explicit star", "/v1/places/oslo/star"),
        ("a literal wins over a variable", "/v1/places/home"),
        ("a literal that goes on differently is a variable", "/v1/places/homes"),
        ("a literal spelt with an escape is the literal", "/v1/places/hom%65"),
        ("a rest of three segments", "/v1/any/a/b/c"),
        ("a rest of one segment", "/v1/any/a"),
        ("a rest of no segment after a slash", "/v1/any/"),
        ("a rest of no segment without a slash", "/v1/any"),
        ("a rest after a prefix", "/v1/mixed/a/1/b/2/3"),
        ("a rest after a prefix that is empty", "/v1/mixed/a/1/b"),
        ("a prefix that does not match", "/v1/mixed/c/1/b/2"),
        ("a star outside of a variable", "/v1/bare/x/end"),
        ("a star never matches an empty segment", "/v1/bare//end"),
        ("a star never matches two segments", "/v1/bare/x/y/end"),
        ("two stars outside of a variable", "/v1/all/x/y"),
        ("two stars outside of a variable match nothing at all", "/v1/all"),
        ("an empty segment for a variable", "/v1/places/"),
        ("an empty segment inside a variable", "/v1/regions//places/oslo"),
        ("a trailing slash", "/v1/regions/north/places/oslo/"),
        ("a trailing slash after a literal", "/v1/places/home/"),
        ("a double slash in a rest", "/v1/any/a//b"),
        ("a trailing slash in a rest", "/v1/any/a/"),
        ("a double slash at the start", "//v1/places/oslo"),
        ("dots in a path are segments", "/v1/any/a/../b/./c"),
        ("a dot segment for a variable", "/v1/places/.."),
        ("case matters in literals", "/V1/places/oslo"),
        ("nothing at this path", "/v1/nowhere"),
        ("the root", "/"),
        ("a gRPC path", "/atlas.v1.Atlas/GetPlace"),
        ("an escaped slash in one segment", "/v1/places/a%2Fb"),
        ("an escaped slash in small letters in one segment", "/v1/places/a%2fb"),
        ("an escaped slash in several segments", "/v1/regions/a%2Fb/places/c"),
        ("an escaped slash in a rest", "/v1/any/a%2Fb/c"),
        ("an escaped slash in small letters in a rest", "/v1/any/a%2fb/c"),
        ("an escape in a rest", "/v1/any/a%20b/%C3%A9"),
        ("a reserved character escaped in a rest", "/v1/any/a%3Fb%23c%26d"),
        ("an escaped percent in a rest", "/v1/any/a%25b"),
        ("an escaped percent before 2F in a rest", "/v1/any/a%252Fb"),
        ("an escaped percent in one segment", "/v1/places/a%252Fb"),
        ("an escaped space", "/v1/places/a%20b"),
        ("a plus in a path is a plus", "/v1/places/a+b"),
        ("an escaped plus in a path", "/v1/places/a%2Bb"),
        ("escaped unicode", "/v1/places/%E6%9D%B1%E4%BA%AC"),
        ("an escaped emoji", "/v1/places/%F0%9F%98%81"),
        ("an escaped nul", "/v1/places/a%00b"),
        ("an escaped line end", "/v1/places/a%0Ab"),
        ("escapes that are not UTF-8", "/v1/places/%FF"),
        ("escapes of a surrogate", "/v1/places/%ED%A0%80"),
        ("an escape of one digit", "/v1/places/a%2"),
        ("an escape of no digits", "/v1/places/a%"),
        ("an escape of letters", "/v1/places/a%zz"),
        ("every unreserved and sub-delimiter character", "/v1/places/a-._~!$&'()*,;=@b"),
        ("an equals sign in a segment", "/v1/places/a=b"),
        ("a semicolon in a segment", "/v1/places/a;v=1"),
        ("a verb after a variable", "/v1/regions/north/places/oslo:look"),
        ("a verb after a rest", "/v1/trees/a/b:look"),
        ("a verb after an empty rest", "/v1/trees/:look"),
        ("a verb after a literal", "/v1/places:look"),
        ("a verb after one segment", "/v1/deep/x:look"),
        ("an unknown verb belongs to the variable", "/v1/places/oslo:burn"),
        ("an unknown verb in a rest", "/v1/any/a:burn"),
        ("a known verb where no template has it", "/v1/places/oslo:look"),
        ("a known verb where a rest could take it", "/v1/any/a:look"),
        ("two colons, the last a verb", "/v1/deep/x:y:look"),
        ("an escaped colon never begins a verb", "/v1/places/oslo%3Alook"),
        ("an escaped colon before a verb's name", "/v1/deep/x%3Alook"),
        ("a verb spelt with an escape", "/v1/deep/x:loo%6B"),
        ("a colon in an earlier segment", "/v1/regions/a:b/places/c"),
        ("a colon at the end", "/v1/places/oslo:"),
        ("an empty variable before a verb", "/v1/deep/:look"),
        ("a nested field path", "/v1/nested/word/5"),
        ("a nested field path with a value that does not fit", "/v1/nested/word/five"),
        ("an int64 in a path", "/v1/typed/big/9223372036854775807"),
        ("an int64 in a path that is too large", "/v1/typed/big/9223372036854775808"),
        ("a bool in a path", "/v1/typed/flag/true"),
        ("a bool in a path as a number", "/v1/typed/flag/1"),
        ("an enum in a path", "/v1/typed/terrain/TERRAIN_SEA"),
        ("an enum in a path as a number", "/v1/typed/terrain/2"),
        ("an enum in a path that is unknown", "/v1/typed/terrain/TERRAIN_AIR"),
        ("a timestamp in a path", "/v1/typed/when/2026-01-02T03:04:05Z"),
        ("bytes in a path", "/v1/typed/data/AQID"),
        ("a wrapper in a path", "/v1/typed/none/x"),
    ):
        yield get(sentence, target)
    yield get("raw unicode in a path", "/v1/places/東京")
    yield get("raw bytes that are no UTF-8 in a path", b"/v1/places/\xff")
    yield get("a long path", "/v1/any/" + "a/" * 1_000 + "z")
    yield get("an absolute URL as the target", "http://atlas.test/v1/places/oslo")


def _methods() -> Iterator[Row]:
    place = "/v1/regions/north/places/oslo"
    for method in ("HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "LOCK"):
        yield send(f"{method} on a path with GET, DELETE and LOCK", method, place, headers=())
    for method in ("HEAD", "GET", "OPTIONS", "POST"):
        yield send(f"{method} on a path with a HEAD of its own", method, "/v1/heads/x", headers=())
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "LOCK", "OPTIONS", "HEAD"):
        yield send(f"{method} on a path that takes every method", method, "/v1/whatever/x", headers=())
    yield send("HEAD at no path", "HEAD", "/v1/nowhere", headers=())
    yield send("OPTIONS at no path", "OPTIONS", "/v1/nowhere", headers=())
    yield send("POST at no path", "POST", "/v1/nowhere", "{}")
    yield send("HEAD on a path with GET and POST", "HEAD", "/v1/echo?text=a", headers=())
    yield send("GET on a path with POST alone", "GET", "/v1/nobody", headers=())
    yield send("a method in small letters", "get", place, headers=())
    yield send("DELETE with a body", "DELETE", "/v1/places", '{"name":"oslo"}')
    yield send("DELETE without the body that it takes", "DELETE", "/v1/places", headers=())
    yield send("DELETE with a body that it does not take", "DELETE", place, '{"name":"bergen"}')
    yield send("GET with a body", "GET", place, '{"name":"bergen"}')
    yield send("a verb after a POST's variable", "POST", "/v1/regions/north:clear", '{"pageSize":3}')
    yield send("another method for a verb", "GET", "/v1/regions/north:clear", headers=())


def _queries() -> Iterator[Row]:
    base = "/v1/places/oslo"
    for sentence, query in (
        ("a parameter as in the contract", "page_size=3"),
        ("a parameter in lowerCamelCase", "pageSize=3"),
        ("a repeated parameter", "tags=a&tags=b"),
        ("a repeated parameter once", "tags=a"),
        ("a comma is part of a value", "tags=a,b"),
        ("an empty value of a text", "tags="),
        ("an empty value of a number", "page_size="),
        ("a name without a value", "tags"),
        ("an empty query", ""),
        ("a query of an ampersand", "&"),
        ("empty pairs between ampersands", "&&tags=a&&"),
        ("a pair without a name", "=a"),
        ("an equals sign in a value", "tags=a=b"),
        ("a semicolon does not part pairs", "tags=a;page_size=3"),
        ("a plus is a space", "tags=a+b"),
        ("an escaped plus is a plus", "tags=a%2Bb"),
        ("an escaped ampersand", "tags=a%26b"),
        ("an escaped name", "page%5Fsize=3"),
        ("an escaped equals sign in a name", "tags%3Da=b"),
        ("escaped unicode in a query", "tags=%E6%9D%B1"),
        ("a broken escape in a query", "tags=%zz"),
        ("half an escape in a query", "tags=a%2"),
        ("escapes that are not UTF-8 in a query", "tags=%FF"),
        ("an escaped nul in a query", "tags=a%00b"),
        ("a question mark in a value", "tags=a?b"),
        ("a slash in a value", "tags=a/b"),
        ("an unknown parameter", "nobody=1"),
        ("an unknown parameter beside a known one", "page_size=3&nobody=1"),
        ("a parameter in another case", "PageSize=3"),
        ("a scalar given twice", "page_size=3&page_size=4"),
        ("a scalar given twice with the same value", "page_size=3&page_size=3"),
        ("a scalar given in both spellings", "page_size=3&pageSize=4"),
        ("a parameter that the path sets", "name=bergen"),
        ("a parameter that the path sets, to the same value", "name=oslo"),
        ("a parameter below a scalar", "name.x=1"),
        ("a number that is none", "page_size=three"),
        ("a number with a sign", "page_size=-3"),
        ("a number with a plus sign", "page_size=%2B3"),
        ("a number with white space", "page_size=%203"),
        ("a number with leading zeros", "page_size=007"),
        ("a number with an exponent", "page_size=1e2"),
        ("a number with a fraction of zero", "page_size=3.0"),
        ("a number with a fraction", "page_size=3.5"),
        ("a number in hexadecimal", "page_size=0x10"),
        ("a number at the bound of int32", "page_size=2147483647"),
        ("a number beyond int32", "page_size=2147483648"),
        ("the API key parameter of other gateways", "key=abc"),
        ("the alt parameter of other gateways", "alt=json"),
    ):
        yield get(sentence, f"{base}?{query}")
    yield get("a fragment in the target", f"{base}#tags=a")
    yield get("a thousand values", f"{base}?" + "&".join(f"tags={number}" for number in range(1_000)))
    yield get("more than a thousand values", f"{base}?" + "&".join(f"tags={number}" for number in range(1_001)))


def _query_values() -> Iterator[Row]:
    for sentence, query in (
        ("a nested parameter", "inner.text=a"),
        ("a deeply nested parameter", "inner.inner.inner.small=1"),
        ("a nested parameter in lowerCamelCase", "inner.oddlyNamed=1"),
        ("two fields of one nested message", "spot.label=a&spot.height=2"),
        ("a nested repeated parameter", "inner.texts=a&inner.texts=b"),
        ("a whole message as a parameter", "spot=a"),
        ("a whole message as JSON", "spot=%7B%22label%22%3A%22a%22%7D"),
        ("a field of a repeated message", "spots.label=a"),
        ("a nested name that no field has", "inner.nobody=1"),
        ("a json_name of the contract", "%40odd=1"),
        ("the field behind a json_name", "oddly_named=1"),
        ("the camel case of a field with a json_name", "oddlyNamed=1"),
        ("a bool that is true", "flag=true"),
        ("a bool that is false", "flag=false"),
        ("a bool as 1", "flag=1"),
        ("a bool as 0", "flag=0"),
        ("a bool as t", "flag=t"),
        ("a bool in capitals", "flag=True"),
        ("a bool as yes", "flag=yes"),
        ("a bool that is empty", "flag="),
        ("an int64 at its bound", "big=-9223372036854775808"),
        ("an int64 beyond its bound", "big=9223372036854775808"),
        ("an int64 above 2^53", "big=9007199254740993"),
        ("an int64 with an exponent", "big=1e3"),
        ("a uint32 below zero", "usmall=-1"),
        ("a uint32 at its bound", "usmall=4294967295"),
        ("a uint64 at its bound", "ubig=18446744073709551615"),
        ("a uint64 beyond its bound", "ubig=18446744073709551616"),
        ("the signed kinds", "zigzag=-1&big_zigzag=-2&signed_small=-3&signed_big=-4"),
        ("the fixed kinds", "fixed_small=1&fixed_big=2"),
        ("a float", "single=1.5"),
        ("a float beyond its bound", "single=1e39"),
        ("a float below zero at its bound", "single=-3.4028235e38"),
        ("a double", "real=-1.5e300"),
        ("a double beyond its bound", "real=1e309"),
        ("a double as a whole number", "real=3"),
        ("a double that is NaN", "real=NaN"),
        ("a double that is infinite", "real=Infinity"),
        ("a double that is infinite below zero", "real=-Infinity"),
        ("a double that is inf", "real=inf"),
        ("a double that is nan", "real=nan"),
        ("a double with a leading dot", "real=.5"),
        ("a double with a trailing dot", "real=5."),
        ("a double in hexadecimal", "real=0x1p3"),
        ("a double that is empty", "real="),
        ("a double with white space", "real=1.5%20"),
        ("repeated doubles", "reals=1&reals=2.5"),
        ("two spellings in one query", "bigOrNone=1&small_or_none=2"),
        ("an enum by name", "terrain=TERRAIN_SEA"),
        ("an enum by number", "terrain=2"),
        ("an enum by a number that it does not have", "terrain=7"),
        ("an enum by a number below zero", "terrain=-1"),
        ("an enum by a number beyond int32", "terrain=2147483648"),
        ("an enum in small letters", "terrain=terrain_sea"),
        ("an enum without its prefix", "terrain=SEA"),
        ("an enum that is empty", "terrain="),
        ("an enum by an unknown name", "terrain=TERRAIN_AIR"),
        ("repeated enums", "terrains=TERRAIN_SEA&terrains=1"),
        ("bytes in base64", "data=AQID"),
        ("bytes in base64 with padding", "data=AQI="),
        ("bytes in base64 without padding", "data=AQI"),
        ("bytes in the web alphabet", "data=-_-_"),
        ("bytes in the plain alphabet", "data=%2B%2F%2B%2F"),
        ("bytes in both alphabets", "data=%2B_%2B_"),
        ("bytes that are no base64", "data=%21%21"),
        ("bytes of an impossible length", "data=A"),
        ("bytes with loose bits", "data=AR"),
        ("bytes that are empty", "data="),
        ("a timestamp", "when=2026-01-02T03:04:05Z"),
        ("a timestamp with nanoseconds", "when=2026-01-02T03:04:05.123456789Z"),
        ("a timestamp with ten digits of a fraction", "when=2026-01-02T03:04:05.1234567890Z"),
        ("a timestamp with an offset", "when=2026-01-02T03:04:05%2B02:00"),
        ("a timestamp without a zone", "when=2026-01-02T03:04:05"),
        ("a timestamp in small letters", "when=2026-01-02t03:04:05z"),
        ("a timestamp with a space", "when=2026-01-02%2003:04:05Z"),
        ("a timestamp of no day", "when=2026-02-30T00:00:00Z"),
        ("a leap second", "when=2016-12-31T23:59:60Z"),
        ("the first timestamp", "when=0001-01-01T00:00:00Z"),
        ("the last timestamp", "when=9999-12-31T23:59:59.999999999Z"),
        ("a timestamp before the first", "when=0000-12-31T23:59:59Z"),
        ("a timestamp as a number", "when=1767323045"),
        ("a field of a timestamp", "when.seconds=5"),
        ("a timestamp that is empty", "when="),
        ("a duration", "wait=1.5s"),
        ("a duration below zero", "wait=-1.5s"),
        ("a duration of nanoseconds", "wait=0.000000001s"),
        ("a duration without a unit", "wait=1.5"),
        ("a duration in milliseconds", "wait=15ms"),
        ("a duration at its bound", "wait=315576000000s"),
        ("a duration beyond its bound", "wait=315576000001s"),
        ("a field of a duration", "wait.seconds=5"),
        ("a field mask", "mask=text,innerText.bigOrNone"),
        ("a field mask in snake case", "mask=big_or_none"),
        ("a field mask that is empty", "mask="),
        ("a field of a field mask", "mask.paths=text&mask.paths=inner.big_or_none"),
        ("wrappers", "small_or_none=0&text_or_none=&flag_or_none=false"),
        ("wrappers of 64 bits", "big_or_none=9007199254740993&ubig_or_none=18446744073709551615"),
        ("a wrapper of bytes", "data_or_none=AQID"),
        ("a wrapper of a double", "real_or_none=NaN"),
        ("the field inside a wrapper", "big_or_none.value=5"),
        ("a wrapper that does not fit", "small_or_none=x"),
        ("a map's entry in brackets", "labels[env]=prod"),
        ("two entries of a map", "labels[a]=1&labels[b]=2"),
        ("an entry of a map given twice", "labels[a]=1&labels[a]=2"),
        ("a map's entry with dots", "labels.env=prod"),
        ("a map with whole keys", "flags[5]=true"),
        ("a map of messages", "places[x].label=a"),
        ("a map as a whole", "labels=a"),
        ("an optional field of zero", "maybe=0"),
        ("one member of a oneof", "choice_number=0"),
        ("two members of a oneof", "choice_text=a&choice_number=1"),
        ("a message of a oneof", "choice_spot.label=a"),
        ("a message of a oneof beside another member", "choice_spot.label=a&choice_text=b"),
        ("a struct", "object=1"),
        ("a key of a struct", "object.a=1"),
        ("a value", "value=1"),
        ("a list", "list=1"),
        ("an Any", "any=1"),
        ("a null value", "nothing=NULL_VALUE"),
        ("a parameter 33 messages deep", "inner." * 33 + "text=a"),
    ):
        yield get(sentence, f"/v1/echo?{query}")


def _bodies() -> Iterator[Row]:
    yield send("a body that is the whole request", "POST", "/v1/echo", '{"text":"a","big":"5"}')
    yield send("an empty body for the whole request", "POST", "/v1/echo")
    yield send("an empty body without a media type", "POST", "/v1/echo", headers=())
    yield send("an empty object", "POST", "/v1/echo", "{}")
    yield send("a body in chunks", "POST", "/v1/echo", '{"text":"a","small":5}', chunked=True)
    yield send("an empty body in chunks", "POST", "/v1/echo", b"", chunked=True)
    yield send("a body of half a megabyte", "POST", "/v1/echo", '{"text":"' + "x" * (LARGE // 2) + '"}')
    yield send("a body beyond a megabyte", "POST", "/v1/echo", '{"text":"' + "x" * LARGE + '"}')
    yield send("a body beyond a megabyte in chunks", "POST", "/v1/echo", '{"text":"' + "x" * LARGE + '"}', chunked=True)
    yield send("a body with path and body", "PUT", "/v1/echo/a", '{"small":5}')
    yield send("a body that sets what the path sets", "PUT", "/v1/echo/a", '{"text":"b"}')
    yield send("a body that sets what the path sets to the same", "PUT", "/v1/echo/a", '{"text":"a"}')
    yield send("an empty body beside a path", "PUT", "/v1/echo/a")
    yield send("a parameter beside a body that is the whole", "POST", "/v1/echo?small=5", '{"text":"a"}')
    yield send("a body of one field", "POST", "/v1/echo/a", '{"text":"b","small":5}')
    yield send("a body of one field beside a parameter", "POST", "/v1/echo/a?small=5", '{"text":"b"}')
    yield send("a parameter that the body sets", "POST", "/v1/echo/a?inner.small=5", '{"text":"b"}')
    yield send("a parameter inside the body's field that it leaves out", "POST", "/v1/echo/a?inner.text=c", "{}")
    yield send("an empty body of one field", "POST", "/v1/echo/a")
    yield send("a null body of one field", "POST", "/v1/echo/a", "null")
    yield send("an array for a message", "POST", "/v1/echo/a", "[]")
    yield send("a text for a message", "POST", "/v1/echo/a", '"x"')
    yield send("an unknown field in a body", "POST", "/v1/echo", '{"nobody":1}')
    yield send("an unknown field deep in a body", "POST", "/v1/echo", '{"inner":{"spot":{"nobody":{"a":[1]}}}}')
    yield send("a field in snake case in a body", "POST", "/v1/echo", '{"big_or_none":"5"}')
    yield send("a field in both spellings in a body", "POST", "/v1/echo", '{"bigOrNone":"5","big_or_none":"6"}')
    yield send("a field twice in a body", "POST", "/v1/echo", '{"small":5,"small":6}')
    yield send("a message twice in a body", "POST", "/v1/echo", '{"spot":{"label":"a"},"spot":{"height":2}}')
    yield send("a json_name in a body", "POST", "/v1/echo", '{"@odd":"a"}')
    yield send("the name behind a json_name in a body", "POST", "/v1/echo", '{"oddly_named":"a"}')
    yield send("the camel case of a json_name in a body", "POST", "/v1/echo", '{"oddlyNamed":"a"}')
    for kind, body in (
        ("a repeated number", "[1,2,3]"),
        ("a repeated number that is empty", "[]"),
        ("a repeated number that is null", "null"),
        ("a repeated number with null inside", "[1,null]"),
        ("a repeated number that is one number", "1"),
        ("a repeated number with text", '["1","2"]'),
    ):
        yield send(f"a body of {kind}", "POST", "/v1/body/numbers", body)
    yield send("a body of repeated messages", "POST", "/v1/body/spots", '[{"label":"a"},{"height":2}]')
    yield send("a body of a repeated message that is one", "POST", "/v1/body/spots", '{"label":"a"}')
    yield send("a body of a map", "POST", "/v1/body/places", '{"x":{"label":"a"}}')
    yield send("a body of a timestamp", "POST", "/v1/body/when", '"2026-01-02T03:04:05Z"')
    yield send("a body of a timestamp that is no text", "POST", "/v1/body/when", "5")
    yield send("a body of a text", "POST", "/v1/body/text", '"a"')
    yield send("a body of a text that is no JSON", "POST", "/v1/body/text", "a")
    yield send("a body of a number", "POST", "/v1/body/big", "9007199254740993")
    yield send("a body of a number as text", "POST", "/v1/body/big", '"9007199254740993"')
    yield send("a body of an enum", "POST", "/v1/body/terrain", '"TERRAIN_SEA"')
    yield send("a body of a struct", "POST", "/v1/body/object", '{"a":[1,{"b":null}],"c":"d"}')
    yield send("a body of a value that is a list", "POST", "/v1/body/value", '[1,"a",null,{}]')
    yield send("a body of a value that is null", "POST", "/v1/body/value", "null")
    yield send("a body of a value that is a number", "POST", "/v1/body/value", "1.5")
    yield send("a body of a wrapper", "POST", "/v1/body/none", '"5"')
    yield send("a body of a wrapper that is null", "POST", "/v1/body/none", "null")
    yield send("a body where none is bound", "POST", "/v1/nobody", '{"text":"a"}')
    yield send("an empty object where no body is bound", "POST", "/v1/nobody", "{}")
    yield send("no body where none is bound", "POST", "/v1/nobody?text=a", headers=())
    yield send("a body whose field the path sets in part", "POST", "/v1/spots/a", '{"height":2}')
    yield send("a body that sets a nested field of the path", "POST", "/v1/spots/a", '{"label":"b"}')
    for media in ("application/json; charset=utf-8", "application/json; charset=latin-1", "text/plain", "text/json"):
        yield send(f"a body of {media}", "POST", "/v1/echo", '{"text":"a"}', (("content-type", media),))
    yield send("a body without a media type", "POST", "/v1/echo", '{"text":"a"}', ())
    yield send(
        "a body of a form", "POST", "/v1/echo", "text=a", (("content-type", "application/x-www-form-urlencoded"),)
    )
    yield send(
        "a body in application/grpc+json", "POST", "/v1/echo", "{}", (("content-type", "application/grpc+json"),)
    )
    yield send("a compressed body", "POST", "/v1/echo", b"\x1f\x8b\x08", (*JSON, ("content-encoding", "gzip")))
    yield send("a body that PATCH's mask is made of", "PATCH", "/v1/sheets/a", '{"small":5,"spot":{"label":"b"}}')
    yield send("a body of PATCH with nulls", "PATCH", "/v1/sheets/a", '{"small":null,"bigOrNone":null}')
    yield send("a body of PATCH with a map", "PATCH", "/v1/sheets/a", '{"labels":{"a":"b"},"numbers":[1]}')
    yield send("an empty object of PATCH", "PATCH", "/v1/sheets/a", "{}")
    yield send("an empty body of PATCH", "PATCH", "/v1/sheets/a")
    yield send("PATCH with a mask of its own", "PATCH", "/v1/sheets/a?update_mask=text", '{"small":5}')
    yield send("PATCH with an empty mask", "PATCH", "/v1/sheets/a?update_mask=", '{"small":5}')
    yield send("PATCH with another parameter", "PATCH", "/v1/sheets/a?allowMissing=true", '{"small":5}')
    yield send("PATCH with the whole request as body", "PATCH", "/v1/sheets", '{"sheet":{"small":5}}')
    yield send("PUT makes no mask", "PUT", "/v1/sheets/a", '{"small":5}')


def _json() -> Iterator[Row]:
    for sentence, body in (
        ("JSON cut short", '{"text":"a"'),
        ("JSON with text after it", '{"text":"a"} x'),
        ("two JSON values", "{}{}"),
        ("JSON with a comma at the end", '{"text":"a",}'),
        ("JSON with a comma at the end of an array", '{"numbers":[1,]}'),
        ("JSON in single quotes", "{'text':'a'}"),
        ("JSON with a bare name", '{text:"a"}'),
        ("JSON with a comment", '{"text":"a"/* b */}'),
        ("JSON without a colon", '{"text" "a"}'),
        ("JSON with a number as a name", '{1:"a"}'),
        ("white space alone", "  "),
        ("white space around JSON", ' \r\n\t{"text" : "a"} \n'),
        ("a form feed as white space", '\f{"text":"a"}'),
        ("a byte order mark", b'\xef\xbb\xbf{"text":"a"}'),
        ("JSON that is not UTF-8", b'{"text":"\xff"}'),
        ("JSON in UTF-16", '{"text":"a"}'.encode("utf-16")),
        ("JSON with a lone surrogate", '{"text":"\\ud800"}'),
        ("JSON with a pair of surrogates", '{"text":"\\ud83d\\ude01"}'),
        ("JSON with raw unicode", '{"text":"東京 😁"}'),
        ("JSON with a raw line end in a text", '{"text":"a\nb"}'),
        ("JSON with a raw tab in a text", '{"text":"a\tb"}'),
        ("JSON with an escaped nul", '{"text":"\\u0000"}'),
        ("JSON with every escape", '{"text":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"}'),
        ("JSON with an unknown escape", '{"text":"\\x41"}'),
        ("JSON with half an escape", '{"text":"\\u12"}'),
        ("JSON with a leading zero", '{"small":01}'),
        ("JSON with a plus sign", '{"small":+1}'),
        ("JSON with a leading dot", '{"real":.5}'),
        ("JSON with a trailing dot", '{"real":5.}'),
        ("JSON with an exponent without digits", '{"real":1e}'),
        ("JSON with NaN", '{"real":NaN}'),
        ("JSON with NaN as text", '{"real":"NaN"}'),
        ("JSON with Infinity as text", '{"real":"-Infinity"}'),
        ("JSON with a number too large", '{"real":1e400}'),
        ("JSON with a float too large", '{"single":1e39}'),
        ("JSON with a text for a number", '{"small":"5"}'),
        ("JSON with an empty text for a number", '{"small":""}'),
        ("JSON with white space in a number's text", '{"small":" 5"}'),
        ("JSON with an exponent for a whole number", '{"small":1e2}'),
        ("JSON with a fraction of zero for a whole number", '{"small":5.0}'),
        ("JSON with a fraction for a whole number", '{"small":5.5}'),
        ("JSON with a whole number as text with an exponent", '{"small":"1e2"}'),
        ("JSON with an int32 too large", '{"small":2147483648}'),
        ("JSON with an int64 too large", '{"big":9223372036854775808}'),
        ("JSON with an int64 above 2^53", '{"big":9007199254740993}'),
        ("JSON with an int64 below zero at its bound", '{"big":-9223372036854775808}'),
        ("JSON with a uint64 at its bound", '{"ubig":18446744073709551615}'),
        ("JSON with a uint64 too large", '{"ubig":18446744073709551616}'),
        ("JSON with an int64 as a fraction above 2^53", '{"big":9007199254740993.0}'),
        ("JSON with true for a number", '{"small":true}'),
        ("JSON with true for an enum", '{"terrain":true}'),
        ("JSON with a number for a text", '{"text":5}'),
        ("JSON with true for a text", '{"text":true}'),
        ("JSON with a number for a bool", '{"flag":1}'),
        ("JSON with a text for a bool", '{"flag":"true"}'),
        ("JSON with an object for a text", '{"text":{}}'),
        ("JSON with an array for a text", '{"text":["a"]}'),
        ("JSON with a text for a message", '{"spot":"a"}'),
        ("JSON with an array for a message", '{"spot":[{"label":"a"}]}'),
        ("JSON with an object for an array", '{"numbers":{"0":1}}'),
        ("JSON with a bare value for an array", '{"numbers":1}'),
        ("JSON with null in an array", '{"numbers":[1,null]}'),
        ("JSON with null in an array of messages", '{"spots":[null]}'),
        ("JSON with an array in an array", '{"numbers":[[1]]}'),
        ("JSON with null for a scalar", '{"text":null,"small":null}'),
        ("JSON with null for a message", '{"spot":null}'),
        ("JSON with null for an array", '{"numbers":null}'),
        ("JSON with null for a map", '{"labels":null}'),
        ("JSON with null in a map", '{"labels":{"a":null}}'),
        ("JSON with a map", '{"labels":{"a":"b","":"c"}}'),
        ("JSON with a map with a key twice", '{"labels":{"a":"b","a":"c"}}'),
        ("JSON with a map with whole keys", '{"flags":{"5":true,"-1":false}}'),
        ("JSON with a map with a key that does not fit", '{"flags":{"x":true}}'),
        ("JSON with a map of messages", '{"places":{"x":{"label":"a"},"y":{}}}'),
        ("JSON with an enum by name", '{"terrain":"TERRAIN_SEA"}'),
        ("JSON with an enum by number", '{"terrain":2}'),
        ("JSON with an enum by unknown number", '{"terrain":7}'),
        ("JSON with an enum by number as text", '{"terrain":"2"}'),
        ("JSON with an enum in small letters", '{"terrain":"terrain_sea"}'),
        ("JSON with an enum that is unknown", '{"terrain":"TERRAIN_AIR"}'),
        ("JSON with an enum of a fraction", '{"terrain":1.5}'),
        ("JSON with bytes", '{"data":"AQID"}'),
        ("JSON with bytes in the web alphabet", '{"data":"-_-_"}'),
        ("JSON with bytes without padding", '{"data":"AQI"}'),
        ("JSON with bytes that are no base64", '{"data":"!!"}'),
        ("JSON with a timestamp with an offset", '{"when":"2026-01-02T03:04:05+02:00"}'),
        ("JSON with a timestamp of no day", '{"when":"2026-02-30T00:00:00Z"}'),
        ("JSON with a timestamp in small letters", '{"when":"2026-01-02t03:04:05z"}'),
        ("JSON with a timestamp as an object", '{"when":{"seconds":5}}'),
        ("JSON with a duration", '{"wait":"-1.500s"}'),
        ("JSON with a duration without a unit", '{"wait":"1"}'),
        ("JSON with a duration beyond its bound", '{"wait":"315576000001s"}'),
        ("JSON with a field mask", '{"mask":"text,bigOrNone"}'),
        ("JSON with a field mask in snake case", '{"mask":"big_or_none"}'),
        ("JSON with wrappers", '{"smallOrNone":0,"textOrNone":"","flagOrNone":false,"bigOrNone":"0"}'),
        ("JSON with wrappers of null", '{"smallOrNone":null,"textOrNone":null}'),
        ("JSON with a wrapper as an object", '{"smallOrNone":{"value":5}}'),
        ("JSON with a struct", '{"object":{"a":null,"b":[true,{"c":1.5}]}}'),
        ("JSON with a struct that is an array", '{"object":[1]}'),
        ("JSON with a struct with a key twice", '{"object":{"a":1,"a":2}}'),
        ("JSON with a value of null", '{"value":null}'),
        ("JSON with a list", '{"list":[1,null,"a",[]]}'),
        ("JSON with an Any", '{"any":{"@type":"type.googleapis.com/atlas.v1.Spot","label":"a"}}'),
        ("JSON with an Any whose type comes last", '{"any":{"label":"a","@type":"type.googleapis.com/atlas.v1.Spot"}}'),
        (
            "JSON with an Any of a duration",
            '{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1.5s"}}',
        ),
        ("JSON with an Any of an unknown type", '{"any":{"@type":"type.googleapis.com/nobody.This"}}'),
        ("JSON with an Any without a type", '{"any":{"label":"a"}}'),
        ("JSON with an empty Any", '{"any":{}}'),
        ("JSON with one member of a oneof", '{"choiceNumber":0}'),
        ("JSON with two members of a oneof", '{"choiceText":"a","choiceNumber":1}'),
        ("JSON with a member of a oneof beside null", '{"choiceText":"a","choiceNumber":null}'),
        ("JSON with an optional zero", '{"maybe":0}'),
        ("JSON with a null value", '{"nothing":null}'),
        ("JSON with a null value by name", '{"nothing":"NULL_VALUE"}'),
        ("JSON that is null", "null"),
        ("JSON that is an array", "[]"),
        ("JSON that is a number", "5"),
        ("JSON that is a text", '"a"'),
        ("JSON that is true", "true"),
        ("JSON 30 messages deep", '{"inner":' * 30 + "{}" + "}" * 30),
        ("JSON 90 messages deep", '{"inner":' * 90 + "{}" + "}" * 90),
        ("JSON 150 messages deep", '{"inner":' * 150 + "{}" + "}" * 150),
        ("JSON 5000 arrays deep", '{"value":' + "[" * 5_000 + "]" * 5_000 + "}"),
        ("JSON cut short 5000 arrays deep", "[" * 5_000),
        ("JSON with an empty name", '{"":1}'),
        ("JSON with every scalar", _EVERY_SCALAR),
    ):
        yield send(sentence, "POST", "/v1/echo", body)


_EVERY_SCALAR = (
    '{"text":"a","data":"AQID","flag":true,"small":-1,"big":"-2","usmall":3,"ubig":"4","zigzag":-5,"bigZigzag":"-6",'
    '"fixedSmall":7,"fixedBig":"8","signedSmall":-9,"signedBig":"-10","single":1.5,"real":-2.5,"terrain":"TERRAIN_SEA"}'
)


def _parts() -> Iterator[Row]:
    yield send("response_body of a message", "POST", "/v1/show/inner", '{"inner":{"text":"a"}}')
    yield send("response_body of a message that is unset", "POST", "/v1/show/inner", "{}")
    yield send("response_body of a text", "POST", "/v1/show/text", '{"text":"a"}')
    yield send("response_body of a number", "POST", "/v1/show/big", '{"big":"5"}')
    yield send("response_body of repeated numbers", "POST", "/v1/show/numbers", '{"numbers":[1,2]}')
    yield send("response_body of repeated numbers without any", "POST", "/v1/show/numbers", "{}")
    yield send("response_body of repeated messages", "POST", "/v1/show/spots", '{"spots":[{"label":"a"},{}]}')
    yield send("response_body of repeated messages without any", "POST", "/v1/show/spots", "{}")
    yield send("response_body of a map", "POST", "/v1/show/labels", '{"labels":{"a":"b"}}')
    yield send("response_body of a timestamp", "POST", "/v1/show/when", '{"when":"2026-01-02T03:04:05Z"}')
    for sentence, body in (
        ("a double that is whole is written", '{"real":3}'),
        ("a double of many digits is written", '{"real":0.1}'),
        ("a great double is written", '{"real":1e300}'),
        ("a small double is written", '{"real":1e-7}'),
        ("a double below zero of zero is written", '{"real":-0.0}'),
        ("a float of many digits is written", '{"single":0.1}'),
        ("a great float is written", '{"single":3.4028235e38}'),
        ("a timestamp with milliseconds is written", '{"when":"2026-01-02T03:04:05.120Z"}'),
        ("a timestamp with microseconds is written", '{"when":"2026-01-02T03:04:05.000001Z"}'),
        ("a duration with milliseconds is written", '{"wait":"1.5s"}'),
        ("a text with markup is written", '{"text":"<a href=\\"x\\">&\'"}'),
        ("a text with control characters is written", '{"text":"\\u0001\\u007f\\u2028"}'),
        ("a value that is a whole number is written", '{"value":3}'),
    ):
        yield send(sentence, "POST", "/v1/echo", body)


def _files() -> Iterator[Row]:
    yield get("an answer that is no JSON", "/v1/files/a/b.md")
    yield get("an answer that is no JSON to one who wants JSON", "/v1/files/a.md", ("accept", "application/json"))
    octets = (("content-type", "image/png"),)
    yield send("a body of bytes", "PUT", "/v1/files/a.png", b"\x89PNG\x00\xff", octets)
    yield send("a body of bytes beside a parameter", "PUT", "/v1/files/a.png?note=b", b"\x00", octets)
    yield send("a body of bytes without a media type", "PUT", "/v1/files/a.png", b"\x00", ())
    yield send("an empty body of bytes", "PUT", "/v1/files/a.png", b"", octets)
    yield send("a body of bytes in chunks", "PUT", "/v1/files/a.png", b"\x00" * 100, octets, chunked=True)
    yield send("a body of bytes that is JSON", "PUT", "/v1/files/a.json", b'{"a":1}')
    yield send("a body of bytes that comes back", "PUT", "/v1/copies/a.png", b"\x89PNG\x00\xff", octets)
    yield send("a body of bytes that comes back by its first rule", "PUT", "/v1/originals/a.png", b"\x89PNG", octets)
    yield send("the whole request as bytes", "POST", "/v1/raw", b"\x89PNG", octets)
    yield send("the whole request as bytes with a parameter", "POST", "/v1/raw?data=AQID", b"\x89PNG", octets)
    yield send("a body of bytes of half a megabyte", "POST", "/v1/raw", b"\xff" * (LARGE // 2), octets)
    yield send("a body of bytes beyond a megabyte", "POST", "/v1/raw", b"\xff" * (LARGE + 1), octets)
    yield get("a stream of bytes", "/v1/streams/a.csv")
    yield get("a stream of bytes that fails", "/v1/streams/a.csv?note=fail")


def _errors() -> Iterator[Row]:
    for code in range(1, 17):
        yield get(f"an error of the service, code {code}", f"/v1/fail/{code}?message=torn")
    yield get("an error without a text", "/v1/fail/5")
    yield get("an error with unicode", "/v1/fail/5?message=%E6%9D%B1%20%25%0A")
    yield get("an error with details", "/v1/fail/5?message=torn&detailed=true")
    yield get("an error with details that nobody knows", "/v1/fail/5?message=unknown&detailed=true")
    yield get("a shortage with details", "/v1/fail/8?message=torn&detailed=true")


def _streams() -> Iterator[Row]:
    accepts = {"array": "application/json", "ndjson": "application/x-ndjson", "events": "text/event-stream"}
    for framing, media in accepts.items():
        for sentence, query in (
            ("a stream of three messages", "to=3"),
            ("a stream of one message", "to=1"),
            ("a stream without a message", "to=0"),
            ("a stream that fails after two messages", "to=3&fail_after=2"),
            ("a stream that fails before its first message", "to=0&fail_after=-1"),
            ("a stream of a request that does not fit", "to=x"),
        ):
            yield get(f"{sentence}, {framing}", f"/v1/count?{query}", ("accept", media), framing=framing)
    yield send("HEAD of a stream", "HEAD", "/v1/count?to=3", headers=())
    for sentence, body in (
        ("a stream of requests", '[{"value":1,"unit":"m"},{"value":2}]'),
        ("a stream of requests without any", "[]"),
        ("a stream of requests with an empty body", ""),
        ("a stream of requests that is one object", '{"value":1}'),
        ("a stream of requests that is cut short", '[{"value":1},'),
        ("a stream of requests with an item that does not fit", '[{"value":1},{"value":"x"}]'),
        ("a stream of requests with an unknown field", '[{"value":1},{"nobody":2}]'),
        ("a stream of requests with null", "[null]"),
        ("a stream of requests with text after it", '[{"value":1}] x'),
    ):
        yield send(sentence, "POST", "/v1/sum", body)
    yield send("a stream of requests beside a path", "POST", "/v1/sum/m", '[{"value":1},{"value":2,"unit":"k"}]')
    yield send("a stream of requests that sets the path's field", "POST", "/v1/sum/m", '[{"value":1,"unit":"k"}]')
    yield send("a stream of requests of one field", "POST", "/v1/sum/m/values", "[1,2]")
    yield send("a stream of requests in chunks", "POST", "/v1/sum", '[{"value":1},{"value":2}]', chunked=True)
    yield send("streams both ways", "POST", "/v1/sum:running", '[{"value":1,"unit":"m"},{"value":2}]')
    yield send("streams both ways without a message", "POST", "/v1/sum:running", "[]")
    yield send("streams both ways that fail", "POST", "/v1/sum:running", '[{"value":1},{"value":-2}]')


def _calls() -> Iterator[Row]:
    for sentence, *headers in (
        ("a call without headers",),
        ("a header that goes on", ("x-plain", "a")),
        ("a header given twice that goes on", ("x-plain", "a"), ("x-plain", "b")),
        ("a binary header that goes on", ("x-data-bin", "AQID")),
        ("a binary header without padding", ("x-data-bin", "AQI")),
        ("a trace", ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("a trace that is none", ("traceparent", "00-zz-b7ad6b7169203331-01")),
        ("no deadline",),
        ("a deadline", ("grpc-timeout", "500m")),
        ("a deadline of an hour", ("grpc-timeout", "1H")),
        ("a deadline that is none", ("grpc-timeout", "soon")),
        ("a deadline that is over", ("grpc-timeout", "0m")),
        ("one who wants HTML", ("accept", "text/html")),
        ("one who wants anything", ("accept", "text/html, */*;q=0.1")),
        ("one who wants JSON", ("accept", "application/json")),
        ("a page of another origin", ("origin", "https://example.com")),
        ("a method in another header", ("x-http-method-override", "DELETE")),
        ("a conditional request", ("if-none-match", "*")),
        ("a part of an answer", ("range", "bytes=0-1")),
        ("a request that expects to go on", ("expect", "100-continue")),
        ("a header that no setting names", ("x-other", "a")),
        ("a header with a long value", ("x-long", "x" * 20_000)),
    ):
        yield get(sentence, "/v1/metadata/deadline" if "deadline" in sentence else "/v1/metadata/x", *headers)
