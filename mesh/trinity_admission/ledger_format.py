"""How a ledger file is laid out: a header, counters that stand close together, and what each of them counts. Pure.

    header    4,096 bytes: magic, byte order, version, sizes, the file's own name, CRC-32
    counters  8 bytes a slot, aligned, in the machine's byte order; zero until the first answer
    table     168 bytes a slot: what it counts, with a CRC-32 that knows the file and the slot

The counters stand together so that few pages change. A slot's entry in the table is whole before
its counter leaves zero, so that whoever finds the file of a killed process can read every counter
that counts; an entry that was cut short, or that never reached the disk, is told by its CRC-32.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Final

from trinity_core.usage import Counted

MAGIC: Final = b"TRINUCTR"
VERSION: Final = 1
HEADER_BYTES: Final = 4_096
COUNTER_BYTES: Final = 8
ENTRY_BYTES: Final = 168
SLOTS_MAX: Final = 1 << 20
NAME_LENGTH_MAX: Final = 64
SUFFIX: Final = ".uctr"

_ORDER: Final = 0x0102_0304
_HEADER: Final = struct.Struct("=8sIIIIq64s")
_CRC: Final = struct.Struct("=I")
_ENTRY: Final = struct.Struct("=BBBBB3xq64s64s16s")
assert _CRC.size + _ENTRY.size <= ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands in one file."""

    incarnation: str
    """The file's name without its suffix."""
    slots: int
    created_unix_ns: int

    @property
    def counters_at(self) -> int:
        """Offset of the first counter."""
        return HEADER_BYTES

    @property
    def table_at(self) -> int:
        """Offset of the first entry of the table."""
        return HEADER_BYTES + self.slots * COUNTER_BYTES

    @property
    def file_bytes(self) -> int:
        """Size of the file, whole pages."""
        return -(-(self.table_at + self.slots * ENTRY_BYTES) // HEADER_BYTES) * HEADER_BYTES

    def entry_at(self, slot: int) -> int:
        """Offset of a slot's entry."""
        return self.table_at + slot * ENTRY_BYTES


def pack_header(layout: Layout) -> bytes:
    """The first bytes of a file."""
    body = _HEADER.pack(
        MAGIC,
        _ORDER,
        VERSION,
        layout.slots,
        ENTRY_BYTES,
        layout.created_unix_ns,
        layout.incarnation.encode("ascii").ljust(NAME_LENGTH_MAX, b"\0"),
    )
    return body + _CRC.pack(zlib.crc32(body))


def unpack_header(data: bytes) -> Layout:
    """The layout of the file that begins with `data`. Raises ValueError, saying what is wrong."""
    if len(data) < _HEADER.size + _CRC.size or data[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin as a ledger file does")
    magic_order = int.from_bytes(data[8:12], sys.byteorder)
    if magic_order != _ORDER:
        raise ValueError("it was written by a machine of another byte order")
    body = data[: _HEADER.size]
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    _, _, version, slots, entry_bytes, created_unix_ns, name = _HEADER.unpack(body)
    if version != VERSION:
        raise ValueError(f"it has version {version}, and this code knows {VERSION}")
    if zlib.crc32(body) != crc or entry_bytes != ENTRY_BYTES or not 0 < slots <= SLOTS_MAX:
        raise ValueError("its header is damaged")
    return Layout(name.rstrip(b"\0").decode("ascii"), slots, created_unix_ns)


def pack_entry(counted: Counted, *, layout: Layout, slot: int) -> bytes:
    """What a slot counts, as it stands in the table."""
    key_id, method, asset = (text.encode("ascii") for text in (counted.key_id, counted.method, counted.asset))
    body = _ENTRY.pack(
        len(key_id),
        len(method),
        len(asset),
        counted.transport,
        counted.outcome,
        counted.hour,
        key_id.ljust(64, b"\0"),
        method.ljust(64, b"\0"),
        asset.ljust(16, b"\0"),
    )
    return _CRC.pack(_crc(body, layout, slot)) + body


def unpack_entry(data: bytes, *, layout: Layout, slot: int) -> Counted | None:
    """What a slot counts; None where its entry is empty, cut short, damaged, or another slot's."""
    (crc,) = _CRC.unpack_from(data)
    body = data[_CRC.size : _CRC.size + _ENTRY.size]
    if _crc(body, layout, slot) != crc:
        return None
    key_len, method_len, asset_len, transport, outcome, hour, key_id, method, asset = _ENTRY.unpack(body)
    try:
        texts = (
            key_id[:key_len].decode("ascii"),
            method[:method_len].decode("ascii"),
            asset[:asset_len].decode("ascii"),
        )
        return Counted(texts[0], hour, transport, texts[1], texts[2], outcome)
    except ValueError:
        return None


def _crc(body: bytes, layout: Layout, slot: int) -> int:
    return zlib.crc32(body, zlib.crc32(b"%s %d" % (layout.incarnation.encode("ascii"), slot)))
