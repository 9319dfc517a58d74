"""The twin of the store of accounts, within one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from trinity_core.account_errors import (
    already_exists,
    invalid_author,
    unknown_associate,
    unknown_key,
    unknown_plan,
)
from trinity_core.accounts import (
    ApiKey,
    Associate,
    Author,
    KeyRecord,
    OwnedKey,
    Plan,
    Room,
    Rotation,
    is_live,
    record_of,
)

_RECORDS_AT_ONCE: Final = 100


class MemoryAccounts:
    """AccountRepo in dictionaries. Nothing waits within a change, so changes happen one after the other."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._associates: dict[str, Associate] = {}
        self._keys: dict[str, ApiKey] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._version = 1

    async def create_plan(self, plan: Plan, *, author: Author) -> Plan:
        """See AccountRepo."""
        self._check_author(author)
        if plan.plan in self._plans:
            raise already_exists("plan", plan.plan)
        made = replace(plan, create_time_ns=author.at_ns, update_time_ns=author.at_ns)
        return self._put_plan(made)

    async def get_plan(self, plan: str) -> Plan | None:
        """See AccountRepo."""
        return self._plans.get(plan)

    async def list_plans(self, *, after: str, limit: int) -> Sequence[Plan]:
        """See AccountRepo."""
        return [self._plans[name] for name in sorted(self._plans) if name > after][:limit]

    async def update_plan(self, plan: str, change: Callable[[Plan], Plan], *, author: Author) -> Plan:
        """See AccountRepo."""
        self._check_author(author)
        old = self._plans.get(plan)
        if old is None:
            raise unknown_plan(plan)
        new = change(old)
        return old if new == old else self._put_plan(replace(new, update_time_ns=author.at_ns))

    async def create_associate(self, associate: Associate, *, author: Author) -> Associate:
        """See AccountRepo."""
        self._check_author(author)
        if associate.associate in self._associates:
            raise already_exists("associate", associate.associate)
        made = replace(associate, create_time_ns=author.at_ns, update_time_ns=author.at_ns)
        return self._put_associate(made)

    async def get_associate(self, associate: str) -> Associate | None:
        """See AccountRepo."""
        return self._associates.get(associate)

    async def list_associates(self, *, after: str, limit: int) -> Sequence[Associate]:
        """See AccountRepo."""
        return [self._associates[name] for name in sorted(self._associates) if name > after][:limit]

    async def update_associate(
        self, associate: str, change: Callable[[Associate], Associate], *, author: Author
    ) -> Associate:
        """See AccountRepo."""
        self._check_author(author)
        old = self._associates.get(associate)
        if old is None:
            raise unknown_associate(associate)
        new = change(old)
        return old if new == old else self._put_associate(replace(new, update_time_ns=author.at_ns))

    async def create_key(self, associate: str, make: Callable[[Room], ApiKey], *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        self._check_author(author)
        return self._add_key(make(self._room(associate, author)))

    async def register_key(self, key: ApiKey, *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        self._check_author(author)
        if key.associate not in self._associates:
            raise unknown_associate(key.associate)
        old = self._keys.get(key.key_id)
        if old is None:
            return self._add_key(key)
        if old.associate != key.associate or self._has_digest(key.digest, but=key.key_id):
            raise already_exists("key", key.key_id)
        new = replace(old, name=key.name, scopes=key.scopes, digest=key.digest)
        return self._held(old) if new == old else self._put_key(new)

    async def get_key(self, key_id: str) -> OwnedKey | None:
        """See AccountRepo."""
        found = self._keys.get(key_id)
        return None if found is None else self._held(found)

    async def list_keys(
        self, *, associate: str | None, after: tuple[int, str] | None, limit: int
    ) -> Sequence[OwnedKey]:
        """See AccountRepo."""
        found = sorted(self._keys.values(), key=_age, reverse=True)
        wanted = [
            key
            for key in found
            if (associate is None or key.associate == associate) and (after is None or _age(key) < after)
        ]
        return [self._held(key) for key in wanted[:limit]]

    async def rotate_key(
        self, key_id: str, change: Callable[[OwnedKey, Room], Rotation], *, author: Author
    ) -> tuple[OwnedKey, OwnedKey]:
        """See AccountRepo."""
        self._check_author(author)
        old = self._known(key_id)
        rotation = change(self._held(old), self._room(old.associate, author))
        if old.replaced:
            raise already_exists("key", key_id)
        new = self._add_key(replace(rotation.successor, replaces=key_id))
        self._versions["key", key_id] = self._version
        self._keys[key_id] = replace(old, replaced=True, expire_time_ns=rotation.expire_time_ns)
        return new, self._held(self._keys[key_id])

    async def revoke_key(self, key_id: str, check: Callable[[ApiKey], None], *, author: Author) -> OwnedKey:
        """See AccountRepo."""
        self._check_author(author)
        old = self._known(key_id)
        check(old)
        if old.revoke_time_ns is not None:
            return self._held(old)
        return self._put_key(replace(old, revoke_time_ns=author.at_ns))

    async def version(self) -> int:
        """See AccountRepo."""
        return self._version

    async def read_records(self, *, since: int, now_ns: int, take: Callable[[Sequence[KeyRecord]], None]) -> int:
        """See AccountRepo."""
        found = []
        for key in self._keys.values():
            associate = self._associates[key.associate]
            own, by_associate = self._versions["key", key.key_id], self._versions["associate", key.associate]
            is_valid = is_live(key.state(now_ns)) and not (since == 0 and associate.suspended)
            if (is_valid and max(own, by_associate) > since) or own > since > 0:
                found.append(self._record(key))
        for start in range(0, len(found), _RECORDS_AT_ONCE):
            take(found[start : start + _RECORDS_AT_ONCE])
        return self._version

    async def read_plan_records(self, *, since: int, now_ns: int, after: str, limit: int) -> Sequence[KeyRecord]:
        """See AccountRepo."""
        found = [
            self._record(key)
            for key_id, key in sorted(self._keys.items())
            if key_id > after
            and is_live(key.state(now_ns))
            and self._versions["plan", self._associates[key.associate].plan] > since
        ]
        return found[:limit]

    def _record(self, key: ApiKey) -> KeyRecord:
        associate = self._associates[key.associate]
        names = (("key", key.key_id), ("associate", key.associate), ("plan", associate.plan))
        version = max(self._versions[name] for name in names)
        return record_of(key, self._plans[associate.plan], suspended=associate.suspended, version=version)

    def _check_author(self, author: Author) -> None:
        key = self._keys.get(author.key_id)
        if not author.key_id:
            return
        if key is None or not is_live(key.state(author.at_ns)) or self._associates[key.associate].suspended:
            raise invalid_author()

    def _room(self, associate: str, author: Author) -> Room:
        found = self._associates.get(associate)
        if found is None:
            raise unknown_associate(associate)
        live = sum(key.associate == associate and is_live(key.state(author.at_ns)) for key in self._keys.values())
        own = self._held(self._keys[author.key_id]) if author.key_id else None
        return Room(found, self._plans[found.plan], live, own)

    def _known(self, key_id: str) -> ApiKey:
        found = self._keys.get(key_id)
        if found is None:
            raise unknown_key(key_id)
        return found

    def _held(self, key: ApiKey) -> OwnedKey:
        return OwnedKey(key=key, plan=self._plans[self._associates[key.associate].plan])

    def _has_digest(self, digest: bytes, *, but: str) -> bool:
        return any(key.digest == digest and key.key_id != but for key in self._keys.values())

    def _add_key(self, key: ApiKey) -> OwnedKey:
        if key.key_id in self._keys or self._has_digest(key.digest, but=""):
            raise already_exists("key", key.key_id)
        return self._put_key(key)

    def _put_key(self, key: ApiKey) -> OwnedKey:
        self._count("key", key.key_id)
        self._keys[key.key_id] = key
        return self._held(key)

    def _put_plan(self, plan: Plan) -> Plan:
        self._count("plan", plan.plan)
        self._plans[plan.plan] = plan
        return plan

    def _put_associate(self, associate: Associate) -> Associate:
        if associate.plan not in self._plans:
            raise unknown_plan(associate.plan)
        self._count("associate", associate.associate)
        self._associates[associate.associate] = associate
        return associate

    def _count(self, kind: str, name: str) -> None:
        self._version += 1
        self._versions[kind, name] = self._version


def _age(key: ApiKey) -> tuple[int, str]:
    return key.create_time_ns, key.key_id
