"""Settings of the sync; every one has a row in docs/sync.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """The sync. Raises ValueError, naming the setting, when a value makes no sense."""

    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    valkey: ValkeyConfig = field(default_factory=ValkeyConfig)
    at: str = "01:00"
    """Time of day of the nightly full load, "HH:MM"."""
    time_zone: str = "America/New_York"
    """Time zone of `at`, by its IANA name; its summer time is kept."""
    increment_s: int = 60
    """Time between two increments in the day; 0: none."""
    history_days: int = 0
    """How many days back the copy goes; 0: to the beginning. Reports read older hours from the database."""
    step_ms: int = 5_000
    """One call to the cache; instead of valkey.timeout_ms where that is less, since a sync's calls are great ones."""
    lasts_s: int = 3_600
    """A sync that takes longer is given up."""

    def __post_init__(self) -> None:
        hours, _, minutes = self.at.partition(":")
        if not (len(self.at) == 5 and (hours + minutes).isdecimal() and int(hours) < 24 and int(minutes) < 60):
            raise ValueError(f'at is {self.at!r}; it must be a time of day such as "01:00"')
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"time_zone is {self.time_zone!r}, which this machine does not know; "
                "install its zone files (package tzdata) or name another"
            ) from None
        for name, low, high in (
            ("increment_s", 0, 3_600),
            ("history_days", 0, 36_500),
            ("step_ms", 1, 60_000),
            ("lasts_s", 1, 86_400),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between {low} and {high}")
