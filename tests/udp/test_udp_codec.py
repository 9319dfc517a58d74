"""The text protocol: which datagrams are queries, and what each answer looks like within its bound."""

from __future__ import annotations

from itertools import pairwise

import pytest

from trinity_admission.udp_sessions import Claim
from trinity_core.errors import Reason
from trinity_core.prices import State
from trinity_udp import answers, codec, helping
from trinity_udp.codec import Command, Kind, Query
from trinity_udp.drops import Drop
from udp.counter import make_price

SIGNED = b"GET BTC USD s=00112233445566ff t=1790000000 q=7 m=" + b"0" * 32


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", Drop.EMPTY),
        (b"GET BTC USD", Kind.TEXT),
        (b"\xf1" + bytes(40), Kind.BINARY_V1),
        (b"\xf2" + bytes(40), Drop.UNKNOWN_FIRST_BYTE),
        (b"\x00GET BTC", Drop.UNKNOWN_FIRST_BYTE),
        (b"\nGET BTC", Drop.UNKNOWN_FIRST_BYTE),
        (b"\x7f", Drop.UNKNOWN_FIRST_BYTE),
        (b"G" * 1_232, Kind.TEXT),
        (b"G" * 1_233, Drop.TOO_LARGE),
        (b"OK - BTC 67000.10 USD 1767322800 6 F\n", Drop.RESPONSE),
        (b"ERR - NO_PRICE\n", Drop.RESPONSE),
        (b"COOKIE 00\n", Drop.RESPONSE),
    ],
)
def test_size_and_first_byte_decide_what_a_datagram_is(datagram: bytes, kind: Kind | Drop) -> None:
    assert codec.classify(datagram) is kind


def test_a_query_may_be_typed_by_hand() -> None:
    assert codec.parse_text(b"get btc usd") == (Query(Command.GET, 11, assets=("BTC",), quoted=True),)


def test_a_query_has_assets_a_quote_and_an_id() -> None:
    (query,) = codec.parse_text(b"GET BTC,ETH USD id=req-7\r\n")  # type: ignore[misc]
    assert query == Query(Command.GET, 26, id="req-7", assets=("BTC", "ETH"), quoted=True)


def test_every_line_is_a_query_and_owns_the_blank_lines_after_it() -> None:
    datagram = b"GET BTC   \n\r\n   \nPING id=1\nTIME\n\n"
    queries = codec.parse_text(datagram)
    assert isinstance(queries, tuple)
    assert [query.command for query in queries] == [Command.GET, Command.PING, Command.TIME]
    assert [query.size for query in queries] == [17, 10, 6]
    assert sum(query.size for query in queries) == len(datagram)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"GET", "assets"),
        (b"GET ,", "assets"),
        (b"GET BTC,", "assets"),
        (b"GET BTC;ETH", "assets"),
        (b"GET " + b"A" * 17, "assets"),
        (b"GET BTC EUR", "quote"),
        (b"GET BTC USD now", "words"),
        (b"GET BTC id=", "id"),
        (b"GET BTC id=-7", "id"),
        (b"GET BTC id=7 id=8", "id"),
        (b"GET BTC id=" + b"7" * 17, "id"),
        (b"GET BTC max_age=5s", "option"),
        (b"GET BTC age=5", "age"),
        (b"PING me", "words"),
        (b"TIME zone=utc", "zone"),
    ],
)
def test_a_line_that_is_nearly_right_names_the_part_that_is_wrong(line: bytes, wrong: str) -> None:
    (query,) = codec.parse_text(line)  # type: ignore[misc]
    assert query.wrong == wrong


