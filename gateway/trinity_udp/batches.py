"""Datagrams by the batch: one system call for all that have come, one for all that leave, where the system has such.

`Batched` is Linux's recvmmsg and sendmmsg, on memory that is made once; `OneByOne` the same for
any system. Both take what has come without waiting, and leave nothing behind: what is
put between `receive` and `flush` is sent by `flush`, in order.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import struct
import sys
from array import array
from itertools import accumulate
from typing import Any, Final, Protocol

from trinity_udp.allowance import source_of
from trinity_udp.codec import DATAGRAM_BYTES_MAX
from trinity_udp.drops import Drop
from trinity_udp.reply import Reply

Address = tuple[str, int] | tuple[str, int, int, int]
"""A peer, as the socket names it."""

Received = tuple[bytes, bytes, int, Any]
"""A datagram, its source (packed) and port, and where a reply is to go: for `put` and `address`, until `flush`."""

_STRIDE: Final = 1_280
_NAME: Final = 32
_V4_NAME: Final = 16
_V6_NAME: Final = 28
_V4_FIELDS: Final = struct.Struct("!2xH4s24x")
"""Of struct sockaddr_in in its place: port, address."""
_V6_FIELDS: Final = struct.Struct("!2xH4x16s8x")
"""Of struct sockaddr_in6 likewise."""
_BLOCKED: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


class Batches(Protocol):
    """One socket's datagrams."""

    def receive(self) -> tuple[list[Received], int]:
        """What has come, at most a batch; and how often the system reported an error in place of a datagram.

        A datagram that is longer than allowed is cut one byte beyond that.
        """
        ...

    def put(self, where: Any, reply: Reply, /) -> None:
        """Send a reply with the next `flush`."""
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


