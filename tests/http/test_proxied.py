"""Behind a TCP balancer: the address of its header is the client's everywhere, and nobody else is heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lane_stage import BOUND, GOOD, PEER, Connection, Gateway, both, exchange, seen
from proxy_bytes import LOCAL, proxy_header
from trinity.price.v1 import price_pb2
from trinity_admission.networks import Networks
from trinity_core.keys import KeyText
from trinity_http.guard import ConnectionGuard
from trinity_http.proxied import ENDPOINT, behind_proxy
from trinity_http.settings import HttpLimits
from udp.counter import make_price

OURS, STRANGERS = "203.0.113.9", "198.51.100.1"
"""Addresses in and outside of the networks of the key BOUND."""


class Balanced:
    """A gateway's port behind a balancer at 10.0.0.2."""

    def __init__(self, gateway: Gateway, *, limits: HttpLimits | None = None) -> None:
        self.gateway = gateway
        self.config = gateway.config
        self.state = gateway.state
        self.guard = gateway.guard
        if limits is not None:
            self.guard = ConnectionGuard(limits, clock=gateway.desk.clock, proxies=Networks(("10.0.0.0/8",)))
        self._make = behind_proxy(gateway.protocol, Networks(("10.0.0.0/8",)))
        self.settle = gateway.settle

    def open(self, loop: asyncio.AbstractEventLoop) -> Any:
        return self._make(config=self.config, server_state=self.state, app_state={}, _loop=loop, guard=self.guard)

    def connect(self, peer: str = "10.0.0.2") -> Connection:
        return Connection(self, peer)  # type: ignore[arg-type]


