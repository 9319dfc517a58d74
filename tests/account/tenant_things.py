"""Who has what, by the names that requests use, and the kinds of rows that the matrix of tenants has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

NAMING = frozenset({"associate", "plan", "key_id", "key_ids", "page_token", "endpoint", "subscription", "delivery"})
"""Fields of requests that name what belongs to somebody, or hold it."""


@dataclass(frozen=True)
class Things:
    """What somebody has, by the names that requests use."""

    associate: str
    plan: str
    key_id: str
    """A key that is used, with usage."""
    to_rotate: str
    to_revoke: str
    revoked: str
    """A key that has ended."""
    endpoint: str = "whe_000000000000000000000001"
    """An active endpoint, with subscriptions and a test on its way."""
    pending: str = "whe_000000000000000000000002"
    """An endpoint that has not answered its challenge."""
    to_drop: str = "whe_000000000000000000000003"
    """An endpoint to delete."""
    to_prove: str = "whe_000000000000000000000004"
    """An endpoint whose challenge is known."""
    subscription: str = "whs_000000000000000000000001"
    to_end: str = "whs_000000000000000000000002"
    """A subscription to delete."""
    delivery: str = "msg_000000000000000000000001"
    """The test."""
    asked: str = "msg_000000000000000000000002"
    """The delivery of the challenge to `to_prove`."""
    challenge: str = "no-challenge"
    """What it says."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Page tokens, by the method of their list."""

    def names(self) -> list[str]:
        """All of them, longest first, so that none is taken for a part of another."""
        names = [getattr(self, name) for name in _NAMES]
        return sorted([*names, *self.tokens.values()], key=len, reverse=True)

    def counterparts(self, other: Things) -> list[tuple[str, str]]:
        """The names of another, each with the one of the same thing here."""
        pairs = [(getattr(other, name), getattr(self, name)) for name in _NAMES]
        return pairs + [(other.tokens[name], token) for name, token in self.tokens.items()]


_NAMES = (
    "plan",
    "associate",
    "key_id",
    "to_rotate",
    "to_revoke",
    "revoked",
    "endpoint",
    "pending",
    "to_drop",
    "to_prove",
    "subscription",
    "to_end",
    "delivery",
    "asked",
)
"""Fields of `Things` that are names."""

Ask = Callable[[Things, Things], Message]
"""Makes a request of the caller's things and of whose things are asked for, which may be the same."""


@dataclass(frozen=True)
class Own:
    """For what is one's own: any associate's keys with the scope of the contract."""

    asks: Mapping[str, Ask]
    """Every way to name a thing."""
    unnamed: tuple[Message, ...] = ()
    """Requests that name nothing: they are about the caller's own things."""
    own_reason: Mapping[str, str] = field(default_factory=dict)
    """Questions to which even the owner gets no answer, and why."""
    is_mute: bool = False
    """Answers name nothing: they say that something was done, or how often."""


@dataclass(frozen=True)
class Admins:
    """For the scope admin alone, even where the thing is the caller's own."""

    ask: Callable[[Things], Message]


@dataclass(frozen=True)
class Meshs:
    """For parts of the mesh alone, whatever the scopes."""

    ask: Callable[[Things], Message]


@dataclass(frozen=True)
class Commons:
    """The same for everybody with the scope: it is about nobody's things."""

    ask: Message


@dataclass(frozen=True)
class Publics:
    """For anybody who knows the name, without a key."""

    ask: Callable[[Things], Message]


Row = Own | Admins | Meshs | Commons | Publics
