"""Strangers by the million: the bound of bytes over thousands of random datagrams, and memory that stays flat."""

from __future__ import annotations

import random
import sys

from trinity_core.udp_session import open_session
from trinity_udp.quick import KNOWN_MAX
from udp.counter import UNIX_S, make_price
from udp.office import A, Office

WORDS = [b"GET", b"BTC", b"BTC,ETH", b"ETH", b"USD", b"EUR", b"id=7", b"PING", b"TIME", b"HELP", b"USAGE", b"NOPE"]
WORDS += [
    b"c=0123456789abcdef",
    b"c=" + b"0" * 48,
    b"s=00112233445566ff",
    b"t=1",
    b"q=1",
    b"m=" + b"0" * 32,
    b"\n",
    b"  ",
]


def stray(rng: random.Random, office: Office) -> bytes:
    """A datagram of somebody who has no session and has proven nothing."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(1_300))
    if kind == 1:
        return b" ".join(rng.choices(WORDS, k=rng.randrange(1, 30)))
    if kind == 2:
        return (
            b"GET "
            + b",".join(rng.choices([b"BTC", b"ETH", b"SOL"], k=rng.randrange(1, 70)))
            + b" " * rng.randrange(60)
        )
    if kind == 3:
        return office.binary(*rng.choices(["BTC", "ETH", "NOPE", "SOL"], k=rng.randrange(1, 9)), signed=False)
    if kind == 4:
        return office.binary("BTC", "ETH", signed=False, cookie=rng.randbytes(24))
    made = bytearray(office.binary("BTC", signed=rng.random() < 0.5))
    made[rng.randrange(len(made))] = rng.randrange(256)
    return bytes(made)


def test_over_twenty_thousand_random_datagrams_nobody_unproven_gets_more_than_three_bytes_for_one() -> None:
    rng, office = random.Random(20_260_102), Office(burst=10**6, per_s=10**6, session_burst=10**6)
    office.counter.shelf.prices["BTC"] = make_price(value="67000." + "1" * 30)
    taken = given = answered = 0
    for number in range(20_000):
        datagram = stray(rng, office)
        host = f"198.51.{number >> 8 & 255}.{number & 255}"
        reply = office.ask_bytes(datagram, host)
        assert len(reply) <= 3 * len(datagram), datagram
        taken, given, answered = taken + len(datagram), given + len(reply), answered + bool(reply)
        if number % 50 == 0:
            assert office.ask_bytes(reply, host) == b"", "an answer was answered"
    assert answered > 3_000, "the test asked nothing but nonsense"
    assert given < 3 * taken


def test_a_million_forged_sources_cost_no_memory() -> None:
    office = Office()
    desk, clock = office.counter.desk, office.keys.clock
    stranger = open_session(b"x" * 32, key_id=A.key_id, now_s=UNIX_S, nonce=1)
    kinds = (
        b"GET BTC USD",
        b"GET BTC,ETH USD     ",
        b"\0garbage",
        office.binary("BTC", session=stranger),
        office.binary("BTC", signed=False),
        office.line(session=stranger),
        b"GET BTC,ETH USD c=" + b"0" * 48,
    )
    # What costs next to nothing makes up most of a flood; the dearer kinds come now and then.
    flood = (kinds[0],) * 46 + (kinds[2],) * 45 + (kinds[3],) * 5 + (kinds[1], kinds[4], kinds[5], kinds[6])
    mono_ns, unix_ns = clock.monotonic_ns(), clock.unix_ns()

    def send(start: int, count: int) -> int:
        for number in range(start, start + count):
            source = (number * 2_654_435_761 % (1 << 32)).to_bytes(4, "big")
            desk.take(flood[number % len(flood)], source, 40_000, mono_ns, unix_ns)
        return sys.getallocatedblocks()

    first = send(0, 200_000)
    last = send(200_000, 800_000)
    assert last - first < 5_000
    assert len(desk._allowance) <= 1_000
    assert len(desk._session_allowance) <= 1_000
    assert len(office.sessions) == 0
    assert len(office.doors.cookies) == 0
    quick = desk._quick
    assert quick is not None
    assert len(quick._payloads) <= KNOWN_MAX
