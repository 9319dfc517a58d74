"""Datagrams by the batch: one system call for all that have come, one for all that leave, where the system has such.

`Batched` is Linux's recvmmsg and sendmmsg, on memory that is made once; `OneByOne` the same for
any system. Both take what has come without waiting, and leave nothing behind: what is
put between `receive` and `flush` is sent by `flush`, in order.

Replies of one size that follow each other to one address leave as one message which the kernel cuts into datagrams
(UDP_SEGMENT, "generic segmentation offload", udp(7)): its way through the network stack is most of
what a datagram costs, and is gone once for all of them. What arrives is the same.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import struct
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

from trinity_udp.allowance import source_of
from trinity_udp.codec import DATAGRAM_BYTES_MAX
from trinity_udp.drops import Drop
from trinity_udp.messages import MESSAGE_BYTES, NAME_BYTES, STRIDE, Messages, can_batch, can_segment
from trinity_udp.reply import Reply

Address = tuple[str, int] | tuple[str, int, int, int]
"""A peer, as the socket names it."""

Sender = tuple[int, bytes]
"""Port and address (packed) of a peer."""

_V4_NAME: Final = 16
_V6_NAME: Final = 28
_SEGMENTS_MAX: Final = 64
"""Most datagrams of one message: UDP_MAX_SEGMENTS of the kernels that know the fewest."""
_SEGMENTED_BYTES_MAX: Final = 65_000
"""Most bytes of one message, below what an IP packet holds."""
_UNSEGMENTED: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})
"""How a kernel says that it cannot cut a message: that device, that route or that kernel."""
_PASSING: Final = frozenset({errno.EINVAL, errno.EMSGSIZE})
"""Those of a route, which others may not have."""
_V4_FIELDS: Final = struct.Struct("!2xH4s24x")
"""Of struct sockaddr_in in its place: port, address."""
_V6_FIELDS: Final = struct.Struct("!2xH4x16s8x")
"""Of struct sockaddr_in6 likewise."""
_BLOCKED: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


class Received(NamedTuple):
    """A batch that has come."""

    datagrams: list[bytes]
    senders: list[Sender]
    """Who sent each."""
    places: Sequence[Any]
    """Where the reply to each is to go: for `put` and `address`, until `flush`."""
    failed: int
    """How often the system reported an error in place of a datagram."""


class Batches(Protocol):
    """One socket's datagrams."""

    def receive(self) -> Received:
        """What has come, at most a batch. A datagram that is longer than allowed is cut one byte beyond that."""
        ...

    def put(self, waiting: tuple[Any, list[Reply]], /) -> None:
        """Send replies to where one of them is to go, with the next `flush`."""
        ...

    def flush(self) -> list[tuple[Reply, Drop]]:
        """Send what was put; what the system did not take, and why."""
        ...

    def address(self, where: Any, /) -> Address:
        """Where a reply would go, for later."""
        ...


def batches_of(bound: socket.socket, *, batch_max: int, batched: bool) -> Batches:
    """The datagrams of a socket that does not block, in batches where that is wanted and the system can."""
    if batched and can_batch():
        return Batched(bound, batch_max)
    return OneByOne(bound, batch_max)


class OneByOne:
    """A system call for each datagram."""

    def __init__(self, bound: socket.socket, batch_max: int) -> None:
        self._socket = bound
        self._batch_max = batch_max
        self._waiting: list[tuple[Address, list[Reply]]] = []
        self.put = self._waiting.append
        """Send replies to an address with the next `flush`."""

    def receive(self) -> Received:
        """What has come."""
        received = Received([], [], places := [], 0)
        failed = 0
        for _ in range(self._batch_max):
            try:
                datagram, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError:
                failed += 1
                continue
            received.datagrams.append(datagram)
            received.senders.append((address[1], source_of(address[0])))
            places.append(address)
        return received._replace(failed=failed)

    def flush(self) -> list[tuple[Reply, Drop]]:
        """Send what was put."""
        failed: list[tuple[Reply, Drop]] = []
        for address, replies in self._waiting:
            for reply in replies:
                try:
                    self._socket.sendto(reply.data, address)
                except OSError as error:
                    failed.append((reply, _reason(error.errno, blocked=isinstance(error, BlockingIOError))))
        self._waiting.clear()
        return failed

    def address(self, where: Address, /) -> Address:
        """Where a reply would go."""
        return where


