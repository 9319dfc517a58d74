"""Plain GETs: what a venue is asked, what it answers, and how often it may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from trinity_feeds.sandbox.stamps import SECOND


@dataclass(frozen=True, slots=True)
class Request:
    """A GET, decoded."""

    path: str
    """Percent-decoded, without the query."""
    query: Mapping[str, str]
    """The last value of each parameter."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's segments: "/v1/pubticker/btcusd" is ("v1", "pubticker", "btcusd")."""
        return tuple(part for part in self.path.split("/") if part)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_request(target: str) -> Request:
    """Decode a request target such as "/v1/pubticker/btcusd?x=1"."""
    split = urlsplit(target)
    return Request(unquote(split.path), dict(parse_qsl(split.query, keep_blank_values=True)))


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(msgspec.json.encode(value), status, headers=headers)


def html_answer(status: int) -> Answer:
    """What the network in front of a venue says when the venue itself does not answer: HTML, never JSON."""
    phrase = phrase_of(status)
    body = f"<html><head><title>{status} {phrase}</title></head><body><h1>{status} {phrase}</h1></body></html>\r\n"
    return Answer(body.encode(), status, "text/html; charset=utf-8")


def phrase_of(status: int) -> str:
    """The words of an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


class Bucket:
    """A token bucket: `rate_per_s` on average, `burst` at once."""

    __slots__ = ("_filled_ns", "_rate", "_tokens", "burst")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.burst = burst
        self._rate = rate_per_s / SECOND
        self._tokens = burst
        self._filled_ns: int | None = None

    def take(self, now_ns: int) -> bool:
        """Take one; False when there is none."""
        if self._filled_ns is not None:
            self._tokens = min(self.burst, self._tokens + (now_ns - self._filled_ns) * self._rate)
        self._filled_ns = now_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
