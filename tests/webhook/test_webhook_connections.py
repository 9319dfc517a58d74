"""Connections are kept and let go by rule, and no message goes out twice in one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from trinity_core.webhook_retry import Outcome
from trinity_webhook.https_sender import HttpsSender
from webhook.receiving import (
    ENDPOINT,
    OK,
    Peer,
    Receiver,
    Script,
    Stage,
    answering,
    posting,
    saying,
    staged,
    until,
)


class HandClock:
    """Durations by hand."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return 1_767_322_800 * 10**9

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as found:
        yield found


async def post(sender: HttpsSender, receiver: Receiver, endpoint: str = ENDPOINT, message: str = "msg_1") -> Any:
    return await sender.post(endpoint, receiver.target(), posting(message))


def once(*, then: Script) -> Script:
    """Answer one request well; what comes then is told by another script."""

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await then(peer)

    return play


async def test_one_connection_serves_many_attempts(stage: Stage) -> None:
    receiver, sender = await stage.receiver(answering), await stage.sender()
    results = [await post(sender, receiver, message=f"msg_{number}") for number in range(20)]
    assert [sent.reused for sent in results] == [False] + [True] * 19
    assert (receiver.connections, sender.opened, sender.idle) == (1, 1, 1)
    assert [fields["webhook-id"] for _, fields, _ in receiver.requests] == [f"msg_{number}" for number in range(20)]


async def test_endpoints_do_not_share_connections(stage: Stage) -> None:
    receiver, sender = await stage.receiver(answering), await stage.sender()
    await post(sender, receiver)
    assert not (await post(sender, receiver, endpoint="whe_2")).reused
    assert receiver.connections == 2


