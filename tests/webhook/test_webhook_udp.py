"""Datagrams over real sockets: prices to who renews, messages until confirmed, silence to everybody else."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest

from trinity_client.webhook_datagrams import DatagramReceiver
from trinity_core.errors import TrinityError
from trinity_core.prices import State
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_payload import challenge_body
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Change
from trinity_core.webhook_secrets import Scheme, SecretValue
from trinity_core.webhook_ticks import Item
from trinity_core.webhook_urls import read_url
from trinity_webhook.sending import challenge_answer
from trinity_webhook.udp_config import UdpSenderConfig
from trinity_webhook.udp_sender import UdpSender
from webhook.listening import NOW_S, SECRET, Listener
from webhook.receiving import ENDPOINT, POLICY, Names, until

OLD = SecretValue(Scheme.V1, bytes(range(1, 33)))


class StillClock:
    """Time by hand; nobody who sleeps wakes up."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return NOW_S * 10**9

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class Pushing:
    """A sender, its clock, and listeners."""

    def __init__(self, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self.stack = stack
        self.group = group
        self.clock = StillClock()
        self.names = Names({})

    async def listener(self, *keys: str, address: str = "127.0.0.1", port: int = 0) -> Listener:
        made = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Listener(*keys), local_addr=(address, port)
        )
        self.stack.callback(made[0].abort)
        return made[1]

    async def sender(self, policy: AddressPolicy = POLICY, **settings: Any) -> UdpSender:
        return await self.stack.enter_async_context(
            UdpSender(
                UdpSenderConfig(**settings),
                policy=policy,
                clock=self.clock,
                random_bytes=random.Random(1).randbytes,
                resolver=self.names,
            )
        )

    async def turn(self, sender: UdpSender, seconds: float = 0) -> None:
        """Let time pass and what is due be done."""
        self.clock.now_ns += int(seconds * 1e9)
        async with asyncio.TaskGroup() as group:
            sender.turn(group)
        async with asyncio.TaskGroup() as group:
            sender.turn(group)

    async def live(self, listener: Listener, **settings: Any) -> UdpSender:
        """A sender whose flow to a listener is renewed."""
        sender = await self.sender(**settings)
        sender.hold(ENDPOINT, listener.target(), [SECRET.data])
        await self.turn(sender)
        await until(lambda: sender.is_live(ENDPOINT))
        return sender


@pytest.fixture
async def pushing() -> AsyncIterator[Pushing]:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        yield Pushing(stack, group)


def items(count: int = 1) -> Sequence[Item]:
    return [
        Item(
            Change(
                f"A{number}", Decimal("67000.10"), State.DELAYED, Decimal(1), Decimal(1), (), 42 + number, 5, None, 99
            ),
            3,
        )
        for number in range(count)
    ]


async def test_prices_reach_who_renews(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener)
    assert sender.take_renewed() == {ENDPOINT: NOW_S * 10**9}
    assert sender.take_renewed() == {}
    assert sender.push_ticks(ENDPOINT, items(30)).outcome is Outcome.DELIVERED
    await until(lambda: sum(len(push.prices) for push in listener.pushes) == 30)
    price = listener.pushes[1].prices[0]
    assert (price.asset, price.price, price.state, price.sequence, price.epoch) == (
        "A0", Decimal("67000.10"), State.DELAYED, 42, 5,
    )  # fmt: skip
    assert (price.skipped, price.receive_time_ns, price.venue_time_ns) == (3, 99, None)
    assert {push.missed for push in listener.pushes} == {0}


async def test_nothing_but_heartbeats_goes_to_who_does_not_renew(pushing: Pushing) -> None:
    listener = await pushing.listener()
    listener.answers = False
    sender = await pushing.sender()
    sender.hold(ENDPOINT, listener.target(), [SECRET.data])
    for _ in range(600):
        await pushing.turn(sender, 1)
        assert sender.push_ticks(ENDPOINT, items(30)).outcome is Outcome.NO_RECEIPT
        assert (await sender.push_message(ENDPOINT, "msg_1", b"{}")).outcome is Outcome.NO_RECEIPT
    assert sender.sent <= 16
    await until(lambda: len(listener.raw) == sender.sent)
    assert all(data.startswith(b"TBW1 BEAT ") and len(data) < 200 for data in listener.raw)


