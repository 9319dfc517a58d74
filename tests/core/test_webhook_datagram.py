"""Pushed datagrams: what is written is read, what is changed is not genuine, and nothing outgrows its bounds."""

from __future__ import annotations

import base64
import itertools
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.prices import State
from trinity_core.webhook_datagram import (
    DATAGRAM_MAX,
    PUSH_LABEL,
    REPLY_LABEL,
    Datagram,
    Head,
    beat,
    is_genuine,
    message,
    read,
    receipt,
    renewal,
    ticks,
)
from trinity_core.webhook_rules import Change
from trinity_core.webhook_ticks import Item

KEY, OTHER = b"k" * 32, b"o" * 32
HEAD = Head("whe_0123456789abcdefghijklmn", "0a0b0c0d0e0f", 7, 1_767_322_800)


def item(asset: str = "BTC", *, epoch: int = 5, price: str = "67000.10", venue_ns: int | None = 11) -> Item:
    change = Change(
        asset, Decimal(price), State.FRESH, Decimal(1), Decimal(1), (), 42, epoch, venue_ns, 1_767_322_800_123_456_789
    )
    return Item(change, 3)


def heads() -> itertools.chain[Head]:
    return itertools.chain.from_iterable([Head(HEAD.endpoint, HEAD.run, n, HEAD.unix_s)] for n in itertools.count(1))


def told(data: bytes) -> Datagram:
    found = read(data)
    assert found is not None
    return found


def test_a_heartbeat_is_what_the_page_shows() -> None:
    data = beat(HEAD, "00ff", [KEY])
    assert data.startswith(b"TBW1 BEAT e=whe_0123456789abcdefghijklmn r=0a0b0c0d0e0f n=7 t=1767322800 k=00ff\nm=")
    found = told(data)
    assert (found.word, found.marks["k"], found.number("n"), found.lines) == ("BEAT", "00ff", 7, ())


def test_ticks_carry_sequence_what_was_skipped_and_both_times() -> None:
    (data,) = ticks([item(), item("ETH", venue_ns=None)], heads(), [KEY])
    found = told(data)
    assert (found.word, found.number("p"), found.number("n")) == ("TICK", 5, 1)
    assert found.lines == (
        b"BTC 67000.10 F 42 3 1767322800123456789 11",
        b"ETH 67000.10 F 42 3 1767322800123456789 -",
    )


