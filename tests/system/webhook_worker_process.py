"""A webhook worker as a process of its own, with a quick schedule; endpoints under /wrong are served wrongly.

For those what is to be sent counts as delivered before it is sent, which is what an engine without
an outbox does: it shows that the test would see a lost alert.

    python webhook_worker_process.py READY_FILE
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_payload import Message
from trinity_core.webhook_retry import Outcome, RetryPolicy
from trinity_core.webhook_ticks import Item
from trinity_core.webhooks import Delivery
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import load
from trinity_mesh.process import Ready, run_process
from trinity_webhook import worker
from trinity_webhook.lanes import Lane
from trinity_webhook.senders import Courier, opened_senders
from trinity_webhook.sending import Sent
from trinity_webhook.signing import Signing
from trinity_webhook.worker_config import WebhookWorkerConfig

QUICK = RetryPolicy(delays_s=(0, *(1,) * 60))
DONE = Sent(outcome=Outcome.DELIVERED, status=200)


class Wrong:
    """Implements Courier."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._tasks: set[asyncio.Task[Sent]] = set()

    async def ticks(self, lane: Lane, items: Sequence[Item], message: Message) -> Sent:
        return await self._courier.ticks(lane, items, message)

    async def deliver(self, lane: Lane, delivery: Delivery) -> Sent:
        if not lane.target.path.startswith("/wrong"):
            return await self._courier.deliver(lane, delivery)
        task = asyncio.create_task(self._courier.deliver(lane, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return DONE

    def follow(self, lanes: Mapping[str, Lane]) -> None:
        self._courier.follow(lanes)

    def take_renewed(self) -> Mapping[str, int]:
        return self._courier.take_renewed()


@contextlib.asynccontextmanager
async def wrong_ones_too(
    config: WebhookWorkerConfig, policy: AddressPolicy, signing: Signing, clock: Clock
) -> AsyncIterator[Courier]:
    async with opened_senders(config, policy, signing, clock) as courier:
        yield Wrong(courier)


async def part(stopping: asyncio.Event, ready: Ready) -> None:
    config = load(WebhookWorkerConfig, section=worker.SECTION, values={}, environ=os.environ)
    await worker.run(config, clock=SystemClock(), stopping=stopping, ready=ready, senders=wrong_ones_too, retry=QUICK)


if __name__ == "__main__":
    sys.exit(run_process(part, name="webhook_worker", ready_file=Path(sys.argv[1])))
