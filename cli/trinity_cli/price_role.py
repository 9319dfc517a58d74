"""The price service as a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trinity_mesh.clock import SystemClock
from trinity_mesh.config import load
from trinity_mesh.process import Ready, run_process
from trinity_price.config import PriceConfig
from trinity_price.main import run

SECTION = "price"
"""Configuration section of this part; its environment variables begin with TRINITY_PRICE_."""


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None) -> int:
    """Run the price service as this process; returns its exit code."""

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(PriceConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)
