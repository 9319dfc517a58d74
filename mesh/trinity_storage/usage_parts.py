"""Rows of the usage log packed tightly: one part holds the rows of one associate and one hour.

A part is MessagePack within zlib: a list of keys, each with its counts, both in falling order.
What repeats from row to row (keys, methods, assets) costs next to nothing that way.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from trinity_core.usage_log import UsageRow

Tally = tuple[int, str, str, int, int]
"""Transport, method, asset, outcome, count."""


class KeyTallies(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The rows of one key in one hour."""

    key_id: str
    key_name: str
    tallies: Sequence[Tally]
    """In falling order."""


def pack(rows: Iterable[UsageRow]) -> bytes:
    """One part. `rows` are of one hour and associate, in falling order of their position."""
    keys = [
        KeyTallies(
            group[0].key_id,
            group[0].key_name,
            [(row.transport, row.method, row.asset, row.outcome, row.count) for row in group],
        )
        for _, found in groupby(rows, key=attrgetter("key_id"))
        if (group := list(found))
    ]
    return zlib.compress(_ENCODER.encode(keys), _LEVEL)


def unpack(part: bytes, *, hour: int, associate: str) -> Iterator[UsageRow]:
    """The rows of a part, in falling order; decoded at once, made one by one. Raises ValueError for a broken one."""
    try:
        keys = _DECODER.decode(zlib.decompress(part))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError("a part of the usage log cannot be read") from error
    return (
        UsageRow(hour, associate, key.key_id, key.key_name, transport, method, asset, outcome, count)
        for key in keys
        for transport, method, asset, outcome, count in key.tallies
    )


def merged(part: bytes | None, changed: Sequence[UsageRow], *, hour: int, associate: str) -> tuple[bytes, int, int]:
    """A part with rows put in place of their former states; and how much more of it is billed, and unbilled.

    A key's name becomes that of its changed rows. Raises ValueError for a broken part.
    """
    rows = {row.position: row for row in unpack(part, hour=hour, associate=associate)} if part else {}
    billed = unbilled = 0
    names = {row.key_id: row.key_name for row in changed}
    for row in changed:
        former = rows.get(row.position)
        more = row.count - (former.count if former else 0)
        if row.billed:
            billed += more
        else:
            unbilled += more
        rows[row.position] = row
    ordered = sorted(rows.items(), reverse=True)
    renamed = (
        row if names.get(row.key_id, row.key_name) == row.key_name else _renamed(row, names[row.key_id])
        for _, row in ordered
    )
    return pack(renamed), billed, unbilled


def _renamed(row: UsageRow, name: str) -> UsageRow:
    return msgspec.structs.replace(row, key_name=name)


_LEVEL: Final = 3
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[KeyTallies])
