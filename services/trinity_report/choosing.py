"""The form of a report, as the request or its Accept says (RFC 9110, section 12.5.1), and how an export ends."""

from __future__ import annotations

from typing import Final

from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.tables import Form

_OFFERED: Final = {
    "application/json": Form.JSON,
    "text/csv": Form.CSV,
    "text/tab-separated-values": Form.TSV,
    "text/plain": Form.TEXT,
}
"""In the order of preference."""
_RANGES_MAX: Final = 64


def form_of(number: int, accept: str | None) -> Form:
    """The form for a request's `format` (0: not said) and the Accept of its HTTP request, where there is one.

    Raises TrinityError NOT_ACCEPTABLE when the caller takes none of ours.
    """
    if number:
        return Form(number)
    if accept is None:
        return Form.JSON
    wanted = _ranges(accept)
    best, best_quality = None, 0.0
    for name, form in _OFFERED.items():
        # The most specific range decides.
        candidates = (name, f"{name.partition('/')[0]}/*", "*/*")
        quality = next((wanted[each] for each in candidates if each in wanted), 0.0)
        if quality > best_quality:
            best, best_quality = form, quality
    if best is None:
        raise TrinityError(
            Reason.NOT_ACCEPTABLE, f"a report comes as {', '.join(_OFFERED)}; Accept allows none of them"
        )
    return best


def mark_of(asked: str) -> bool:
    """Whether an export ends with a record that tells of it: "line" asks for it, nothing and "none" do not.

    Raises TrinityError INVALID_FIELD for any other word: who asks for a proof must not miss it unseen.
    """
    if asked not in {"", "none", "line"}:
        raise invalid_field("x-export-end", f"{asked[:32]!r} is not one of its values; use line or none")
    return asked == "line"


def _ranges(accept: str) -> dict[str, float]:
    wanted: dict[str, float] = {}
    for part in accept.split(",")[:_RANGES_MAX]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality = min(1.0, max(0.0, float(value)))
                except ValueError:
                    quality = 0.0
        if name:
            wanted[name] = quality
    return wanted or {"*/*": 1.0}