@pytest.mark.parametrize(
    ("datagram", "drop"),
    [
        (b"GET BTC\x00", Drop.BAD_TEXT),
        (b"GET BTC\t", Drop.BAD_TEXT),
        (b"GET B\xc3\x96C", Drop.BAD_TEXT),
        (b"   \n  ", Drop.BAD_TEXT),
        (b"GETBTC", Drop.UNKNOWN_COMMAND),
        (b"GET BTC\nDROP TABLE prices", Drop.UNKNOWN_COMMAND),
        (b"1767322800\n", Drop.UNKNOWN_COMMAND),
        (b"PING\nOK - PONG\n", Drop.RESPONSE),
        (b"PING\n" * 65, Drop.TOO_MANY_QUERIES),
        (b"GET " + b",".join([b"A"] * 65), Drop.TOO_MANY_QUERIES),
        (b"GET BTC s=12 t=1 q=1 m=00", Drop.SESSION_MALFORMED),
        (b"GET BTC s=00112233445566ff", Drop.SESSION_MALFORMED),
        (b"GET BTC m=" + b"0" * 32, Drop.SESSION_MALFORMED),
        (SIGNED + b" t=1 q=2", Drop.SESSION_MALFORMED),
        (SIGNED + b" id=7", Drop.SESSION_MALFORMED),
        (SIGNED + b" m=" + b"0" * 32, Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"t=1790000000", b"t=-1"), Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"t=1790000000", b"t=01"), Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"q=7", b"q=4294967296"), Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"s=", b"s=0"), Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"m=0", b"m="), Drop.SESSION_MALFORMED),
        (SIGNED.replace(b"m=0", b"m=g"), Drop.SESSION_MALFORMED),
        (b"GET BTC c=00", Drop.COOKIE_MALFORMED),
        (b"GET BTC c=" + b"0" * 32, Drop.COOKIE_MALFORMED),
        (b"GET BTC c=" + b"g" * 48, Drop.COOKIE_MALFORMED),
        (b"GET BTC c=" + b"0" * 48 + b" c=" + b"0" * 48, Drop.COOKIE_MALFORMED),
    ],
)
def test_garbage_and_what_is_not_spoken_yet_are_dropped_with_a_reason(datagram: bytes, drop: Drop) -> None:
    assert codec.parse_text(datagram) is drop


def test_sixty_four_queries_are_taken() -> None:
    queries = codec.parse_text(b"PING\n" * 64)
    assert isinstance(queries, tuple)
    assert len(queries) == 64


def test_a_full_answer_says_price_time_sources_and_state() -> None:
    query = Query(Command.GET, 100, id="7", assets=("BTC",), quoted=True)
    assert answers.render_price(query, make_price(), bound=300) == b"OK 7 BTC 67000.10 USD 1767322800 6 F\n"


def test_an_answer_without_an_id_has_a_dash_in_its_place() -> None:
    query = Query(Command.GET, 100, assets=("BTC",))
    assert answers.render_price(query, make_price(), bound=300) == b"OK - BTC 67000.10 USD 1767322800 6 F\n"


def test_a_simulated_price_has_a_star_in_every_form() -> None:
    query = Query(Command.GET, 11, assets=("BTC",), quoted=True)
    price = make_price(sandbox=True)
    assert answers.render_price(query, price, bound=300) == b"OK - BTC 67000.10 USD 1767322800 6 F*\n"
    assert answers.render_price(query, price, bound=33) == b"OK BTC 67000.10 USD F*\n"


@pytest.mark.parametrize(
    ("query", "compact"),
    [
        (Query(Command.GET, 11, assets=("BTC",), quoted=True), b"OK BTC 67000.10 USD F\n"),
        (Query(Command.GET, 7, assets=("BTC",)), b"OK BTC 67000.10 F\n"),
        (Query(Command.GET, 12, id="7", assets=("BTC",)), b"OK 7 BTC 67000.10 F\n"),
    ],
)
def test_a_compact_answer_repeats_only_what_was_asked(query: Query, compact: bytes) -> None:
    assert answers.render_price(query, make_price(), bound=query.size * 3) == compact


@pytest.mark.parametrize("state", [State.FRESH, State.DELAYED, State.DIVERGENT, State.STALE, State.HALTED])
def test_the_state_is_one_letter(state: State) -> None:
    query = Query(Command.GET, 100, assets=("BTC",))
    line = answers.render_price(query, make_price(state=state.value), bound=300)
    assert line.decode().split()[-1] == state.letter


def test_each_form_is_taken_as_soon_as_its_bytes_are_earned() -> None:
    query = Query(Command.GET, 100, assets=("BTC",), quoted=True)
    forms = [
        b"OK - BTC 67000.10 USD 1767322800 6 F\n",
        b"OK BTC 67000.10 USD F\n",
        b"OK BTC 67000.10 F\n",
        b"ERR - PADDING\n",
        b"",
    ]
    for form, shorter in pairwise(forms):
        assert answers.render_price(query, make_price(), bound=len(form)) == form
        assert answers.render_price(query, make_price(), bound=len(form) - 1) == shorter


def test_a_line_that_earns_no_price_is_told_how_long_it_must_be() -> None:
    query = Query(Command.GET, 7, assets=("BTC",))
    price = make_price(value="96512.36785750", sandbox=True)
    assert answers.render_price(query, price, bound=21) == b"ERR - PADDING need=9\n"
    assert answers.render_price(query, price, bound=27) == b"OK BTC 96512.36785750 F*\n"


