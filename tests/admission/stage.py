"""Keys, a keyring, a count in memory and an Admission, for the tests of admission and of the gateways' adapters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from price.virtual_clock import VirtualClock
from trinity.account.v1 import account_pb2
from trinity_admission.admission import Admission
from trinity_admission.keyring import Keyring
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import KeyText, mint

PEPPER = bytes(range(32))
DAY_MS = 86_400_000
ASSETS = ("BTC", "ETH", "DOGE", "SOL")


def make_key(seed: int = 1) -> KeyText:
    return mint(env="test", random_bytes=random.Random(seed).randbytes)


def record_of(key: KeyText, **fields: Any) -> account_pb2.KeyRecord:
    expire_s = fields.pop("expire_s", None)
    known: dict[str, Any] = {
        "key_id": key.key_id,
        "digest": key.digest(PEPPER),
        "associate": "acme",
        "scopes": ["prices.read"],
        "rate_per_s": 10,
        "burst": 20,
    }
    record = account_pb2.KeyRecord(**{**known, **fields})
    if expire_s is not None:
        record.expire_time.FromNanoseconds(round(expire_s * 1e9))
    return record


def snapshot(*records: account_pb2.KeyRecord, version: int = 7, complete: bool = True) -> account_pb2.WatchKeysResponse:
    return account_pb2.WatchKeysResponse(keys=records, snapshot=True, snapshot_complete=complete, version=version)


def change(*records: account_pb2.KeyRecord, version: int) -> account_pb2.WatchKeysResponse:
    return account_pb2.WatchKeysResponse(keys=records, version=version)


class Ticks:
    """Stands for a Slot of the ledger."""

    def __init__(self, kind: tuple[str, int, str, str, int]) -> None:
        self.kind = kind


class CountsInMemory:
    """Implements trinity_admission.seat.Counts."""

    def __init__(self) -> None:
        self.strict = False
        self.full = False
        self.counted: Counter[tuple[str, str, str, str, int]] = Counter()

    def slot(self, key_id: str, transport: int, method: str, asset: str, outcome: int) -> Any:
        if self.full:
            raise TrinityError(Reason.LEDGER_FULL, "full")
        return Ticks((key_id, transport, method, asset, outcome))

    def count(self, slot: Any, n: int = 1) -> None:
        key_id, transport, method, asset, outcome = slot.kind
        self.counted[key_id, {1: "http", 2: "udp", 3: "grpc"}[transport], method, asset, int(outcome)] += n

    def count_each(self, slots: Sequence[Any], unix_ns: int, n: int = 1) -> bool:
        done: list[Any] = []
        try:
            for slot in slots:
                self.count(slot, n)
                done.append(slot)
        except TrinityError:
            for slot in done:
                self.give_back(slot, n)
        return len(done) == len(slots)

    def give_back(self, slot: Any, n: int = 1) -> None:
        self.count(slot, -n)

    async def committed(self) -> None:
        pass

    def of(self, key_id: str) -> dict[tuple[str, str, str, int], int]:
        """What was counted of one key: (transport, method, asset, outcome) → times."""
        return {kind[1:]: n for kind, n in self.counted.items() if kind[0] == key_id and n}


@dataclass
class Desk:
    """An Admission with everything it needs in reach. Its first batch names the records given."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    counts: CountsInMemory = field(default_factory=CountsInMemory)

    def open(self, *records: account_pb2.KeyRecord, leases: Any = None, **settings: Any) -> Admission:
        self.keyring = Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=1_000)
        self.say(snapshot(*records, version=1))
        self.admission = Admission(
            keyring=self.keyring, counts=self.counts, leases=leases, clock=self.clock, assets=ASSETS, **settings
        )
        return self.admission

    def say(self, batch: account_pb2.WatchKeysResponse) -> None:
        self.keyring.receive(batch, mono_ns=self.clock.monotonic_ns())
