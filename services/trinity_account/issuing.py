"""How keys come to be: which scopes, how long, how many, and the secret that is shown once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trinity_account.reach import Reach, reach_of
from trinity_account.shared import SharedSettings
from trinity_admission.principal import ADMIN, Principal
from trinity_core.account_errors import unknown_key
from trinity_core.accounts import ApiKey, KeyState, OwnedKey, Plan, Room, Rotation, scopes_of
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.keys import KeyText, mint

_S: Final = 10**9


@dataclass(frozen=True, slots=True)
class Wish:
    """A key that somebody asks for."""

    name: str
    scopes: tuple[str, ...]
    """Empty: all that the plan has but admin, as far as the caller has them."""
    allowed_networks: tuple[str, ...]
    """Empty: those of the caller's key."""
    lifetime_ns: int | None
    """None: until the caller's key ends."""


@dataclass(frozen=True, slots=True)
class Issue:
    """A key to be made: its text, which is shown once, and what makes its entry."""

    text: KeyText = field(repr=False)
    make: Callable[[Room], ApiKey]


@dataclass(frozen=True, slots=True)
class Succession:
    """Likewise, for a key that replaces another."""

    text: KeyText = field(repr=False)
    change: Callable[[OwnedKey, Room], Rotation]


class Issuer:
    """Makes keys."""

    def __init__(
        self,
        *,
        env: str,
        pepper: bytes,
        random_bytes: Callable[[int], bytes],
        settings: Callable[[], SharedSettings],
    ) -> None:
        """`env` stands in the key's text; `settings` tells the bounds of now."""
        self._env = env
        self._pepper = pepper
        self._random_bytes = random_bytes
        self._settings = settings

    def issue(self, wish: Wish, caller: Principal, *, now_ns: int) -> Issue:
        """A new key, which reaches no further than the caller's.

        `make` raises TrinityError MISSING_SCOPE, INVALID_FIELD, TOO_MANY_KEYS; this raises INVALID_FIELD.
        """
        text = mint(env=self._env, random_bytes=self._random_bytes)
        settings = self._settings()
        _check_lifetime(wish.lifetime_ns, settings)

        def make(room: Room) -> ApiKey:
            reach = reach_of(caller, room.author)
            scopes = _granted(wish.scopes, room.plan, reach)
            allowed_networks = reach.networks_for(wish.allowed_networks)
            asked_ns = None if wish.lifetime_ns is None else now_ns + wish.lifetime_ns
            ends_ns = reach.end_for(asked_ns, now_ns=now_ns)
            _check_room(room.live_keys, settings)
            return ApiKey(
                key_id=text.key_id,
                associate=room.associate.associate,
                name=wish.name,
                digest=text.digest(self._pepper),
                scopes=scopes,
                allowed_networks=allowed_networks,
                create_time_ns=now_ns,
                expire_time_ns=_within_most(ends_ns, settings, now_ns),
            )

        return Issue(text, make)

    def succeed(self, caller: Principal, *, grace_ns: int, now_ns: int) -> Succession:
        """A key for one that is replaced.

        It has the old one's name, networks, lifetime, counted anew but not beyond the end of the
        caller's key, and the scopes that the old one holds. `change` raises TrinityError UNKNOWN_KEY,
        KEY_NOT_ACTIVE, MISSING_SCOPE, INVALID_FIELD, TOO_MANY_KEYS.
        """
        text = mint(env=self._env, random_bytes=self._random_bytes)
        settings = self._settings()

        def change(old: OwnedKey, room: Room) -> Rotation:
            key = old.key
            check_owner(key, caller)
            state = key.state(now_ns)
            if state is not KeyState.ACTIVE:
                raise TrinityError(
                    Reason.KEY_NOT_ACTIVE,
                    f"the key {key.key_id} is {state.name.lower()}; only an active key can be rotated",
                    {"state": state.name},
                )
            reach = reach_of(caller, room.author)
            reach.check_replaceable(old)
            _check_room(room.live_keys - (grace_ns == 0), settings)
            ends_ns = now_ns + grace_ns
            return Rotation(
                ApiKey(
                    key_id=text.key_id,
                    associate=key.associate,
                    name=key.name,
                    digest=text.digest(self._pepper),
                    scopes=old.scopes,
                    allowed_networks=key.allowed_networks,
                    create_time_ns=now_ns,
                    expire_time_ns=reach.end_within(_end_of_successor(key, settings, now_ns)),
                ),
                ends_ns if key.expire_time_ns is None else min(ends_ns, key.expire_time_ns),
            )

        return Succession(text, change)


def _check_lifetime(lifetime_ns: int | None, settings: SharedSettings) -> None:
    most_s = settings.key_lifetime_s_max
    if most_s and lifetime_ns is not None and lifetime_ns > most_s * _S:
        raise invalid_field("lifetime", f"longer than {most_s} s, which is the most here")


def _end_of_successor(key: ApiKey, settings: SharedSettings, now_ns: int) -> int | None:
    own_ns = None if key.expire_time_ns is None else now_ns + key.expire_time_ns - key.create_time_ns
    return _within_most(own_ns, settings, now_ns)


def _within_most(end_ns: int | None, settings: SharedSettings, now_ns: int) -> int | None:
    """An end, or the latest that a new key may have."""
    if not settings.key_lifetime_s_max:
        return end_ns
    latest_ns = now_ns + settings.key_lifetime_s_max * _S
    return latest_ns if end_ns is None else min(end_ns, latest_ns)


def check_owner(key: ApiKey, caller: Principal) -> None:
    """Raise UNKNOWN_KEY unless the key is the caller's own, or the caller may touch any."""
    if key.associate != caller.associate and not caller.holds(ADMIN):
        raise unknown_key(key.key_id)


def _granted(asked: tuple[str, ...], plan: Plan, reach: Reach) -> tuple[str, ...]:
    if not asked:
        return tuple(scope for scope in plan.scopes if scope != ADMIN and reach.holds(scope))
    lacking = set(asked) - set(scopes_of(asked, plan))
    if lacking:
        scope = min(lacking)
        raise TrinityError(
            Reason.MISSING_SCOPE, f"the plan {plan.plan} does not have the scope {scope}", metadata={"scope": scope}
        )
    reach.check_scopes(asked)
    return asked


def _check_room(live_keys: int, settings: SharedSettings) -> None:
    most = settings.keys_per_associate_max
    if live_keys >= most:
        raise TrinityError(
            Reason.TOO_MANY_KEYS,
            f"{live_keys} keys are valid and {most} are the most; revoke one, or rotate one without grace",
            metadata={"keys_max": str(most)},
        )
