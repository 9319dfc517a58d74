"""`RateLimit-Policy` and `RateLimit`: what a caller may do, and what is left of it, as header fields. Pure.

As draft-ietf-httpapi-ratelimit-headers has them since its version 08: lists of structured
fields (RFC 9651), each item a policy's name as a string, with parameters.

    RateLimit-Policy: "rate";q=200;w=2, "month";q=1000000
    RateLimit: "rate";r=199;t=1

"rate" is the key's token bucket: q tokens at once, w seconds until an empty bucket is full, r tokens
left, t seconds until it is full again. "month" is the associate's quota of a calendar month (UTC),
whose window has no fixed length and therefore no w; what is left of it is told only where it
is nothing, because no process knows the others' use to the last answer.
"""

from __future__ import annotations

from typing import Final

from trinity_admission.buckets import Bucket

POLICY: Final = "ratelimit-policy"
LIMIT: Final = "ratelimit"

_S: Final = 1_000_000_000
_INTEGER_MAX: Final = 999_999_999_999_999
"""Greatest Integer of a structured field (RFC 9651, section 3.3.1)."""


def policy(bucket: Bucket, *, monthly_quota: int) -> str:
    """The value of `RateLimit-Policy` for one key."""
    window_s = max(1, -(-bucket.burst_ns // _S))
    text = f'"rate";q={bucket.burst};w={window_s}'
    return f'{text}, "month";q={min(monthly_quota, _INTEGER_MAX)}' if monthly_quota else text


def limit(bucket: Bucket, now_ns: int) -> str:
    """The value of `RateLimit` for one key, now."""
    left, full_in_s = bucket.standing(now_ns)
    return f'"rate";r={left};t={full_in_s}'


def month_spent(value: str, reset_ms: int | None) -> str:
    """A value of `RateLimit` with the word that nothing is left of the month, which begins anew in `reset_ms`."""
    reset = "" if reset_ms is None else f";t={-(-reset_ms // 1_000)}"
    return f'{value}, "month";r=0{reset}'
