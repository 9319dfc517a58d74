"""One HTTP/1.1 connection: a request out, its answer in, one after the other, within bounds.

The answer is parsed by llhttp in its strict form. Of the body the first bytes are kept and the
rest is counted; what is longer than allowed, malformed, or not asked for ends the connection.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, NamedTuple, cast

import httptools

from trinity_core.webhook_retry import Outcome
from trinity_webhook.sending import KEPT_MAX, Failed

_FINAL: Final = 200
_INTERIM_MAX: Final = 8
_TIMEOUT: Final = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,6})", re.IGNORECASE)
_FIELD_MAX: Final = 256
_MALFORMED: Final = "the answer is not HTTP/1.1"


class Answer(NamedTuple):
    """The answer to one request."""

    status: int
    body: bytes
    """Its first bytes."""
    retry_after: str | None
    keep: bool
    """The connection can take another request."""
    keep_s: int | None
    """For how long the server says it keeps it."""


class Connection(asyncio.Protocol):
    """A connection to one endpoint; it is asked one thing at a time."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer | Failed] | None = None
        self._asked = 0
        self._received = 0
        self._interim = 0
        self._body = b""
        self._is_complete = False
        self._is_extra = False
        self._keeps = False
        self._status = 0
        self._is_head_read = False
        self._is_delimited = False
        self._retry_after: str | None = None
        self._keep_s: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent: neither side has closed it, and nothing came that was not asked for."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._waiter is None

    async def ask(self, request: bytes, *, until: float) -> Answer:
        """Send a request and wait for the answer until a time of the loop. Raises Failed.

        Unless it returns an answer whose `keep` is set, the connection is over.
        """
        transport = self._transport
        assert transport is not None
        assert self._waiter is None
        loop = asyncio.get_running_loop()
        self._begin()
        self._asked += 1
        waiter = self._waiter = loop.create_future()
        timer = loop.call_at(until, self._expire)
        keep = False
        try:
            transport.write(request)
            answer: Answer | Failed = await waiter
            if isinstance(answer, Failed):
                raise answer
            keep = answer.keep
            return answer
        finally:
            timer.cancel()
            self._waiter = None
            if not keep:
                self.abort()

    def close(self) -> None:
        """Say goodbye and close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        if self._waiter is None or self._waiter.done():
            # Nothing was asked: what comes now must not become the answer to the next request.
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Outcome.NOT_CONNECTED, "the answer changes to another protocol")
            return
        except httptools.HttpParserError:
            self._fail(Outcome.NOT_CONNECTED, _MALFORMED)
            return
        if self._is_complete:
            self._finish(keep=self._keeps and not self._is_extra)
        elif self._received > self._bytes_max:
            self._fail(Outcome.ANSWER_TOO_LONG, f"the answer is longer than {self._bytes_max} bytes")

    def eof_received(self) -> None:
        """The other side will send no more."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._end()
        self._transport = None

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._is_extra = self._is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, of the head or of the trailers."""
        if self._is_head_read:
            return
        match name.lower():
            case b"retry-after":
                self._retry_after = value[:_FIELD_MAX].decode("latin-1")
            case b"keep-alive":
                found = _TIMEOUT.search(value[:_FIELD_MAX])
                self._keep_s = int(found[1]) if found else None
            case b"content-length" | b"transfer-encoding":
                self._is_delimited = True

    def on_headers_complete(self) -> None:
        """The head is read."""
        if not self._is_complete:
            self._status = self._parser.get_status_code()
            self._is_head_read = True

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        room = KEPT_MAX - len(self._body)
        if room > 0 and not self._is_complete:
            self._body += body[:room]

    def on_message_complete(self) -> None:
        """An answer is whole."""
        if self._is_complete:
            return
        if self._status < _FINAL:
            self._interim += 1
            if self._interim > _INTERIM_MAX:
                raise ValueError("too many interim answers")
            self._forget_head()
            return
        self._is_complete = True
        self._keeps = self._parser.should_keep_alive()

    def _begin(self) -> None:
        self._received = 0
        self._interim = 0
        self._body = b""
        self._is_complete = False
        self._is_extra = False
        self._keeps = False
        self._forget_head()

    def _forget_head(self) -> None:
        self._status = 0
        self._is_head_read = False
        self._is_delimited = False
        self._retry_after = None
        self._keep_s = None

    def _end(self) -> None:
        """No more bytes will come."""
        if self._waiter is None or self._waiter.done():
            return
        if self._is_head_read and not self._is_delimited:
            # A body without a length ends with the connection (RFC 9112, section 6.3).
            self._finish(keep=False)
        elif not self._received:
            said = "the connection was closed without an answer"
            self._fail(Outcome.NOT_CONNECTED, said, stale=self._asked > 1)
        else:
            self._fail(Outcome.NOT_CONNECTED, "the connection was closed within the answer")

    def _expire(self) -> None:
        said = "the answer did not end in time" if self._received else "there was no answer in time"
        self._fail(Outcome.TIMED_OUT, said)

    def _finish(self, *, keep: bool) -> None:
        transport, waiter = self._transport, self._waiter
        assert waiter is not None
        keep = keep and transport is not None and not transport.is_closing()
        waiter.set_result(Answer(self._status, self._body, self._retry_after, keep, self._keep_s))

    def _fail(self, outcome: Outcome, error: str, **more: Any) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            status = self._status if self._is_head_read and self._status >= _FINAL else 0
            waiter.set_result(Failed(outcome, error, status=status, answer=self._body, **more))
