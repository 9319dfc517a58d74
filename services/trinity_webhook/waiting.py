"""Waiting for what comes first: an event, or a time."""

from __future__ import annotations

import asyncio

from trinity_mesh.clock import Clock


async def wait_for(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Return when an event is set, or after some time."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
