"""Page tokens of ListAssets: opaque, and good only for the list they were made of."""

from __future__ import annotations

from collections.abc import Sequence

from trinity_mesh import page_tokens

_OFFSET_BYTES = 4


class PageTokens:
    """Makes and reads tokens of one method over one list.

    They are signed with the list itself. That is no secret and need not be: it tells a token
    of another method, of another version of the list, or of no one, from one of ours, in
    every process that has the same list.
    """

    def __init__(self, *, method: str, items: Sequence[str]) -> None:
        """`items` are the ids of the list in its order."""
        self._tokens = page_tokens.PageTokens(key="\n".join(items).encode())
        self._query = (method,)
        self._count = len(items)

    def make(self, offset: int) -> str:
        """The token of the page that begins at `offset`."""
        return self._tokens.make(offset.to_bytes(_OFFSET_BYTES, "big"), query=self._query)

    def read(self, token: str) -> int:
        """The offset of a token; 0 for the empty one. Raises TrinityError INVALID_PAGE_TOKEN."""
        position = self._tokens.read(token, query=self._query)
        if position is None:
            return 0
        offset = int.from_bytes(position, "big")
        if not 0 < offset < self._count or len(position) != _OFFSET_BYTES:
            raise page_tokens.invalid_page_token()
        return offset
