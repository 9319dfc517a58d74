"""Settings of the running mesh, in the table app_config: each with a version, announced when they change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_storage.postgres import Postgres

CHANNEL: Final = "trinity_app_config"
"""NOTIFY channel that hears of every change at its commit."""

_VALUE_BYTES_MAX: Final = 64 << 10
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    value: Any
    """As JSON has it."""
    version: int
    """Counts its changes."""


class AppConfig:
    """The settings that all parts of one mesh share and that change without a restart."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` stays its owner's to open and close."""
        self._postgres = postgres

    async def read(self) -> Mapping[str, Setting]:
        """All settings by key."""
        rows = await self._postgres.fetch("SELECT key, value, version FROM trinity.app_config ORDER BY key")
        return {row["key"]: Setting(msgspec.json.decode(row["value"]), row["version"]) for row in rows}

    async def write(self, key: str, value: Any, *, version: int | None = None) -> Setting:
        """Set one; `version` is the one that was read, 0 for one that must not exist, None for any.

        Raises TrinityError: INVALID_FIELD for a key or value that cannot be one,
        STORE_CONFLICT when it has another version by now.
        """
        text = _text(key, value)
        async with self._postgres.transaction() as session:
            made = await session.fetch_value(
                """
                INSERT INTO trinity.app_config AS c (key, value) SELECT $1, $2::jsonb WHERE $3::bigint IS NULL OR $3 = 0
                ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = c.version + 1, updated_at = now()
                 WHERE $3 IS NULL
                RETURNING version
                """,
                key,
                text,
                version,
            )
            if made is None:
                made = await session.fetch_value(
                    "UPDATE trinity.app_config SET value = $2::jsonb, version = version + 1, updated_at = now() "
                    "WHERE key = $1 AND version = $3 RETURNING version",
                    key,
                    text,
                    version,
                )
            if made is None:
                raise TrinityError(Reason.STORE_CONFLICT, f"{key} has changed meanwhile; read it again")
            await session.execute("SELECT pg_notify($1, $2)", CHANNEL, key)
        return Setting(value, int(made))

    async def remove(self, key: str) -> bool:
        """Give a setting its default back; False when it had it."""
        async with self._postgres.transaction() as session:
            removed = await session.fetch_value("DELETE FROM trinity.app_config WHERE key = $1 RETURNING true", key)
            if removed:
                await session.execute("SELECT pg_notify($1, $2)", CHANNEL, key)
        return bool(removed)


def _text(key: str, value: Any) -> str:
    if len(key) > 200 or not _KEY.fullmatch(key):
        raise invalid_field("key", "use words of lower-case letters, digits and _, joined by dots")
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise invalid_field("value", "it has no form in JSON") from error
    if len(text) > _VALUE_BYTES_MAX or "\\u0000" in text:
        raise invalid_field("value", f"use at most {_VALUE_BYTES_MAX} bytes of JSON without \\u0000")
    return text
