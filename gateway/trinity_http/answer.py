"""What leaves the bridge, and the ports that may make or mark it: local answers, admission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from google.protobuf.message import Message

from trinity_core.errors import Code, TrinityError
from trinity_http.contract import Method

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header names (lower case) and values, as ASGI has them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole HTTP answer, without the headers that every answer has."""

    status: int
    headers: Headers
    """At least content-type where there is a body."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """A local answer whose bytes are ready, to be shared by all who ask."""

    answer: Answer
    """Where it has an ETag, a matching If-None-Match turns it into 304."""
    message: Message
    """The same as a message, for ways of asking that want another form."""
    response_body: str = ""
    """Field of the response that the bytes show ("" for the whole): they serve only rules that say the same."""


class LocalAnswers(Protocol):
    """Answers some calls inside the gateway's own process. MUST NOT block, and MUST be cheap when it has no answer."""

    @property
    def conditional(self) -> frozenset[str]:
        """Full names of the methods whose answers carry an ETag, for the OpenAPI document."""
        ...

    def answer(self, method: str, request: Message) -> Rendered | Message | None:
        """The answer to a request that passed validation; None to ask the service.

        `method` is a full name, as in "trinity.price.v1.PriceService.GetPrice". Raises
        TrinityError to refuse.
        """
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    key_id: str
    """Public id of the key; safe to log."""
    scopes: frozenset[str] | None = frozenset()
    """Scopes it holds; None where admission judges them, and counts what it refuses."""
    metadata: tuple[tuple[str, str], ...] = ()
    """gRPC metadata that tells services who asks."""


@dataclass(slots=True)
class Call:
    """One call as the ports see it."""

    method: Method
    principal: Principal | None
    """None where the method takes calls without a key, or the gateway asks for none."""
    request_id: str
    transport: str
    """"http" or "websocket"."""
    http_method: str
    address: str = ""
    """The client's address; empty where there is none (a Unix socket) or it cannot be believed."""
    request: Message | None = None
    """Set once it is bound; stays None for streams of requests."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, or how its stream began."""

    code: Code
    http_status: int
    reason: str = ""
    """From the error; "" for a good answer."""
    local: bool = False
    """No service was asked."""
    response: Message | None = None
    """The answer as a message, where it was one."""


@dataclass(eq=False)
class RefusedError(TrinityError):
    """A refusal by admission, with headers that belong to it."""

    headers: Sequence[tuple[bytes, bytes]] = ()


End: TypeAlias = Callable[[TrinityError], object]
"""Ends a stream that is open, and tells its client why."""


class Admitted(Protocol):
    """One call that was let in."""

    def bound(self, request: Message) -> None:
        """Called once the request is known, before anything is done about it; never for streams of requests.

        May raise TrinityError to refuse it.
        """
        ...

    async def answer(self, outcome: Outcome) -> Sequence[tuple[bytes, bytes]]:
        """Called once, before the first byte of the answer leaves; returns headers to add (RateLimit, …).

        May raise TrinityError to put an error in the answer's place.
        """
        ...

    def opened(self, end: End) -> None:
        """Called once a stream is open, after `answer`: `end` may be called until `close` to end it."""
        ...

    def sent(self, messages: int) -> None:
        """Called as messages of a stream leave, before each does."""
        ...

    def close(self) -> None:
        """Called once when the exchange is over, whether anything was answered or not."""
        ...


class Admission(Protocol):
    """Says who may ask now, and counts what was answered."""

    def admit(self, call: Call) -> Admitted:
        """Let a call in, or raise TrinityError (RATE_LIMITED with retry information); RefusedError adds headers.

        MUST NOT block.
        """
        ...


class Authenticator(Protocol):
    """Says whose key a request carries."""

    async def authenticate(self, key: str) -> Principal:
        """The owner of a bearer key. Raises TrinityError INVALID_KEY. MUST compare in constant time."""
        ...


@dataclass(slots=True)
class _Open:
    """Lets everything in and counts nothing."""

    headers: Sequence[tuple[bytes, bytes]] = field(default=())

    def bound(self, _: Message) -> None:
        """Everything is let in."""

    async def answer(self, _: Outcome) -> Sequence[tuple[bytes, bytes]]:
        return self.headers

    def opened(self, _: End) -> None:
        """No stream is ended."""

    def sent(self, messages: int) -> None:
        """Nobody counts."""

    def close(self) -> None:
        """Nothing is held."""


class OpenAdmission:
    """Admission where none is wanted."""

    def admit(self, _: Call) -> Admitted:
        """Let it in."""
        return _OPEN


_OPEN = _Open()
