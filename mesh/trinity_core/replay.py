"""A tick log through a book: the same lines always give the same prices, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trinity_core.book import Book
from trinity_core.prices import Price
from trinity_core.ticklog import Record, read
from trinity_core.ticks import Tick


def replay(lines: Iterable[bytes | str], book: Book) -> Iterator[Price]:
    """Every price that the log's lines publish, in order; `book` is a new one with the settings wanted.

    Raises TickLogError, naming the line, when it comes to a line that is not a record.
    """
    for record in read(lines):
        yield from feed(book, record)


def feed(book: Book, record: Record) -> list[Price]:
    """Give a book what a record says reached it; the prices that changed."""
    if record.event is None:
        return book.advance(record.t)
    if isinstance(record.event, Tick):
        return book.apply(record.event, record.t)
    return book.alive(record.event, record.t)
