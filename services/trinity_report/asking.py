"""What a request asks for, as a filter of the log: its bounds judged, and nobody's rows but the caller's own."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from trinity.report.v1 import report_pb2
from trinity_admission.principal import ADMIN, Principal
from trinity_core.assets import AssetTable
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.usage import HOUR_S
from trinity_core.usage_log import HOURS_END, UsageFilter
from trinity_core.usage_sums import GroupBy

Request = report_pb2.ListUsageRequest | report_pb2.SummarizeUsageRequest | report_pb2.ExportUsageRequest


class Owners(Protocol):
    """Knows whom keys belong to; raises TrinityError STORE_UNAVAILABLE."""

    async def has_associate(self, associate: str) -> bool:
        """Whether there is such an associate."""
        ...

    async def owners(self, key_ids: Sequence[str]) -> Mapping[str, str]:
        """The associates of those keys that exist; empty for a key that only the log knows."""
        ...


class Asking:
    """Makes filters of requests, which were judged by their contract's rules before."""

    def __init__(self, *, owners: Owners, assets: AssetTable, methods: Collection[str]) -> None:
        """`methods` are the short names that answers are counted under."""
        self._owners = owners
        self._assets = assets
        self._methods = frozenset(methods)

    async def filter(self, request: Request, principal: Principal) -> UsageFilter:
        """What the caller may see of what the request asks for.

        Raises TrinityError INVALID_FIELD, naming the field, UNKNOWN_ASSOCIATE and UNKNOWN_KEY:
        what belongs to another is as unknown as what does not exist.
        """
        start, end = _hours(request)
        for index, asset in enumerate(request.assets):
            if asset not in self._assets.by_id:
                raise invalid_field(f"assets[{index}]", f"no asset {asset!r}{_hint(self._assets.nearest(asset))}")
        for index, method in enumerate(request.methods):
            if method not in self._methods:
                near = difflib.get_close_matches(method, self._methods, n=3)
                raise invalid_field(f"methods[{index}]", f"no method {method!r}{_hint(near)}")
        _check_numbers("transports", request.transports)
        _check_numbers("outcomes", request.outcomes)
        associate = await self._associate(request.associate, principal)
        await self._check_keys(request.key_ids, associate, principal)
        return UsageFilter(
            start=start,
            end=end,
            associate=associate,
            key_ids=frozenset(request.key_ids),
            assets=frozenset(request.assets),
            transports=frozenset(request.transports),
            methods=frozenset(request.methods),
            outcomes=frozenset(request.outcomes),
        )

    async def _associate(self, asked: str, principal: Principal) -> str:
        """Whose rows: the caller's own, or those an admin asks for; empty for everybody's."""
        if not principal.holds(ADMIN):
            if asked not in {"", principal.associate}:
                raise _unknown_associate(asked)
            return principal.associate
        if asked and asked != principal.associate and not await self._owners.has_associate(asked):
            raise _unknown_associate(asked)
        return asked

    async def _check_keys(self, key_ids: Sequence[str], associate: str, principal: Principal) -> None:
        own = principal.key_id if associate in {"", principal.associate} else ""
        asked = [key_id for key_id in key_ids if key_id != own]
        if not asked:
            return
        owners = await self._owners.owners(asked)
        for key_id in asked:
            if key_id not in owners or (associate and owners[key_id] != associate):
                raise TrinityError(
                    Reason.UNKNOWN_KEY, f"no key {key_id!r}; ListKeys shows them", metadata={"key_id": key_id}
                )


def groups_of(request: report_pb2.SummarizeUsageRequest) -> list[GroupBy]:
    """By what to group. Raises TrinityError INVALID_FIELD."""
    _check_numbers("group_by", request.group_by)
    return [GroupBy(number) for number in request.group_by]


def _hours(request: Request) -> tuple[int, int]:
    start = _seconds(request.start_time, "start_time") if request.HasField("start_time") else 0
    end = _seconds(request.end_time, "end_time") if request.HasField("end_time") else HOURS_END * _NS
    if request.HasField("start_time") and request.HasField("end_time") and end <= start:
        raise invalid_field("end_time", "it must be after start_time")
    # The hour that holds a time is in, at both ends.
    return max(0, start // _NS // HOUR_S * HOUR_S), max(0, -(-end // (_NS * HOUR_S)) * HOUR_S)


def _seconds(time: Timestamp, field: str) -> int:
    """Nanoseconds since 1970."""
    if not _FIRST <= time.seconds < HOURS_END or not 0 <= time.nanos < _NS:
        raise invalid_field(field, "it must be a time from the year 1 to the year 9999")
    return time.seconds * _NS + time.nanos


def _check_numbers(field: str, numbers: Sequence[int]) -> None:
    for index, number in enumerate(numbers):
        if not number:
            raise invalid_field(f"{field}[{index}]", "0 stands for nothing; leave it out")


def _unknown_associate(associate: str) -> TrinityError:
    return TrinityError(Reason.UNKNOWN_ASSOCIATE, f"no associate {associate!r}", metadata={"associate": associate})


def _hint(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""


_NS: Final = 1_000_000_000
_FIRST: Final = -62_135_596_800
"""0001-01-01T00:00:00Z."""
