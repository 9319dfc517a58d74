"""Raw paths to routes: what wins, what is decoded, what is told when nothing matches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_http.router import Found, Missed, Router, missed_error
from trinity_http.template import TemplateError, compile_template


def router_of(*routes: str) -> Router[str]:
    """Routes are written "GET /path"; each leads to itself."""
    router: Router[str] = Router()
    for route in routes:
        method, _, source = route.partition(" ")
        router.add(compile_template(source), method, route)
    return router


PRICES = router_of(
    "GET /price",
    "GET /v1/prices/{asset}",
    "GET /v1/prices:batchGet",
    "GET /v1/prices:watch",
    "GET /v1/prices/{asset}:explain",
    "GET /v1/prices/top",
    "POST /v1/prices/{asset}",
    "GET /v1/{name=shelves/*/books/*}",
    "GET /v1/{name=shelves/*/files/**}",
    "GET /{rest=**}",
    "* /any/{x}",
)


@pytest.mark.parametrize(
    ("method", "path", "route", "values"),
    [
        ("GET", "/price", "GET /price", ()),
        ("GET", "/v1/prices/BTC", "GET /v1/prices/{asset}", ("BTC",)),
        ("GET", "/v1/prices/top", "GET /v1/prices/top", ()),
        ("POST", "/v1/prices/top", "POST /v1/prices/{asset}", ("top",)),
        ("GET", "/v1/prices:watch", "GET /v1/prices:watch", ()),
        ("GET", "/v1/prices%3Awatch", "GET /{rest=**}", ("v1/prices:watch",)),
        ("GET", "/v1/prices/BTC:explain", "GET /v1/prices/{asset}:explain", ("BTC",)),
        ("GET", "/v1/prices/BTC%3Aexplain", "GET /v1/prices/{asset}", ("BTC:explain",)),
        ("GET", "/v1/prices/BTC:other", "GET /v1/prices/{asset}", ("BTC:other",)),
        ("GET", "/v1/prices/BTC:watch", "GET /v1/prices/{asset}", ("BTC:watch",)),
        ("GET", "/v1/prices/a%2Fb", "GET /v1/prices/{asset}", ("a/b",)),
        ("GET", "/v1/prices/a%20b%C3%A4", "GET /v1/prices/{asset}", ("a bä",)),
        ("GET", "/v1/prices/a+b", "GET /v1/prices/{asset}", ("a+b",)),
        ("GET", "/v1/shelves/1/books/2", "GET /v1/{name=shelves/*/books/*}", ("shelves/1/books/2",)),
        ("GET", "/v1/shelves/a%2Fb/books/c%20d", "GET /v1/{name=shelves/*/books/*}", ("shelves/a%2Fb/books/c d",)),
        ("GET", "/v1/shelves/a%2fb/books/2", "GET /v1/{name=shelves/*/books/*}", ("shelves/a%2fb/books/2",)),
        ("GET", "/v1/shelves/1/files/a/b%2Fc", "GET /v1/{name=shelves/*/files/**}", ("shelves/1/files/a/b%2Fc",)),
        ("GET", "/v1/shelves/1/files", "GET /v1/{name=shelves/*/files/**}", ("shelves/1/files",)),
        ("GET", "/v1/shelves/1/files/", "GET /v1/{name=shelves/*/files/**}", ("shelves/1/files/",)),
        ("GET", "/%70rice", "GET /price", ()),
        ("GET", "/v1/prices/", "GET /{rest=**}", ("v1/prices/",)),
        ("GET", "/", "GET /{rest=**}", ("",)),
        ("GET", "/v1//x", "GET /{rest=**}", ("v1//x",)),
        ("HEAD", "/price", "GET /price", ()),
        ("BREW", "/any/pot", "* /any/{x}", ("pot",)),
        ("GET", "/any/pot", "* /any/{x}", ("pot",)),
    ],
)
def test_a_path_leads_to_its_route(method: str, path: str, route: str, values: tuple[str, ...]) -> None:
    assert PRICES.find(method, path.encode()) == Found(route, values)


def test_a_literal_with_another_method_gives_way_to_a_variable_with_this_one() -> None:
    router = router_of("POST /v1/books", "GET /v1/{name}")
    assert router.find("GET", b"/v1/books") == Found("GET /v1/{name}", ("books",))


def test_a_colon_at_the_end_begins_no_verb() -> None:
    router = router_of("GET /v1/{name}", "GET /v1/{name}:lend")
    assert router.find("GET", b"/v1/books:") == Found("GET /v1/{name}", ("books:",))
    assert router.find("GET", b"/v1/:lend") == Found("GET /v1/{name}", (":lend",))


def test_a_wrong_method_names_all_that_the_path_takes() -> None:
    router = router_of("POST /v1/books", "GET /v1/{name}", "DELETE /v1/{name}")
    assert router.find("PUT", b"/v1/books") == Missed(("DELETE", "GET", "HEAD", "OPTIONS", "POST"))
    assert router.find("PUT", b"/v1/shelves") == Missed(("DELETE", "GET", "HEAD", "OPTIONS"))
    assert router.allowed(b"/v1/books") == ("DELETE", "GET", "HEAD", "OPTIONS", "POST")


@pytest.mark.parametrize("path", ["/v2/books", "/v1", "/v1/a/b", "", "*", "v1/books", "http://host/v1/books"])
def test_a_path_of_nobody_is_missed_with_no_method(path: str) -> None:
    assert router_of("POST /v1/books").find("POST", path.encode()) == Missed(())


def test_two_templates_of_one_shape_and_method_are_refused() -> None:
    router = router_of("GET /v1/{name}")
    with pytest.raises(TemplateError, match=r"/v1/\{other=\*\} and /v1/\{name\} match the same paths"):
        router.add(compile_template("/v1/{other=*}"), "GET", "x")
    router.add(compile_template("/v1/{other=*}"), "POST", "x")
    router.add(compile_template("/v1/{other=*}:verb"), "GET", "x")


@pytest.mark.parametrize("path", [b"/v1/%", b"/v1/%2", b"/v1/%zz", b"/v1/%ff", b"/v1/\xff", b"/v1/%C3%28"])
def test_broken_escapes_are_refused_and_never_guessed(path: bytes) -> None:
    with pytest.raises(TrinityError) as caught:
        router_of("GET /v1/{name}").find("GET", path)
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_a_miss_names_the_nearest_route() -> None:
    router = router_of("GET /v1/assets", "GET /price")
    error = missed_error(Missed(()), router, "GET", b"/v1/asets")
    assert error.reason is Reason.UNKNOWN_PATH
    assert error.metadata == {"nearest": "/v1/assets"}
    assert "openapi.json" in missed_error(Missed(()), router, "GET", b"/\xff\x00" + b"q" * 9_000).message


@given(st.text(alphabet="/:%2Fab{}*", max_size=30), st.sampled_from(["GET", "POST", "HEAD"]))
def test_any_path_is_found_missed_or_refused(path: str, method: str) -> None:
    try:
        found = PRICES.find(method, path.encode())
    except TrinityError as error:
        assert error.reason is Reason.INVALID_REQUEST
    else:
        assert isinstance(found, Found | Missed)


@given(st.lists(st.text(alphabet="ab%2F: ä", min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_single_segment_comes_back_as_the_client_meant_it(parts: list[str]) -> None:
    from urllib.parse import quote

    router = router_of("GET /" + "/".join(f"{{v{index}}}" for index in range(len(parts))))
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    found = router.find("GET", path.encode())
    assert isinstance(found, Found)
    assert found.values == tuple(parts)
