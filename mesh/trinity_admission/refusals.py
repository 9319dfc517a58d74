"""The words in which a valid key is refused, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Transport


@dataclass(eq=False)
class RefusedError(TrinityError):
    """A refusal to the holder of a valid key, counted already."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Header fields that tell the key's limits, by name in lower case."""

    @classmethod
    def of(cls, error: TrinityError, fields: Mapping[str, str]) -> RefusedError:
        """The same error with header fields."""
        return cls(error.reason, error.message, error.metadata, error.retry_after_ms, error.violations, fields)


def network_not_allowed(address: str) -> TrinityError:
    """The key has an allow-list of networks, and the caller's address is in none of them."""
    shown = address or "a local socket"
    return TrinityError(
        Reason.NETWORK_NOT_ALLOWED, f"this key may not be used from {shown}", metadata={"address": address[:64]}
    )


def transport_not_allowed(transport: Transport) -> TrinityError:
    """The plan lacks the transport."""
    name = transport.name.lower()
    return TrinityError(
        Reason.TRANSPORT_NOT_ALLOWED, f"this key's plan does not have {name}", metadata={"transport": name}
    )


def missing_scope(scopes: Iterable[str], method: str) -> TrinityError:
    """The key lacks scopes that the method needs."""
    names = ",".join(scopes)
    return TrinityError(
        Reason.MISSING_SCOPE,
        f"this key lacks the scope {names.replace(',', ', ')}, which {method} needs",
        metadata={"scope": names},
    )


def asset_not_allowed(asset: str) -> TrinityError:
    """The plan lacks an asset; empty where all were asked for."""
    if not asset:
        return TrinityError(Reason.ASSET_NOT_ALLOWED, "this key's plan does not have all assets; name those you want")
    return TrinityError(
        Reason.ASSET_NOT_ALLOWED, f"this key's plan does not have {asset[:16]}", metadata={"asset": asset[:16]}
    )


def rate_limited(rate_per_s: int, wait_ns: int) -> TrinityError:
    """The key's bucket is empty."""
    return TrinityError(
        Reason.RATE_LIMITED,
        f"this key may have {rate_per_s} answers a second in the long run; slow down",
        retry_after_ms=max(1, -(-wait_ns // 1_000_000)),
    )


def quota_exhausted(monthly_quota: int, reset_ms: int | None) -> TrinityError:
    """Nothing is left of the month."""
    return TrinityError(
        Reason.QUOTA_EXHAUSTED,
        f"the month's quota of {monthly_quota} answers is used up, or held by other gateways for the moment",
        retry_after_ms=reset_ms,
    )


def quota_unknown() -> TrinityError:
    """Nobody could say for too long what is left of the month."""
    return TrinityError(
        Reason.BACKEND_UNAVAILABLE, "what is left of the quota cannot be told now; try again", retry_after_ms=1_000
    )
