"""Numbers as each venue writes them: padded, trimmed, or as JSON numbers."""

from __future__ import annotations


def fixed(units: int, decimals: int) -> str:
    """Every digit: 9650000 with 2 decimals is "96500.00"."""
    if decimals <= 0:
        return str(units)
    text = str(units)
    if text[0] == "-":
        return "-" + fixed(-units, decimals)
    if len(text) <= decimals:
        text = text.zfill(decimals + 1)
    return f"{text[:-decimals]}.{text[-decimals:]}"


def trimmed(units: int, decimals: int) -> str:
    """Without zeros at the end: 9650000 with 2 decimals is "96500"."""
    text = fixed(units, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(units: int, decimals: int) -> str:
    """A JSON number in the shortest form that a double prints as: 5 with 5 decimals is 5e-05, 10 with 1 is 1.0."""
    return repr(units / 10**decimals)


def share(part: int, whole: int, decimals: int) -> str:
    """A ratio, rounded: 1 of 3 with 4 decimals is "0.3333"; of nothing it is 0."""
    return fixed(round(part * 10**decimals / whole) if whole else 0, decimals)
