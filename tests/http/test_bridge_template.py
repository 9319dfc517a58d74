"""Path templates: the grammar of google/api/http.proto, and where it is broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_http.template import TemplateError, Variable, Wild, compile_template

ONE, REST = Wild.ONE, Wild.REST


@pytest.mark.parametrize(
    ("source", "segments", "verb"),
    [
        ("/price", ("price",), ""),
        ("/v1/*/books", ("v1", ONE, "books"), ""),
        ("/v1/**", ("v1", REST), ""),
        ("/v1/prices:watch", ("v1", "prices"), "watch"),
        ("/v1/{name=shelves/*/books/*}:publish", ("v1", "shelves", ONE, "books", ONE), "publish"),
        ("/v1/{name=**}", ("v1", REST), ""),
        ("/v1/a%20b/%2A", ("v1", "a b", "*"), ""),
        ("/v1/größe", ("v1", "größe"), ""),
        ("/~a/b-c._d/(e)+f;g=h@i,j!k'l$m&n", ("~a", "b-c._d", "(e)+f;g=h@i,j!k'l$m&n"), ""),
    ],
)
def test_a_template_is_taken_apart(source: str, segments: tuple[object, ...], verb: str) -> None:
    template = compile_template(source)
    assert template.segments == segments
    assert template.verb == verb


def test_variables_know_their_segments_and_whether_slashes_stay_escaped() -> None:
    variables = compile_template("/{a}/{b.c=*}/x/{d=y/*}/{e=z}/{f=**}").variables
    assert variables == (
        Variable("a", 0, 1, multi=False, rest=False),
        Variable("b.c", 1, 2, multi=False, rest=False),
        Variable("d", 3, 5, multi=True, rest=False),
        Variable("e", 5, 6, multi=False, rest=False),
        Variable("f", 6, 7, multi=True, rest=True),
    )


@pytest.mark.parametrize(
    "source",
    [
        "",
        "/",
        "v1/a",
        "//a",
        "/a/",
        "/a//b",
        "/{}",
        "/{a",
        "/{a}}",
        "/{a={b}}",
        "/{1a}",
        "/{a..b}",
        "/{a.}",
        "/{a=}",
        "/{a}/{a}",
        "/**/a",
        "/{a=**}/b",
        "/{a=**/b}",
        "/a:",
        "/a:b:c",
        "/a:{b}",
        "/a b",
        "/a?b",
        "/a#b",
        "/%zz",
        "/%ff",
        "/***",
        "/a*",
        "/*a",
        "/{a}b",
        "/b{a}",
    ],
)
def test_what_breaks_the_grammar_is_refused_and_the_place_named(source: str) -> None:
    with pytest.raises(TemplateError, match="character"):
        compile_template(source)


@given(st.text(alphabet="/{}=*:.%ab1 é", max_size=24))
def test_any_text_is_a_template_or_a_template_error(source: str) -> None:
    try:
        template = compile_template(source)
    except TemplateError:
        return
    assert template.segments
