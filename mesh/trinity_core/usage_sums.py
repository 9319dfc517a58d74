"""Sums of usage by groups: the greatest of them, and the total of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from trinity_core.usage_log import UsageRow
from trinity_core.usage_table import OUTCOMES, TRANSPORTS, hour_text

SUMS_MAX: Final = 10_000
"""Most sums of one summary, as the contract bounds them."""
DAY_S: Final = 86_400


class GroupBy(IntEnum):
    """By what to group; numbers of trinity.report.v1.GroupBy."""

    ASSET = 1
    TRANSPORT = 2
    METHOD = 3
    OUTCOME = 4
    KEY = 5
    HOUR = 6
    DAY = 7


Group = tuple[str | int, ...]
"""Values of a group as the log has them: texts, numbers of enums, unix seconds."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One group's sum."""

    group: Group
    billed: int
    unbilled: int


@dataclass(frozen=True, slots=True)
class Sums:
    """A summary."""

    sums: Sequence[Sum]
    """Greatest first (by all answers), equals in the order of their groups; SUMS_MAX at most."""
    billed: int
    """Of all groups, of those that were cut off as well."""
    unbilled: int
    groups: int
    """How many groups there are."""

    @property
    def truncated(self) -> bool:
        """Whether groups were cut off."""
        return self.groups > len(self.sums)


class Summing:
    """Adds rows up. Its memory grows with the groups, not with the rows."""

    def __init__(self, group_by: Sequence[GroupBy]) -> None:
        self._group_by = tuple(group_by)
        self._sums: dict[Group, list[int]] = {}
        if not group_by:
            self._sums[()] = [0, 0]

    @property
    def groups(self) -> int:
        """How many groups there are so far."""
        return len(self._sums)

    def add(self, rows: Iterable[UsageRow]) -> None:
        """Add some rows."""
        parts, sums = [_PARTS[each] for each in self._group_by], self._sums
        for row in rows:
            group = tuple([part(row) for part in parts])
            held = sums.get(group)
            if held is None:
                held = sums[group] = [0, 0]
            held[not row.billed] += row.count

    def add_sums(self, sums: Iterable[Sum]) -> None:
        """Add sums that were made elsewhere, by the same groups."""
        for each in sums:
            held = self._sums.setdefault(each.group, [0, 0])
            held[0] += each.billed
            held[1] += each.unbilled

    def result(self) -> Sums:
        """The summary."""
        ordered = sorted(self._sums.items(), key=lambda item: (-item[1][0] - item[1][1], item[0]))
        return Sums(
            [Sum(group, billed, unbilled) for group, (billed, unbilled) in ordered[:SUMS_MAX]],
            sum(billed for billed, _ in self._sums.values()),
            sum(unbilled for _, unbilled in self._sums.values()),
            len(self._sums),
        )


def group_texts(group: Group, group_by: Sequence[GroupBy]) -> list[str]:
    """The values of a group as the contract has them; times are RFC 3339."""
    return [_text(each, value) for each, value in zip(group_by, group, strict=True)]


def _text(by: GroupBy, value: str | int) -> str:
    if isinstance(value, str):
        return value
    match by:
        case GroupBy.TRANSPORT:
            return TRANSPORTS[value]
        case GroupBy.OUTCOME:
            return OUTCOMES[value]
        case _:
            return hour_text(value)


_PARTS: Final[Mapping[GroupBy, Callable[[UsageRow], str | int]]] = {
    GroupBy.ASSET: lambda row: row.asset,
    GroupBy.TRANSPORT: lambda row: row.transport,
    GroupBy.METHOD: lambda row: row.method,
    GroupBy.OUTCOME: lambda row: row.outcome,
    GroupBy.KEY: lambda row: row.key_id,
    GroupBy.HOUR: lambda row: row.hour,
    GroupBy.DAY: lambda row: row.hour - row.hour % DAY_S,
}
