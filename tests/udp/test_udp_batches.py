"""Datagrams by the batch and one by one: the same on both, over IPv4 and IPv6, also where the system refuses."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from trinity_udp import batches as module
from trinity_udp.batches import Batched, Batches, OneByOne, batches_of, can_batch
from trinity_udp.codec import DATAGRAM_BYTES_MAX
from trinity_udp.drops import Drop
from trinity_udp.reply import Reply

WAYS = [pytest.param(True, marks=pytest.mark.skipif(not can_batch(), reason="no recvmmsg here")), False]
FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


class Pair:
    """A server's socket, read in batches of four, and clients'."""

    def __init__(self, family: socket.AddressFamily, host: str, batched: bool) -> None:
        self.sockets: list[socket.socket] = []
        self.family, self.host = family, host
        self.server = self.open()
        self.batches: Batches = batches_of(self.server, batch_max=4, batched=batched)
        assert isinstance(self.batches, Batched if batched else OneByOne)

    def open(self) -> socket.socket:
        made = socket.socket(self.family, socket.SOCK_DGRAM)
        self.sockets.append(made)
        made.setblocking(False)
        made.bind((self.host, 0))
        return made

    def client(self) -> socket.socket:
        made = self.open()
        made.connect(self.server.getsockname())
        return made

    def receive(self) -> list[Any]:
        select.select([self.server], [], [], 20)
        received, failed = self.batches.receive()
        assert failed == 0
        return received


@pytest.fixture(params=WAYS)
def batched(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=FAMILIES, ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest, batched: bool) -> Iterator[Pair]:
    try:
        made = Pair(*request.param, batched)
    except OSError:
        pytest.skip("this machine has no such family")
    yield made
    for each in made.sockets:
        each.close()


def read(client: socket.socket) -> bytes:
    select.select([client], [], [], 20)
    return client.recv(65_536)


def test_each_datagram_comes_with_its_source_and_each_reply_goes_there(pair: Pair) -> None:
    clients = [pair.client() for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(b"question %d" % number)
    received = pair.receive()
    assert [datagram for datagram, *_ in received] == [b"question %d" % number for number in range(4)]
    packed = socket.inet_pton(pair.family, pair.host)
    for (_, source, port, where), client in zip(received, clients, strict=True):
        assert (source, port) == (packed, client.getsockname()[1])
        assert pair.batches.address(where)[:2] == client.getsockname()[:2]
    for index in (3, 0, 2):
        pair.batches.put(received[index][3], Reply(b"answer %d" % index))
    assert pair.batches.flush() == []
    assert [read(clients[index]) for index in (0, 2, 3)] == [b"answer 0", b"answer 2", b"answer 3"]
    assert pair.batches.flush() == [], "nothing is sent twice"


def test_more_than_a_batch_comes_in_several_and_nothing_of_one_is_left_in_the_next(pair: Pair) -> None:
    client = pair.client()
    sizes = [DATAGRAM_BYTES_MAX, 1, 700, 0, 3, 2, DATAGRAM_BYTES_MAX, 5, 4]
    for number, size in enumerate(sizes):
        client.send(bytes([number]) * size)
    seen: list[bytes] = []
    while len(seen) < len(sizes):
        received = pair.receive()
        assert 1 <= len(received) <= 4
        for datagram, _, _, where in received:
            seen.append(datagram)
            pair.batches.put(where, Reply(datagram + b"!"))
        assert pair.batches.flush() == []
    assert seen == [bytes([number]) * size for number, size in enumerate(sizes)]
    assert [read(client) for _ in sizes] == [each + b"!" for each in seen]


def test_a_datagram_that_is_too_long_shows(pair: Pair) -> None:
    client = pair.client()
    client.send(b"x" * 9_000)
    client.send(b"y")
    received = [*pair.receive()]
    assert [len(datagram) for datagram, *_ in received] == [DATAGRAM_BYTES_MAX + 1, 1]


def test_nothing_to_read_is_nothing(pair: Pair) -> None:
    assert pair.batches.receive() == ([], 0)


def test_an_error_in_place_of_a_datagram_is_told(pair: Pair, batched: bool) -> None:
    pair.server.close()
    received, failed = pair.batches.receive()
    assert received == []
    assert failed == (1 if batched else 4)


def test_one_reply_that_cannot_be_sent_does_not_hold_up_the_others(pair: Pair, batched: bool) -> None:
    clients = [pair.client() for _ in range(3)]
    for client in clients:
        client.send(b"?")
    received = pair.receive()
    replies = [Reply(b"first"), Reply(b"second"), Reply(b"third")]
    for (*_, where), reply in zip(received, replies, strict=True):
        pair.batches.put(where, reply)
    if batched:
        assert isinstance(pair.batches, Batched)
        # No socket can send to port 0.
        pair.batches._names[module._NAME + 2 : module._NAME + 4] = b"\0\0"
    else:
        assert isinstance(pair.batches, OneByOne)
        pair.batches._waiting[1] = ((pair.host, 0), replies[1])
    assert pair.batches.flush() == [(replies[1], Drop.SEND_FAILED)]
    assert [read(clients[0]), read(clients[2])] == [b"first", b"third"]


def test_a_socket_that_takes_no_more_says_so_of_all_that_are_left(pair: Pair, batched: bool) -> None:
    pair.client().send(b"?")
    ((*_, where),) = pair.receive()
    replies = [Reply(b"1"), Reply(b"2")]
    for reply in replies:
        pair.batches.put(where, reply)
    if batched:

        def refuse(*_: Any) -> int:
            ctypes.set_errno(errno.EAGAIN)
            return -1

        pair.batches._sendmmsg = refuse  # type: ignore[attr-defined]
    else:

        class Full:
            def sendto(self, *_: Any) -> None:
                raise BlockingIOError(errno.EAGAIN, "full")

        pair.batches._socket = Full()  # type: ignore[attr-defined]
    assert pair.batches.flush() == [(reply, Drop.SEND_BLOCKED) for reply in replies]
    assert pair.batches.flush() == []
