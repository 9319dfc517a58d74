"""Page tokens: opaque, signed, and good only for the query they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from trinity_core.errors import Reason, TrinityError

_DIGEST_BYTES: Final = 16
_WORD_LENGTH_BYTES: Final = 4
_PERSON: Final = b"trinity pages"


class PageTokens:
    """Makes and reads tokens: a position in a list, and a digest over it and the query.

    A query is the words that decide what the list holds and in which order: the method's
    name, every filter, for whom. A token of another query, of another key or of no one is
    refused. The position is signed, not hidden: it must tell nothing that its page did not.
    """

    def __init__(self, *, key: bytes) -> None:
        """`key` signs; processes that shall take each other's tokens have the same one."""
        self._key = hashlib.blake2b(key, digest_size=32, person=_PERSON).digest()

    def make(self, position: bytes, *, query: Sequence[str]) -> str:
        """The token of the page that follows `position`."""
        return base64.urlsafe_b64encode(self._digest(position, query) + position).decode("ascii").rstrip("=")

    def read(self, token: str, *, query: Sequence[str]) -> bytes | None:
        """The position of a token; None for the empty one, the first page.

        Raises TrinityError INVALID_PAGE_TOKEN.
        """
        if not token:
            return None
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        digest, position = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        # Several texts decode to the same bytes; only the one we would write is a token.
        if not hmac.compare_digest(digest, self._digest(position, query)) or self.make(position, query=query) != token:
            raise invalid_page_token()
        return position

    def _digest(self, position: bytes, query: Sequence[str]) -> bytes:
        state = hashlib.blake2b(key=self._key, digest_size=_DIGEST_BYTES)
        for word in (*(word.encode() for word in query), position):
            state.update(len(word).to_bytes(_WORD_LENGTH_BYTES, "big"))
            state.update(word)
        return state.digest()


def invalid_page_token() -> TrinityError:
    """What a token is answered with that does not belong to its query."""
    return TrinityError(
        Reason.INVALID_PAGE_TOKEN,
        "page_token is not one of this list; pass next_page_token and the same query unchanged, or none to begin again",
        metadata={"field": "page_token"},
    )