def test_an_error_carries_its_fact_where_it_fits() -> None:
    query = Query(Command.GET, 100, id="7", assets=("BTC",))
    assert answers.render_error(query, Reason.STALE_PRICE, bound=99, fact="age=93") == b"ERR 7 STALE_PRICE age=93\n"
    assert answers.render_error(query, Reason.STALE_PRICE, bound=20, fact="age=93") == b"ERR 7 STALE_PRICE\n"
    assert answers.render_error(query, Reason.STALE_PRICE, bound=17, fact="age=93") == b""


def test_help_grows_with_the_bytes_it_is_paid_with() -> None:
    query = Query(Command.HELP, 4)
    forms = [answers.render_help(query, helping.PRICE_HELP, bound=bound) for bound in (12, 15, 30, 1_000)]
    assert forms[:3] == [b"OK GET BTC\n", b"OK GET BTC USD\n", b"OK GET BTC USD | PING | TIME\n"]
    assert forms[3].startswith(b"OK - HELP\n")
    assert b"simulated" in forms[3]
    assert len(forms[3]) <= codec.DATAGRAM_BYTES_MAX


def test_a_reply_that_is_too_long_keeps_whole_lines_and_says_where_the_rest_is() -> None:
    lines = [f"OK {number} BTC 67000.10 USD 1767322800 6 F\n".encode() for number in range(64)]
    reply, whole = answers.pack(lines)
    assert len(reply) <= codec.DATAGRAM_BYTES_MAX
    *kept, last = reply.splitlines(keepends=True)
    assert kept == lines[: len(kept)]
    assert whole == len(kept)
    assert last == b"ERR - TRUNCATED more=/v1/prices:batchGet\n"
    assert len(reply) + len(lines[0]) > codec.DATAGRAM_BYTES_MAX


def test_each_port_names_the_path_that_has_the_rest_of_a_long_reply() -> None:
    reply, _ = answers.pack([b"OK - PONG\n"] * 200, answers.TRUNCATED_REPORTS)
    assert reply.splitlines()[-1] == b"ERR - TRUNCATED more=/reports/summary"
    assert len(reply) <= codec.DATAGRAM_BYTES_MAX


@pytest.mark.parametrize(
    ("left", "word"), [(0, b"0"), (995_433, b"995433"), (None, b"-"), (2**64 - 1, b"%d" % (2**64 - 1))]
)
def test_totals_are_one_line_that_every_signed_line_earns(left: int | None, word: bytes) -> None:
    query = Query(Command.USAGE, 90, id="abcdefghijklmnop")
    most = 2**64 - 1
    line = answers.render_usage(query, day=most, month=most, left=left, unix_s=1_767_322_800, bound=query.bound)
    assert line == b"OK abcdefghijklmnop USAGE day=%d month=%d left=%b 1767322800\n" % (most, most, word)


def test_usage_takes_nothing_but_an_id_and_a_session() -> None:
    assert codec.parse_text(b"usage id=7") == (Query(Command.USAGE, 10, id="7"),)
    (query,) = codec.parse_text(b"USAGE BTC")  # type: ignore[misc]
    assert query.wrong == "words"


def test_a_reply_that_fits_is_sent_as_it_is() -> None:
    assert answers.pack([b"OK - PONG\n", b"OK - PONG\n"]) == (b"OK - PONG\nOK - PONG\n", 2)
    assert answers.pack([]) == (b"", 0)


def test_an_answer_of_several_lines_that_is_cut_is_not_whole() -> None:
    several = [b"OK - PONG\n" * 100, b"OK - HELP\nmore\n" * 40]
    reply, whole = answers.pack(several)
    assert whole == 1
    assert b"HELP" in reply


def test_a_line_with_a_session_says_all_of_it_and_what_its_mac_covers() -> None:
    for end in (b"", b"\n", b"\r\n", b"    ", b"  \n\n"):
        (query,) = codec.parse_text(SIGNED + end)
        assert query.claim == Claim(0x00112233445566FF, 1_790_000_000, 7, bytes(16), SIGNED[: SIGNED.index(b" m=")])
        assert (query.assets, query.quoted, query.size) == (("BTC",), True, len(SIGNED + end))


def test_the_words_of_a_session_may_stand_anywhere_but_the_mac() -> None:
    line = b"  get btc id=9 q=1 s=00112233445566FF t=5 usd m=" + b"aB" * 16
    (query,) = codec.parse_text(line)
    assert query.claim == Claim(0x00112233445566FF, 5, 1, b"\xab" * 16, line[: line.index(b" m=")])
    assert (query.id, query.assets) == ("9", ("BTC",))


def test_each_line_has_its_own_session() -> None:
    queries = codec.parse_text(SIGNED + b"\nPING\n" + SIGNED.replace(b"q=7", b"q=8"))
    claims = [query.claim for query in queries]
    assert [claim and claim.sequence for claim in claims] == [7, None, 8]
