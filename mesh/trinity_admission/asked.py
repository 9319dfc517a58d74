"""What a request asks for and how it was answered, read from messages of any descriptor pool. Pure."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from trinity_core.errors import Code
from trinity_core.usage import Outcome

_ABOUT_ASSETS: Final = frozenset({"trinity.price.v1", "trinity.feed.v1"})
"""Packages whose requests ask for prices; elsewhere `assets` is a filter of what is one's own."""
_ALL_ASSETS: Final = frozenset({"trinity.feed.v1.StreamTicksRequest"})
"""Requests that ask for all assets and cannot ask for less."""
_TIERS: Final = {1: Outcome.LOCAL, 2: Outcome.CACHE, 3: Outcome.LIVE}
"""Outcomes of trinity.price.v1.Tier, by number."""
_OURS: Final = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS, Code.CANCELLED}
)
"""Codes of failures that nothing in the request is to blame for."""


def assets_of(request: Message) -> tuple[str, ...] | None:
    """Ids of the assets that a request asks for, upper case; empty for all there are, None where it asks for none."""
    descriptor = request.DESCRIPTOR
    if descriptor.file.package not in _ABOUT_ASSETS:
        return None
    fields = descriptor.fields_by_name
    given: Any = request
    if "asset" in fields:
        return (given.asset.upper(),)
    if "assets" in fields:
        return tuple(asset.upper() for asset in given.assets)
    return () if descriptor.full_name in _ALL_ASSETS else None


def outcome_of_code(code: Code) -> Outcome:
    """What a refusal or a failure counts as."""
    return Outcome.FAILED if code in _OURS else Outcome.REFUSED


def outcome_of_response(response: Message | None) -> Outcome:
    """What a good answer counts as: the tier of its price; the dearest one, where it has several."""
    if response is None:
        return Outcome.SERVED
    answer: Any = response
    name = response.DESCRIPTOR.full_name
    if name == "trinity.price.v1.GetPriceResponse":
        return _TIERS.get(answer.price.tier, Outcome.SERVED)
    if name == "trinity.price.v1.BatchGetPricesResponse":
        tier = max((result.price.tier for result in answer.results if result.HasField("price")), default=0)
        return _TIERS.get(tier, Outcome.SERVED)
    return Outcome.LIVE if name == "trinity.feed.v1.FetchQuoteResponse" else Outcome.SERVED