@given(count=st.integers(1, 200), keys=st.integers(1, 8), digits=st.integers(1, 40), epochs=st.integers(1, 3))
def test_a_batch_is_cut_into_whole_lines_within_the_bound(count: int, keys: int, digits: int, epochs: int) -> None:
    items = [item(f"A{n}", price="9" * digits, epoch=n * epochs // count) for n in range(count)]
    made = ticks(items, heads(), [KEY] * keys)
    found = [told(data) for data in made]
    assert max(map(len, made)) <= DATAGRAM_MAX
    assert [each.number("n") for each in found] == list(range(1, len(made) + 1))
    shown = [(line.split()[0].decode(), each.number("p")) for each in found for line in each.lines]
    assert shown == [(each.change.asset, each.change.epoch) for each in items]


def test_a_message_is_one_line_and_has_its_id() -> None:
    found = told(message(HEAD, "msg_1", b'{"type":"alert.crossing"}', [KEY]))
    assert (found.word, found.marks["i"], found.lines) == ("POST", "msg_1", (b'{"type":"alert.crossing"}',))


@pytest.mark.parametrize(("body", "why"), [(b"{\n}", "one line"), (b"x" * 9_000, "longer")])
def test_a_message_that_no_datagram_holds_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        message(HEAD, "msg_1", body, [KEY])


def test_any_of_the_keys_of_a_rotation_makes_a_datagram_genuine() -> None:
    found = told(beat(HEAD, "00", [KEY, OTHER]))
    for keys in ([KEY], [OTHER], [b"x" * 32, OTHER]):
        assert is_genuine(found, PUSH_LABEL, keys)
    assert not is_genuine(found, PUSH_LABEL, [b"x" * 32])
    assert not is_genuine(found, PUSH_LABEL, [])


def test_a_push_is_never_a_reply() -> None:
    push = told(beat(HEAD, "00", [KEY]))
    assert not is_genuine(push, REPLY_LABEL, [KEY])
    answer = told(renewal(push, 1, [KEY]))
    assert is_genuine(answer, REPLY_LABEL, [KEY])
    assert not is_genuine(answer, PUSH_LABEL, [KEY])


def test_a_reply_says_what_it_replies_to_and_is_no_longer_than_a_push() -> None:
    push = beat(HEAD, "00ff", [KEY])
    answer = renewal(told(push), 1_767_322_801, [KEY])
    assert told(answer).marks == {**told(push).marks, "t": "1767322801"}
    assert len(answer) <= len(push) + 1
    sent = told(message(HEAD, "msg_1", b"{}", [KEY]))
    marks = told(receipt(sent, 1, [KEY], challenge="abc-_=")).marks
    assert (marks["i"], marks["a"], marks["n"]) == ("msg_1", "abc-_=", "7")


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_bit_makes_a_datagram_unreadable_or_false(place: int, bit: int) -> None:
    (data,) = ticks([item(), item("ETH")], heads(), [KEY])
    changed = bytearray(data)
    changed[place % len(data)] ^= 1 << bit
    found = read(bytes(changed))
    if found is not None and is_genuine(found, PUSH_LABEL, [KEY]):
        # Hexadecimal digits may be written in either case.
        assert bytes(changed).lower() == data.lower()
        assert found.signed == told(data).signed


@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: b"TBW1 " + text.encode())))
def test_noise_is_nothing(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"TBW1 BEAT e=x r=1 n=1 t=1 k=0",
        b"TBW1 BEAT e=x r=1 n=1 t=1 k=0\nm=00",
        b"TBW1 BEAT e=x r=1 n=1 t=1\nm=" + b"0" * 32,
        b"TBW1 BEAT e=x r=1 n=-1 t=1 k=0\nm=" + b"0" * 32,
        b"TBW1 BEAT e=x e=x r=1 n=1 t=1 k=0\nm=" + b"0" * 32,
        b"TBW1 BEAT e=x r=1 n=1 t=1 k=0\nmore\nm=" + b"0" * 32,
        b"TBW1 TICK e=x r=1 n=1 t=1 p=1\nm=" + b"0" * 32,
        b"TBW1 POST e=x r=1 n=1 t=1 i=1\n{}\n{}\nm=" + b"0" * 32,
        b"TBW1 NOPE e=x r=1 n=1 t=1 k=0\nm=" + b"0" * 32,
        b"TBW1 BEAT e=x r=1 n=1 t=1 k=0\nm=" + b",".join([b"0" * 32] * 9),
        b"TBW1 BEAT e=x r=1 n=1 t=1 k=" + b"0" * 300 + b"\nm=" + b"0" * 32,
    ],
)
def test_a_datagram_of_another_form_is_nothing(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize("count", [0, 9])
def test_a_datagram_needs_one_to_eight_keys(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 8 keys"):
        beat(HEAD, "00", [KEY] * count)


def test_the_datagrams_of_the_page_are_sealed_with_its_secret() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/webhook-sending.md").read_text()
    secret = re.search(r"`whsec_([A-Za-z0-9+/=]+)`", page)
    assert secret is not None
    key = base64.b64decode(secret[1])
    shown = re.findall(r"^```datagram\n(.*?)\n```", page, re.MULTILINE | re.DOTALL)
    found = [told(text.encode()) for text in shown]
    labels = {"BEAT": PUSH_LABEL, "TICK": PUSH_LABEL, "POST": PUSH_LABEL, "RENEW": REPLY_LABEL, "ACK": REPLY_LABEL}
    assert [each.word for each in found] == ["BEAT", "RENEW", "TICK", "POST", "ACK"]
    for each in found:
        assert is_genuine(each, labels[each.word], [key])
    assert renewal(found[0], 1_790_000_000, [key]).decode() == shown[1]
    assert receipt(found[3], 1_790_000_000, [key]).decode() == shown[4]
