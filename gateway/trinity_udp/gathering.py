"""A batch by who asks: what came together from one address for one session, and what goes back to one sender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from trinity_core.udp_frame import SESSION_PLACE, SIGNED_QUERY
from trinity_udp.batches import Received, Sender
from trinity_udp.reply import Reply


class Run(NamedTuple):
    """Datagrams of one batch from one address, in their order: binary ones of one session, or those of no session."""

    source: bytes
    """The address (packed)."""
    datagrams: Sequence[bytes]
    senders: Sequence[Sender]
    places: Sequence[Any]
    alone: bool
    """They all come from one port."""


def runs_of(received: Received) -> list[Run]:
    """A batch by its senders."""
    datagrams, senders, places, _ = received
    if not datagrams:
        return []
    if senders.count(senders[0]) == len(senders):
        return [Run(senders[0][1], datagrams, senders, places, alone=True)]
    runs: dict[tuple[bytes, bytes], tuple[list[bytes], list[Sender], list[Any]]] = {}
    for datagram, sender, place in zip(datagrams, senders, places, strict=True):
        key = sender[1], datagram[SESSION_PLACE] if datagram.startswith(SIGNED_QUERY) else b""
        run = runs.get(key)
        if run is None:
            runs[key] = [datagram], [sender], [place]
        else:
            run[0].append(datagram)
            run[1].append(sender)
            run[2].append(place)
    return [
        Run(source, datagrams, senders, places, alone=senders.count(senders[0]) == len(senders))
        for (source, _), (datagrams, senders, places) in runs.items()
    ]


def by_sender(run: Run, replies: Sequence[Reply]) -> Iterable[tuple[Any, list[Reply]]]:
    """Replies to a run, those to one sender together, and where each of these is to go. Silence goes nowhere."""
    if run.alone:
        kept = [reply for reply in replies if reply.data]
        return [(run.places[0], kept)] if kept else []
    groups: dict[Sender, tuple[Any, list[Reply]]] = {}
    for reply, sender, place in zip(replies, run.senders, run.places, strict=True):
        if reply.data:
            group = groups.get(sender)
            if group is None:
                groups[sender] = place, [reply]
            else:
                group[1].append(reply)
    return groups.values()
