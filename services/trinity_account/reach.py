"""How far the maker of a key reaches: what it makes or replaces reaches no further. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trinity_admission.principal import ADMIN, Principal
from trinity_core.account_errors import invalid_author
from trinity_core.accounts import OwnedKey
from trinity_core.errors import Reason, TrinityError, invalid_field

_S = 10**9


@dataclass(frozen=True, slots=True)
class Reach:
    """The bounds of one maker."""

    scopes: frozenset[str] | None
    """None: all, which admins and parts of the mesh have."""
    networks: tuple[str, ...] = ()
    """Empty: any."""
    end_ns: int | None = None
    """None: without end."""

    def holds(self, scope: str) -> bool:
        """Whether it has a scope, and so may give it."""
        return self.scopes is None or scope in self.scopes

    def check_scopes(self, scopes: Iterable[str]) -> None:
        """Raise MISSING_SCOPE for one that it does not have."""
        for scope in scopes:
            if not self.holds(scope):
                raise TrinityError(
                    Reason.MISSING_SCOPE,
                    f"a key with the scope {scope} can be made only by one that has it",
                    metadata={"scope": scope},
                )

    def networks_for(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        """Networks of a new key: those asked for, and its own where none are. Raises INVALID_FIELD naming one."""
        for index, network in enumerate(asked):
            if not _cover(self.networks, (network,)):
                raise invalid_field(
                    f"allowed_networks[{index}]",
                    f"{network} reaches beyond the networks of the key that asks; use {', '.join(self.networks[:3])}"
                    " or a part of it",
                )
        return asked or self.networks

    def end_for(self, asked_ns: int | None, *, now_ns: int) -> int | None:
        """End of a new key: the one asked for, and its own where none is. Raises INVALID_FIELD for a later one."""
        if self.end_ns is None or asked_ns is None:
            return self.end_ns if asked_ns is None else asked_ns
        if asked_ns > self.end_ns:
            left_s = max(0, self.end_ns - now_ns) // _S
            raise invalid_field("lifetime", f"the key that asks ends in {left_s} s; use no more than that, or none")
        return asked_ns

    def check_replaceable(self, old: OwnedKey) -> None:
        """Raise MISSING_SCOPE, or INVALID_FIELD, unless it reaches as far as a key that it wants to replace.

        Its successor does what the key does, and who replaces it knows the successor.
        """
        self.check_scopes(old.scopes)
        key = old.key
        if not _cover(self.networks, key.allowed_networks):
            raise invalid_field(
                "key_id",
                f"the key {key.key_id} may be used from networks that the key that asks may not; ask with one that may",
            )
        if self.end_ns is not None and (key.expire_time_ns is None or key.expire_time_ns > self.end_ns):
            raise invalid_field(
                "key_id", f"the key {key.key_id} ends later than the key that asks; ask with one that lasts as long"
            )

    def end_within(self, end_ns: int | None) -> int | None:
        """An end, or its own where that is earlier."""
        ends = [end for end in (end_ns, self.end_ns) if end is not None]
        return min(ends) if ends else None


def reach_of(caller: Principal, author: OwnedKey | None) -> Reach:
    """How far a caller reaches, whose key the store has as `author` in the moment of the change.

    What the gateway says of the caller may be a second old, so a scope counts only where both
    say so. Raises INVALID_KEY for a caller with no key that is no part of the mesh.
    """
    if caller.holds(ADMIN) and (author is None or ADMIN in author.scopes):
        return Reach(None)
    if author is None:
        raise invalid_author()
    scopes = frozenset(filter(caller.holds, author.scopes))
    return Reach(scopes, author.key.allowed_networks, author.key.expire_time_ns)


def _cover(networks: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether all that is asked for lies in some networks; on both sides, none means any."""
    if not networks:
        return True
    if not asked:
        return False
    held = [ipaddress.ip_network(text) for text in networks]
    # Of one version at a time, and neighbours joined: then a network that they cover together lies in one of them.
    fours = list(ipaddress.collapse_addresses(each for each in held if isinstance(each, ipaddress.IPv4Network)))
    sixes = list(ipaddress.collapse_addresses(each for each in held if isinstance(each, ipaddress.IPv6Network)))
    for text in asked:
        network = ipaddress.ip_network(text)
        if isinstance(network, ipaddress.IPv4Network):
            if not any(network.subnet_of(four) for four in fours):
                return False
        elif not any(network.subnet_of(six) for six in sixes):
            return False
    return True
