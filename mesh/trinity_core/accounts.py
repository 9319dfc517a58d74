"""Who may ask, and how much: plans, associates, keys; and the port of the store that holds them.

Times are unix nanoseconds in whole microseconds, which is what stores keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from trinity_core.usage import Transport

SCOPES: Final = ("prices.read", "feed.read", "reports.read", "keys.manage", "webhooks.manage", "admin")
"""Scopes that a key may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What keys may do, and how often."""

    plan: str
    name: str = ""
    rate_per_s: int
    burst: int
    monthly_quota: int = 0
    """Answers in a calendar month (UTC) for an associate; 0 sets no bound."""
    scopes: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    """Empty: all."""
    transports: tuple[Transport, ...] = ()
    """Empty: all."""
    create_time_ns: int = 0
    update_time_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Associate:
    """A customer."""

    associate: str
    name: str = ""
    email: str = ""
    plan: str
    suspended: bool = False
    """None of the associate's keys is valid."""
    create_time_ns: int = 0
    update_time_ns: int = 0


class KeyState(Enum):
    """Whether a key is valid; the numbers are those of trinity.account.v1.KeyState."""

    ACTIVE = 1
    ROTATED = 2
    """Replaced by a newer key, and valid until its grace period ends."""
    REVOKED = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key, without its secret."""

    key_id: str
    associate: str
    name: str = ""
    digest: bytes = field(repr=False)
    """HMAC-SHA256 of the whole key under the mesh's pepper, 32 bytes."""
    scopes: tuple[str, ...] = ()
    """Scopes asked for; `scopes_of` knows which of them it holds."""
    allowed_networks: tuple[str, ...] = ()
    """In CIDR form; empty: any."""
    create_time_ns: int
    expire_time_ns: int | None = None
    revoke_time_ns: int | None = None
    replaces: str = ""
    """Id of the key that this one replaced."""
    replaced: bool = False
    """Another key has replaced this one; told by the store."""

    def state(self, now_ns: int) -> KeyState:
        """Whether it is valid at a time."""
        if self.revoke_time_ns is not None:
            return KeyState.REVOKED
        if self.expire_time_ns is not None and self.expire_time_ns <= now_ns:
            return KeyState.EXPIRED
        return KeyState.ROTATED if self.replaced else KeyState.ACTIVE


def is_live(state: KeyState) -> bool:
    """Whether a key in this state is valid."""
    return state in (KeyState.ACTIVE, KeyState.ROTATED)


