"""No delivery ever leads into a network of somebody's own: every spelling, name and trick, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trinity_core.errors import TrinityError
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_urls import Kind, Target, read_url
from trinity_mesh.clock import SystemClock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.sender_config import SenderConfig
from webhook.receiving import ENDPOINT, NAME, POLICY, Receiver, Stage, answering, posting, staged

ADDRESSES = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:53aa:64c::1",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::1", "2002:808:808::1",
    "2620:4f:8000::1", "2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:a00:1", "3ffe::1", "3fff::1", "4000::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "2001:4860:4860::8888%1",
)  # fmt: skip
SPELLINGS = (
    "127.1", "127.0.1", "0x7f.0.0.1", "0x7f000001", "0x7F.1", "017700000001", "0177.0.0.1", "127.0.0.01",
    "2130706433", "127.0.0.1.", "0", "00", "0.0.0.0", "127.0.0.0x1", "1.2.3.0x", "[::ffff:127.0.0.1]", "[::1]",
    "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[::127.0.0.1]", "[fe80::1%25lo]", "[::1%lo]", "①②⑦.⓪.⓪.①",
    "127。0。0。1", "localhost", "LOCALHOST", "localhost.", "a.localhost", "x.internal", "x.local", "intranet",
    "metadata", "a@127.0.0.1", "hooks.acme.example@127.0.0.1", "hooks.acme.example\\@127.0.0.1",
    "hooks.acme.example#@127.0.0.1",
)  # fmt: skip
SYSTEM_SPELLINGS = ("127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "017700000001", "localhost", "0")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as found:
        yield found


@pytest.fixture
async def trap(stage: Stage) -> AsyncIterator[Receiver]:
    """Everything that this machine listens with on one port: nobody may ever come."""
    receiver = Receiver(answering)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(receiver.listening())
        with contextlib.suppress(OSError):
            await stack.enter_async_context(receiver.listening("::1", receiver.port))
        yield receiver


def by_hand(host: str, port: int) -> Target:
    """A target that no check of URLs has seen."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    return Target(Kind.HTTP, f"https://{host}:{port}/", host, port, "/", secure=True, address=address)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("named", [True, False], ids=["name", "literal"])
async def test_an_address_is_refused_before_a_packet_leaves(
    stage: Stage, trap: Receiver, address: str, named: bool
) -> None:
    sender = await stage.sender(policy=AddressPolicy())
    stage.names.answers[NAME] = [[address]]
    sent = await sender.post(ENDPOINT, by_hand(NAME if named else address, trap.port), posting())
    assert sent.outcome is Outcome.ADDRESS_REFUSED
    assert address not in sent.error or address in ("::", "::1", "0.0.0.0")
    assert (sender.dialled, trap.connections) == (0, 0)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_one_refused_address_among_good_ones_refuses_the_name(stage: Stage, address: str) -> None:
    sender = await stage.sender(policy=AddressPolicy())
    stage.names.answers[NAME] = [["8.8.8.8", "2001:4860:4860::8888", address]]
    sent = await sender.post(ENDPOINT, by_hand(NAME, 443), posting())
    assert (sent.outcome, sender.dialled) == (Outcome.ADDRESS_REFUSED, 0)


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_spelling_that_leads_inside_is_no_url(host: str) -> None:
    with pytest.raises(TrinityError):
        read_url(f"https://{host}/", policy=AddressPolicy())


@pytest.mark.parametrize("host", SYSTEM_SPELLINGS)
async def test_what_the_systems_resolver_makes_of_a_spelling_is_refused(trap: Receiver, host: str) -> None:
    found = {str(place[0]) for *_, place in socket.getaddrinfo(host, trap.port, type=socket.SOCK_STREAM)}
    assert found & {"127.0.0.1", "::1", "0.0.0.0"}
    async with HttpsSender(SenderConfig(), policy=AddressPolicy(), clock=SystemClock()) as sender:
        sent = await sender.post(ENDPOINT, by_hand(host, trap.port), posting())
    assert sent.outcome is Outcome.ADDRESS_REFUSED
    assert (sender.dialled, trap.connections) == (0, 0)


@pytest.mark.parametrize("text", ["", "8.8.8.8 ", "127.1", "unix:/run/x.sock", "/run/x.sock", "localhost"])
async def test_what_is_no_address_is_refused(stage: Stage, text: str) -> None:
    sender = await stage.sender()
    stage.names.answers[NAME] = [[text]]
    sent = await sender.post(ENDPOINT, by_hand(NAME, 443), posting())
    assert (sent.outcome, sender.dialled) == (Outcome.ADDRESS_REFUSED, 0)


