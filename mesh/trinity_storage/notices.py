"""What PostgreSQL announces (NOTIFY), heard on a connection of its own that is made again when it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_storage.postgres import PostgresConfig
from trinity_storage.postgres_errors import renamed

log = logging.getLogger(__name__)

_CHECK_S: Final = 15.0
"""A connection that is silent for so long is asked whether it lives."""


class Notices:
    """Calls back when something is announced on one of some channels.

    An announcement says that something has changed, not what: it can be lost with the
    connection, and a pooler that shares connections between transactions loses all. So whoever
    needs to know reads what there is now, after each call and besides it now and then.
    """

    def __init__(
        self,
        config: PostgresConfig,
        *,
        url: str,
        name: str,
        channels: Sequence[str],
        heard: Callable[[], None],
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        """`heard` is also called whenever the connection is made: what was announced before may be lost."""
        self._timeout_s = config.connect_timeout_ms / 1_000
        self._url = url
        self._name = name
        self._channels = tuple(channels)
        self._heard = heard
        self._clock = clock
        self._backoff = backoff
        self.connected = False
        """Announcements are heard."""

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except TrinityError as error:
                if self._backoff.failures == 0:
                    log.warning("announcements of the database are not heard for now: %s", error.message)
            await self._clock.sleep(self._backoff.failed_s())

    async def _listen(self) -> None:
        """Make a connection and listen on it until it is lost, which is raised as TrinityError."""
        lost = asyncio.Event()
        with renamed():
            connection = await asyncpg.connect(
                self._url,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                server_settings={"application_name": f"{self._name}-notices"},
            )
            try:
                connection.add_termination_listener(lambda _: lost.set())
                for channel in self._channels:
                    await connection.add_listener(channel, self._hear)
                self._backoff.succeeded()
                self.connected = True
                self._heard()
                while not await self._lost_within(lost, _CHECK_S):
                    await connection.execute("SELECT 1")
            finally:
                self.connected = False
                connection.terminate()
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the connection to the database was lost")

    async def _lost_within(self, lost: asyncio.Event, seconds: float) -> bool:
        waits = [asyncio.ensure_future(lost.wait()), asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return lost.is_set()

    def _hear(self, *_: object) -> None:
        self._heard()
