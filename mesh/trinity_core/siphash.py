"""SipHash-2-4, a keyed hash of short messages that nobody can forge without the key. Pure.

J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012): 128 bits of key, 64 bits of hash.
"""

from __future__ import annotations

import struct
from typing import Final

KEY_BYTES: Final = 16
HASH_BYTES: Final = 8

_M: Final = (1 << 64) - 1
_FINAL: Final = 0xFF


def siphash24(key: bytes, message: bytes) -> bytes:
    """The hash, 8 bytes in the order of the reference implementation (little endian). `key` has 16 bytes."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    whole = len(message) // 8 * 8
    last = int.from_bytes(message[whole:], "little") | (len(message) & 0xFF) << 56
    for word in (*struct.unpack(f"<{whole // 8}Q", message[:whole]), last):
        v3 ^= word
        v0, v1, v2, v3 = _rounds(2, v0, v1, v2, v3)
        v0 ^= word
    v0, v1, v2, v3 = _rounds(4, v0, v1, v2 ^ _FINAL, v3)
    return (v0 ^ v1 ^ v2 ^ v3).to_bytes(HASH_BYTES, "little")


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = v0 + v1 & _M
        v1 = (v1 << 13 & _M | v1 >> 51) ^ v0
        v0 = v0 << 32 & _M | v0 >> 32
        v2 = v2 + v3 & _M
        v3 = (v3 << 16 & _M | v3 >> 48) ^ v2
        v0 = v0 + v3 & _M
        v3 = (v3 << 21 & _M | v3 >> 43) ^ v0
        v2 = v2 + v1 & _M
        v1 = (v1 << 17 & _M | v1 >> 47) ^ v2
        v2 = v2 << 32 & _M | v2 >> 32
    return v0, v1, v2, v3
