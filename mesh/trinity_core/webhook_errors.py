"""What is said of webhooks that are not there or another's: the same words, so that nothing tells the two apart."""

from __future__ import annotations

from trinity_core.errors import Reason, TrinityError


def unknown_endpoint(endpoint: str) -> TrinityError:
    """There is no such endpoint, or it is another's."""
    return TrinityError(Reason.UNKNOWN_ENDPOINT, f"there is no endpoint {endpoint[:32]!r}", {"endpoint": endpoint[:32]})


def unknown_subscription(subscription: str) -> TrinityError:
    """There is no such subscription, or it is another's."""
    return TrinityError(
        Reason.UNKNOWN_SUBSCRIPTION,
        f"there is no subscription {subscription[:32]!r}",
        {"subscription": subscription[:32]},
    )


def unknown_delivery(delivery: str) -> TrinityError:
    """There is no such delivery (any more), or it is another's."""
    return TrinityError(Reason.UNKNOWN_DELIVERY, f"there is no delivery {delivery[:32]!r}", {"delivery": delivery[:32]})


def lost_lease() -> TrinityError:
    """Another worker holds the part of endpoints by now."""
    return TrinityError(Reason.STORE_CONFLICT, "the lease of these endpoints has passed on; nothing was written")
