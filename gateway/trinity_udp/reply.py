"""What to do about one datagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trinity_udp.doors import Entry
from trinity_udp.purpose import Deferred

if TYPE_CHECKING:
    from trinity_admission.ledger import Slot


class Reply(msgspec.Struct, gc=False):
    """One datagram's fate."""

    data: bytes = b""
    """To send back now; empty for silence."""
    limit: int = 0
    """Most bytes that may be sent back: what those that came have earned."""
    deferred: tuple[Deferred[Any], ...] = ()
    """To be looked up."""
    entries: tuple[Entry, ...] = ()
    """What was counted of the data, by the long way; `unsent` where the kernel does not take it."""
    slots: tuple[Slot, ...] = ()
    """What was counted of the data by the short way; to be given back there."""


NOTHING = Reply()
"""Silence."""
