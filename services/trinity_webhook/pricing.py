"""Prices of a book as the rules of webhooks take them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from trinity.price.v1 import price_pb2
from trinity_core.prices import State
from trinity_core.venues import Venue
from trinity_core.webhook_rules import Change
from trinity_mesh.wire import unstamp

_STATES: Final = {state.value: state for state in State}
_VENUES: Final = {venue.value: venue for venue in Venue}


def change_of_message(message: price_pb2.Price) -> Change:
    """A change from its message. A state that this version does not know counts as STALE."""
    return Change(
        message.asset,
        Decimal(message.price),
        _STATES.get(message.state, State.STALE),
        Decimal(message.confidence),
        Decimal(message.spread_bps),
        tuple(_VENUES[source] for source in message.sources if source in _VENUES),
        message.sequence,
        message.epoch,
        unstamp(message.venue_time) if message.HasField("venue_time") else None,
        unstamp(message.receive_time),
    )
