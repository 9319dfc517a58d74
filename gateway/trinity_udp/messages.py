"""Memory for sendmmsg and recvmmsg: headers as the kernel has them, and room for the datagrams behind them."""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from trinity_udp.codec import DATAGRAM_BYTES_MAX

NAME_BYTES: Final = 32
"""Room for each struct sockaddr."""
STRIDE: Final = 1_280
"""Room for each datagram."""
_SEGMENT: Final = 103
"""UDP_SEGMENT of linux/udp.h."""
_CONTROL: Final = struct.Struct("=QiiH6x")
"""struct cmsghdr, and in it how long each datagram is."""


def can_batch() -> bool:
    """Whether this system has recvmmsg and sendmmsg as we know them."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != ctypes.sizeof(ctypes.c_uint64):
        return False
    libc = ctypes.CDLL(None)
    return hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg")


def can_segment(bound: socket.socket) -> bool:
    """Whether the kernel cuts one message of a socket into datagrams (Linux 4.18)."""
    try:
        bound.getsockopt(socket.IPPROTO_UDP, _SEGMENT)
    except OSError:
        return False
    return True


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


MESSAGE_BYTES: Final = ctypes.sizeof(_Message)
_SIZE_AT: Final = _Message.size.offset // 4
_SIZE_STEP: Final = MESSAGE_BYTES // 4
_STEP: Final = MESSAGE_BYTES // 8
_CONTROL_SIZE_AT: Final = _Message.control_size.offset // 8
_SEGMENT_AT: Final = (_CONTROL.size - 8) // 2
_SEGMENT_STEP: Final = _CONTROL.size // 2


class Messages:
    """Headers, and memory for that many datagrams behind them."""

    def __init__(self, count: int, *, names: int, name_size: int) -> None:
        self.data = mmap.mmap(-1, count * STRIDE)
        self.base = base = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        self._vectors = (_Iovec * count)()
        self.headers = (_Message * count)()
        self._controls = (ctypes.c_char * (count * _CONTROL.size))()
        for index in range(count):
            self._vectors[index].base = base + index * STRIDE
            self._vectors[index].size = DATAGRAM_BYTES_MAX + 1
            header = self.headers[index]
            header.name = names + index * NAME_BYTES
            header.name_size = name_size
            header.iov = ctypes.addressof(self._vectors) + index * ctypes.sizeof(_Iovec)
            header.iov_count = 1
            header.control = ctypes.addressof(self._controls) + index * _CONTROL.size
            _CONTROL.pack_into(
                self._controls, index * _CONTROL.size, _CONTROL.size - 6, socket.IPPROTO_UDP, _SEGMENT, 0
            )
        # The same memory as numbers: setting one is much quicker than setting a field.
        self.words = memoryview(self.headers).cast("B").cast("Q")
        self.halves = memoryview(self.headers).cast("B").cast("I")
        self.vectors = memoryview(self._vectors).cast("B").cast("Q")
        self.sizes = self.halves[_SIZE_AT::_SIZE_STEP]
        """How long each datagram is that was received."""
        self.segments = memoryview(self._controls).cast("B").cast("H")

    def lay_out(self, messages: Sequence[tuple[bytes, int, int]]) -> None:
        """Put messages where sendmmsg finds them, one after the other.

        Each is its bytes, the address of its receiver's struct sockaddr, and the length of the datagrams that the
        kernel is to cut it into; 0 for one that is a datagram itself.
        """
        count = len(messages)
        joined = b"".join([data for data, _, _ in messages])
        self.data[: len(joined)] = joined
        sizes = array("Q", [len(data) for data, _, _ in messages])
        starts = array("Q", accumulate(sizes[:-1], initial=self.base))
        names = array("Q", [name for _, name, _ in messages])
        controls = array("Q", [_CONTROL.size if cut else 0 for _, _, cut in messages])
        cuts = array("H", [cut for _, _, cut in messages])
        self.vectors[: 2 * count : 2], self.vectors[1 : 2 * count : 2] = memoryview(starts), memoryview(sizes)
        self.words[: count * _STEP : _STEP] = memoryview(names)
        self.words[_CONTROL_SIZE_AT : count * _STEP : _STEP] = memoryview(controls)
        self.segments[_SEGMENT_AT : count * _SEGMENT_STEP : _SEGMENT_STEP] = memoryview(cuts)