async def test_a_flow_stops_a_minute_after_the_last_renewal(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener)
    listener.answers = False
    pushing.clock.now_ns += 59 * 10**9
    assert sender.push_ticks(ENDPOINT, items()).outcome is Outcome.DELIVERED
    pushing.clock.now_ns += 10**9
    sent = sender.push_ticks(ENDPOINT, items())
    assert (sent.outcome, "renewed" in sent.error) == (Outcome.NO_RECEIPT, True)
    listener.answers = True
    await pushing.turn(sender, 60)
    await until(lambda: sender.is_live(ENDPOINT))


async def test_a_name_that_moves_takes_no_flow_along(pushing: Pushing) -> None:
    listener = await pushing.listener()
    victim = await pushing.listener(address="127.0.0.2", port=listener.port)
    victim.answers = False
    pushing.names.answers["push.acme.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    sender = await pushing.sender()
    target = read_url(f"udp://push.acme.example:{listener.port}", policy=POLICY, loopback=True)
    sender.hold(ENDPOINT, target, [SECRET.data])
    await pushing.turn(sender)
    await until(lambda: sender.is_live(ENDPOINT))
    await pushing.turn(sender, 60)
    assert not sender.is_live(ENDPOINT)
    assert sender.push_ticks(ENDPOINT, items()).outcome is Outcome.NO_RECEIPT
    await until(lambda: len(victim.raw) >= 1)
    # Its owner knows the secret, reads the token nowhere, and renews from another address: in vain.
    heard = DatagramReceiver([SECRET.text]).receive(victim.raw[-1], now_s=NOW_S)
    sent = sender.dropped["stranger"]
    listener.transport.sendto(heard.reply, victim.senders[-1])
    await until(lambda: sender.dropped["stranger"] == sent + 1)
    assert not sender.is_live(ENDPOINT)


async def test_a_renewal_with_a_token_of_before_or_another_secret_is_nothing(pushing: Pushing) -> None:
    listener = await pushing.listener()
    listener.answers = False
    sender = await pushing.sender()
    sender.hold(ENDPOINT, listener.target(), [SECRET.data])
    await pushing.turn(sender)
    await until(lambda: len(listener.pushes) == 1)
    reply, to = listener.pushes[0].reply, listener.senders[0]
    listener.transport.sendto(reply[:-1] + (b"0" if reply[-1:] != b"0" else b"1"), to)
    await until(lambda: sender.dropped["mac"] == 1)
    listener.transport.sendto(b"TBW1 nonsense", to)
    await until(lambda: sender.dropped["malformed"] == 1)
    assert not sender.is_live(ENDPOINT)
    listener.transport.sendto(reply, to)
    await until(lambda: sender.is_live(ENDPOINT))
    listener.transport.sendto(reply, to)
    await until(lambda: sender.dropped["token"] == 1)


async def test_a_message_is_sent_until_it_is_confirmed_under_one_id(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener, receipt_ms=2_000)
    listener.lose = 1
    sent = await sender.push_message(ENDPOINT, "msg_1", b'{"type":"alert.crossing"}')
    assert (sent.outcome, sent.error) == (Outcome.DELIVERED, "")
    messages = [data for data in listener.raw if b" POST " in data]
    assert len(messages) == 2
    assert messages[0] == messages[1]
    assert [(push.message, push.body) for push in listener.pushes if push.message] == [
        ("msg_1", {"type": "alert.crossing"})
    ]


async def test_a_message_that_nobody_confirms_is_not_delivered(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener, receipt_ms=100)
    listener.answers = False
    sent = await sender.push_message(ENDPOINT, "msg_1", b"{}")
    assert sent.outcome is Outcome.NO_RECEIPT
    await until(lambda: sum(b" POST " in data for data in listener.raw) == 3)
    assert {push.message for push in listener.pushes if push.message} == {"msg_1"}


async def test_a_receipt_of_another_message_or_address_confirms_nothing(pushing: Pushing) -> None:
    listener, stranger = await pushing.listener(), await pushing.listener()
    sender = await pushing.live(listener, receipt_ms=500)
    listener.answers = False
    task = asyncio.create_task(sender.push_message(ENDPOINT, "msg_1", b"{}"))
    await until(lambda: any(push.message for push in listener.pushes))
    push = next(push for push in listener.pushes if push.message)
    stranger.transport.sendto(push.reply, listener.senders[-1])
    listener.transport.sendto(push.reply.replace(b"i=msg_1", b"i=msg_2"), listener.senders[-1])
    await until(lambda: sender.dropped["stranger"] == 2)
    assert (await task).outcome is Outcome.NO_RECEIPT


async def test_a_challenge_is_answered_by_its_receiver(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.sender()
    body = challenge_body(endpoint=ENDPOINT, challenge="abc-_=", at_ns=0)
    sent = await sender.challenge(ENDPOINT, listener.target(), [SECRET.data], "msg_1", body)
    assert (sent.outcome, challenge_answer(sent)) == (Outcome.DELIVERED, "abc-_=")
    assert json.loads(body)["data"]["challenge"] == listener.pushes[0].body["data"]["challenge"]


async def test_a_challenge_to_an_address_inside_never_leaves(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.sender(policy=AddressPolicy())
    sent = await sender.challenge(ENDPOINT, listener.target(), [SECRET.data], "msg_1", b"{}")
    assert (sent.outcome, challenge_answer(sent), sender.sent) == (Outcome.ADDRESS_REFUSED, "", 0)


async def test_a_name_that_leads_inside_ends_the_flow(pushing: Pushing) -> None:
    listener = await pushing.listener()
    pushing.names.answers["push.acme.example"] = [["127.0.0.1"], ["10.0.0.1"]]
    sender = await pushing.sender()
    target = read_url(f"udp://push.acme.example:{listener.port}", policy=POLICY, loopback=True)
    sender.hold(ENDPOINT, target, [SECRET.data])
    await pushing.turn(sender)
    await until(lambda: sender.is_live(ENDPOINT))
    await pushing.turn(sender, 60)
    sent = sender.sent
    assert sender.push_ticks(ENDPOINT, items()).outcome is Outcome.ADDRESS_REFUSED
    assert sender.sent == sent


async def test_either_secret_of_a_rotation_reads_and_renews(pushing: Pushing) -> None:
    listener = await pushing.listener(OLD.text)
    sender = await pushing.sender()
    sender.hold(ENDPOINT, listener.target(), [SECRET.data, OLD.data])
    await pushing.turn(sender)
    await until(lambda: sender.is_live(ENDPOINT))
    sender.hold(ENDPOINT, listener.target(), [SECRET.data])
    assert sender.is_live(ENDPOINT)
    sender.push_ticks(ENDPOINT, items())
    await until(lambda: len(listener.refused) == 1)


async def test_what_is_forgotten_hears_nothing_more(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener)
    sender.forget(ENDPOINT)
    sent = sender.sent
    await pushing.turn(sender, 300)
    assert (sender.sent, sender.is_live(ENDPOINT), sender.take_renewed()) == (sent, False, {})


async def test_endpoints_beyond_the_bound_or_without_a_secret_are_refused(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.sender(flows_max=1)
    sender.hold(ENDPOINT, listener.target(), [SECRET.data])
    with pytest.raises(ValueError, match="1 UDP endpoints are held already"):
        sender.hold("whe_2", listener.target(), [SECRET.data])
    with pytest.raises(ValueError, match="v1 secret"):
        sender.hold(ENDPOINT, listener.target(), [])


async def test_a_receiver_counts_what_it_missed_and_takes_nothing_twice(pushing: Pushing) -> None:
    listener = await pushing.listener()
    sender = await pushing.live(listener)
    listener.lose = 2
    for _ in range(3):
        sender.push_ticks(ENDPOINT, items())
    await until(lambda: len(listener.raw) == 4)
    assert [push.missed for push in listener.pushes] == [0, 2]
    for data in (listener.raw[-1], listener.raw[1]):
        with pytest.raises(TrinityError, match="overtaken"):
            listener.receiver.receive(data, now_s=NOW_S)
    with pytest.raises(TrinityError, match="further than 300 s"):
        DatagramReceiver([SECRET.text]).receive(listener.raw[-1], now_s=NOW_S + 301)
