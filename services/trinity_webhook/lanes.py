"""One endpoint as a worker sees it: when it may be called, and what its attempts say of it. Pure.

Times are nanoseconds of the monotonic clock, but for `failing_since_ns`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from trinity_core.webhook_breaker import BreakerSettings, Circuit, EndpointBreaker
from trinity_core.webhook_retry import RETRY_AFTER_S_MAX, Outcome, S
from trinity_core.webhook_store import Lease, Standing
from trinity_core.webhook_urls import Target
from trinity_core.webhooks import Delivery, Endpoint, EndpointState
from trinity_webhook.sending import Sent
from trinity_webhook.tally import Tally

_BREAKER: Final = BreakerSettings()


class Lane:
    """Rate, quiet times and circuit of one endpoint; alerts and ticks share them."""

    def __init__(self, standing: Standing, lease: Lease, target: Target) -> None:
        self.standing = standing
        self.lease = lease
        self.target = target
        self.failing_since_ns = standing.endpoint.failing_since_ns
        """Unix time since when every attempt has failed."""
        self.in_flight = 0
        """Attempts of the outbox under way."""
        self.held = 0
        """Deliveries of the outbox that are claimed and not recorded."""
        self.queue: deque[Delivery] = deque()
        """Those of them that are not under way yet."""
        self.timed = False
        """A look at the queue is planned."""
        self.gone = False
        """The worker does not see to it any more."""
        self.closed = False
        """It is given up, and that is not stored yet, or not read back."""
        self.tally = Tally()
        """What its attempts came to."""
        self._breaker = EndpointBreaker(_BREAKER)
        self._next_ns = 0
        self._quiet_until_ns = 0

    @property
    def endpoint(self) -> Endpoint:
        """As it was read last."""
        return self.standing.endpoint

    @property
    def is_open(self) -> bool:
        """Whether alerts and ticks may be sent to it at all."""
        return (
            not self.gone
            and not self.closed
            and self.endpoint.state is EndpointState.ACTIVE
            and not self.endpoint.paused
        )

    def ready_ns(self) -> int:
        """When it may be called next, as far as is known."""
        return max(self._next_ns, self._quiet_until_ns, self._breaker.due_ns() or 0)

    def circuit(self, now_ns: int) -> Circuit:
        """Whether it is called."""
        return self._breaker.circuit(now_ns)

    def left_alone_until_ns(self, now_ns: int) -> int | None:
        """Until when nothing is sent because it failed, or asked for that; None where that is not so."""
        until_ns = max(self._quiet_until_ns, self._breaker.due_ns() or 0)
        return until_ns if until_ns > now_ns else None

    def take(self, now_ns: int) -> bool:
        """Whether to make an attempt now; `told` or `give_back` must follow. False also while a probe is under way."""
        if now_ns < self.ready_ns() or not self._breaker.may_call(now_ns):
            return False
        self._next_ns = max(now_ns, self._next_ns) + S // self.endpoint.rate_per_s
        return True

    def give_back(self, began_ns: int) -> None:
        """The attempt was not made, or not to its end."""
        self._breaker.gave_up(began_ns=began_ns)

    def told(self, sent: Sent, now_ns: int, *, began_ns: int) -> None:
        """Take note of what became of an attempt."""
        if sent.outcome in (Outcome.DELIVERED, Outcome.GONE):
            self._breaker.succeeded()
        elif sent.stale:
            self._breaker.gave_up(began_ns=began_ns)  # a kept connection was closed meanwhile, which tells nothing
        else:
            self._breaker.failed(now_ns, began_ns=began_ns)
            if sent.retry_after_s is not None:
                pause_ns = min(sent.retry_after_s, RETRY_AFTER_S_MAX) * S
                self._quiet_until_ns = max(self._quiet_until_ns, now_ns + pause_ns)

    def renewed(self) -> None:
        """It asked to be sent on: what failed before says nothing any more."""
        self._breaker.succeeded()

    def adopt(self, standing: Standing, lease: Lease, target: Target) -> None:
        """Its owner changed it. One that was made active anew, or has another URL, is tried at once."""
        before, self.standing, self.lease, self.target = self.standing, standing, lease, target
        if before.endpoint.version != standing.endpoint.version:
            self.closed = False
        if before.endpoint.verify_time_ns != standing.endpoint.verify_time_ns or before.endpoint.url != target.url:
            self.failing_since_ns = standing.endpoint.failing_since_ns
            self._breaker.succeeded()
            self._quiet_until_ns = 0
