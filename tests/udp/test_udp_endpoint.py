"""The endpoint on real sockets: both families, batches, look-ups, errors of the network, a port that is taken."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from price.virtual_clock import until
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_udp.config import UdpConfig
from trinity_udp.drops import Drop
from trinity_udp.endpoint import Endpoint
from trinity_udp.lookups import Lookup
from trinity_udp.main import make_price_endpoint
from udp.counter import ASSETS, Shelf, make_price

IP_RECVERR = 11
"""Linux: report ICMP errors on an unconnected socket (linux/in.h); Python has no name for it."""


@asynccontextmanager
async def serving(
    shelf: Shelf, *, lookup: Lookup[str, price_pb2.Price] | None = None, **settings: Any
) -> AsyncIterator[Endpoint]:
    config = UdpConfig(**{"listen": ("127.0.0.1:0",), **settings})
    async with make_price_endpoint(
        config=config, replica=shelf, assets=ASSETS, lookup=lookup, clock=SystemClock()
    ) as endpoint:
        yield endpoint


class Peer:
    """A client's socket."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.server = (host.strip("[]"), int(port))
        self.socket = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("::1" if "[" in host else "127.0.0.1", 0))

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.server)

    async def receive(self) -> bytes:
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_536)

    async def ask(self, datagram: bytes) -> bytes:
        self.send(datagram)
        return await self.receive()


@pytest.fixture
def peer() -> Any:
    peers: list[Peer] = []

    def make(endpoint: Endpoint, number: int = 0) -> Peer:
        peers.append(Peer(endpoint.addresses[number]))
        return peers[-1]

    yield make
    for one in peers:
        one.socket.close()


Peers = Callable[..., Peer]


async def test_a_price_is_asked_for_and_answered_over_ipv4(shelf: Shelf, peer: Peers) -> None:
    async with serving(shelf) as endpoint:
        assert await peer(endpoint).ask(b"GET BTC USD") == b"OK BTC 67000.10 USD F\n"


async def test_a_price_is_asked_for_and_answered_over_ipv6(shelf: Shelf, peer: Peers) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with serving(shelf, listen=("127.0.0.1:0", "[::1]:0")) as endpoint:
        if len(endpoint.addresses) < 2:
            pytest.skip("this machine has no IPv6 loopback")
        assert await peer(endpoint, 1).ask(b"GET BTC USD id=6") == b"OK 6 BTC 67000.10 USD 1767322800 6 F\n"


async def test_garbage_is_counted_and_the_next_query_answered(shelf: Shelf, peer: Peers) -> None:
    async with serving(shelf) as endpoint:
        client = peer(endpoint)
        for garbage in (b"", b"\x00" * 100, b"G" * 9_000, b"\xf1\x00", b"OK 1 BTC 1 USD 1 1 F\n", b"FROB"):
            client.send(garbage)
        assert await client.ask(b"PING id=last") == b"OK last PONG\n"
        dropped = {reason for reason, count in endpoint.tally.dropped.items() if count}
        assert dropped == {
            Drop.EMPTY,
            Drop.UNKNOWN_FIRST_BYTE,
            Drop.TOO_LARGE,
            Drop.BAD_BINARY,
            Drop.RESPONSE,
            Drop.UNKNOWN_COMMAND,
        }
        counts = endpoint.tally.as_mapping()
        assert (counts["received"], counts["replied"], counts["dropped.too_large"]) == (7, 1, 1)
        assert counts["bytes_out"] == 13


async def test_more_datagrams_than_a_batch_are_all_answered(shelf: Shelf, peer: Peers) -> None:
    async with serving(shelf, batch_max=4) as endpoint:
        client = peer(endpoint)
        for number in range(50):
            client.send(b"PING id=%d" % number)
        answers = [await client.receive() for _ in range(50)]
        assert answers == [b"OK %d PONG\n" % number for number in range(50)]


