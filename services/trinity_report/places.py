"""Page tokens of ListUsage: where the page ends, signed together with what it is a page of."""

from __future__ import annotations

from typing import Final

import msgspec

from trinity_core.usage_log import Position, UsageFilter
from trinity_mesh.page_tokens import PageTokens, invalid_page_token


class Places:
    """Makes and reads the tokens. They are good for the filter they were made for, whoever sends them."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def make(self, last: Position, wanted: UsageFilter) -> str:
        """The token of the page after a row."""
        return self._tokens.make(msgspec.json.encode(last), query=_query(wanted))

    def read(self, token: str, wanted: UsageFilter) -> Position | None:
        """The row that a token's page comes after; None for the first page. Raises TrinityError INVALID_PAGE_TOKEN."""
        position = self._tokens.read(token, query=_query(wanted))
        if position is None:
            return None
        try:
            return msgspec.json.decode(position, type=Position)
        except msgspec.MsgspecError:
            # Signed by us, but by another release.
            raise invalid_page_token() from None


def _query(wanted: UsageFilter) -> tuple[str, ...]:
    """All that decides which rows there are; texts of a filter hold no comma."""
    return (
        _METHOD,
        f"{wanted.start}-{wanted.end}",
        wanted.associate,
        ",".join(sorted(wanted.key_ids)),
        ",".join(sorted(wanted.assets)),
        ",".join(map(str, sorted(wanted.transports))),
        ",".join(sorted(wanted.methods)),
        ",".join(map(str, sorted(wanted.outcomes))),
    )


_METHOD: Final = "ListUsage"
