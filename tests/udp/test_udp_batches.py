"""Datagrams by the batch and one by one: the same on both, over IPv4 and IPv6, also where the system refuses."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from trinity_udp.batches import Batched, Batches, OneByOne, batches_of
from trinity_udp.codec import DATAGRAM_BYTES_MAX
from trinity_udp.drops import Drop
from trinity_udp.messages import MESSAGE_BYTES, NAME_BYTES, can_batch, can_segment
from trinity_udp.reply import Reply

WAYS = [pytest.param(True, marks=pytest.mark.skipif(not can_batch(), reason="no recvmmsg here")), False]
FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


class Pair:
    """A server's socket, read in batches of four or so, and clients'."""

    def __init__(self, family: socket.AddressFamily, host: str, batched: bool, batch_max: int = 4) -> None:
        self.sockets: list[socket.socket] = []
        self.family, self.host = family, host
        self.server = self.open()
        self.batches: Batches = batches_of(self.server, batch_max=batch_max, batched=batched)
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
        """Datagram, source, port and place of each that has come."""
        select.select([self.server], [], [], 20)
        datagrams, senders, places, failed = self.batches.receive()
        assert failed == 0
        return [
            (datagram, source, port, place)
            for datagram, (port, source), place in zip(datagrams, senders, places, strict=True)
        ]


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
        pair.batches.put((received[index][3], [Reply(b"answer %d" % index)]))
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
            pair.batches.put((where, [Reply(datagram + b"!")]))
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
    datagrams, senders, places, failed = pair.batches.receive()
    assert (datagrams, senders, len(places), failed) == ([], [], 0, 0)


def test_an_error_in_place_of_a_datagram_is_told(pair: Pair, batched: bool) -> None:
    pair.server.close()
    datagrams, _, _, failed = pair.batches.receive()
    assert datagrams == []
    assert failed == (1 if batched else 4)


def test_one_reply_that_cannot_be_sent_does_not_hold_up_the_others(pair: Pair, batched: bool) -> None:
    clients = [pair.client() for _ in range(3)]
    for client in clients:
        client.send(b"?")
    received = pair.receive()
    replies = [Reply(b"first"), Reply(b"second"), Reply(b"third")]
    for (*_, where), reply in zip(received, replies, strict=True):
        pair.batches.put((where, [reply]))
    if batched:
        assert isinstance(pair.batches, Batched)
        # No socket can send to port 0.
        pair.batches._names[NAME_BYTES + 2 : NAME_BYTES + 4] = b"\0\0"
    else:
        assert isinstance(pair.batches, OneByOne)
        pair.batches._waiting[1] = ((pair.host, 0), [replies[1]])
    assert pair.batches.flush() == [(replies[1], Drop.SEND_FAILED)]
    assert [read(clients[0]), read(clients[2])] == [b"first", b"third"]


def test_a_socket_that_takes_no_more_says_so_of_all_that_are_left(pair: Pair, batched: bool) -> None:
    pair.client().send(b"?")
    ((*_, where),) = pair.receive()
    replies = [Reply(b"1"), Reply(b"2")]
    for reply in replies:
        pair.batches.put((where, [reply]))
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


def segments(batches: Batched, index: int) -> int:
    """How many datagrams a message is that was laid out: as the kernel reads it."""
    out = batches._out
    header = out.headers[index]
    if not header.control_size:
        return 1
    size = int.from_bytes(ctypes.string_at(header.control + 16, 2), sys.byteorder)
    return int(-(-out.vectors[2 * index + 1] // size))


class Calls:
    """Stands before sendmmsg: what each message holds, and what the system says instead of taking it."""

    def __init__(self, batches: Batched, *refusals: tuple[int, int]) -> None:
        """`refusals` are (segments from which on a message is refused, errno), one a call that is refused."""
        self.batches = batches
        self.real, batches._sendmmsg = batches._sendmmsg, self
        self.refusals = list(refusals)
        self.messages: list[int] = []
        """How many datagrams each message was that the system took."""

    def __call__(self, fd: int, at: int, count: int, flags: int) -> int:
        first = (at - self.batches._out_at) // MESSAGE_BYTES
        sizes = [segments(self.batches, first + index) for index in range(count)]
        if self.refusals and sizes[0] >= self.refusals[0][0]:
            ctypes.set_errno(self.refusals.pop(0)[1])
            return -1
        sent = int(self.real(fd, at, count, flags))
        self.messages += sizes[:sent]
        return sent


@pytest.fixture(params=FAMILIES, ids=["ipv4", "ipv6"])
def wide(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Batches of hundreds, by one system call each, of a kernel that cuts messages."""
    if not can_batch():
        pytest.skip("no recvmmsg here")
    try:
        made = Pair(*request.param, True, batch_max=200)
    except OSError:
        pytest.skip("this machine has no such family")
    if not can_segment(made.server):
        pytest.skip("this kernel cuts no messages")
    yield made
    for each in made.sockets:
        each.close()


