"""Waiting for what comes first: an event, or a time; and for a store that may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock


async def wait_for(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Return when an event is set, or after some time."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def write_behind(
    flush: Callable[[], Awaitable[None]],
    *,
    wake: asyncio.Event,
    gather_s: float,
    clock: Clock,
    backoff: Backoff,
    on_away: Callable[[TrinityError], None],
) -> NoReturn:
    """Write what gathers, until cancelled: some time after each `wake`, and again until it is taken.

    `on_away` is told of the first failure of a row.
    """
    while True:
        await wake.wait()
        await clock.sleep(gather_s)
        wake.clear()
        try:
            await flush()
            backoff.succeeded()
        except TrinityError as error:
            if backoff.failures == 0:
                on_away(error)
            wake.set()
            await clock.sleep(backoff.failed_s())
