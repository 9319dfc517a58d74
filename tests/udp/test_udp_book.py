"""The endpoint on a real replica: what was fresh and grew old is never answered as fresh."""

from __future__ import annotations

from typing import Any

from client.batches import CLOCK, price, snapshot
from price.virtual_clock import START_MONO_NS, VirtualClock
from trinity_client import PriceBook
from trinity_client.messages import BookReplica
from trinity_client.replica import Replica
from udp.counter import open_counter


def test_a_price_that_nobody_renews_turns_delayed_and_then_is_no_answer() -> None:
    clock = VirtualClock()
    replica = Replica(clock=clock, clock_id=CLOCK)
    replica.opened()
    fresh = price("BTC", 1, at_ns=START_MONO_NS, fresh_ms=10_000, stale_ms=60_000)
    replica.receive(snapshot([fresh], sequence=1, at_ns=START_MONO_NS), START_MONO_NS)
    book = PriceBook("unix:/nowhere", clock=clock)
    book._views = replica.views
    shelf: Any = BookReplica(book)

    def ask() -> bytes:
        counter = open_counter(replica=shelf)
        unix_ns = clock.unix_ns()
        reply = counter.desk.handle(b"GET BTC USD", "192.0.2.7", 40_000, mono_ns=0, unix_ns=unix_ns)
        return reply.data + b"".join(counter.desk.without_lookup(one, unix_ns=unix_ns).data for one in reply.deferred)

    assert ask() == b"OK - BTC 100 USD 1790000000 2 F\n"
    clock.move(9.999)
    assert ask() == b"OK - BTC 100 USD 1790000000 2 F\n"
    clock.move(0.002)
    assert ask() == b"OK - BTC 100 USD 1790000000 2 D\n"
    clock.move(49.998)
    assert ask() == b"OK - BTC 100 USD 1790000000 2 D\n"
    clock.move(0.002)
    assert ask() == b"ERR - STALE_PRICE age=60\n"
    assert replica.views["BTC"].message.state == fresh.state, "the replica's own message is not altered"


def test_an_asset_that_the_replica_does_not_have_is_none() -> None:
    assert BookReplica(PriceBook("unix:/nowhere", clock=VirtualClock())).get("BTC") is None
