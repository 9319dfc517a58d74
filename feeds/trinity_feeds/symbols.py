"""What a symbol's spelling tells of its base and quote, for symbols that stand in no table."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r"[A-Z0-9]{1,24}")


def split(symbol: str, separator: str) -> tuple[str, str] | None:
    """Base and quote of `BASE-QUOTE`; None where there are not exactly two plain upper-case parts."""
    base, _, quote = symbol.partition(separator)
    return (base, quote) if _PART.fullmatch(base) and _PART.fullmatch(quote) else None


def unglue(symbol: str, quotes: tuple[str, ...], bases: frozenset[str] = frozenset()) -> tuple[str, str] | None:
    """Base and quote of `BASEQUOTE`, by the first of `quotes` that it ends with; `bases` come first where they fit."""
    found = [(symbol[: -len(quote)], quote) for quote in quotes if symbol.endswith(quote) and len(symbol) > len(quote)]
    fitting = [pair for pair in found if _PART.fullmatch(pair[0])]
    return next((pair for pair in fitting if pair[0] in bases), next(iter(fitting), None))