def request(key: KeyText, *headers: str) -> bytes:
    lines = ["GET /price?asset=BTC HTTP/1.1", "Host: prices.example", f"Authorization: Bearer {key.text}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def shelf() -> dict[str, price_pb2.Price]:
    return {"BTC": make_price(sequence=7, epoch=3)}


REQUESTS = [
    request(BOUND),
    request(BOUND, f"X-Forwarded-For: {OURS}"),
    request(BOUND, f"X-Forwarded-For: {STRANGERS}"),
    request(GOOD, f"X-Forwarded-For: {OURS}"),
    request(GOOD, "Accept: text/html"),
]


@pytest.mark.parametrize("source", [OURS, STRANGERS, "10.0.0.7", "2001:db8::1"])
async def test_what_comes_behind_a_header_is_answered_as_if_its_source_had_connected_itself(source: str) -> None:
    # No proxy is believed about X-Forwarded-For here, though a source may look like one: 10.0.0.7.
    async with both(shelf(), trusted=()) as gateways:
        for gateway in gateways:
            for data in REQUESTS:
                sent = []
                for port, peer, header in (
                    (gateway, source, b""),
                    (Balanced(gateway), "10.0.0.2", proxy_header(source)),
                ):
                    gateway.desk.clock.move(2)  # every bucket is full again
                    before = sum(gateway.counted.values())
                    connection = await exchange(port, [(header + data, True), (data, True)], peer)  # type: ignore[arg-type]
                    sent.append((seen(connection.sent), connection.closed, sum(gateway.counted.values()) - before))
                assert sent[0] == sent[1]
        fast, _ = gateways
        assert fast.lane.answered > 0


async def test_a_header_may_come_in_any_pieces() -> None:
    whole = proxy_header(OURS, endpoint="vpce-1") + request(BOUND)
    async with both(shelf(), trusted=()) as (fast, _):
        for cut in range(1, len(whole)):
            connection = await exchange(Balanced(fast), [(whole[:cut], False), (whole[cut:], True)], "10.0.0.2")  # type: ignore[arg-type]
            assert connection.sent.startswith(b"HTTP/1.1 200 OK")


async def test_a_key_bound_to_networks_is_judged_by_the_header_and_not_by_the_balancer() -> None:
    async with both(shelf(), trusted=()) as gateways:
        for gateway in gateways:
            for source, status in ((OURS, b"200"), (STRANGERS, b"403")):
                connection = Balanced(gateway).connect()
                connection.feed(proxy_header(source) + request(BOUND, f"X-Forwarded-For: {OURS}"))
                await gateway.settle()
                assert connection.sent.startswith(b"HTTP/1.1 " + status), connection.sent


@pytest.mark.parametrize("peer", ["192.0.2.1", PEER, ""])
async def test_nobody_but_a_balancer_is_heard(peer: str) -> None:
    async with both(shelf(), trusted=()) as (fast, _):
        connection = Balanced(fast).connect(peer)
        assert connection.closed
        connection.protocol.data_received(proxy_header(OURS) + request(BOUND))
        assert not connection.sent
        assert fast.guard.malformed == 1
        assert not fast.guard.connections


@pytest.mark.parametrize("sent", [request(GOOD), b"PROXY TCP4 203.0.113.9 10.0.0.1 50000 443\r\n", b"\r\n\r\n\x00x"])
async def test_a_balancer_that_says_nothing_of_its_client_is_not_answered(sent: bytes) -> None:
    async with both(shelf(), trusted=()) as (fast, _):
        connection = Balanced(fast).connect()
        connection.feed(sent)
        assert connection.closed
        assert not connection.sent
        connection.protocol.connection_lost(None)
        assert not fast.guard.connections


async def test_a_balancers_own_request_comes_from_the_balancer() -> None:
    async with both(shelf(), trusted=()) as (fast, _):
        connection = Balanced(fast).connect()
        connection.feed(LOCAL + b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await fast.settle()
        assert connection.sent.startswith(b"HTTP/1.1 200 OK")
        assert connection.protocol.client == ("10.0.0.2", 4_711)


async def test_the_connection_tells_which_endpoint_it_came_through() -> None:
    async with both(shelf(), trusted=()) as (fast, _):
        connection = Balanced(fast).connect()
        connection.feed(proxy_header(OURS, 51_234, endpoint="vpce-08d2bf15fac5001c9"))
        assert connection.protocol.client == (OURS, 51_234)
        assert connection.protocol.transport.get_extra_info(ENDPOINT) == "vpce-08d2bf15fac5001c9"


async def test_a_connection_without_a_header_is_ended_in_time_and_when_the_server_stops() -> None:
    async with both(shelf(), trusted=()) as (fast, _):
        late, stopped = Balanced(fast).connect(), Balanced(fast).connect()
        assert fast.guard.connections == 2
        fast.desk.clock.move(11)
        late.protocol.overdue()
        assert late.closed
        (entry,) = [one for one in fast.state.connections if one is stopped.protocol]
        entry.shutdown()
        assert stopped.closed
        for connection in (late, stopped):
            connection.protocol.connection_lost(None)
        assert not fast.guard.connections
        assert not fast.state.connections


async def test_the_bound_of_connections_is_the_clients_and_not_the_balancers() -> None:
    limits = HttpLimits(connections_per_address_max=1)
    async with both(shelf(), trusted=()) as (fast, _):
        balanced = Balanced(fast, limits=limits)
        first, second, other = (balanced.connect() for _ in range(3))
        for connection, source in ((first, OURS), (second, OURS), (other, STRANGERS)):
            connection.feed(proxy_header(source) + request(GOOD))
        await fast.settle()
        assert [connection.sent[9:12] for connection in (first, second, other)] == [b"200", b"503", b"200"]


async def test_a_proxy_with_many_clients_is_not_bounded_as_one_client() -> None:
    async with both(shelf()) as (fast, _):
        guard = ConnectionGuard(
            HttpLimits(connections_per_address_max=1), clock=fast.desk.clock, proxies=Networks(("10.0.0.0/8",))
        )
        one, two = fast.connect(), fast.connect()
        assert guard.enter(one.protocol, "10.0.0.2") is None
        assert guard.enter(two.protocol, "10.0.0.2") is None
        assert guard.enter(one.protocol, OURS) is None
        assert guard.enter(two.protocol, OURS) is not None