def asked(pair: Pair, clients: list[socket.socket]) -> tuple[Batched, list[int]]:
    """One datagram from each of the clients, received; where replies to them are to go."""
    assert isinstance(pair.batches, Batched)
    for client in clients:
        client.send(b"?")
    places = [place for *_, place in pair.receive()]
    assert len(places) == len(clients)
    return pair.batches, places


def put_by_runs(batches: Batched, places: list[int], texts: list[bytes], *counts: int) -> list[Reply]:
    """Put replies of these texts, so many to the place of each run."""
    replies = [Reply(text) for text in texts]
    at = 0
    for count in counts:
        batches.put((places[at], replies[at : at + count]))
        at += count
    assert at == len(replies) == len(places)
    return replies


def test_replies_of_one_size_to_one_address_leave_as_one_message_and_arrive_as_datagrams(wide: Pair) -> None:
    one, other = wide.client(), wide.client()
    batches, places = asked(wide, [one] * 5 + [other] * 3 + [one] * 2)
    calls = Calls(batches)
    replies = [b"a%03d" % n for n in range(4)] + [b"longer"] + [b"b%03d" % n for n in range(3)] + [b"c1", b"c2"]
    put_by_runs(batches, places, replies, 5, 3, 2)
    assert batches.flush() == []
    assert calls.messages == [4, 1, 3, 2]
    assert [read(one) for _ in range(7)] == [*replies[:5], *replies[8:]]
    assert [read(other) for _ in range(3)] == replies[5:8]


@pytest.mark.parametrize(("size", "messages"), [(100, [64, 64, 22]), (DATAGRAM_BYTES_MAX, [52, 52, 46])])
def test_no_message_is_greater_than_kernels_take(size: int, messages: list[int], wide: Pair) -> None:
    client = wide.client()
    batches, places = asked(wide, [client] * 150)
    calls = Calls(batches)
    replies = [(b"%d " % number).ljust(size, b".") for number in range(150)]
    put_by_runs(batches, places, replies, 150)
    assert batches.flush() == []
    assert calls.messages == messages
    # As many as certainly fit in the client's receive buffer.
    assert [read(client) for _ in range(60)] == replies[:60]


@pytest.mark.parametrize(
    ("number", "again"), [(errno.EINVAL, True), (errno.EMSGSIZE, True), (errno.EIO, False), (errno.EOPNOTSUPP, False)]
)
def test_what_the_system_does_not_cut_leaves_one_by_one(number: int, again: bool, wide: Pair) -> None:
    one, other = wide.client(), wide.client()
    batches, places = asked(wide, [other] * 2 + [one] * 3)
    calls = Calls(batches, (3, number))
    real = calls.real

    def stops_before_three(fd: int, at: int, count: int, flags: int) -> int:
        # The system takes what comes before the message that it refuses.
        first = (at - batches._out_at) // MESSAGE_BYTES
        return int(real(fd, at, 1 if segments(batches, first) < 3 else count, flags))

    calls.real = stops_before_three
    for _ in range(2):
        put_by_runs(batches, places, [b"1", b"2", b"3", b"4", b"5"], 2, 3)
        assert batches.flush() == []
        assert [read(other) for _ in range(2)] == [b"1", b"2"]
        assert [read(one) for _ in range(3)] == [b"3", b"4", b"5"]
    assert calls.messages == [2, 1, 1, 1, *([2, 3] if again else [1] * 5)]


def test_a_message_that_is_lost_is_told_of_each_of_its_replies(wide: Pair) -> None:
    one, other = wide.client(), wide.client()
    batches, places = asked(wide, [one] * 3 + [other] * 2)
    Calls(batches, (1, errno.EPERM))
    replies = put_by_runs(batches, places, [b"0", b"1", b"2", b"3", b"4"], 3, 2)
    assert batches.flush() == [(reply, Drop.SEND_FAILED) for reply in replies[:3]]
    assert [read(other), read(other)] == [b"3", b"4"]


def test_a_system_that_takes_no_more_in_the_middle_is_told_of_all_that_are_left(wide: Pair) -> None:
    one, other = wide.client(), wide.client()
    batches, places = asked(wide, [one] * 3 + [other] * 2)
    Calls(batches, (3, errno.EINTR), (3, errno.EAGAIN))
    replies = put_by_runs(batches, places, [b"0", b"1", b"2", b"3", b"4"], 3, 2)
    assert batches.flush() == [(reply, Drop.SEND_BLOCKED) for reply in replies]
