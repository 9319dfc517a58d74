"""What sends works on the loop that processes run on, too: errors and closings differ between loops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from trinity_core.webhook_retry import Outcome
from trinity_mesh.clock import SystemClock
from trinity_webhook.udp_config import UdpSenderConfig
from trinity_webhook.udp_sender import UdpSender
from webhook.receiving import ENDPOINT, NAME, OK, POLICY, Names, Peer, Stage, answering, posting, saying, staged, until
from webhook.test_webhook_udp import SECRET, Listener

Act = Callable[[Stage], Coroutine[Any, Any, None]]


async def keeps(stage: Stage) -> None:
    receiver, sender = await stage.receiver(answering), await stage.sender()
    sent = [await sender.post(ENDPOINT, receiver.target(), posting()) for _ in range(3)]
    assert [(each.outcome, each.reused) for each in sent] == [
        (Outcome.DELIVERED, False),
        (Outcome.DELIVERED, True),
        (Outcome.DELIVERED, True),
    ]


async def another_name(stage: Stage) -> None:
    receiver = await stage.receiver(answering, "other.example")
    sent = await (await stage.sender()).post(ENDPOINT, receiver.target(), posting())
    assert (sent.outcome, "Hostname mismatch" in sent.error) == (Outcome.TLS_FAILED, True)


async def expired(stage: Stage) -> None:
    receiver = await stage.receiver(answering, expired=True)
    sent = await (await stage.sender()).post(ENDPOINT, receiver.target(), posting())
    assert (sent.outcome, "expired" in sent.error) == (Outcome.TLS_FAILED, True)


async def no_tls(stage: Stage) -> None:
    plain = await stage.receiver(lambda peer: peer.send(OK), tls=False)
    plain.context = stage.authority.server(NAME)
    sent = await (await stage.sender()).post(ENDPOINT, plain.target(), posting())
    assert sent.outcome in (Outcome.TLS_FAILED, Outcome.NOT_CONNECTED)


async def refused(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    async with receiver.listening() as gone:
        target = gone.target()
    sent = await (await stage.sender()).post(ENDPOINT, target, posting())
    assert (sent.outcome, sent.error) == (Outcome.NOT_CONNECTED, "the connection was refused")


async def stale(stage: Stage) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        peer.writer.transport.abort()

    receiver, sender = await stage.receiver(once), await stage.sender()
    sent = [await sender.post(ENDPOINT, receiver.target(), posting()) for _ in range(2)]
    assert [(each.outcome, each.stale) for each in sent] == [(Outcome.DELIVERED, False), (Outcome.NOT_CONNECTED, True)]
    assert (receiver.connections, len(receiver.requests)) == (1, 2)


async def slow(stage: Stage) -> None:
    sent = await stage.post(saying(b"HTTP/1.1 200 OK\r\nx: ", close=False), total_ms=200)
    assert sent.outcome is Outcome.TIMED_OUT


async def cancelled(stage: Stage) -> None:
    asked = asyncio.Event()

    async def hang(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.request()

    receiver, sender = await stage.receiver(hang), await stage.sender(in_flight_max=1)
    task = asyncio.create_task(sender.post(ENDPOINT, receiver.target(), posting()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    good = await stage.receiver(answering)
    assert (await sender.post(ENDPOINT, good.target(), posting())).outcome is Outcome.DELIVERED


async def datagrams(stage: Stage) -> None:
    listener: Listener
    transport, listener = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Listener(), local_addr=("127.0.0.1", 0)
    )
    stage.stack.callback(transport.abort)
    draw = random.Random(1).randbytes
    sender = UdpSender(UdpSenderConfig(), policy=POLICY, clock=SystemClock(), random_bytes=draw, resolver=Names({}))
    listener.now_s = lambda: SystemClock().unix_ns() // 10**9
    async with sender:
        sender.hold(ENDPOINT, listener.target(), [SECRET.data])
        await until(lambda: sender.is_live(ENDPOINT))
        assert (await sender.push_message(ENDPOINT, "msg_1", b"{}")).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    "act",
    [keeps, another_name, expired, no_tls, refused, stale, slow, cancelled, datagrams],
    ids=lambda act: act.__name__,
)
def test_it_works_on_uvloop_as_well(act: Act, tmp_path: Path) -> None:
    async def play() -> None:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        async with staged(tmp_path) as stage:
            await act(stage)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
