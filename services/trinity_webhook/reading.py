"""Rules, assets and names from messages, judged beyond the rules of the contract. Pure; every refusal says why."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final

from google.protobuf.duration_pb2 import Duration

from trinity.webhook.v1 import webhook_pb2
from trinity_core.assets import AssetTable
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.webhook_rules import (
    MS,
    Crossing,
    Direction,
    Divergence,
    EveryChange,
    Interval,
    Moved,
    PercentMove,
    Recovery,
    Rule,
    Staleness,
    bad_decimal,
    check_rule,
)
from trinity_core.webhook_store import Scope
from trinity_core.webhooks import Subscription

_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of text: names must read the same wherever they are shown."""

RULES: Final = (
    "every_change",
    "interval",
    "moved",
    "crossing",
    "percent_move",
    "divergence",
    "staleness",
    "recovery",
)
"""Fields of a subscription that are its rule; exactly one is set."""
_FIELDS: Final = ("name", "paused", "assets", "rule")


def read_rule(message: webhook_pb2.Subscription, *, path: str = "subscription") -> Rule:
    """The rule of a subscription. Raises INVALID_FIELD for none, and for one that could never do what it says."""
    name = message.WhichOneof("rule")
    if name is None:
        raise invalid_field(f"{path}.rule", f"it is needed; set one of {', '.join(RULES)}")
    rule = _read(message, name, f"{path}.{name}")
    check_rule(rule, path=f"{path}.{name}")
    return rule


def read_assets(ids: Iterable[str], table: AssetTable, *, path: str = "subscription.assets") -> tuple[str, ...]:
    """Assets that there are, in the order of their ids. Raises INVALID_FIELD naming the first that there is not."""
    found = []
    for index, asset in enumerate(ids):
        if asset not in table.by_id:
            raise invalid_field(f"{path}[{index}]", table.unknown(asset).message)
        found.append(asset)
    return tuple(sorted(found))


def check_text(path: str, text: str) -> None:
    """Raise INVALID_FIELD for text with characters that are not seen, or that change how others are seen."""
    for character in text:
        if unicodedata.category(character) in _UNSEEN or character in _TURNS:
            raise invalid_field(path, f"the character U+{ord(character):04X} is not taken; use printable text")


def check_fits(subscription: Subscription, scope: Scope) -> None:
    """Raise ASSET_NOT_ALLOWED for assets beyond the plan, ALREADY_EXISTS for a second tick rule of an asset."""
    beyond = [asset for asset in subscription.assets if scope.assets and asset not in scope.assets]
    if beyond:
        raise TrinityError(
            Reason.ASSET_NOT_ALLOWED, f"the plan does not have the asset {beyond[0]}", {"asset": beyond[0]}
        )
    if not subscription.is_tick:
        return
    for other in scope.subscriptions:
        if not other.is_tick or other.subscription == subscription.subscription:
            continue
        shared = set(subscription.assets) & set(other.assets)
        if shared or not subscription.assets or not other.assets:
            which = f"of {min(shared)}" if shared else "of an asset"
            raise TrinityError(
                Reason.ALREADY_EXISTS,
                f"{other.subscription} sends this endpoint the ticks {which} already; change that one",
                {"subscription": other.subscription},
            )


def subscription_change(
    request: webhook_pb2.UpdateSubscriptionRequest, table: AssetTable
) -> Callable[[Subscription], Subscription]:
    """What a request makes of a subscription. Raises INVALID_FIELD."""
    message = request.subscription
    if not message.subscription:
        raise invalid_field("subscription.subscription", "it is needed; name the subscription to change")
    paths = _named(request.update_mask.paths, message)
    changes: dict[str, object] = {}
    if "name" in paths:
        check_text("subscription.name", message.name)
        changes["name"] = message.name
    if "paused" in paths:
        changes["paused"] = message.paused
    if "assets" in paths:
        changes["assets"] = read_assets(message.assets, table)
    if "rule" in paths:
        changes["rule"] = read_rule(message)
    return lambda old: replace(old, **changes)  # type: ignore[arg-type]


def _named(paths: Sequence[str], message: webhook_pb2.Subscription) -> set[str]:
    """Fields to change: those of the mask, and without one those that are not empty."""
    if not paths:
        filled = {name for name in ("name", "paused", "assets") if getattr(message, name)}
        return filled | ({"rule"} if message.WhichOneof("rule") else set())
    found = set()
    for path in paths:
        name = "rule" if path.partition(".")[0] in RULES else path
        if name not in _FIELDS:
            raise invalid_field(
                "update_mask", f"{path[:64]!r} is no field that can be changed; use {', '.join(_FIELDS)}"
            )
        found.add(name)
    return found


def _read(message: webhook_pb2.Subscription, name: str, path: str) -> Rule:
    match name:
        case "every_change":
            return EveryChange()
        case "interval":
            return Interval(milliseconds(message.interval.interval, f"{path}.interval"))
        case "moved":
            return Moved(decimal(message.moved.bps, f"{path}.bps"))
        case "crossing":
            crossing = message.crossing
            return Crossing(
                Direction(crossing.direction),
                decimal(crossing.threshold, f"{path}.threshold"),
                decimal(crossing.hysteresis or "0", f"{path}.hysteresis"),
                milliseconds(crossing.cooldown, f"{path}.cooldown"),
            )
        case "percent_move":
            move = message.percent_move
            return PercentMove(
                Direction(move.direction),
                decimal(move.percent, f"{path}.percent"),
                milliseconds(move.window, f"{path}.window"),
                milliseconds(move.cooldown, f"{path}.cooldown"),
            )
        case "divergence":
            apart = message.divergence
            return Divergence(
                decimal(apart.bps, f"{path}.bps"),
                decimal(apart.hysteresis_bps or "0", f"{path}.hysteresis_bps"),
                milliseconds(apart.cooldown, f"{path}.cooldown"),
            )
        case "staleness":
            stale = message.staleness
            return Staleness(
                milliseconds(stale.after, f"{path}.after"), milliseconds(stale.cooldown, f"{path}.cooldown")
            )
        case _:
            recovery = message.recovery
            return Recovery(
                milliseconds(recovery.after, f"{path}.after"), milliseconds(recovery.cooldown, f"{path}.cooldown")
            )


def milliseconds(duration: Duration, path: str) -> int:
    """A duration in whole milliseconds. Raises INVALID_FIELD for a part of one."""
    nanos = duration.seconds * 10**9 + duration.nanos
    if nanos % MS:
        raise invalid_field(path, "use whole milliseconds")
    return nanos // MS


def decimal(text: str, path: str) -> Decimal:
    """A plain decimal. Raises INVALID_FIELD."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise bad_decimal(path, text) from None
    if not found.is_finite():
        raise bad_decimal(path, text)
    return found
