"""A bare grpcio handler of GetPrice that answers with one price: no key, no interceptor, no look-up.

python grpc_peer.py aio|sync ADDRESS BODY_FILE
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop
from google.protobuf import json_format

from trinity.price.v1 import price_pb2, price_service_pb2_grpc

THREADS = 8
OPTIONS = (("grpc.so_reuseport", 0),)


class AioPrices(price_service_pb2_grpc.PriceServiceServicer):
    """Answers at once, on the event loop."""

    def __init__(self, price: price_pb2.Price) -> None:
        self._answer = price_pb2.GetPriceResponse(price=price)

    async def GetPrice(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """The one price."""
        return self._answer


class SyncPrices(AioPrices):
    """Answers at once, on a thread."""

    def GetPrice(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """The one price."""
        return self._answer


async def serve_aio(address: str, price: price_pb2.Price) -> None:
    """Serve on an event loop until killed."""
    server = grpc.aio.server(options=OPTIONS)
    price_service_pb2_grpc.add_PriceServiceServicer_to_server(AioPrices(price), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until killed."""
    kind, address, body = sys.argv[1:]
    price = json_format.Parse(Path(body).read_text("utf-8"), price_pb2.Price())
    if kind == "aio":
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_aio(address, price))
    server = grpc.server(ThreadPoolExecutor(THREADS), options=OPTIONS)
    price_service_pb2_grpc.add_PriceServiceServicer_to_server(SyncPrices(price), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
