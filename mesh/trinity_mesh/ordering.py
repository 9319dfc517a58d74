"""The names that interceptors have and the order in which they may stand, judged when a list is made.

A list in a wrong order works until the day it matters: admission after validation tells a stranger what our
fields are, errors inside of it send a refusal without details. So a list names its members, and a server or a
channel with a wrong one does not start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SERVER_ORDER: Final = (
    "telemetry",
    "shedding",
    "request_ids",
    "errors",
    "identity",
    "deadlines",
    "admission",
    "validation",
)
"""What may stand around a server's calls, outermost first.

Every call is counted; nothing else is done for one that is refused for want of room. Errors stand outside of all that
raises one; whoever judges callers does so before a request is looked at."""

CLIENT_ORDER: Final = ("telemetry", "request_ids", "deadline_budget")
"""What may stand around a channel's calls, outermost first. Retries, hedging and the choice of a backend are inside."""


class OrderError(ValueError):
    """A list of interceptors is wrong; the text says how."""


def checked(names: Sequence[str], order: Sequence[str], *, side: str) -> None:
    """Raise OrderError when a name is unknown, stands twice or stands in a wrong place. `side` is for the message."""
    for name in names:
        if name not in order:
            raise OrderError(f"{side} has no interceptor {name!r}; there are {', '.join(order)}")
        if names.count(name) > 1:
            raise OrderError(f"{side} has the interceptor {name!r} twice; take one away")
    right = sorted(names, key=order.index)
    if list(names) != right:
        raise OrderError(f"{side} has its interceptors as {', '.join(names)}; they belong as {', '.join(right)}")
