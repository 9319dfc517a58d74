"""Gets a price, reads an error, and follows prices through every cut of the connection."""

import asyncio
import os
from pathlib import Path

import grpc

from trinity_client import PriceBook, PriceClient
from trinity_core.errors import TrinityError


def channel() -> grpc.aio.Channel:
    """TLS with a CA, mutual TLS with a certificate too; plain without, for this machine only."""
    address, ca = os.environ["TRINITY_ADDRESS"], os.environ.get("TRINITY_CA")
    if not ca:
        return grpc.aio.insecure_channel(address)
    pair = [
        Path(name).read_bytes() for name in (os.environ.get("TRINITY_CERT_KEY"), os.environ.get("TRINITY_CERT")) if name
    ]
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes(), *pair)
    name = os.environ.get("TRINITY_SERVER_NAME")
    return grpc.aio.secure_channel(address, credentials, [("grpc.ssl_target_name_override", name)] if name else [])


async def main() -> None:
    """Entry point."""
    key = os.environ.get("TRINITY_KEY")
    metadata = [("authorization", f"Bearer {key}")] if key else []
    left = int(os.environ.get("TRINITY_CHANGES", "0"))  # 0: for ever
    async with channel() as link, PriceClient(link, timeout_ms=5_000, metadata=metadata) as client:
        btc = await client.get("BTC", min_sources=1)
        print("price", btc.asset, btc.price, btc.state)

        try:
            await client.get("NOPE")
        except TrinityError as error:
            print("error", error.reason, error.row.code.name, error.retry_after_ms or 0)

        # The book reconnects and resumes by itself; `state` is judged whenever it is read.
        async with PriceBook(link, assets=["BTC", "ETH"], metadata=metadata) as book:
            async for change in book.changes():
                print("change", change.asset, change.price, change.state.name)
                left -= 1
                if left == 0:
                    break


asyncio.run(main())
