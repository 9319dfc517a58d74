"""Log lines: JSON with its ids for machines, text for a terminal, and no key in either."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from trinity_mesh.interceptors import request_id
from trinity_mesh.telemetry import tracing
from trinity_mesh.telemetry.config import TraceConfig
from trinity_mesh.telemetry.logs import log_to

SECRET = "tbk_test_0c7bgy9rbydg_" + "s3cr3t" * 8
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    tracing.end()


def said(stream: io.StringIO, form: str, level: str = "INFO") -> str:
    log_to(stream, service="price", form=form, level=level)
    token = request_id.set("req-7")
    try:
        logging.getLogger("trinity_price.writer").warning("a key came by: %s", SECRET)
        logging.getLogger("trinity_price.writer").debug("a detail")
    finally:
        request_id.reset(token)
    return stream.getvalue()


def test_a_json_line_has_time_level_service_message_and_request() -> None:
    [line] = said(io.StringIO(), "json").splitlines()
    told = json.loads(line)
    assert told.pop("time")
    assert told == {
        "level": "WARNING",
        "service": "price",
        "part": "price",
        "logger": "trinity_price.writer",
        "message": "a key came by: tbk_test_0c7bgy9rbydg_…",
        "request_id": "req-7",
    }


def test_a_line_names_the_trace_under_way() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    tracing.begin(TraceConfig(), service="test", exporter=InMemorySpanExporter())
    with tracing.following("work", f"00-{TRACE}-b7ad6b7169203331-01"):
        assert json.loads(said(io.StringIO(), "json"))["trace_id"] == TRACE
        assert f"trace={TRACE}" in said(io.StringIO(), "text")


def test_a_terminal_is_told_in_words_and_a_pipe_in_json() -> None:
    assert said(Terminal(), "auto").endswith("WARNING price: a key came by: tbk_test_0c7bgy9rbydg_…  request=req-7\n")
    assert json.loads(said(io.StringIO(), "auto"))["service"] == "price"
    assert json.loads(said(Terminal(), "json"))["service"] == "price"
    assert "s3cr3t" not in said(Terminal(), "auto")


def test_the_level_says_what_is_logged_at_all() -> None:
    assert "a detail" not in said(io.StringIO(), "json")
    assert "a detail" in said(io.StringIO(), "json", "DEBUG")
