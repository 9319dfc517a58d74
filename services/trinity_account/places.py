"""Page tokens of the lists: where the next page begins, signed together with what the list is of."""

from __future__ import annotations

from typing import Final

from trinity_core.accounts import ApiKey
from trinity_mesh.page_tokens import PageTokens, invalid_page_token

_EVERYBODY: Final = "*"
"""Stands for all associates; no id of one."""


class Places:
    """Makes and reads the tokens."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def name(self, method: str, last: str) -> str:
        """The token of the page after an id."""
        return self._tokens.make(last.encode(), query=(method,))

    def read_name(self, method: str, token: str) -> str:
        """The id that a token's page comes after; empty for the first page. Raises INVALID_PAGE_TOKEN."""
        position = self._tokens.read(token, query=(method,))
        return "" if position is None else position.decode()

    def key(self, associate: str | None, last: ApiKey) -> str:
        """The token of the page after a key, in the list of one associate or, with None, of all."""
        return self._tokens.make(f"{last.create_time_ns},{last.key_id}".encode(), query=_keys_of(associate))

    def read_key(self, associate: str | None, token: str) -> tuple[int, str] | None:
        """The key that a token's page comes after; None for the first page. Raises INVALID_PAGE_TOKEN."""
        position = self._tokens.read(token, query=_keys_of(associate))
        if position is None:
            return None
        created, _, key_id = position.decode().partition(",")
        if not created.isdecimal():
            raise invalid_page_token()
        return int(created), key_id


def _keys_of(associate: str | None) -> tuple[str, str]:
    return "ListKeys", _EVERYBODY if associate is None else associate