def scopes_of(asked: Iterable[str], plan: Plan) -> tuple[str, ...]:
    """The scopes that a key holds: those asked for, as far as its plan has them."""
    return tuple(scope for scope in asked if scope in plan.scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedKey:
    """A key with what it is held by."""

    key: ApiKey
    plan: Plan
    """Plan of its associate."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes it holds."""
        return scopes_of(self.key.scopes, self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as a replica needs it to judge requests by itself."""

    key_id: str
    digest: bytes = field(repr=False)
    associate: str
    scopes: tuple[str, ...]
    """Scopes it holds."""
    allowed_networks: tuple[str, ...]
    assets: tuple[str, ...]
    transports: tuple[Transport, ...]
    rate_per_s: int
    burst: int
    monthly_quota: int
    expire_time_ns: int | None
    revoked: bool
    """Revoked, or its associate suspended."""
    version: int
    """The change that it shows."""


def record_of(key: ApiKey, plan: Plan, *, suspended: bool, version: int) -> KeyRecord:
    """What replicas are told of a key."""
    return KeyRecord(
        key_id=key.key_id,
        digest=key.digest,
        associate=key.associate,
        scopes=scopes_of(key.scopes, plan),
        allowed_networks=key.allowed_networks,
        assets=plan.assets,
        transports=plan.transports,
        rate_per_s=plan.rate_per_s,
        burst=plan.burst,
        monthly_quota=plan.monthly_quota,
        expire_time_ns=key.expire_time_ns,
        revoked=suspended or key.revoke_time_ns is not None,
        version=version,
    )


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and when."""

    at_ns: int
    """The time that the change bears."""
    key_id: str = ""
    """The caller's key; empty for a part of the mesh."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of an associate at the moment when a key is made for it."""

    associate: Associate
    plan: Plan
    live_keys: int
    """How many of its keys are valid."""
    author: OwnedKey | None = None
    """The author's own key, which bounds what it makes; None for a part of the mesh."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key's replacement."""

    successor: ApiKey
    """The new key; `replaces` is set by the store."""
    expire_time_ns: int
    """When the old key ends."""


class AccountRepo(Protocol):
    """The truth about accounts, shared by processes.

    Changes MUST be atomic, and happen one after the other: `change` and `make` MUST see
    what every earlier change has left and nothing else. They are pure; what they raise ends the
    change without a trace. A change that changes nothing MUST NOT have a new version.

    A change whose author names a key MUST raise INVALID_KEY when that key is unknown, not valid at
    the author's time, or its associate is suspended: a revoked key cannot make its successor. `Room.author`
    MUST be that key as every earlier change has left it.

    Every failure of the store MUST be raised as TrinityError STORE_UNAVAILABLE or STORE_CONFLICT.
    Lists MUST have at most `limit` entries, and none that is not after the given place.
    """

    async def create_plan(self, plan: Plan, *, author: Author) -> Plan:
        """Add a plan, with the author's time. Raises ALREADY_EXISTS."""
        ...

    async def get_plan(self, plan: str) -> Plan | None:
        """One plan."""
        ...

    async def list_plans(self, *, after: str, limit: int) -> Sequence[Plan]:
        """Plans by id; `after` is the last id of the page before, or empty."""
        ...

    async def update_plan(self, plan: str, change: Callable[[Plan], Plan], *, author: Author) -> Plan:
        """Change everything but id and times. Raises UNKNOWN_PLAN."""
        ...

    async def create_associate(self, associate: Associate, *, author: Author) -> Associate:
        """Add an associate, with the author's time. Raises ALREADY_EXISTS, UNKNOWN_PLAN."""
        ...

    async def get_associate(self, associate: str) -> Associate | None:
        """One associate."""
        ...

    async def list_associates(self, *, after: str, limit: int) -> Sequence[Associate]:
        """Associates by id; `after` is the last id of the page before, or empty."""
        ...

    async def update_associate(
        self, associate: str, change: Callable[[Associate], Associate], *, author: Author
    ) -> Associate:
        """Change everything but id and times. Raises UNKNOWN_ASSOCIATE, UNKNOWN_PLAN."""
        ...

    async def create_key(self, associate: str, make: Callable[[Room], ApiKey], *, author: Author) -> OwnedKey:
        """Add a key. Raises UNKNOWN_ASSOCIATE; ALREADY_EXISTS when its id or digest is taken."""
        ...

    async def register_key(self, key: ApiKey, *, author: Author) -> OwnedKey:
        """Add a key, or set name, scopes and digest of the one of its id. Raises UNKNOWN_ASSOCIATE.

        Raises ALREADY_EXISTS when its id belongs to another associate, or its digest to another key.
        """
        ...

    async def get_key(self, key_id: str) -> OwnedKey | None:
        """One key."""
        ...

    async def list_keys(
        self, *, associate: str | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[OwnedKey]:
        """Keys, newest first; those of one time by descending id.

        `after` is creation time and id of the last key of the page before; `associate` None means all.
        """
        ...

    async def rotate_key(
        self, key_id: str, change: Callable[[OwnedKey, Room], Rotation], *, author: Author
    ) -> tuple[OwnedKey, OwnedKey]:
        """Replace a key; the new one and the old one. Raises UNKNOWN_KEY, and ALREADY_EXISTS as `create_key` does."""
        ...

    async def revoke_key(self, key_id: str, check: Callable[[ApiKey], None], *, author: Author) -> OwnedKey:
        """End a key at the author's time; one that is revoked stays as it is. Raises UNKNOWN_KEY."""
        ...

    async def version(self) -> int:
        """The newest version. It MUST grow with every change, and only by changes."""
        ...

    async def read_records(self, *, since: int, now_ns: int, take: Callable[[Sequence[KeyRecord]], None]) -> int:
        """Hand over every key that changed after version `since`, itself or by its associate.

        The version up to which nothing of that is missing is returned, and it MUST NOT be less than
        what `version` told before. 0 hands over every key that is valid at `now_ns`. A key that had
        ended before `since` MAY be left out. When this raises, any part may have been handed over.
        """
        ...

    async def read_plan_records(self, *, since: int, now_ns: int, after: str, limit: int) -> Sequence[KeyRecord]:
        """Keys, by id, whose plan changed after version `since` and that have not ended at `now_ns`.

        They can be many, so they come in pages, each as things are when it is read; `after` is the
        last id of the page before, or empty.
        """
        ...