async def test_what_the_replica_lacks_is_asked_for_once_and_answered_to_all(shelf: Shelf, peer: Peers) -> None:
    asked, go = list[str](), asyncio.Event()

    async def lookup(asset: str, /) -> Any:
        asked.append(asset)
        await go.wait()
        return make_price(asset, "150.25", sandbox=True)

    async with serving(shelf, lookup=lookup) as endpoint:
        clients = [peer(endpoint) for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(b"GET SOL USD id=%d" % number)
        await until(lambda: endpoint.tally.looked_up == 5)
        go.set()
        answers = [await client.receive() for client in clients]
        assert answers == [b"OK %d SOL 150.25 USD 1767322800 6 F*\n" % number for number in range(5)]
        assert asked == ["SOL"]


async def test_without_a_service_the_answer_is_an_error_at_once(shelf: Shelf, peer: Peers) -> None:
    async with serving(shelf) as endpoint:
        assert await peer(endpoint).ask(b"GET SOL USD") == b"ERR - NO_PRICE\n"


async def test_a_service_that_says_why_is_quoted(shelf: Shelf, peer: Peers) -> None:
    async def lookup(asset: str, /) -> Any:
        raise TrinityError(Reason.VENUE_UNAVAILABLE, "no venue answers")

    async with serving(shelf, lookup=lookup) as endpoint:
        assert await peer(endpoint).ask(b"GET SOL USD id=1") == b"ERR 1 VENUE_UNAVAILABLE\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports ICMP errors on an unconnected socket")
@pytest.mark.parametrize("batched", [True, False])
async def test_a_peer_that_is_gone_does_not_stop_the_endpoint(batched: bool, shelf: Shelf, peer: Peers) -> None:
    async with serving(shelf, batched=batched) as endpoint:
        endpoint._sockets[0].setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        for _ in range(20):
            gone = peer(endpoint)
            gone.send(b"PING")
            gone.socket.close()
        client = peer(endpoint)
        # An answer may itself be lost to the error that an earlier one left behind, as any datagram may.
        for _ in range(50):
            client.send(b"PING id=here")
        assert await client.receive() == b"OK here PONG\n"
        tally = endpoint.tally
        # In a batch the system tells an error of the past only where the first datagram meets it.
        assert batched or tally.dropped[Drop.SEND_FAILED] + tally.dropped[Drop.RECEIVE_FAILED] > 0


async def test_an_error_of_ours_costs_one_datagram(shelf: Shelf, peer: Peers, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Shelf):
        def get(self, asset: str) -> Any:
            if asset == "BTC":
                raise ZeroDivisionError("a bug")
            return super().get(asset)

    async with serving(Broken(shelf.prices)) as endpoint:
        client = peer(endpoint)
        client.send(b"GET BTC USD")
        assert await client.ask(b"GET ETH USD") == b"OK ETH 3000.5 USD F*\n"
        assert endpoint.tally.dropped[Drop.INTERNAL] == 1
    assert "unforeseen" in caplog.text


async def test_a_port_that_is_taken_is_named(shelf: Shelf) -> None:
    async with serving(shelf) as endpoint:
        with pytest.raises(TrinityError, match=endpoint.addresses[0]) as caught:
            async with serving(shelf, listen=endpoint.addresses):
                pass
        assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_workers_may_share_a_port_when_told_to(shelf: Shelf, peer: Peers) -> None:
    async with (
        serving(shelf, reuse_port=True) as one,
        serving(shelf, reuse_port=True, listen=one.addresses) as other,
    ):
        answers = [await peer(one).ask(b"PING") for _ in range(30)]
        assert answers == [b"OK - PONG\n"] * 30
        assert one.tally.replied + other.tally.replied == 30


async def test_an_address_that_is_none_is_refused_with_an_example(shelf: Shelf) -> None:
    for text in ("2679", "localhost", "127.0.0.1:port"):
        with pytest.raises(TrinityError, match=r"127\.0\.0\.1:2679"):
            async with serving(shelf, listen=(text,)):
                pass


async def test_after_closing_nothing_listens(shelf: Shelf) -> None:
    async with serving(shelf) as endpoint:
        address = endpoint.addresses[0]
    assert endpoint.addresses == ()
    async with serving(shelf, listen=(address,)) as again:
        assert again.addresses == (address,)


@pytest.mark.parametrize("wrong", [{"listen": ()}, {"demo_per_s": 0}, {"demo_burst": 0}, {"lookup_timeout_ms": 0}])
def test_a_setting_out_of_its_bounds_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UdpConfig(**wrong)
