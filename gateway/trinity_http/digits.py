"""Bounds of whole numbers as regular expressions, for numbers that JSON holds as text."""

from __future__ import annotations


def whole_pattern(smallest: int, largest: int) -> str:
    """A pattern, without anchors, of the whole numbers from `smallest` to `largest`; no leading zeros, no "-0"."""
    parts = []
    if smallest < 0:
        parts.append(f"-(?:{_up_from(max(1, -largest), -smallest)})")
    if largest >= 0:
        parts.append(_up_from(max(0, smallest), largest))
    return "|".join(parts)


def _up_from(smallest: int, largest: int) -> str:
    """Of numbers that are not negative: a run of them for each number of digits, whole runs as one."""
    parts = []
    while smallest <= largest:
        digits = len(str(smallest))
        whole = len(str(largest + 1)) - 1
        if smallest == 10 ** (digits - 1) and digits <= whole:
            parts.append("[1-9]" + _free(digits - 1, whole - 1))
            smallest = 10**whole
            continue
        end = 0 if smallest == 0 else min(largest, 10**digits - 1)
        parts.extend(_same_length(str(smallest), str(end)))
        smallest = end + 1
    return "|".join(parts)


def _same_length(low: str, high: str) -> list[str]:
    if len(low) == 1:
        return [_class(low, high)]
    if low[0] == high[0]:
        return [low[0] + _grouped(_same_length(low[1:], high[1:]))]
    free = _free(len(low) - 1, len(low) - 1)
    nines, zeros = "9" * (len(low) - 1), "0" * (len(low) - 1)
    parts, first, last = [], low[0], high[0]
    if low[1:] != zeros:
        parts.append(first + _grouped(_same_length(low[1:], nines)))
        first = str(int(first) + 1)
    tail = []
    if high[1:] != nines:
        tail.append(last + _grouped(_same_length(zeros, high[1:])))
        last = str(int(last) - 1)
    if first <= last:
        parts.append(_class(first, last) + free)
    return [*parts, *tail]


def _grouped(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _class(low: str, high: str) -> str:
    return low if low == high else f"[{low}-{high}]"


def _free(fewest: int, most: int) -> str:
    if most == 0:
        return ""
    if fewest == most:
        return "[0-9]" if most == 1 else f"[0-9]{{{most}}}"
    return f"[0-9]{{{fewest},{most}}}"
