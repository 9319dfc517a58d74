"""Webhooks: endpoints, secrets, subscriptions, deliveries; the words that all parts of the engine share.

Times are unix nanoseconds in whole microseconds, which is what stores keep.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Rule, is_tick
from trinity_core.webhook_secrets import Scheme
from trinity_core.webhook_urls import Kind

SHARDS: Final = 64
"""Endpoints are divided into so many parts; a worker holds leases of parts."""
ANSWER_BYTES_MAX: Final = 256
"""How much of an answer the log keeps."""
ERROR_LENGTH_MAX: Final = 200
RETENTION_DAYS: Final = 30
"""How long deliveries and their attempts are kept."""
CHALLENGE_S: Final = 900
"""How long a challenge may be answered."""
CHALLENGE_TRIES: Final = 10
"""How many wrong answers end it."""
_ID_BYTES: Final = 15


class EndpointState(IntEnum):
    """Whether an endpoint may be called; numbers as in trinity.webhook.v1.EndpointState."""

    PENDING = 1
    """Its owner has not answered the challenge yet."""
    ACTIVE = 2
    DISABLED = 3
    """The engine gave it up; a new challenge answered makes it active again."""


class DisableReason(IntEnum):
    """Why an endpoint was given up; numbers as in trinity.webhook.v1.DisableReason."""

    GONE = 1
    """It answered 410."""
    FAILING = 2
    """It failed for five days without one success."""


class DeliveryClass(IntEnum):
    """What a delivery is; numbers as in trinity.webhook.v1.DeliveryClass."""

    TICK = 1
    ALERT = 2
    TEST = 3
    CHALLENGE = 4


class DeliveryState(IntEnum):
    """Where a delivery stands; numbers as in trinity.webhook.v1.DeliveryState."""

    PENDING = 1
    DELIVERED = 2
    FAILED = 3
    """Every attempt failed, or its endpoint was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an associate wants to be told."""

    endpoint: str
    associate: str
    name: str = ""
    url: str
    kind: Kind
    schemes: tuple[Scheme, ...] = (Scheme.V1,)
    """How deliveries are signed; at least one."""
    state: EndpointState = EndpointState.PENDING
    paused: bool = False
    """By its owner: nothing is sent, alerts wait."""
    rate_per_s: int = 100
    """Most deliveries a second."""
    in_flight_max: int = 4
    """Most alerts under way at once; ticks have one batch besides."""
    batch_max: int = 50
    batch_ms: int = 0
    ttl_ms: int = 5_000
    """See TickSettings."""
    disable_reason: DisableReason | None = None
    create_time_ns: int = 0
    update_time_ns: int = 0
    verify_time_ns: int | None = None
    """When its owner answered the challenge last."""
    disable_time_ns: int | None = None
    failing_since_ns: int | None = None
    """Since when every attempt has failed; None after a success."""
    renew_time_ns: int | None = None
    """UDP: when the target asked last to be sent on; engines stop after 60 s."""
    version: int = 0
    """The change that it shows."""

    @property
    def shard(self) -> int:
        """The part that it belongs to."""
        return shard_of(self.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A key that an endpoint's deliveries are signed with, sealed."""

    secret: str
    endpoint: str
    scheme: Scheme
    sealed: bytes = field(repr=False)
    public: bytes = b""
    """The public key of `v1a`; empty for `v1`."""
    create_time_ns: int
    expire_time_ns: int | None = None
    """Signs beside its successor until then; None: the newest."""

    def is_live(self, now_ns: int) -> bool:
        """Whether it signs at a time."""
        return self.expire_time_ns is None or now_ns < self.expire_time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A question that only the owner of an endpoint's address can answer."""

    digest: bytes = field(repr=False)
    """SHA-256 of the answer."""
    expire_time_ns: int
    tries_left: int = CHALLENGE_TRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What an endpoint is told of."""

    subscription: str
    endpoint: str
    associate: str
    name: str = ""
    paused: bool = False
    assets: tuple[str, ...] = ()
    """Empty: all."""
    rule: Rule
    create_time_ns: int = 0
    update_time_ns: int = 0
    version: int = 0
    """The change that it shows."""
    rule_version: int = 0
    """The change that made rule or assets what they are; alerts count anew from it."""

    @property
    def is_tick(self) -> bool:
        """Whether it is of the tick class."""
        return is_tick(self.rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Something that is, or was, to be told to an endpoint."""

    delivery: str
    """Its id, `webhook-id`: the same in every attempt."""
    endpoint: str
    associate: str
    subscription: str = ""
    asset: str = ""
    kind: DeliveryClass
    type: str
    """Type of the payload."""
    payload: bytes = field(repr=False)
    ordered: bool = False
    """It waits for earlier ordered deliveries of its subscription."""
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    """Attempts since it was made, or since it was asked for again: what the schedule goes by."""
    tries: int = 0
    """Attempts in all; the next one has the next number."""
    create_time_ns: int
    due_time_ns: int | None = None
    """When it is tried next; None once it is over."""
    done_time_ns: int | None = None
    last_status: int = 0
    """HTTP status of the newest attempt; 0 for none."""
    last_outcome: Outcome | None = None
    sequence: int = 0
    """Order of deliveries, given by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to deliver."""

    delivery: str
    number: int
    at_ns: int
    latency_us: int
    outcome: Outcome
    status: int = 0
    """HTTP status; 0 without an answer."""
    answer: bytes = field(default=b"", repr=False)
    """First bytes of the answer."""
    error: str = ""
    """What went wrong, in words that show no secret."""

    def __post_init__(self) -> None:
        if len(self.answer) > ANSWER_BYTES_MAX or len(self.error) > ERROR_LENGTH_MAX:
            raise ValueError("an attempt keeps a bounded part of the answer and of the error")


def make_id(prefix: str, random: bytes) -> str:
    """An id of 15 random bytes: `prefix`, then 24 letters and digits."""
    assert len(random) == _ID_BYTES
    return prefix + base64.b32hexencode(random).decode("ascii").lower()


def alert_id(*, subscription: str, rule_version: int, asset: str, number: int) -> str:
    """The id of an alert. It follows from what the alert is, so that one that is made twice is stored once."""
    text = f"{subscription}\n{rule_version}\n{asset}\n{number}"
    return make_id("msg_", hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).digest())


def content_id(body: bytes) -> str:
    """The id of ticks: equal bodies have equal ids, and equal signatures."""
    return make_id("tck_", hashlib.blake2b(body, digest_size=_ID_BYTES).digest())


def tick_delivery_id(message: str, endpoint: str) -> str:
    """The id under which ticks are logged: one body, and one `webhook-id`, goes to many endpoints."""
    return f"{message}_{endpoint.removeprefix('whe_')}"


def shard_of(endpoint: str) -> int:
    """The part that an endpoint belongs to, in every process and for ever."""
    return int.from_bytes(hashlib.blake2b(endpoint.encode(), digest_size=4).digest(), "big") % SHARDS
