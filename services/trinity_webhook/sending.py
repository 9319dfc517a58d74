"""What is sent to an endpoint and what became of it: the port of senders, and the errors within them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from trinity_core.webhook_challenge import ANSWER_MAX, answer_in
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_urls import Target
from trinity_core.webhooks import ANSWER_BYTES_MAX, ERROR_LENGTH_MAX, Attempt

KEPT_MAX: Final = ANSWER_MAX
"""How much of an answer is kept: enough for a challenge; the log keeps less."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One message, signed."""

    message: str
    """`webhook-id`."""
    timestamp_s: int
    """`webhook-timestamp`."""
    signature: str
    """`webhook-signature`: one or more, separated by spaces."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one attempt."""

    outcome: Outcome
    status: int = 0
    """HTTP status; 0 without an answer."""
    answer: bytes = field(default=b"", repr=False)
    """First bytes of the answer, at most `KEPT_MAX`."""
    error: str = ""
    """What went wrong, in words that show no secret; empty for what was delivered."""
    retry_after_s: int | None = None
    """How long the endpoint asks to be left alone; only of what was not delivered."""
    latency_us: int = 0
    reused: bool = False
    """A connection of an earlier attempt was used."""
    stale: bool = False
    """That connection broke before any byte of an answer: most likely it was closed before the request came.

    It was not sent again, because nobody can know. Whoever does so at once makes another attempt,
    and logs it.
    """

    def attempt(self, delivery: str, number: int, *, at_ns: int) -> Attempt:
        """The row of the log."""
        return Attempt(
            delivery=delivery,
            number=number,
            at_ns=at_ns,
            latency_us=self.latency_us,
            outcome=self.outcome,
            status=self.status,
            answer=self.answer[:ANSWER_BYTES_MAX],
            error=self.error[:ERROR_LENGTH_MAX],
        )


class Sender(Protocol):
    """Sends to endpoints. It MUST end by itself within its time, and MUST NOT raise for what an endpoint does.

    One call is one message on the wire at most once. Who is cancelled MUST leave nothing behind.
    """

    async def post(self, endpoint: str, target: Target, posting: Posting) -> Sent:
        """Make one attempt; `endpoint` is the id whose connections or flow it uses."""
        ...

    def forget(self, endpoint: str) -> None:
        """The endpoint has gone, or another URL: keep nothing of it."""
        ...


class Failed(Exception):  # noqa: N818 # an outcome, not an error of ours
    """An attempt that came to nothing; turned into `Sent` by its sender."""

    def __init__(
        self, outcome: Outcome, error: str, *, status: int = 0, answer: bytes = b"", stale: bool = False
    ) -> None:
        super().__init__(error)
        self.outcome = outcome
        self.error = error
        self.status = status
        self.answer = answer
        self.stale = stale


def challenge_answer(sent: Sent) -> str:
    """The challenge in an endpoint's answer to it, for `is_answered`; empty where it did not answer well."""
    return answer_in(sent.answer) if sent.outcome is Outcome.DELIVERED else ""