@pytest.mark.parametrize("field", [b"connection: close", b"keep-alive: timeout=1", b"keep-alive: max=5, timeout=0"])
async def test_a_server_may_say_that_it_closes(stage: Stage, field: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n%b\r\n\r\n" % field
    receiver, sender = await stage.receiver(saying(answer, close=False)), await stage.sender()
    for _ in range(2):
        assert (await post(sender, receiver)).outcome is Outcome.DELIVERED
    assert (receiver.connections, sender.idle) == (2, 0)


async def test_a_connection_is_not_used_beyond_its_idle_time(stage: Stage) -> None:
    clock = HandClock()
    receiver, sender = await stage.receiver(answering), await stage.sender(clock=clock, idle_ms=4_000)
    await post(sender, receiver)
    clock.now_ns += 3_999 * 10**6
    assert (await post(sender, receiver)).reused
    clock.now_ns += 4_000 * 10**6
    assert not (await post(sender, receiver)).reused
    assert receiver.connections == 2


async def test_a_connection_is_not_used_beyond_its_age_however_busy(stage: Stage) -> None:
    clock = HandClock()
    receiver, sender = await stage.receiver(answering), await stage.sender(clock=clock, age_ms_max=10_000)
    for _ in range(6):
        await post(sender, receiver)
        clock.now_ns += 2_500 * 10**6
    assert receiver.connections == 2
    assert len(stage.names.asked) == 2


async def test_idle_connections_are_bounded_by_endpoint_and_in_all(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    sender = await stage.sender(idle_per_endpoint_max=2, idle_max=3)
    for endpoint in ("whe_1", "whe_2"):
        await asyncio.gather(*(post(sender, receiver, endpoint=endpoint) for _ in range(5)))
        assert sender.idle <= 3
    assert sender.idle == 3
    assert receiver.connections == 10


async def test_attempts_under_way_are_bounded(stage: Stage) -> None:
    busiest = busy = 0

    async def counting(peer: Peer) -> None:
        nonlocal busiest, busy
        while True:
            await peer.request()
            busy += 1
            busiest = max(busiest, busy)
            await asyncio.sleep(0)
            busy -= 1
            await peer.send(OK)

    receiver, sender = await stage.receiver(counting), await stage.sender(in_flight_max=3)
    results = await asyncio.gather(*(post(sender, receiver) for _ in range(20)))
    assert {sent.outcome for sent in results} == {Outcome.DELIVERED}
    assert busiest <= 3
    assert receiver.connections <= 3


async def test_a_connection_that_was_closed_meanwhile_is_replaced_before_anything_is_sent(stage: Stage) -> None:
    kept = asyncio.Event()

    async def close(peer: Peer) -> None:
        await kept.wait()
        peer.writer.transport.abort()

    receiver, sender = await stage.receiver(once(then=close)), await stage.sender()
    await post(sender, receiver)
    (pooled,) = sender._pool._idle.values()
    kept.set()
    await until(lambda: not pooled.connection.is_open)
    sent = await post(sender, receiver, message="msg_2")
    assert (sent.outcome, sent.reused, sent.stale) == (Outcome.DELIVERED, False, False)
    assert [fields["webhook-id"] for _, fields, _ in receiver.requests] == ["msg_1", "msg_2"]


async def test_a_request_that_went_into_a_closing_connection_is_told_and_not_sent_again(stage: Stage) -> None:
    async def take_and_close(peer: Peer) -> None:
        await peer.request()
        peer.writer.transport.abort()

    receiver, sender = await stage.receiver(once(then=take_and_close)), await stage.sender()
    await post(sender, receiver)
    sent = await post(sender, receiver, message="msg_2")
    assert (sent.outcome, sent.reused, sent.stale) == (Outcome.NOT_CONNECTED, True, True)
    assert sent.error == "the connection was closed without an answer"
    assert [fields["webhook-id"] for _, fields, _ in receiver.requests] == ["msg_1", "msg_2"]
    assert receiver.connections == 1
    again = await post(sender, receiver, message="msg_2")
    assert (again.outcome, again.reused) == (Outcome.DELIVERED, False)


async def test_a_new_connection_that_closes_is_not_called_stale(stage: Stage) -> None:
    receiver, sender = await stage.receiver(saying()), await stage.sender()
    sent = await post(sender, receiver)
    assert (sent.outcome, sent.stale, len(receiver.requests)) == (Outcome.NOT_CONNECTED, False, 1)


async def test_an_answer_that_nobody_asked_for_is_never_the_next_ones(stage: Stage) -> None:
    planted = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nplanted"
    receiver, sender = await stage.receiver(saying(OK + planted, close=False)), await stage.sender()
    assert (await post(sender, receiver)).answer == b"ok"
    assert sender.idle == 0
    kept = asyncio.Event()

    async def plant(peer: Peer) -> None:
        await kept.wait()
        await peer.send(planted)

    late = await stage.receiver(once(then=plant))
    await post(sender, late, endpoint="whe_2")
    (pooled,) = sender._pool._idle.values()
    kept.set()
    await until(lambda: not pooled.connection.is_open)
    assert (await post(sender, late, endpoint="whe_2")).answer == b"ok"
    assert late.connections == 2


async def test_a_cancelled_attempt_leaves_nothing_behind(stage: Stage) -> None:
    asked = asyncio.Event()

    async def hang(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.request()

    receiver, sender = await stage.receiver(hang), await stage.sender(in_flight_max=1)
    task = asyncio.create_task(post(sender, receiver))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sender.idle == 0
    good = await stage.receiver(answering)
    assert (await post(sender, good)).outcome is Outcome.DELIVERED


async def test_an_attempt_cancelled_while_it_connects_leaves_nothing_behind(stage: Stage) -> None:
    connected = asyncio.Event()

    async def silent(peer: Peer) -> None:
        connected.set()
        await peer.reader.read()

    receiver, sender = await stage.receiver(silent, tls=False), await stage.sender(in_flight_max=1)
    receiver.context = stage.authority.server("x.example")  # only for the scheme of its URL
    task = asyncio.create_task(post(sender, receiver))
    await connected.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    good = await stage.receiver(answering)
    assert (await post(sender, good)).outcome is Outcome.DELIVERED


async def test_what_is_forgotten_is_closed(stage: Stage) -> None:
    ended = asyncio.Event()

    async def until_the_end(peer: Peer) -> None:
        try:
            await answering(peer)
        finally:
            ended.set()

    receiver, sender = await stage.receiver(until_the_end), await stage.sender()
    await post(sender, receiver)
    sender.forget("whe_other")
    assert sender.idle == 1
    sender.forget(ENDPOINT)
    assert sender.idle == 0
    await ended.wait()
