"""A replica of prices on another host, as an operator's program has it: prints each state of one price, and when.

    python price_watcher.py ADDRESS CERTS ASSET

ADDRESS is where the price service answers other machines, CERTS the folder with the operator's certificate.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from trinity.price.v1 import price_pb2
from trinity_cli.certificate_folder import CertificateFolder
from trinity_client import PriceBook
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.identity import OPERATOR, Identity
from trinity_mesh.tls_config import TlsConfig


async def watch(address: str, certs: Path, asset: str) -> None:
    def told(price: price_pb2.Price) -> None:
        seen = {"state": price_pb2.State.Name(price.state), "monotonic": time.monotonic()}
        sys.stdout.write(f"{json.dumps(seen)}\n")
        sys.stdout.flush()

    config = TlsConfig(**CertificateFolder(certs).tls(OPERATOR))
    async with Identity(config, service=OPERATOR, clock=SystemClock()) as identity:
        channel = open_channel(address, identity=identity, service="price")
        async with channel, PriceBook(channel, assets=[asset], on_change=told):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
