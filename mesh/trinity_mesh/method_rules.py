"""What a method's contract says of repeating its calls, by the method's path.

A call is repeated only where the contract option `idempotent` is set. A read is such a method whose name says
so, in the words of AIP-130 and following; asking two backends for it costs a little work and has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pool

from trinity.options.v1 import options_pb2

_READS: Final = ("Get", "BatchGet", "List", "Explain", "Fetch", "Sum", "Check")


@dataclass(frozen=True, slots=True)
class Repeats:
    """Whether calls of a method may be made again."""

    idempotent: bool = False
    """May be made again when it failed."""
    read: bool = False
    """May be made twice at once."""


NEVER: Final = Repeats()


def repeats(path: str) -> Repeats:
    """The rule of "/trinity.price.v1.PriceService/GetPrice"; of a method whose contract is not imported: never."""
    try:
        method = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    except KeyError:
        return NEVER
    if not method.GetOptions().Extensions[options_pb2.method].idempotent:
        return NEVER
    return Repeats(idempotent=True, read=method.name.startswith(_READS))
