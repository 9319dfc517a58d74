"""Turn new connections away from a listening socket while those under way still come through it.

A listening socket that is closed resets every connection that its kernel holds for it: those that wait
to be accepted, and those whose handshake is not over. Where several processes share a port (SO_REUSEPORT)
the kernel gives a share of all new ones to each socket for as long as that is open, so there is no moment
at which nobody is in it.

On Linux a socket filter (socket(7), SO_ATTACH_FILTER; bpf) sees each segment that comes for a listening
socket. This one drops those that ask for a new connection, a SYN without an ACK (RFC 9293, section 3.5), and lets
the rest through. A client that was dropped asks again after a second, and finds another process. The same
without the port being shared: it finds the process that is started next.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final


def turn_away(listener: socket.socket) -> bool:
    """Let no new connection begin; whether that could be done. Those under way are still to be accepted."""
    if not sys.platform.startswith("linux") or listener.family == socket.AF_UNIX:
        return False
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    head = struct.pack(_HEAD, len(_PROGRAM) // _INSTRUCTION.size, ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
    except OSError:
        return False
    return True


_SO_ATTACH_FILTER: Final = 26
_HEAD: Final = "HxxxxxxP" if struct.calcsize("P") == struct.calcsize("Q") else "HxxP"
"""struct sock_fprog: number of instructions, where they are."""
_INSTRUCTION: Final = struct.Struct("HBBI")
"""struct sock_filter: code, jump if true, jump if false, operand."""
_FLAGS_AT: Final = 13
_SYN_AND_ACK: Final = 0x12
_SYN: Final = 0x02
_PROGRAM: Final = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS_AT),  # load the byte of flags of the TCP header
        (0x54, 0, 0, _SYN_AND_ACK),  # keep SYN and ACK of it
        (0x15, 0, 1, _SYN),  # SYN alone?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
    )
)
