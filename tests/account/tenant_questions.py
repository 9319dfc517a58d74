"""What the tests of the matrix ask by its rows, and how they read the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from account.tenant_furnishing import Customer
from account.tenant_matrix import ROWS
from account.tenant_stage import World
from account.tenant_things import NAMING, Admins, Commons, Meshs, Own, Publics, Row, Things
from account.tenant_ways import Seen, Told, Who, methods
from trinity_http.contract import Method

METHODS: Mapping[str, Method] = methods()


def method_of(service: str, request: Message) -> Method:
    """The RPC of a service that takes this message."""
    return METHODS[f"{service}.{type(request).__name__.removesuffix('Request')}"]


def reached(world: World, *kinds: type) -> Iterator[tuple[Method, Any]]:
    """The RPCs of some kinds that this way leads to, with their rows.

    Behind a gateway nobody asks any more who calls for what is nobody's.
    """
    for name, row in ROWS.items():
        is_judged = world.way.judges_keys or not isinstance(row, Commons)
        if isinstance(row, kinds) and is_judged and world.way.reaches(METHODS[name]):
            yield METHODS[name], row


def request_of(row: Row, things: Things) -> Message:
    """One request of a row that changes nothing, whoever sends it, when `things` are nobody's."""
    if isinstance(row, Commons):
        return row.ask
    if isinstance(row, Admins | Meshs | Publics):
        return row.ask(things)
    return next((ask(things, things) for ask in row.asks.values()), None) or row.unnamed[0]


def holder_of(method: Method, customer: Customer) -> Who:
    """A customer's key with just the scope that an RPC needs; any key where it needs none."""
    (scope,) = method.scopes or ("webhooks.manage",)
    return customer.by_scope[scope]


def refused(seen: Seen, name: str) -> Told:
    assert seen.told is not None, f"{name} was answered"
    return seen.told


def in_the_words_of(told: Told, own: Things, other: Things) -> Told:
    """What would have been told of another's things, had they had these names."""

    def renamed(text: str) -> str:
        for theirs, mine in own.counterparts(other):
            text = text.replace(theirs, mine)
        return text

    return replace(
        told,
        message=renamed(told.message),
        metadata={key: renamed(value) for key, value in told.metadata.items()},
        fields=[renamed(each) for each in told.fields],
    )


def names_of(row: Row, own: Things) -> set[str]:
    """Fields that name somebody's thing, and are set by a question of the row."""
    found = set[str]()
    for ask in row.asks.values() if isinstance(row, Own) else ():
        found |= {field.name for field, _ in ask(own, own).ListFields()}
    return found & NAMING


def assert_shows_nothing_of(customer: Customer, seen: Seen, name: str) -> None:
    for each in customer.things.names():
        assert each.encode() not in seen.shown, f"{name} shows {each}"
