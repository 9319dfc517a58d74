"""Which form an answer takes, by the request's Accept (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from trinity_core.errors import Reason, TrinityError


def choose(accept: bytes | None, offered: Sequence[str]) -> str:
    """The offered media type that the client likes best; of equals the first offered.

    Without Accept it is the first. Raises TrinityError NOT_ACCEPTABLE (406) when the client
    takes none of them.
    """
    if accept is None or accept == b"*/*":
        return offered[0]
    wanted = _parse(accept.decode("latin-1"))
    best, best_quality = None, 0.0
    for name in offered:
        quality = _quality(name, wanted)
        if quality > best_quality:
            best, best_quality = name, quality
    if best is None:
        raise TrinityError(
            Reason.NOT_ACCEPTABLE, f"this call answers in {', '.join(offered)}; Accept allows none of them"
        )
    return best


def _parse(accept: str) -> dict[str, float]:
    wanted: dict[str, float] = {}
    for part in accept.split(",")[:_RANGES_MAX]:
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    quality = min(1.0, max(0.0, float(value)))
                except ValueError:
                    quality = 0.0
        if name:
            wanted[name.lower()] = quality
    return wanted


def _quality(name: str, wanted: dict[str, float]) -> float:
    """The most specific range decides."""
    for candidate in (name, f"{name.partition('/')[0]}/*", "*/*"):
        if candidate in wanted:
            return wanted[candidate]
    return 0.0


_RANGES_MAX = 64
