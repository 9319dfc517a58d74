"""Any request at all: an answer below 500, and every error a google.rpc.Status."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge_direct import Direct

PATHS = ["v1", "echo", "echo:x", "isbn", "9780141036137", "shelves", "1", "books", "2:publish", "files", "deep", "sum"]
PATHS += ["%2F", "%", "%ff", "", "..", ":", "covers", "hard", "tags", "count", "numbers", "any", "x" * 300]
NAMES = ["text", "small", "inner.text", "inner.inner.flag", "labels[a]", "flags[1]", "when", "wait", "mask", "cover"]
NAMES += ["numbers", "choice_text", "choiceNumber", "big_or_none", "data", "value", "any", "authors", "nobody", "", "["]
VALUES = [
    "1",
    "",
    "true",
    "a",
    "hard",
    "1e5",
    "2026-01-02T03:04:05Z",
    "1s",
    "a,bC",
    "%ff",
    "%",
    "+",
    "-1",
    "NaN",
    "😁",
    "AQI=",
]
BODIES = [
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"{",
    b'{"text":"a"}',
    b'{"inner":{"inner":{}}}',
    b'{"name":"x"}',
    b"\xff",
]
BODIES += [
    b'[{"value":1},{}]',
    b'{"value":1}\n{"value":2}',
    b'{"book":{}}',
    b'{"a":NaN}',
    b"[" * 500,
    b'{"title":"\\ud800"}',
]

paths = st.lists(st.sampled_from(PATHS) | st.text(max_size=4), max_size=7).map(lambda parts: "/" + "/".join(parts))
queries = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=3).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
HEADERS = ["accept", "content-type", "grpc-timeout", "x-request-timeout", "last-event-id", "authorization", "origin"]
HEADERS += ["if-none-match", "x-request-id", "content-encoding", "traceparent", "access-control-request-method"]

headers = st.dictionaries(
    st.sampled_from(HEADERS),
    st.sampled_from(["application/json", "*/*", "text/event-stream", "application/x-ndjson", "1S", "0.5", "a", "", "*"])
    | st.text(max_size=6),
    max_size=3,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "LOCK", "BREW"]),
    path=paths,
    query=queries | st.text(max_size=12),
    given_headers=headers,
    body=st.just(b"") | st.sampled_from(BODIES) | st.binary(max_size=12),
)
def test_any_request_is_answered_and_never_with_a_fault_of_ours(
    direct: Direct, method: str, path: str, query: str, given_headers: dict[str, str], body: bytes
) -> None:
    status, answer = direct.ask(method, path, query, given_headers, body)
    # 501: a WebSocket path asked otherwise; 503 and 504: streams and client streams, which need the service.
    assert status < 500 or status in (501, 503, 504)
    if status >= 400 and method != "HEAD":
        assert {"code", "message", "details"} == set(json.loads(answer))


@settings(max_examples=300, deadline=None)
@given(query=queries, body=st.sampled_from(BODIES) | st.binary(max_size=30))
def test_any_echo_is_taken_or_refused_as_the_clients_fault(direct: Direct, query: str, body: bytes) -> None:
    assert direct.ask("GET", "/v1/echo", query, {}, b"")[0] in (200, 400)
    assert direct.ask("POST", "/v1/echo/x", query, {}, body)[0] in (200, 400)
    assert direct.ask("PATCH", "/v1/shelves/1/books/2", "", {}, body)[0] in (200, 400)