async def test_a_name_with_too_many_addresses_is_refused(stage: Stage) -> None:
    sender = await stage.sender()
    stage.names.answers[NAME] = [[f"127.0.0.{number}" for number in range(1, 66)]]
    assert (await sender.post(ENDPOINT, by_hand(NAME, 443), posting())).outcome is Outcome.ADDRESS_REFUSED


async def test_networks_of_the_settings_are_refused(stage: Stage, trap: Receiver) -> None:
    policy = AddressPolicy(also_refused=[ipaddress.ip_network("8.8.8.0/24")])
    sender = await stage.sender(policy=policy)
    stage.names.answers[NAME] = [["8.8.8.8"]]
    sent = await sender.post(ENDPOINT, by_hand(NAME, trap.port), posting())
    assert (sent.outcome, sender.dialled) == (Outcome.ADDRESS_REFUSED, 0)
    assert "refused by the settings" in sent.error


async def test_a_name_that_is_rebound_after_its_check_is_not_asked_for_again(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    inside = Receiver(answering, stage.authority.server(NAME))
    await stage.stack.enter_async_context(inside.listening("127.0.0.2", receiver.port))
    stage.names.answers[NAME] = [["127.0.0.1"], ["127.0.0.2"]]
    sender = await stage.sender()
    for _ in range(3):
        assert (await sender.post(ENDPOINT, receiver.target(), posting())).outcome is Outcome.DELIVERED
    assert stage.names.asked == [NAME]
    assert (receiver.connections, inside.connections) == (1, 0)


async def test_a_name_that_leads_inside_by_the_next_connection_is_refused(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    stage.names.answers[NAME] = [["127.0.0.1"], ["10.0.0.1"]]
    sender = await stage.sender(age_ms_max=0)
    assert (await sender.post(ENDPOINT, receiver.target(), posting())).outcome is Outcome.DELIVERED
    assert (await sender.post(ENDPOINT, receiver.target(), posting())).outcome is Outcome.ADDRESS_REFUSED
    assert (sender.dialled, receiver.connections) == (1, 1)


async def test_plain_http_goes_to_this_machine_alone(stage: Stage) -> None:
    receiver = await stage.receiver(answering, tls=False)
    sender = await stage.sender()
    stage.names.answers["localhost"] = [["127.0.0.1"]]
    assert (await sender.post(ENDPOINT, receiver.target("127.0.0.1"), posting())).outcome is Outcome.DELIVERED
    assert (await sender.post(ENDPOINT, receiver.target("localhost"), posting())).outcome is Outcome.DELIVERED
    outside = Target(Kind.HTTP, "", NAME, 80, "/", secure=False, address=None)
    stage.names.answers[NAME] = [["8.8.8.8"]]
    sent = await sender.post(ENDPOINT, outside, posting())
    assert (sent.outcome, sender.dialled) == (Outcome.ADDRESS_REFUSED, 2)


async def test_without_the_setting_not_even_this_machine_is_called(stage: Stage) -> None:
    receiver = await stage.receiver(answering, tls=False)
    sender = await stage.sender(policy=AddressPolicy())
    sent = await sender.post(ENDPOINT, receiver.target("127.0.0.1"), posting())
    assert (sent.outcome, receiver.connections) == (Outcome.ADDRESS_REFUSED, 0)
    with pytest.raises(TrinityError, match="this machine"):
        read_url("http://127.0.0.1:8080/", policy=POLICY)


async def test_a_resolver_that_hangs_holds_up_one_attempt_alone(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    begun, answered = asyncio.Event(), asyncio.Event()

    class Slow:
        async def resolve(self, host: str) -> list[str]:
            if host == NAME:
                return ["127.0.0.1"]
            begun.set()
            await answered.wait()
            return ["10.0.0.1"]

    stage.names = Slow()  # type: ignore[assignment]
    sender = await stage.sender(connect_ms=60_000, total_ms=60_000)
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(sender.post("whe_2", by_hand("slow.example", 443), posting()))
        await begun.wait()
        assert (await sender.post(ENDPOINT, receiver.target(), posting())).outcome is Outcome.DELIVERED
        assert not slow.done()
        answered.set()
    assert slow.result().outcome is Outcome.ADDRESS_REFUSED


async def test_a_resolver_that_never_answers_ends_in_time(stage: Stage) -> None:
    class Silent:
        async def resolve(self, host: str) -> list[str]:
            await asyncio.Event().wait()
            raise AssertionError

    stage.names = Silent()  # type: ignore[assignment]
    sender = await stage.sender(connect_ms=50)
    sent = await sender.post(ENDPOINT, by_hand(NAME, 443), posting())
    assert (sent.outcome, sent.error) == (Outcome.TIMED_OUT, "no connection in time")
