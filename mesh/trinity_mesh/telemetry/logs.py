"""Log lines: JSON for machines, text for a terminal; with the ids of request and trace, and never with a secret."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, TextIO

from trinity_core.keys import hidden
from trinity_mesh.telemetry import tracing

_TIME: Final = "%Y-%m-%dT%H:%M:%S"


def _request_id() -> str:
    # Late, for the interceptors are counted by this package.
    from trinity_mesh.interceptors import request_id

    return request_id.get()


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, and what is known of request, trace and error."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render the record."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, _TIME) + f".{int(record.msecs):03d}",
            "level": record.levelname,
            "service": self._service,
            "part": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := _request_id():
            line["request_id"] = request
        if trace := tracing.trace_id():
            line["trace_id"] = trace
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return hidden(json.dumps(line, ensure_ascii=False))


class TextLines(logging.Formatter):
    """A line for people: time, level, service, message; ids at the end; a traceback below."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render the record."""
        text = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:<7} {self._service}: {record.getMessage()}"
        if request := _request_id():
            text += f"  request={request}"
        if trace := tracing.trace_id():
            text += f"  trace={trace}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        return hidden(text)


def log_to(stream: TextIO, *, service: str, form: str, level: str) -> None:
    """Log everything from now on to `stream`: "json", "text", or "auto" for text where it is a terminal."""
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines(service) if as_text else JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # One line a request from a client library says nothing that our own counters do not.
    for noisy in ("httpx", "httpcore", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_to_stderr(service: str, *, form: str = "auto", level: str = "INFO") -> None:
    """Likewise, to stderr."""
    log_to(sys.stderr, service=service, form=form, level=level)
