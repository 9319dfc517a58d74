"""Page tokens of the lists: where the next page begins, signed together with what the list is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trinity_core.webhook_store import DeliveryFilter, Place
from trinity_mesh.page_tokens import PageTokens, invalid_page_token

_EVERYBODY: Final = "*"
"""Stands for all associates; no id of one."""


class Places:
    """Makes and reads the tokens."""

    def __init__(self, tokens: PageTokens) -> None:
        self._tokens = tokens

    def make(self, place: Place, query: Sequence[str]) -> str:
        """The token of the page after an entry."""
        return self._tokens.make(f"{place[0]},{place[1]}".encode(), query=query)

    def read(self, token: str, query: Sequence[str]) -> Place | None:
        """The entry that a token's page comes after; None for the first page. Raises INVALID_PAGE_TOKEN."""
        position = self._tokens.read(token, query=query)
        if position is None:
            return None
        created, _, name = position.decode().partition(",")
        if not created.isdecimal():
            raise invalid_page_token()
        return int(created), name


def query_of(method: str, associate: str | None, *rest: str) -> tuple[str, ...]:
    """What a list is of: the method, whose, and what else."""
    return (method, _EVERYBODY if associate is None else associate, *rest)


def query_of_filter(method: str, wanted: DeliveryFilter) -> tuple[str, ...]:
    """What a list of deliveries is of."""
    return query_of(
        method,
        wanted.associate,
        wanted.endpoint,
        wanted.subscription,
        ",".join(str(kind.value) for kind in sorted(wanted.kinds)),
        ",".join(str(state.value) for state in sorted(wanted.states)),
        str(wanted.start_ns),
        str(wanted.end_ns),
    )
