"""Which subscriptions a price is for: by asset, and those of all assets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Routes(Generic[T]):
    """Who hears of which asset."""

    def __init__(self) -> None:
        self._of: dict[str, list[T]] = {}
        self._all: list[T] = []

    def add(self, who: T, *, assets: Iterable[str], allowed: Iterable[str]) -> None:
        """`assets` are a subscription's, `allowed` its owner's plan's; empty means all, of both."""
        wanted, may = frozenset(assets), frozenset(allowed)
        if not wanted and not may:
            self._all.append(who)
            return
        for asset in (wanted & may) if wanted and may else (wanted or may):
            self._of.setdefault(asset, []).append(who)

    def of(self, asset: str) -> Iterator[T]:
        """Those who hear of an asset."""
        yield from self._of.get(asset, ())
        yield from self._all
