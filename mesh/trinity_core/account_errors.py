"""What is said of accounts that are not there or another's: the same words, so that nothing tells the two apart."""

from __future__ import annotations

from trinity_core.errors import Reason, TrinityError


def already_exists(kind: str, name: str) -> TrinityError:
    """An id, or another value that must be unique, is taken."""
    return TrinityError(Reason.ALREADY_EXISTS, f"the {kind} {name} exists already")


def unknown_plan(plan: str) -> TrinityError:
    """There is no such plan, or it is another's."""
    return TrinityError(Reason.UNKNOWN_PLAN, f"there is no plan {plan[:32]!r}", {"plan": plan[:32]})


def unknown_associate(associate: str) -> TrinityError:
    """There is no such associate, or it is another's."""
    return TrinityError(
        Reason.UNKNOWN_ASSOCIATE, f"there is no associate {associate[:32]!r}", {"associate": associate[:32]}
    )


def unknown_key(key_id: str) -> TrinityError:
    """There is no such key, or it is another's."""
    return TrinityError(Reason.UNKNOWN_KEY, f"there is no key {key_id[:12]!r}", {"key_id": key_id[:12]})


def invalid_author() -> TrinityError:
    """The caller's own key has ended."""
    return TrinityError(Reason.INVALID_KEY, "this key is not valid any more")
