"""Settings of the running mesh that the account service heeds: they take effect without a restart.

They stand in the table app_config; docs/accounts.md has a row for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from trinity_account.following import first_of
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock
from trinity_storage.account_cache import AccountCache
from trinity_storage.app_config import AppConfig, Setting

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_COPY_NS: Final = 3_600 * 10**9
PREFIX: Final = "account."


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """What may be set, with the values that hold where nothing is."""

    keys_per_associate_max: int = 100
    """Valid keys that an associate may have."""
    key_lifetime_s_max: int = 0
    """Longest lifetime of a new key, seconds; 0 sets no bound."""


_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "keys_per_associate_max": (1, 1_000_000),
    "key_lifetime_s_max": (0, 315_360_000),
}


def settings_of(found: Mapping[str, Setting], before: SharedSettings) -> SharedSettings:
    """The settings that a table holds; one with a value that makes no sense stays as it was before."""
    settings = SharedSettings()
    for name, (low, high) in _BOUNDS.items():
        setting = found.get(f"{PREFIX}{name}")
        if setting is None:
            continue
        value: Any = setting.value
        if type(value) is not int or not low <= value <= high:
            log.error("%s%s must be a whole number from %d to %d; it stays as it was", PREFIX, name, low, high)
            value = getattr(before, name)
        settings = replace(settings, **{name: value})
    return settings


class SharedFollowing:
    """Keeps the settings true to the table, and the cache's copy of all of them (`app:config`)."""

    def __init__(self, *, config: AppConfig, cache: AccountCache | None, clock: Clock) -> None:
        """`cache` None keeps no copy."""
        self._config = config
        self._cache = cache
        self._clock = clock
        self._wake = asyncio.Event()
        self._versions: Mapping[str, int] | None = None
        self._copied: Mapping[str, int] | None = None
        self._copied_ns = 0
        self.current = SharedSettings()
        """The settings as they are now."""

    def wake(self) -> None:
        """Something has changed, or may have."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled; while the database is away, everything stays as it was."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except TrinityError as error:
                log.debug("shared settings stay as they were: %s", error.message)
            await first_of(asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(self._clock.sleep(_LOOK_S)))

    async def look(self) -> None:
        """Read the table once. Raises TrinityError."""
        found = await self._config.read()
        versions = {key: setting.version for key, setting in found.items()}
        if versions != self._versions:
            self._versions = versions
            self.current = settings_of(found, self.current)
            log.info("shared settings: %s", self.current)
        now_ns = self._clock.monotonic_ns()
        if self._cache is not None and (versions != self._copied or now_ns - self._copied_ns > _COPY_NS):
            await self._cache.store_settings(msgspec.json.encode(found))
            self._copied, self._copied_ns = versions, now_ns
