"""Frames that nobody can read, in every form that a reader must survive."""

from __future__ import annotations

from trinity_feeds.sandbox.faults import Fault
from trinity_feeds.sandbox.venue import Frame

_MIXED = ("truncated", "alien", "deep", "binary")


def garbage(fault: Fault, turn: int) -> Frame:
    """The frame that a garbage fault sends as its `turn`-th, from 0."""
    match _MIXED[turn % len(_MIXED)] if fault.form == "mixed" else fault.form:
        case "truncated":
            return Frame(b'{"channel":"ticker","data":[{"symbol":"BTC')
        case "alien":
            return Frame(b'[{"what":null,"is":{"this":[1e400,-0,true,""]}},"unexpected",17]')
        case "deep":
            return Frame(b'{"data":' * 5_000 + b"0" + b"}" * 5_000)
        case "binary":
            return Frame(bytes(range(turn % 7, 256, 3)), binary=True)
        case "utf8":
            return Frame(b'{"channel":"\xff\xfe\xc0"}')
        case _:
            return Frame(b'{"padding":"' + b"x" * max(0, fault.size_bytes - 14) + b'"}')
