"""Prices, a replica and a desk for the tests of the datagram endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trinity.price.v1 import price_pb2
from trinity_udp.allowance import Allowance
from trinity_udp.desk import Desk
from trinity_udp.doors import Doors, OpenDoors
from trinity_udp.drops import Tally
from trinity_udp.prices import Prices, Replica
from trinity_udp.quick import Quick

UNIX_S = 1_767_322_800
ASSETS = ("BTC", "ETH", "DOGE", "SOL")


def make_price(asset: str = "BTC", value: str = "67000.10", **fields: Any) -> price_pb2.Price:
    fields = {"state": price_pb2.STATE_FRESH, "source_count": 6, **fields}
    price = price_pb2.Price(asset=asset, quote="USD", price=value, **fields)
    price.receive_time.seconds = UNIX_S
    return price


@dataclass
class Shelf:
    """A replica whose prices a test sets."""

    prices: dict[str, price_pb2.Price] = field(default_factory=dict)

    def get(self, asset: str) -> price_pb2.Price | None:
        return self.prices.get(asset)


@dataclass
class Counter:
    """A desk with everything it needs in reach."""

    shelf: Shelf
    tally: Tally
    desk: Desk[str, price_pb2.Price]
    now_ns: int = 1_000_000_000

    def ask(
        self, datagram: bytes, host: str = "192.0.2.7", port: int = 40_000, *, unix_ns: int = UNIX_S * 1_000_000_000
    ) -> bytes:
        """Reply to a datagram; what is deferred is settled at once from the shelf, as a service would say it."""
        reply = self.desk.handle(datagram, host, port, mono_ns=self.now_ns, unix_ns=unix_ns)
        late = b"".join(self.desk.without_lookup(one, unix_ns=unix_ns).data for one in reply.deferred)
        return reply.data + late

    def dropped(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.tally.dropped.items() if count}


def open_counter(
    *,
    demo: bool = True,
    per_s: float = 50.0,
    burst: int = 500,
    session_burst: int = 500,
    prices: dict[str, price_pb2.Price] | None = None,
    doors: Doors | None = None,
    replica: Replica | None = None,
    quick: bool = True,
) -> Counter:
    prices = {"BTC": make_price(), "ETH": make_price("ETH", "3000.5", sandbox=True)} if prices is None else prices
    shelf, tally = Shelf(prices), Tally()
    short = doors.short if doors is not None and quick else None
    desk = Desk(
        purpose=Prices(replica=replica or shelf, assets=ASSETS, demo=demo),
        allowance=Allowance(per_s=per_s, burst=burst, prefixes_max=1_000),
        session_allowance=Allowance(per_s=per_s, burst=session_burst, prefixes_max=1_000),
        own_ports={2679},
        tally=tally,
        doors=doors or OpenDoors(),
        quick=None if short is None else Quick(replica=replica or shelf, doors=short, demo=demo),
    )
    return Counter(shelf, tally, desk)
