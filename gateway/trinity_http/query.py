"""A query string taken apart: "asset=BTC&max_age=5s" to names with their values, in their order."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from trinity_core.errors import Reason, TrinityError

PARAMETERS_MAX: Final = 1_000
"""Values that one query may hold."""


def parse_query(raw: bytes, *, parameters_max: int = PARAMETERS_MAX) -> dict[str, list[str]]:
    """Names with all their values, decoded: "+" is a space, escapes are UTF-8.

    Raises TrinityError INVALID_REQUEST (400) for broken escapes, text that is not UTF-8, and
    more values than `parameters_max`.
    """
    found: dict[str, list[str]] = {}
    if not raw:
        return found
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("it is not UTF-8") from None
    pairs = text.split("&", parameters_max)
    if len(pairs) > parameters_max:
        raise _bad(f"it holds more than {parameters_max} values")
    plain = "%" not in text and "+" not in text
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if not plain:
            name, value = _decoded(name), _decoded(value)
        found.setdefault(name, []).append(value)
    return found


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    if _BROKEN_ESCAPE.search(text):
        raise _bad(f"{text[:48]!a} holds a % that begins no escape; write it as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _bad(f"{text[:48]!a} is not UTF-8") from None


def _bad(what: str) -> TrinityError:
    return TrinityError(Reason.INVALID_REQUEST, f"the query cannot be read: {what}")


_BROKEN_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
