"""Scripted faults: what can go wrong at a venue, when, and for how long.

A script is a JSON list of objects such as
`{"at_s": 5, "venue": "kraken", "fault": "freeze", "for_s": 20, "asset": "BTC"}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from random import Random
from typing import Annotated, Literal

import msgspec

from trinity_core.assets import AssetTable
from trinity_core.errors import invalid_field
from trinity_core.venues import Venue

FAULTS_MAX = 10_000
"""Entries of one script."""

Form = Literal["mixed", "truncated", "alien", "deep", "binary", "utf8", "huge"]
"""Garbage: broken JSON, sound JSON of an unknown shape, nested thousands deep, a binary frame, a text frame
that is not UTF-8, a text frame of many bytes; mixed is all of these in turn but for the last two."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400 * 366)]


class Kind(StrEnum):
    """What goes wrong."""

    FREEZE = "freeze"
    """Data stops; connections, heartbeats and answers go on."""
    SILENCE = "silence"
    """Everything stops and the socket stays open, protocol pongs and REST included."""
    GAP = "gap"
    """The next `count` data frames of each connection are lost; their sequence numbers are used up."""
    SPIKE = "spike"
    """Prices times `factor`."""
    DRIFT = "drift"
    """Prices move away from the truth by `bps_per_s` each second."""
    CROSSED = "crossed"
    """The bid stands above the ask."""
    ZERO = "zero"
    """Prices are 0."""
    NEGATIVE = "negative"
    """Prices are below 0."""
    NULL = "null"
    """Prices are missing, in the way the venue leaves them out."""
    OUT_OF_ORDER = "out_of_order"
    """Of every two data frames of an asset the newer comes first."""
    DUPLICATE = "duplicate"
    """Every data frame comes twice."""
    SLOW = "slow"
    """Everything arrives `delay_s` late."""
    GARBAGE = "garbage"
    """A frame that cannot be read, at once and then every `every_s`."""
    DISCONNECT = "disconnect"
    """Every connection is closed with `code`, once."""
    CUT = "cut"
    """Every connection ends without a close frame, once."""
    REFUSE = "refuse"
    """New connections and REST calls get HTTP `status`."""
    MAINTENANCE = "maintenance"
    """What the venue does before and during maintenance; `notice_s` ahead where it gives notice."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One entry of a script. Fields that its kind does not mention are ignored."""

    venue: Venue
    fault: Kind
    at_s: Seconds = 0.0
    """When, seconds after the sandbox started."""
    for_s: Seconds = 10.0
    """How long; ignored by gap, disconnect and cut."""
    asset: str = ""
    """Only this asset's data; empty means all."""
    factor: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.1
    bps_per_s: Annotated[float, msgspec.Meta(ge=-10_000, le=10_000)] = 5.0
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 3
    delay_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 1.0
    every_s: Annotated[float, msgspec.Meta(ge=0.001, le=3600)] = 1.0
    form: Form = "mixed"
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=64 * 1024 * 1024)] = 2 * 1024 * 1024
    """Size of a huge frame."""
    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1001
    """Close code; must be one that may be sent (not 1004, 1005, 1006 or 1015)."""
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    notice_s: Seconds = 30.0

    @property
    def momentary(self) -> bool:
        """It happens once and does not last."""
        return self.fault in (Kind.GAP, Kind.DISCONNECT, Kind.CUT)


def check(fault: Fault, table: AssetTable) -> Fault:
    """The fault as it is.

    Raises TrinityError UNKNOWN_ASSET or INVALID_FIELD where it could not happen.
    """
    if fault.asset and fault.asset not in table.by_id:
        raise table.unknown(fault.asset)
    if fault.code in (1004, 1005, 1006, 1015) or 1016 <= fault.code < 3000:
        raise invalid_field("code", f"{fault.code} may not be sent; use the fault cut for an end without a close frame")
    return fault


def parse_script(text: str | bytes, table: AssetTable) -> tuple[Fault, ...]:
    """Read a script and put it in order of time.

    Raises TrinityError INVALID_FIELD or UNKNOWN_ASSET that says which entry is wrong.
    """
    try:
        entries = msgspec.json.decode(text, type=list[Fault])
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_field("faults", f"not a script of faults: {error}") from error
    if len(entries) > FAULTS_MAX:
        raise invalid_field("faults", f"{len(entries)} entries; at most {FAULTS_MAX}")
    return tuple(sorted((check(entry, table) for entry in entries), key=lambda entry: entry.at_s))


def random_faults(*, seed: int, per_minute: float, assets: Sequence[str]) -> Iterator[Fault]:
    """An endless script in order of time, the same for the same seed; every kind occurs.

    At most one fault in four is aimed at a whole venue's connections, so that something is left to watch.
    """
    random = Random(f"faults {seed}")  # noqa: S311 - a simulation, not a secret
    venues = tuple(Venue)
    hard = (Kind.SILENCE, Kind.DISCONNECT, Kind.CUT, Kind.REFUSE, Kind.MAINTENANCE)
    soft = tuple(kind for kind in Kind if kind not in hard)
    at_s = 0.0
    while True:
        at_s += random.expovariate(per_minute / 60)
        kind = random.choice(hard if random.random() < 0.25 else soft)
        yield Fault(
            venue=random.choice(venues),
            fault=kind,
            at_s=round(at_s, 3),
            for_s=round(random.uniform(2, 30), 3),
            asset=random.choice(assets) if random.random() < 0.5 else "",
            factor=round(random.choice((0.5, 0.9, 0.98, 1.02, 1.1, 3.0)), 2),
            bps_per_s=round(random.uniform(-20, 20), 2),
            count=random.randint(1, 10),
            delay_s=round(random.uniform(0.2, 8), 2),
            code=random.choice((1000, 1001, 1011, 1012, 1013)),
            status=random.choice((429, 500, 502, 503)),
            notice_s=round(random.uniform(0, 10), 2),
        )
