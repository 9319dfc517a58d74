"""Path, query and body to request messages, through the whole bridge."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from bridge_stage import Stage, detail, error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("path", "method", "field", "value"),
    [
        ("/v1/shelves/1/books/2", "GetBook", "name", "shelves/1/books/2"),
        ("/v1/shelves/a%2Fb/books/c%20d", "GetBook", "name", "shelves/a%2Fb/books/c d"),
        ("/v1/isbn/9780141036137", "LookUp", "isbn", "9780141036137"),
        ("/v1/numbers/9780141036137:lookUp", "LookUp", "isbn", "9780141036137"),
        ("/v1/covers/hard/isbn/9780141036137", "LookUp", "cover", 2),
        ("/v1/covers/COVER_SOFT/isbn/9780141036137", "LookUp", "cover", 1),
        ("/v1/covers/1/isbn/9780141036137?cover=", "LookUp", None, None),
        ("/v1/any/a/b%2Fc//d", "AnyMethod", "name", "a/b%2Fc//d"),
        ("/v1/any", "AnyMethod", "name", ""),
        ("/v1/files/a/b.md", "GetFile", "path", "a/b.md"),
    ],
)
async def test_path_variables_are_bound(stage: Stage, path: str, method: str, field: str | None, value: Any) -> None:
    response = await stage.get(path)
    if field is None:
        assert error_of(response) == (400, "INVALID_FIELD")
        return
    assert response.status_code == 200, response.text
    assert getattr(stage.shelf.requests[method][-1], field) == value


async def test_a_path_sets_fields_inside_messages_and_numbers(stage: Stage) -> None:
    answer = (await stage.get("/v1/echo/deep/x%2Fy/-7")).json()
    assert answer["inner"]["inner"]["text"] == "x/y"
    assert answer["small"] == -7
    assert error_of(await stage.get("/v1/echo/deep/x/1.5")) == (400, "INVALID_FIELD")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("text=a+b%2B%C3%A4%26", {"text": "a b+ä&"}),
        ("text=", {}),
        ("text", {}),
        ("data=AQI%3D", {"data": "AQI="}),
        ("data=-_", {"data": "+w=="}),
        ("flag=true", {"flag": True}),
        (
            "small=-5&big=9223372036854775807&ubig=18446744073709551615",
            {"small": -5, "big": "9223372036854775807", "ubig": "18446744073709551615"},
        ),
        ("single=1.5&real=NaN", {"single": 1.5, "real": "NaN"}),
        ("real=1e300&usmall=1e3", {"real": 1e300, "usmall": 1000}),
        ("cover=hard", {"cover": "COVER_HARD"}),
        ("cover=COVER_HARD", {"cover": "COVER_HARD"}),
        ("cover=2", {"cover": "COVER_HARD"}),
        ("cover=77", {"cover": 77}),
        ("covers=hard&covers=1&covers=COVER_SOFT", {"covers": ["COVER_HARD", "COVER_SOFT", "COVER_SOFT"]}),
        ("numbers=1&numbers=2&numbers=1", {"numbers": [1, 2, 1]}),
        ("texts=a,b&texts=", {"texts": ["a,b", ""]}),
        ("inner.text=x&inner.inner.small=3", {"inner": {"text": "x", "inner": {"small": 3}}}),
        ("labels[a]=1&labels[b.c]=2&labels[d%5De]=3", {"labels": {"a": "1", "b.c": "2", "d]e": "3"}}),
        ("flags[3]=true&flags[-1]=false", {"flags": {"3": True, "-1": False}}),
        ("inner.labels[k]=v", {"inner": {"labels": {"k": "v"}}}),
        ("when=2026-01-02T03:04:05.5Z", {"when": "2026-01-02T03:04:05.500Z"}),
        ("when=2026-01-02T03:04:05%2B01:00", {"when": "2026-01-02T02:04:05Z"}),
        ("wait=1.5s&waits=1s&waits=2s", {"wait": "1.500s", "waits": ["1s", "2s"]}),
        ("mask=a,bC.d", {"mask": "a,bC.d"}),
        (
            "big_or_none=0&flag_or_none=false&text_or_none=&data_or_none=AQI",
            {"bigOrNone": "0", "flagOrNone": False, "textOrNone": "", "dataOrNone": "AQI="},
        ),
        ("bigOrNone=5&fixedSmall=1", {"bigOrNone": "5", "fixedSmall": 1}),
        ("real_or_none=-Infinity", {"realOrNone": "-Infinity"}),
        ("maybe=0", {"maybe": 0}),
        ("choice_number=0", {"choiceNumber": 0}),
        (
            "choice_author.given_name=Ada&choice_author.family_name=L",
            {"choiceAuthor": {"givenName": "Ada", "familyName": "L"}},
        ),
        ("%40odd=x", {"@odd": "x"}),
        ("oddly_named=x", {"@odd": "x"}),
        ("&&small=1&", {"small": 1}),
    ],
)
async def test_query_parameters_are_bound(stage: Stage, query: str, shown: dict[str, Any]) -> None:
    response = await stage.get(f"/v1/echo?{query}")
    assert response.status_code == 200, response.text
    answer = response.json()

    def contained(part: dict[str, Any], whole: dict[str, Any]) -> None:
        for key, value in part.items():
            if isinstance(value, dict) and key not in ("labels", "flags"):
                contained(value, whole[key])
            else:
                assert whole[key] == value

    contained(shown, answer)
    present = {"inner", "when", "wait", "mask", "bigOrNone", "flagOrNone", "textOrNone", "dataOrNone", "realOrNone"}
    present |= {"maybe", "choiceText", "choiceNumber", "choiceAuthor"}
    assert present & set(answer) == present & set(shown)


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ("txet=a", "UNKNOWN_PARAMETER", "txet"),
        ("inner.txet=a", "UNKNOWN_PARAMETER", "inner.txet"),
        ("inner..text=a", "UNKNOWN_PARAMETER", "inner..text"),
        (".text=a", "UNKNOWN_PARAMETER", ".text"),
        ("=a", "UNKNOWN_PARAMETER", '""'),
        ("text.x=a", "UNKNOWN_PARAMETER", "text.x"),
        ("authors.given_name=a", "UNKNOWN_PARAMETER", "authors.given_name"),
        ("text[a]=a", "UNKNOWN_PARAMETER", "text[a]"),
        ("labels[a=1", "UNKNOWN_PARAMETER", "labels[a"),
        ("small=1&small=2", "INVALID_FIELD", "small"),
        ("small=1&small=1", "INVALID_FIELD", "small"),
        ("big_or_none=1&bigOrNone=2", "INVALID_FIELD", "bigOrNone"),
        ("numbers=1&numbers=x", "INVALID_FIELD", "numbers"),
        ("labels[a]=1&labels[a]=2", "INVALID_FIELD", "labels[a]"),
        ("labels=1", "INVALID_FIELD", "labels"),
        ("people[a]=1", "INVALID_FIELD", "people[a]"),
        ("flags[x]=true", "INVALID_FIELD", "flags[x]"),
        ("inner=1", "INVALID_FIELD", "inner"),
        ("authors=1", "INVALID_FIELD", "authors"),
        ("object=1", "INVALID_FIELD", "object"),
        ("value=1", "INVALID_FIELD", "value"),
        ("any=1", "INVALID_FIELD", "any"),
        ("small=", "INVALID_FIELD", "small"),
        ("small=1.5", "INVALID_FIELD", "small"),
        ("small=2147483648", "INVALID_FIELD", "small"),
        ("small=+1", "INVALID_FIELD", "small"),
        ("flag=1", "INVALID_FIELD", "flag"),
        ("flag=True", "INVALID_FIELD", "flag"),
        ("flag", "INVALID_FIELD", "flag"),
        ("cover=Hard", "INVALID_FIELD", "cover"),
        ("cover=", "INVALID_FIELD", "cover"),
        ("cover=99999999999", "INVALID_FIELD", "cover"),
        ("data=%21", "INVALID_FIELD", "data"),
        ("when=yesterday", "INVALID_FIELD", "when"),
        ("wait=5", "INVALID_FIELD", "wait"),
        ("mask=a_b", "INVALID_FIELD", "mask"),
        ("choice_text=a&choice_number=1", "INVALID_FIELD", "choice_number"),
        ("choice_author.given_name=a&choice_text=b", "INVALID_FIELD", "choice_text"),
        (".".join(["inner"] * 40) + ".text=a", "INVALID_FIELD", None),
    ],
)
async def test_a_wrong_parameter_is_refused_and_named(stage: Stage, query: str, reason: str, field: str | None) -> None:
    response = await stage.get(f"/v1/echo?{query}")
    assert error_of(response) == (400, reason)
    if field is not None:
        violations = detail(response.json(), "google.rpc.BadRequest")["fieldViolations"]
        assert [violation["field"] for violation in violations] == [field]


@pytest.mark.parametrize(
    "query", ["text=%", "text=%zz", "text=%ff", "te%ffxt=a", "text=a%C3%28", "&".join(["numbers=1"] * 1_001)]
)
async def test_a_query_that_cannot_be_read_is_refused(stage: Stage, query: str) -> None:
    assert error_of(await stage.get(f"/v1/echo?{query}")) == (400, "INVALID_REQUEST")


async def test_the_nearest_parameter_is_suggested(stage: Stage) -> None:
    status = (await stage.get("/v1/echo?big_or_nome=1")).json()
    assert "did you mean big_or_none?" in status["message"]
    assert detail(status, "google.rpc.ErrorInfo")["metadata"]["nearest"] == "big_or_none"


async def test_rules_of_the_contract_are_kept_before_the_service_is_asked(stage: Stage) -> None:
    before = len(stage.shelf.requests["LookUp"])
    status = await stage.get("/v1/isbn/978-0")
    assert error_of(status) == (400, "INVALID_FIELD")
    assert "write it without dashes" in status.text
    assert len(stage.shelf.requests["LookUp"]) == before


async def test_a_body_is_the_whole_request_or_one_field_of_it(stage: Stage) -> None:
    whole = await stage.client.put(
        "/v1/shelves/1/books/2", json={"title": "T", "pageCount": 3, "author": {"given_name": "A"}}
    )
    assert whole.json()["name"] == "shelves/1/books/2"
    assert whole.json()["author"] == {"givenName": "A", "familyName": ""}
    one = await stage.client.post("/v1/shelves/1/books?request_token=t", json={"title": "T"})
    assert one.json()["name"] == "shelves/1/books/1"
    assert stage.shelf.requests["CreateBook"][-1].request_token == "t"
    inner = await stage.client.post("/v1/echo/x?small=3", json={"text": "y"})
    assert (inner.json()["text"], inner.json()["small"], inner.json()["inner"]["text"]) == ("x", 3, "y")


async def test_a_body_and_an_answer_can_be_an_array(stage: Stage) -> None:
    answer = await stage.client.put("/v1/tags/n", json=["a", "b"])
    assert answer.json() == ["a", "b"]
    assert (await stage.client.put("/v1/tags/n", json=[])).json() == []
    assert error_of(await stage.client.put("/v1/tags/n", json={"tags": ["a"]})) == (400, "INVALID_JSON")
    books = await stage.get("/v1/shelves/1/books?tags=a&tags=b")
    assert [book["title"] for book in books.json()] == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("PUT", "/v1/shelves/1/books/2", {"name": "x"}, "INVALID_FIELD"),
        ("PUT", "/v1/shelves/1/books/2?title=x", {}, "UNKNOWN_PARAMETER"),
        ("PATCH", "/v1/shelves/1/books/2", {"name": "x"}, "INVALID_FIELD"),
        ("PATCH", "/v1/shelves/1/books/2?book.title=x", {"title": "y"}, "INVALID_FIELD"),
        ("POST", "/v1/shelves/1/books?parent=x", {}, "INVALID_FIELD"),
        ("POST", "/v1/shelves/1/books?book.title=x", {}, "INVALID_FIELD"),
        ("POST", "/v1/shelves/1/books", {"titel": "x"}, "INVALID_FIELD"),
        ("POST", "/v1/shelves/1/books", [], "INVALID_JSON"),
        ("POST", "/v1/shelves/1/books", "text", "INVALID_JSON"),
        ("POST", "/v1/echo", [], "INVALID_JSON"),
        ("POST", "/v1/echo", None, "INVALID_JSON"),
        ("POST", "/v1/echo", 1, "INVALID_JSON"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(
    stage: Stage, method: str, path: str, body: Any, reason: str
) -> None:
    response = await stage.client.request(
        method, path, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert error_of(response) == (400, reason)


async def test_a_body_where_none_is_bound_is_refused(stage: Stage) -> None:
    response = await stage.client.request("GET", "/v1/echo", content=b"{}")
    assert error_of(response) == (400, "INVALID_REQUEST")
    assert error_of(await stage.client.request("DELETE", "/v1/shelves/1/books/2", content=b"x")) == (
        400,
        "INVALID_REQUEST",
    )


async def test_no_body_is_an_empty_one(stage: Stage) -> None:
    response = await stage.client.post("/v1/shelves/1/books/2:publish")
    assert response.json() == {"name": "shelves/1/books/2", "where": "", "notes": {}}


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
        ("application/x-ndjson", 415),
    ],
)
async def test_a_body_must_be_json(stage: Stage, media_type: str, status: int) -> None:
    response = await stage.client.post("/v1/echo", content=b'{"text":"a"}', headers={"content-type": media_type})
    assert response.status_code == status
    if status != 200:
        assert error_of(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_compressed_body_is_refused(stage: Stage) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert error_of(await stage.client.post("/v1/echo", content=b"x", headers=headers)) == (
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )


async def test_a_body_beyond_the_bound_is_refused_whether_its_length_is_told_or_not(stage: Stage) -> None:
    big = b'{"text":"' + b"x" * (1 << 20) + b'"}'
    headers = {"content-type": "application/json"}
    assert error_of(await stage.client.post("/v1/echo", content=big, headers=headers)) == (413, "BODY_TOO_LARGE")

    async def chunks() -> Any:
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    assert error_of(await stage.client.post("/v1/echo", content=chunks(), headers=headers)) == (413, "BODY_TOO_LARGE")
    fits = b'{"text":"' + b"x" * ((1 << 20) - 11) + b'"}'
    assert (await stage.client.post("/v1/echo", content=fits, headers=headers)).status_code == 200


async def test_a_patch_fills_the_mask_with_what_its_body_names(stage: Stage) -> None:
    body = {
        "title": "T",
        "author": {"familyName": "L"},
        "labels": {"a": "b"},
        "tags": [],
        "cover": None,
        "printedTime": None,
    }
    answer = await stage.client.patch("/v1/shelves/1/books/2", json=body)
    assert answer.json()["updateMask"] == "title,author.familyName,labels,tags,cover,printedTime"
    assert list(stage.shelf.requests["UpdateBook"][-1].update_mask.paths)[1] == "author.family_name"
    assert stage.shelf.requests["UpdateBook"][-1].book.name == "shelves/1/books/2"


async def test_a_patch_with_a_mask_keeps_it(stage: Stage) -> None:
    answer = await stage.client.patch(
        "/v1/shelves/1/books/2?update_mask=pageCount&allow_missing=true", json={"title": "T"}
    )
    assert answer.json()["updateMask"] == "pageCount"
    empty = await stage.client.patch("/v1/shelves/1/books/2", json={"author": {}})
    assert empty.json()["updateMask"] == "author"


async def test_bytes_of_any_kind_go_both_ways(stage: Stage) -> None:
    data = bytes(range(256))
    put = await stage.client.put("/v1/files/a/b%2Fc?note=n", content=data, headers={"content-type": "image/png"})
    assert put.json()["contentType"] == "image/png"
    assert (put.json()["path"], put.json()["size"], put.json()["note"]) == ("a/b%2Fc", "256", "n")
    got = await stage.get("/v1/files/a/b", accept="image/png")
    assert (got.headers["content-type"], got.text) == ("text/markdown", "# a/b")
    copied = await stage.client.put("/v1/copies/x", content=data, headers={"content-type": "image/gif"})
    assert (copied.headers["content-type"], copied.content) == ("image/gif", data)


async def test_an_empty_file_keeps_its_media_type(stage: Stage) -> None:
    copied = await stage.client.put("/v1/copies/x", content=b"", headers={"content-type": "image/gif"})
    assert (copied.headers["content-type"], copied.content) == ("image/gif", b"")


async def test_a_field_that_is_not_set_is_null_as_a_whole_answer(stage: Stage) -> None:
    copied = await stage.client.put("/v1/copies/x")
    assert copied.content == b""
    assert copied.headers["content-type"] == "application/octet-stream"


async def test_custom_methods_are_served(stage: Stage) -> None:
    assert (await stage.client.request("LOCK", "/v1/shelves/1/books/2")).json()["name"] == "shelves/1/books/2"
    assert (await stage.client.request("PROPFIND", "/v1/any/x")).json()["name"] == "x"


async def test_any_text_comes_back_from_path_and_query_as_it_went(stage: Stage) -> None:
    refused = await stage.client.post("/v1/echo/x?inner_=1", json={})
    assert error_of(refused) == (400, "UNKNOWN_PARAMETER")
    for text in ("a b", "ä/ö", "%2F", "a+b", "x&y=z", "😁", "\x00", "a:b", "1;2", '"'):
        echoed = await stage.client.post(f"/v1/echo/{quote(text, safe='')}", json={})
        assert echoed.json()["text"] == text
        assert (await stage.get(f"/v1/echo?text={quote(text, safe='')}")).json()["text"] == text
