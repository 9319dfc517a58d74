"""Bodies of deliveries: JSON after Standard Webhooks, each change rendered once. Pure.

    {"type": "…", "timestamp": "…", "data": {…}}

Money is a decimal string exactly as computed; times are RFC 3339 in UTC with nanoseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from trinity_core.prices import plain
from trinity_core.webhook_alerts import Alert
from trinity_core.webhook_rules import Change
from trinity_core.webhook_ticks import Item
from trinity_core.webhooks import content_id

TICK: Final = "price.tick"
TEST: Final = "webhook.test"
CHALLENGE: Final = "webhook.challenge"

_NS: Final = 10**9
_ENCODER: Final = msgspec.json.Encoder()


class Message(NamedTuple):
    """A body with its id."""

    message: str
    body: bytes


class TickBodies:
    """Renders batches of ticks; a change once, and a batch that many endpoints get alike once. Bounded."""

    def __init__(self, *, bodies_max: int) -> None:
        """`bodies_max` bounds how many batches are remembered; changes are, one an asset."""
        self._bodies_max = bodies_max
        self._changes: dict[str, tuple[int, int, bytes]] = {}
        self._bodies: OrderedDict[tuple[tuple[str, int, int, int], ...], Message] = OrderedDict()
        self.rendered = 0
        """Changes rendered."""

    def message(self, items: Sequence[Item]) -> Message:
        """The body of a batch, which has at least one item."""
        place = tuple((item.change.asset, item.change.epoch, item.change.sequence, item.skipped) for item in items)
        found = self._bodies.get(place)
        if found is not None:
            self._bodies.move_to_end(place)
            return found
        newest_ns = max(item.change.receive_time_ns for item in items)
        prices = b",".join(b'%b,"skipped":%d}' % (self._change(item.change), item.skipped) for item in items)
        body = b'{"type":"%b","timestamp":"%b","data":{"prices":[%b]}}' % (
            TICK.encode(),
            moment(newest_ns).encode(),
            prices,
        )
        made = self._bodies[place] = Message(content_id(body), body)
        if len(self._bodies) > self._bodies_max:
            self._bodies.popitem(last=False)
        return made

    def _change(self, change: Change) -> bytes:
        known = self._changes.get(change.asset)
        if known is not None and known[:2] == (change.epoch, change.sequence):
            return known[2]
        # Without its closing brace: `skipped` is the endpoint's own.
        text = _ENCODER.encode(fields_of(change))[:-1]
        self.rendered += 1
        self._changes[change.asset] = change.epoch, change.sequence, text
        return text


def alert_body(alert: Alert, *, message: str, subscription: str, name: str) -> bytes:
    """The body of an alert; `message` is its id."""
    data: dict[str, object] = {"alert": message, "subscription": subscription, "name": name, "number": alert.number}
    if alert.direction is not None:
        data["direction"] = alert.direction.name.lower()
    if alert.reference is not None:
        data["reference"] = plain(alert.reference)
    if alert.since_ns is not None:
        data["since"] = moment(alert.since_ns)
    data["suppressed"] = alert.suppressed
    data["price"] = fields_of(alert.change)
    return _body(alert.kind, alert.at_ns, data)


def trial_body(*, endpoint: str, at_ns: int) -> bytes:
    """The body of a test."""
    return _body(TEST, at_ns, {"endpoint": endpoint})


def challenge_body(*, endpoint: str, challenge: str, at_ns: int) -> bytes:
    """The body of a challenge."""
    return _body(CHALLENGE, at_ns, {"endpoint": endpoint, "challenge": challenge})


def fields_of(change: Change) -> dict[str, object]:
    """A price as deliveries show it."""
    return {
        "asset": change.asset,
        "quote": "USD",
        "price": plain(change.price),
        "state": change.state.name.lower(),
        "confidence": plain(change.confidence),
        "spread_bps": plain(change.spread_bps),
        "sources": list(change.sources),
        "venue_time": None if change.venue_time_ns is None else moment(change.venue_time_ns),
        "receive_time": moment(change.receive_time_ns),
        "sequence": change.sequence,
        # Beyond 2^53: a string, so that no reader rounds it.
        "epoch": str(change.epoch),
    }


def moment(unix_ns: int) -> str:
    """A time in RFC 3339."""
    seconds, nanos = divmod(unix_ns, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _body(kind: str, at_ns: int, data: Mapping[str, object]) -> bytes:
    return _ENCODER.encode({"type": kind, "timestamp": moment(at_ns), "data": data})