class Batched:
    """A system call for each batch."""

    def __init__(self, bound: socket.socket, batch_max: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._recvmmsg.argtypes = (number, pointer, ctypes.c_uint, number, pointer)
        self._sendmmsg.argtypes = (number, pointer, ctypes.c_uint, number)
        self._fd = bound.fileno()
        self._batch_max = batch_max
        self._v6 = bound.family == socket.AF_INET6
        name_size = _V6_NAME if self._v6 else _V4_NAME
        self._names = mmap.mmap(-1, batch_max * NAME_BYTES)
        self._names_at = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        self._in = Messages(batch_max, names=self._names_at, name_size=name_size)
        self._out = Messages(batch_max, names=self._names_at, name_size=name_size)
        self._in_at = ctypes.addressof(self._in.headers)
        self._out_at = ctypes.addressof(self._out.headers)
        self._fields = _V6_FIELDS if self._v6 else _V4_FIELDS
        self._starts = range(0, batch_max * STRIDE, STRIDE)
        self._places = range(batch_max)
        self._segmented = can_segment(bound)
        self._waiting: list[tuple[int, list[Reply]]] = []
        self.put = self._waiting.append
        """Send replies to a place with the next `flush`."""

    def receive(self) -> Received:
        """What has come."""
        count = self._recvmmsg(self._fd, self._in_at, self._batch_max, socket.MSG_DONTWAIT, None)
        if count < 0:
            # What was received before an error is told first; the error comes with the next call.
            return Received([], [], (), int(ctypes.get_errno() not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)))
        data, sizes = self._in.data, self._in.sizes[:count].tolist()
        datagrams = [data[at : at + size] for at, size in zip(self._starts, sizes, strict=False)]
        return Received(
            datagrams, [*self._fields.iter_unpack(self._names[: count * NAME_BYTES])], self._places[:count], 0
        )

    def flush(self) -> list[tuple[Reply, Drop]]:
        """Send what was put."""
        failed: list[tuple[Reply, Drop]] = []
        messages = [part for place, replies in self._waiting for part in self._cut(place, replies)]
        self._waiting.clear()
        while messages:
            self._out.lay_out(
                [
                    (
                        b"".join([reply.data for reply in replies]),
                        self._names_at + place * NAME_BYTES,
                        len(replies[0].data) if len(replies) > 1 else 0,
                    )
                    for place, replies in messages
                ]
            )
            count, sent = len(messages), 0
            while sent < count:
                done = self._sendmmsg(self._fd, self._out_at + sent * MESSAGE_BYTES, count - sent, socket.MSG_DONTWAIT)
                if done > 0:
                    sent += done
                    continue
                number = ctypes.get_errno()
                if number == errno.EINTR:
                    continue
                if number in _UNSEGMENTED and len(messages[sent][1]) > 1:
                    # From here on each by itself: in this batch, or for good where kernel or device never can.
                    self._segmented = number in _PASSING
                    messages = [(place, [reply]) for place, replies in messages[sent:] for reply in replies]
                    break
                reason = _reason(number)
                end = count if reason is Drop.SEND_BLOCKED else sent + 1
                failed += [(reply, reason) for _, replies in messages[sent:end] for reply in replies]
                sent = end
            else:
                break
        return failed

    def _cut(self, place: int, replies: list[Reply]) -> list[tuple[int, list[Reply]]]:
        """The messages that replies to one place are sent as: those of one size that follow each other are one."""
        if len(replies) == 1 or not self._segmented:
            return [(place, [reply]) for reply in replies]
        sizes = [len(reply.data) for reply in replies]
        size = sizes[0]
        most = min(_SEGMENTS_MAX, _SEGMENTED_BYTES_MAX // size)
        if len(replies) <= most and sizes.count(size) == len(sizes):
            return [(place, replies)]
        messages: list[tuple[int, list[Reply]]] = []
        at = 0
        for size, group in groupby(sizes):
            end, most = at + sum(1 for _ in group), min(_SEGMENTS_MAX, _SEGMENTED_BYTES_MAX // size)
            messages += [(place, replies[start : min(end, start + most)]) for start in range(at, end, most)]
            at = end
        return messages

    def address(self, where: int, /) -> Address:
        """Where a reply would go."""
        name = self._names[where * NAME_BYTES : where * NAME_BYTES + _V6_NAME]
        port = int.from_bytes(name[2:4], "big")
        if not self._v6:
            return socket.inet_ntop(socket.AF_INET, name[4:8]), port
        scope = int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, int.from_bytes(name[4:8], "big"), scope


def _reason(number: int | None, *, blocked: bool = False) -> Drop:
    return Drop.SEND_BLOCKED if blocked or number in _BLOCKED else Drop.SEND_FAILED
