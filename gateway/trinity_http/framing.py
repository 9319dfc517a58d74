"""How the messages of a stream look to an HTTP client, and how it can tell that a stream failed.

Every framing shows three ends apart: done, failed, cut. A stream that is done closes its
framing and its chunked body. One that failed shows the google.rpc.Status as its last item
and then breaks off: no closing bracket, no last chunk, so that a client which overlooks
the item still sees an incomplete body.
"""

from __future__ import annotations

from typing import Final, Protocol

JSON_ARRAY: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"

OFFERED: Final = (JSON_ARRAY, NDJSON, EVENTS)
"""Media types of a stream of JSON, in the order of preference."""


class Framing(Protocol):
    """One stream's form. Made for one answer; not shared."""

    @property
    def media_type(self) -> bytes:
        """Value of content-type."""
        ...

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers beside content-type."""
        ...

    def item(self, body: bytes, event_id: str | None) -> bytes:
        """One message."""
        ...

    def silence(self) -> bytes:
        """What to send when nothing happened for long; empty for nothing."""
        ...

    def end(self) -> bytes:
        """What closes a stream that is done."""
        ...

    def failure(self, status: bytes) -> bytes:
        """What tells of a failure (a google.rpc.Status in JSON); the body breaks off after it."""
        ...


class JsonArray:
    """One JSON array: `[{…},{…}]`; a failure is a last item `{"error": …}` without the closing bracket."""

    media_type = JSON_ARRAY.encode()
    headers = ()

    def __init__(self) -> None:
        self._before = b"["

    def item(self, body: bytes, event_id: str | None) -> bytes:
        """The item with the bracket or comma before it."""
        framed = self._before + body
        self._before = b",\n"
        return framed

    def silence(self) -> bytes:
        """Nothing: white space would be allowed, but is no sign to anybody."""
        return b""

    def end(self) -> bytes:
        """The closing bracket."""
        return b"[]" if self._before == b"[" else b"]"

    def failure(self, status: bytes) -> bytes:
        """The error as an item, the array left open."""
        return self.item(b'{"error":' + status + b"}", None)


class NdJson:
    """One JSON object a line; a failure is a last line `{"error": …}`."""

    media_type = NDJSON.encode()
    headers = ()

    def item(self, body: bytes, event_id: str | None) -> bytes:
        """The line."""
        return body + b"\n"

    def silence(self) -> bytes:
        """Nothing: a blank line is no JSON."""
        return b""

    def end(self) -> bytes:
        """Nothing: the last chunk says it."""
        return b""

    def failure(self, status: bytes) -> bytes:
        """The error's line."""
        return b'{"error":' + status + b"}\n"


class Events:
    """Server-sent events: `id:` from the stream's resumption, `event: end` when done, `event: error` on failure."""

    media_type = EVENTS.encode()
    headers = ((b"x-accel-buffering", b"no"),)

    def item(self, body: bytes, event_id: str | None) -> bytes:
        """The event. ProtoJSON as we write it holds no line ends."""
        if event_id is None:
            return b"data: " + body + b"\n\n"
        return b"id: " + event_id.encode("ascii") + b"\ndata: " + body + b"\n\n"

    def silence(self) -> bytes:
        """A comment, which keeps middle boxes from closing the connection."""
        return b": nothing new\n\n"

    def end(self) -> bytes:
        """An event to close the EventSource at, which would open the stream again otherwise."""
        return b"event: end\ndata: {}\n\n"

    def failure(self, status: bytes) -> bytes:
        """The error's event."""
        return b"event: error\ndata: " + status + b"\n\n"


class Octets:
    """The data of google.api.HttpBody messages, one after the other; a failure is only the break."""

    headers = ()

    def __init__(self, media_type: bytes) -> None:
        self.media_type = media_type

    def item(self, body: bytes, event_id: str | None) -> bytes:
        """The data as it is."""
        return body

    def silence(self) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """Nothing: the last chunk says it."""
        return b""

    def failure(self, status: bytes) -> bytes:
        """Nothing may stand among foreign bytes; the missing last chunk says it."""
        return b""


def framing_of(media_type: str) -> Framing:
    """The framing of one of `OFFERED`."""
    if media_type == NDJSON:
        return NdJson()
    return Events() if media_type == EVENTS else JsonArray()
