"""Binary datagrams at the desk: what is answered, what is signed, what is refused, and where a cookie is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.stage import change, record_of
from trinity.price.v1 import price_pb2
from trinity.report.v1 import report_pb2
from trinity_core import udp_frame
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_cookie import NO_CLIENT
from trinity_core.udp_frame import COOKIE, MAC, REFUSED, RESPONSE, TRUNCATED
from trinity_core.udp_session import open_session
from trinity_udp.admitting import DEMO
from trinity_udp.allowance import Allowance, source_of
from trinity_udp.codec import DATAGRAM_BYTES_MAX
from trinity_udp.desk import Desk
from trinity_udp.drops import Tally
from trinity_udp.totals import KeptTotals, Totals, UsageTotals
from udp.counter import UNIX_S, make_price
from udp.office import A, Office, holder

HOST = "192.0.2.7"


@pytest.fixture
def office() -> Office:
    return Office(burst=10_000, session_burst=10_000)


def cookie_of(office: Office, host: str = HOST) -> bytes:
    return office.doors.cookies.make(NO_CLIENT, source_of(host), now_s=office.keys.clock.unix_ns() // 10**9)


def test_a_query_with_a_session_is_answered_signed_and_counted(office: Office) -> None:
    office.counter.shelf.prices["BTC"] = make_price(sequence=77)
    for _ in range(3):
        frame, told = office.ask_binary(office.binary("BTC"))
        assert frame.flags == RESPONSE | MAC
        assert frame.unix_s == told.server_unix == UNIX_S
        (result,) = told.results
        assert (result.asset, result.price, result.receive_unix_ms) == ("BTC", "67000.10", UNIX_S * 1_000)
        assert (result.source_count, result.state, result.tier) == (6, price_pb2.STATE_FRESH, price_pb2.TIER_LOCAL)
        assert (result.sequence, result.reason, told.sandbox) == (77, "", False)
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 3}


def test_a_small_batch_is_answered_in_its_order_whatever_becomes_of_each(office: Office) -> None:
    frame, told = office.ask_binary(office.binary("eth", "NOPE", "BTC", cookie=cookie_of(office)))
    assert [(each.asset, each.price, each.reason) for each in told.results] == [
        ("ETH", "3000.5", ""),
        ("NOPE", "", "UNKNOWN_ASSET"),
        ("BTC", "67000.10", ""),
    ]
    assert told.sandbox, "one of them is simulated"
    assert frame.flags == RESPONSE | MAC
    assert office.counted() == {
        ("udp", "GetPrice", "BTC", 1): 1,
        ("udp", "GetPrice", "ETH", 1): 1,
        ("udp", "GetPrice", "", 5): 1,
    }


def test_without_a_session_one_asset_is_a_demonstration(office: Office) -> None:
    asked = office.binary("BTC", signed=False)
    frame, told = office.ask_binary(asked)
    assert (frame.flags, told.results[0].price) == (RESPONSE, "67000.10")
    assert office.counted(DEMO) == {("udp", "GetPrice", "BTC", 1): 1}
    assert Office(demo=False).ask_bytes(asked) == b""


@pytest.mark.parametrize("signed", [True, False])
def test_a_reply_beyond_three_bytes_for_one_takes_a_cookie(signed: bool, office: Office) -> None:
    many = ["BTC", "ETH"] * 8
    asked = office.binary(*many, signed=signed)
    frame, told = office.ask_binary(asked)
    assert frame.flags == RESPONSE | COOKIE | (MAC if signed else 0)
    assert (frame.payload, told.results) == (b"", [])
    assert frame.cookie is not None
    assert not office.keys.counts.counted
    frame, told = office.ask_binary(office.binary(*many, signed=signed, cookie=frame.cookie))
    assert [each.asset for each in told.results] == many
    assert sum(office.keys.counts.counted.values()) == 16


@pytest.mark.parametrize("cookie", [b"\0" * 24, b"\xff" * 24])
def test_a_cookie_that_is_not_ours_or_from_elsewhere_lifts_nothing(cookie: bytes, office: Office) -> None:
    many = ["BTC"] * 20
    for wrong in (cookie, cookie_of(office, "192.0.2.8")):
        asked = office.binary(*many, cookie=wrong)
        frame, _ = office.ask_binary(asked)
        assert frame.cookie is not None
        assert frame.cookie[:8] == wrong[:8], "the client's own part comes back"
    frame, told = office.ask_binary(office.binary(*many, cookie=frame.cookie[:8] + cookie_of(office)[8:]))
    assert bool(told.results) is (frame.payload != b"")


def test_a_text_line_is_given_a_cookie_and_says_it(office: Office) -> None:
    assert office.ask(b"GET BTC,ETH") == "ERR - PADDING need=19\n"
    word, cookie = office.ask(b"GET BTC,ETH USD id=1").split()
    assert (word, len(cookie)) == ("COOKIE", 48)
    assert not office.keys.counts.counted
    reply = office.ask(f"GET BTC,ETH USD id=1 c={cookie}".encode())
    assert reply == "OK 1 BTC 67000.10 USD 1767322800 6 F\nOK 1 ETH 3000.5 USD 1767322800 6 F*\n"
    assert office.ask(f"GET BTC,ETH USD id=1 c={cookie}".encode()) == reply, "it proves an address, not a sequence"
    own = "0123456789abcdef"
    assert office.ask(f"GET BTC,ETH c={own}".encode()).split()[1].startswith(own)
    reply = office.ask(f"GET {','.join(['BTC'] * 40)} c={cookie}".encode())
    assert reply.endswith("ERR - TRUNCATED more=/v1/prices:batchGet\n")
    assert len(reply) <= DATAGRAM_BYTES_MAX


def test_a_session_alone_does_not_make_a_large_reply_and_a_captured_datagram_none_elsewhere(office: Office) -> None:
    office.counter.shelf.prices["BTC"] = make_price(value="67000." + "1" * 40)
    many = "GET " + ",".join(["BTC"] * 20)
    assert office.ask(office.line(many)).startswith("COOKIE ")
    cookie = office.ask(office.line(many)).split()[1]
    captured = office.line(f"{many} c={cookie}")
    assert office.ask(captured, "198.51.100.1").startswith("COOKIE "), "its address is another"
    reply = office.ask(office.line(f"{many} c={cookie}"))
    assert reply.count("OK") > 10
    assert len(reply) > 3 * len(captured)


def test_what_does_not_fit_is_cut_at_a_whole_entry_and_the_rest_named(office: Office) -> None:
    office.counter.shelf.prices["BTC"] = make_price(value="67000." + "1" * 40)
    asked = office.binary(*["BTC"] * 40, cookie=cookie_of(office))
    frame, told = office.ask_binary(asked)
    assert frame.flags == RESPONSE | MAC | TRUNCATED
    assert told.more == "/v1/prices:batchGet"
    assert 10 < len(told.results) < 40
    assert all(len(each.price) == 46 for each in told.results)
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): len(told.results)}


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"assets": []}, "field=assets"),
        ({"assets": ["B-C"]}, "field=assets"),
        ({"assets": ["BTC"] * 65}, "field=assets"),
        ({"assets": ["BTC"], "quote": "EUR"}, "field=quote"),
        ({"assets": ["BTC"], "method": 9}, "field=method"),
        ({"assets": ["BTC"], "max_age": Duration(seconds=-1)}, "field=max_age"),
        ({"assets": ["BTC"], "max_age": Duration(seconds=86_401)}, "field=max_age"),
    ],
)
def test_a_payload_that_asks_for_nonsense_is_refused_with_the_field(
    query: dict[str, Any], detail: str, office: Office
) -> None:
    frame, told = office.ask_binary(office.binary(*query.pop("assets"), **query))
    assert frame.flags == RESPONSE | MAC | REFUSED
    assert (told.reason, told.detail, list(told.results)) == ("INVALID_FIELD", detail, [])


def test_a_payload_that_is_none_is_refused_to_a_session_and_silence_to_a_stranger(office: Office) -> None:
    frame, told = office.ask_binary(office.binary(payload=b"\xff\xff"))
    assert (frame.flags & REFUSED, told.detail) == (REFUSED, "field=payload")
    assert office.ask_bytes(office.binary(payload=b"\xff\xff", signed=False)) == b""
    assert office.counter.dropped() == {"bad_binary": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"assets": ["ETH"]}, "ASSET_NOT_ALLOWED"),
        ({"scopes": ["reports.read"]}, "MISSING_SCOPE"),
        ({"transports": [1, 3]}, "TRANSPORT_NOT_ALLOWED"),
        ({"allowed_networks": ["10.0.0.0/8"]}, "NETWORK_NOT_ALLOWED"),
    ],
)
def test_a_refusal_is_an_answer_with_a_reason(fields: dict[str, Any], reason: str, office: Office) -> None:
    office.ask_binary(office.binary("BTC"))
    office.keys.say(change(record_of(A, **fields), version=2))
    frame, told = office.ask_binary(office.binary("BTC"))
    assert frame.flags == RESPONSE | MAC | REFUSED
    assert (told.results[0].asset, told.results[0].reason) == ("BTC", reason)


def test_a_spent_rate_says_when_to_come_again(office: Office) -> None:
    office.keys.say(change(record_of(A, burst=2, rate_per_s=1), version=2))
    told = [office.ask_binary(office.binary("BTC"))[1].results[0] for _ in range(3)]
    assert [(each.reason, each.detail) for each in told] == [("", ""), ("", ""), ("RATE_LIMITED", "retry=1")]


def test_an_age_and_a_method_are_kept(office: Office) -> None:
    old = make_price()
    old.receive_time.seconds -= 8
    office.counter.shelf.prices["BTC"] = old
    _, told = office.ask_binary(office.binary("BTC", max_age=Duration(seconds=5)))
    assert (told.results[0].reason, told.results[0].detail) == ("STALE_PRICE", "age=8")
    _, told = office.ask_binary(office.binary("BTC", max_age=Duration(seconds=9)))
    assert told.results[0].price == "67000.10"
    asked = office.binary("BTC", method=price_pb2.METHOD_VWAP)
    mono_ns = office.keys.clock.monotonic_ns()
    reply = office.counter.desk.handle(asked, HOST, 40_000, mono_ns=mono_ns, unix_ns=UNIX_S * 10**9)
    (deferred,) = reply.deferred
    assert deferred.subject == "BTC:vwap"
    late = office.counter.desk.settle(
        deferred, make_price(value="67001", tier=price_pb2.TIER_CACHE), unix_ns=UNIX_S * 10**9
    )
    frame = udp_frame.read_frame(late.data)
    assert frame is not None
    (result,) = price_pb2.UdpReply.FromString(frame.payload).results
    assert (result.price, result.tier, frame.flags) == ("67001", price_pb2.TIER_CACHE, RESPONSE | MAC)
    assert late.limit == 3 * len(asked)


def test_what_has_to_be_looked_up_comes_in_a_frame_of_its_own(office: Office) -> None:
    asked = office.binary("BTC", "SOL", cookie=cookie_of(office))
    desk, unix_ns = office.counter.desk, UNIX_S * 10**9
    reply = desk.handle(asked, HOST, 40_000, mono_ns=0, unix_ns=unix_ns)
    at_hand = udp_frame.read_frame(reply.data)
    late = udp_frame.read_frame(
        desk.settle(reply.deferred[0], TrinityError(Reason.NO_PRICE, "no venue"), unix_ns=unix_ns).data
    )
    assert at_hand is not None
    assert late is not None
    assert [each.asset for each in price_pb2.UdpReply.FromString(at_hand.payload).results] == ["BTC"]
    (result,) = price_pb2.UdpReply.FromString(late.payload).results
    assert (result.asset, result.reason, late.request_id) == ("SOL", "NO_PRICE", at_hand.request_id)
    assert late.flags == RESPONSE | MAC | REFUSED


def test_bad_macs_and_unknown_sessions_look_alike_and_each_is_counted(office: Office) -> None:
    good = office.binary("BTC")
    stranger = open_session(b"x" * 32, key_id=A.key_id, now_s=UNIX_S, nonce=9)
    for wrong in (
        good[:-1] + bytes((good[-1] ^ 1,)),
        good[:30] + b"D" + good[31:],
        office.binary("BTC", session=stranger),
        office.binary("BTC", ago_s=31),
        office.binary("BTC", ago_s=-31),
        good[:1] + b"\x00" + good[2:-16],
        good + b"\0",
        good[:1] + bytes((good[1] | RESPONSE,)) + good[2:],
        good[:1] + bytes((good[1] | REFUSED,)) + good[2:],
    ):
        assert office.ask_bytes(wrong) == b""
    assert office.counter.dropped() == {
        "session_mac": 2,
        "session_unknown": 1,
        "session_time": 2,
        "session_malformed": 1,
        "bad_binary": 2,
        "response": 1,
    }
    assert not office.keys.counts.counted
    assert office.ask_binary(good)[1].results[0].price == "67000.10"
    assert office.ask_bytes(good) == b""
    assert office.counter.dropped()["session_replay"] == 1
    office.keys.say(change(record_of(A, revoked=True), version=2))
    assert office.ask_bytes(office.binary("BTC")) == b""
    assert office.counter.dropped()["session_key"] == 1


def test_a_binary_mac_is_worth_nothing_as_text_and_the_other_way_round(office: Office) -> None:
    asked = office.binary("BTC")
    line = office.line("GET BTC USD")
    assert office.ask_bytes(asked[:-16] + bytes.fromhex(line[-32:].decode())) == b""
    assert office.ask(line[:-32] + asked[-16:].hex().encode()) == ""
    assert office.counter.dropped() == {"session_mac": 2}


def test_totals_are_told_in_binary() -> None:
    office = Office(holder())
    kept = KeptTotals(kept_ms=1_000, kept_max=9)
    desk: Desk[Any, Any] = Desk(
        purpose=UsageTotals(kept),
        allowance=Allowance(per_s=50, burst=500, prefixes_max=10),
        session_allowance=Allowance(per_s=50, burst=500, prefixes_max=10),
        own_ports={2680},
        tally=Tally(),
        doors=office.doors,
    )
    clock = office.keys.clock

    def ask(datagram: bytes) -> tuple[udp_frame.Frame, report_pb2.UdpTotals]:
        reply = desk.handle(datagram, HOST, 40_000, mono_ns=clock.monotonic_ns(), unix_ns=clock.unix_ns())
        data = reply.data
        for deferred in reply.deferred:
            data = desk.settle(deferred, Totals(5, 66, None, UNIX_S), unix_ns=clock.unix_ns()).data
            kept.keep(deferred.subject, Totals(6, 67, 8, UNIX_S), mono_ns=clock.monotonic_ns())
        frame = udp_frame.read_frame(data)
        assert frame is not None
        return frame, report_pb2.UdpTotals.FromString(frame.payload)

    frame, told = ask(office.binary(payload=b""))
    assert frame.flags == RESPONSE | MAC
    assert (told.billed_today, told.billed_this_month, told.unlimited, told.read_unix) == (5, 66, True, UNIX_S)
    frame, told = ask(office.binary(payload=b""))
    assert (told.billed_today, told.billed_this_month, told.unlimited, told.remaining) == (6, 67, False, 8)
    frame, told = ask(office.binary("BTC"))
    assert (frame.flags & REFUSED, told.reason, told.detail) == (REFUSED, "INVALID_FIELD", "field=payload")
    frame, told = ask(office.binary(payload=b"", signed=False))
    assert (frame.flags, told.reason) == (RESPONSE | REFUSED, "SESSION")
    assert office.counted() == {("udp", "SummarizeUsage", "", 4): 2, ("udp", "SummarizeUsage", "", 5): 1}


@settings(max_examples=300, deadline=None)
@given(
    head=st.sampled_from([b"\xf1", b"\xf1\x00", b"\xf1\x02", b"\xf1\x04", b"\xf1\x06"]),
    tail=st.binary(max_size=1_300),
    length=st.booleans(),
)
def test_no_binary_datagram_breaks_the_desk_or_earns_more_than_three_bytes_a_byte(
    head: bytes, tail: bytes, length: bool
) -> None:
    datagram = head + tail
    if length and len(datagram) > 28:
        rest = 28 + (24 if datagram[1] & COOKIE else 0) + (16 if datagram[1] & MAC else 0)
        datagram = datagram[:2] + max(0, len(datagram) - rest).to_bytes(2, "big") + datagram[4:]
    office = Office()
    reply = office.ask_bytes(datagram)
    assert len(reply) <= 3 * len(datagram)
    assert office.ask_bytes(reply) == b"", "an answer was answered"


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=600), signed=st.booleans())
def test_no_payload_breaks_the_desk(payload: bytes, signed: bool) -> None:
    office = Office(burst=10_000)
    asked = office.binary(payload=payload, signed=signed)
    reply = office.ask_bytes(asked)
    assert len(reply) <= 3 * len(asked)
    assert reply == b"" or udp_frame.read_frame(reply) is not None
