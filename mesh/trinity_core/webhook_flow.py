"""The flow of datagrams to one address: it runs only while that very address asks for more. Pure.

A heartbeat brings a token that nobody else can know, and the answer with it, from the address
itself, renews the flow for 60 s. Until the first renewal, and after the last one has run out,
nothing is sent but heartbeats, ever more seldom. So a host that was given the address of a
customer who left gets a few small datagrams, and a name that is pointed at somebody else's host
makes it no target.

Time is nanoseconds of one clock that does not go back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from trinity_core.webhook_datagram import RENEW_S, Head

BEAT_S: Final = 15
"""Time between heartbeats of a flow that is renewed: three may be lost."""
QUIET_S: Final = (1, 2, 4, 8, 16, 32, 60)
"""Time between heartbeats that nobody answers; the last one from then on."""
_S: Final = 10**9
_TOKENS: Final = 4
_TOKEN_BYTES: Final = 12
_RUN_BYTES: Final = 6


class Flow:
    """What is known of one address."""

    def __init__(self, endpoint: str, *, random_bytes: Callable[[int], bytes]) -> None:
        """`random_bytes` must be cryptographically strong."""
        self.endpoint = endpoint
        self.run = random_bytes(_RUN_BYTES).hex()
        self.numbers = 0
        """Datagrams made."""
        self._random_bytes = random_bytes
        self._tokens: deque[str] = deque(maxlen=_TOKENS)
        self._renewed_ns: int | None = None
        self._beat_ns: int | None = None
        self._unanswered = 0

    def is_live(self, now_ns: int) -> bool:
        """Whether something may be sent."""
        return self._renewed_ns is not None and now_ns - self._renewed_ns < RENEW_S * _S

    def beat_due_ns(self, now_ns: int) -> int:
        """When the next heartbeat may be sent."""
        if self._beat_ns is None:
            return now_ns
        if self.is_live(now_ns) and not self._unanswered:
            return self._beat_ns + BEAT_S * _S
        quiet = QUIET_S[min(max(self._unanswered - 1, 0), len(QUIET_S) - 1)]
        return self._beat_ns + (min(quiet, BEAT_S) if self.is_live(now_ns) else quiet) * _S

    def beat(self, now_ns: int) -> str:
        """A heartbeat is sent now: its token."""
        self._beat_ns = now_ns
        self._unanswered += 1
        token = self._random_bytes(_TOKEN_BYTES).hex()
        self._tokens.append(token)
        return token

    def renew(self, token: str, now_ns: int) -> bool:
        """The address answered a heartbeat; whether it was one of the newest, and not answered before."""
        if token not in self._tokens:
            return False
        while self._tokens and self._tokens.popleft() != token:
            pass
        self._renewed_ns = now_ns
        self._unanswered = 0
        return True

    def heads(self, unix_s: int) -> Iterator[Head]:
        """Heads for the next datagrams."""
        while True:
            yield self.head(unix_s)

    def head(self, unix_s: int) -> Head:
        """The head of the next datagram."""
        self.numbers += 1
        return Head(self.endpoint, self.run, self.numbers, unix_s)
