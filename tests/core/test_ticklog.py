"""The tick log reads back what was written, and names the line of anything else."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stage import COINBASE, KRAKEN, at, make_tick
from trinity_core.ticklog import LINE_MAX, Record, TickLogError, read, write
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

FIGURES = st.none() | st.decimals(allow_nan=True, allow_infinity=True)
TIMES = st.integers(-(1 << 62), 1 << 62)
TICKS = st.builds(
    Tick,
    venue=st.sampled_from(Venue),
    asset=st.text(max_size=8),
    symbol=st.text(max_size=8),
    quote=st.sampled_from(["USD", "USDT"]),
    price=FIGURES,
    bid=FIGURES,
    ask=FIGURES,
    volume_24h=FIGURES,
    venue_time_ns=st.none() | TIMES,
    sequence=st.none() | st.integers(0, (1 << 64) - 1),
    receive_time_ns=TIMES,
    receive_mono_ns=TIMES,
    live=st.booleans(),
)
LIVES = st.builds(
    Liveness, venue=st.sampled_from(Venue), worker=st.text(max_size=9), alive_mono_ns=TIMES, connected=st.booleans()
)


@given(t=TIMES, event=st.none() | TICKS | LIVES)
def test_a_record_reads_back_as_it_was(t: int, event: Tick | Liveness | None) -> None:
    line = write(Record(t, event))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    (found,) = read([line])
    assert type(found.event) is type(event)
    assert repr(found) == repr(Record(t, event))


def test_a_decimal_keeps_its_digits() -> None:
    tick = make_tick(KRAKEN, "65000.1000")
    (found,) = read([write(Record(1, tick))])
    assert isinstance(found.event, Tick)
    assert str(found.event.price) == "65000.1000"
    assert b'"65000.1000"' in write(Record(1, tick))


def test_text_and_bytes_are_read_alike() -> None:
    lines = [write(Record(at(0), make_tick(KRAKEN, "1"))), write(Record(at(1)))]
    assert list(read(lines)) == list(read([line.decode() for line in lines]))


GOOD = write(Record(5, make_tick(COINBASE, "1"))).decode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("{", "truncated"),
        ("[]", "array"),
        ("{}", "`t`"),
        ('{"t": 1.5}', "int"),
        ('{"t": 5, "more": 1}', "more"),
        ('{"t": 5, "tick": null}', "null"),
        ('{"t": 5, "alive": {"venue": "kraken"}}', "worker"),
        (GOOD.replace('"live":false', '"live":false,"extra":1'), "extra"),
        (GOOD.replace('"bid":"1",', ""), "bid"),
        (GOOD.replace('"1"', '"one"', 1), "decimal"),
        (GOOD.replace("coinbase", "nowhere"), "nowhere"),
        (GOOD.replace("}}", '},"alive":{"venue":"okx","worker":"w","alive_mono_ns":1,"connected":true}}'), "both"),
        ('{"t": 4611686018427387905}', "no time"),
        ('{"t": 4}', "before 5"),
        ('{"t": 5, "tick": "' + "x" * LINE_MAX + '"}', "longer"),
    ],
)
def test_a_line_that_is_no_record_is_named(line: str, message: str) -> None:
    records = read([GOOD, line])
    assert next(records).t == 5
    with pytest.raises(TickLogError, match="^line 2: ") as caught:
        next(records)
    assert message in str(caught.value)


def test_bytes_that_are_no_text_are_named() -> None:
    with pytest.raises(TickLogError, match="line 1"):
        list(read([b'{"t": 1, "alive": "\xff"}']))


def test_a_quote_no_venue_would_send_is_for_the_book_to_refuse_not_for_the_log() -> None:
    tick = make_tick(KRAKEN, "1", price=Decimal("NaN"))
    (found,) = read([write(Record(1, tick))])
    assert isinstance(found.event, Tick)
    assert found.event.price is not None
    assert found.event.price.is_nan()
