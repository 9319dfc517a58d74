"""Proof that who registers an endpoint answers at its address. Pure.

The challenge goes to the address and nowhere else: no call shows it. The endpoint answers with
it (HTTPS: in the body of a 2xx answer; UDP: in a datagram), or its owner reads it there and
passes it on. Only its digest is kept beside the endpoint.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from trinity_core.webhooks import CHALLENGE_S, Challenge

_BYTES: Final = 24
_NS: Final = 10**9
ANSWER_MAX: Final = 1_024
"""Most bytes of an answer that are looked at."""


class _Answer(msgspec.Struct):
    challenge: str


_DECODER: Final = msgspec.json.Decoder(_Answer)


def make_challenge(random_bytes: Callable[[int], bytes], *, now_ns: int) -> tuple[str, Challenge]:
    """A challenge's text, which is sent, and what is kept of it."""
    text = base64.urlsafe_b64encode(random_bytes(_BYTES)).decode("ascii")
    return text, Challenge(digest=_digest(text), expire_time_ns=now_ns + CHALLENGE_S * _NS)


def is_answered(challenge: Challenge, text: str, *, now_ns: int) -> bool:
    """Whether a text is the challenge's, in time and with a try left."""
    in_time = now_ns < challenge.expire_time_ns and challenge.tries_left > 0
    return hmac.compare_digest(_digest(text), challenge.digest) and in_time


def answer_in(body: bytes) -> str:
    """The challenge in an endpoint's answer: the text itself, or a JSON object with it; empty where there is none."""
    body = body[:ANSWER_MAX].strip()
    try:
        if body.startswith(b"{"):
            return _DECODER.decode(body).challenge
        return body.decode("ascii")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
