"""What the database of a mesh on one machine must hold before services use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from trinity_account.ensure import ensure_key
from trinity_core.keys import KeyText
from trinity_mesh.clock import Clock
from trinity_storage.accounts import PostgresAccounts
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig

NEED_DATABASE: Final = frozenset({"account", "usage", "report", "sync", "webhook", "webhook-worker"})
"""Processes that need it migrated."""

_OWNERS: Final = ("demo", "operator")
"""Associates that the migrations make, for the customer's key and the operator's."""


class Database:
    """Prepares the database once, however many processes wait for it."""

    def __init__(
        self,
        config: PostgresConfig,
        *,
        url: str,
        keys: Mapping[KeyText, Sequence[str]],
        pepper: bytes,
        clock: Clock,
    ) -> None:
        """`keys` are the customer's and the operator's, each with its scopes; or none."""
        self._config = config
        self._url = url
        self._keys = keys
        self._pepper = pepper
        self._clock = clock
        self._lock = asyncio.Lock()
        self._prepared = False

    async def prepare(self) -> None:
        """Migrate, and register the keys. Raises TrinityError; the next call then tries again."""
        async with self._lock:
            if self._prepared:
                return
            async with Postgres(self._config, url=self._url, name="trinity-up", clock=self._clock) as postgres:
                await migrate(postgres)
                repo = PostgresAccounts(postgres)
                for owner, (key, scopes) in zip(_OWNERS, self._keys.items(), strict=False):
                    await ensure_key(
                        repo,
                        key_text=key.text,
                        associate=owner,
                        name=f"{owner} of this machine",
                        scopes=scopes,
                        pepper=self._pepper,
                        now_ns=self._clock.unix_ns(),
                    )
            self._prepared = True
