"""A sync as a process that a test may kill: `python sync_process.py POSTGRES_URL VALKEY_URL full|change`."""

from __future__ import annotations

import asyncio
import sys

from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig
from trinity_sync.config import SyncConfig
from trinity_sync.main import opened


async def main() -> None:
    config = SyncConfig(
        postgres=PostgresConfig(url=sys.argv[1]), valkey=ValkeyConfig(url=sys.argv[2], timeout_ms=20_000)
    )
    async with opened(config, clock=SystemClock()) as syncing:
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        await syncing.once(full=sys.argv[3] == "full")
        sys.stdout.write("done\n")


if __name__ == "__main__":
    asyncio.run(main())