def can_batch() -> bool:
    """Whether this system has recvmmsg and sendmmsg as we know them."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != ctypes.sizeof(ctypes.c_uint64):
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg")


class OneByOne:
    """A system call for each datagram."""

    def __init__(self, bound: socket.socket, batch_max: int) -> None:
        self._socket = bound
        self._batch_max = batch_max
        self._waiting: list[tuple[Address, Reply]] = []

    def receive(self) -> tuple[list[Received], int]:
        """What has come."""
        received: list[Received] = []
        failed = 0
        for _ in range(self._batch_max):
            try:
                datagram, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError:
                failed += 1
                continue
            received.append((datagram, source_of(address[0]), address[1], address))
        return received, failed

    def put(self, where: Address, reply: Reply, /) -> None:
        """Send a reply with the next `flush`."""
        self._waiting.append((where, reply))

    def flush(self) -> list[tuple[Reply, Drop]]:
        """Send what was put."""
        failed: list[tuple[Reply, Drop]] = []
        for address, reply in self._waiting:
            try:
                self._socket.sendto(reply.data, address)
            except OSError as error:
                failed.append((reply, _reason(error.errno, blocked=isinstance(error, BlockingIOError))))
        self._waiting.clear()
        return failed

    def address(self, where: Address, /) -> Address:
        """Where a reply would go."""
        return where


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Message(ctypes.Structure):
    """struct mmsghdr of the kernel."""

    _fields_ = (
        ("name", ctypes.c_uint64),
        ("name_size", ctypes.c_uint32),
        ("_gap", ctypes.c_uint32),
        ("iov", ctypes.c_uint64),
        ("iov_count", ctypes.c_uint64),
        ("control", ctypes.c_uint64),
        ("control_size", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("_gap2", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("_gap3", ctypes.c_uint32),
    )


_MESSAGE: Final = ctypes.sizeof(_Message)
_SIZE_AT: Final = _Message.size.offset // 4
_SIZE_STEP: Final = _MESSAGE // 4
_NAME_STEP: Final = _MESSAGE // 8


class _Messages:
    """Headers, and memory for that many datagrams behind them."""

    def __init__(self, count: int, *, names: int, name_size: int) -> None:
        self.data = mmap.mmap(-1, count * _STRIDE)
        self.base = base = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        self._vectors = (_Iovec * count)()
        self.headers = (_Message * count)()
        for index in range(count):
            self._vectors[index].base = base + index * _STRIDE
            self._vectors[index].size = DATAGRAM_BYTES_MAX + 1
            header = self.headers[index]
            header.name = names + index * _NAME
            header.name_size = name_size
            header.iov = ctypes.addressof(self._vectors) + index * ctypes.sizeof(_Iovec)
            header.iov_count = 1
        # The same memory as numbers: setting one is much quicker than setting a field.
        self.words = memoryview(self.headers).cast("B").cast("Q")
        self.halves = memoryview(self.headers).cast("B").cast("I")
        self.vectors = memoryview(self._vectors).cast("B").cast("Q")


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
        self._names = mmap.mmap(-1, batch_max * _NAME)
        self._names_at = ctypes.addressof(ctypes.c_char.from_buffer(self._names))
        self._in = _Messages(batch_max, names=self._names_at, name_size=name_size)
        self._out = _Messages(batch_max, names=self._names_at, name_size=name_size)
        self._in_at = ctypes.addressof(self._in.headers)
        self._out_at = ctypes.addressof(self._out.headers)
        self._fields = _V6_FIELDS if self._v6 else _V4_FIELDS
        self._sizes = self._in.halves[_SIZE_AT::_SIZE_STEP]
        self._starts = range(0, batch_max * _STRIDE, _STRIDE)
        self._waiting: list[tuple[int, Reply]] = []

    def receive(self) -> tuple[list[Received], int]:
        """What has come."""
        count = self._recvmmsg(self._fd, self._in_at, self._batch_max, socket.MSG_DONTWAIT, None)
        if count < 0:
            # What was received before an error is told first; the error comes with the next call.
            return [], int(ctypes.get_errno() not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR))
        data, sizes = self._in.data, self._sizes[:count].tolist()
        sources = self._fields.iter_unpack(self._names[: count * _NAME])
        return [
            (data[at : at + size], source, port, index)
            for index, (at, size, (port, source)) in enumerate(zip(self._starts[:count], sizes, sources, strict=True))
        ], 0

    def put(self, where: int, reply: Reply, /) -> None:
        """Send a reply with the next `flush`."""
        self._waiting.append((where, reply))

    def flush(self) -> list[tuple[Reply, Drop]]:
        """Send what was put."""
        waiting, failed = self._waiting, list[tuple[Reply, Drop]]()
        sent, count = 0, len(waiting)
        if count:
            self._lay_out()
        while sent < count:
            done = self._sendmmsg(self._fd, self._out_at + sent * _MESSAGE, count - sent, socket.MSG_DONTWAIT)
            if done > 0:
                sent += done
                continue
            number = ctypes.get_errno()
            if number == errno.EINTR:
                continue
            reason = _reason(number)
            end = count if reason is Drop.SEND_BLOCKED else sent + 1
            failed += [(reply, reason) for _, reply in waiting[sent:end]]
            sent = end
        waiting.clear()
        return failed

    def _lay_out(self) -> None:
        """Put what waits where sendmmsg finds it: one after the other, each with its length and its receiver."""
        out, count = self._out, len(self._waiting)
        parts = [reply.data for _, reply in self._waiting]
        whole = b"".join(parts)
        out.data[: len(whole)] = whole
        sizes = array("Q", map(len, parts))
        starts = array("Q", accumulate(sizes[:-1], initial=out.base))
        out.vectors[: 2 * count : 2], out.vectors[1 : 2 * count : 2] = memoryview(starts), memoryview(sizes)
        names = array("Q", [self._names_at + where * _NAME for where, _ in self._waiting])
        out.words[: count * _NAME_STEP : _NAME_STEP] = memoryview(names)

    def address(self, where: int, /) -> Address:
        """Where a reply would go."""
        name = self._names[where * _NAME : where * _NAME + _V6_NAME]
        port = int.from_bytes(name[2:4], "big")
        if not self._v6:
            return socket.inet_ntop(socket.AF_INET, name[4:8]), port
        scope = int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, int.from_bytes(name[4:8], "big"), scope


def _reason(number: int | None, *, blocked: bool = False) -> Drop:
    return Drop.SEND_BLOCKED if blocked or number in _BLOCKED else Drop.SEND_FAILED
