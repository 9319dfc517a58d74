"""Page tokens of ListAssets: opaque, and good only for the list they were made of."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from trinity_core.errors import Reason, TrinityError

_DIGEST_BYTES = 12
_OFFSET_BYTES = 4


class PageTokens:
    """Makes and reads tokens of one method over one list.

    A token is the offset of its page and a digest over offset, method and list. That is no
    secret and need not be: it tells a token of another method, of another version of the
    list, or of no one, from one of ours, in every process that has the same list.
    """

    def __init__(self, *, method: str, items: Sequence[str]) -> None:
        """`items` are the ids of the list in its order."""
        self._key = hashlib.blake2b("\n".join((method, *items)).encode(), digest_size=32).digest()
        self._count = len(items)

    def make(self, offset: int) -> str:
        """The token of the page that begins at `offset`."""
        head = offset.to_bytes(_OFFSET_BYTES, "big")
        return base64.urlsafe_b64encode(head + self._digest(head)).decode("ascii").rstrip("=")

    def read(self, token: str) -> int:
        """The offset of a token; 0 for the empty one. Raises TrinityError INVALID_PAGE_TOKEN."""
        if not token:
            return 0
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        head = data[:_OFFSET_BYTES]
        offset = int.from_bytes(head, "big")
        if data[_OFFSET_BYTES:] != self._digest(head) or not 0 < offset < self._count or self.make(offset) != token:
            raise TrinityError(
                Reason.INVALID_PAGE_TOKEN,
                "page_token is not one of this list; pass next_page_token unchanged, or none to begin again",
                metadata={"field": "page_token"},
            )
        return offset

    def _digest(self, head: bytes) -> bytes:
        return hashlib.blake2b(head, key=self._key, digest_size=_DIGEST_BYTES).digest()
