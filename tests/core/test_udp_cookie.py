"""Cookies against the vectors of RFC 9018, appendix A; their life, their address, and the rollover of secrets."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from trinity_core.udp_cookie import AHEAD_S, GOOD_S, SECRET_S, Cookies, age_of, is_good, make_cookie

OLD, NEW = "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
FIRST = "e5e973e5a6b2a43f48e7dc849e37bfcf"
V6 = "2001:db8:220:1:59de:d0f4:8769:82b8"
CLIENT, HERE = b"client's", ip_address("192.0.2.7").packed
NOW_S = 1_767_322_800


@pytest.mark.parametrize(
    ("secret", "address", "now_s", "cookie"),
    [
        (FIRST, "198.51.100.100", 1_559_731_985, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
        (FIRST, "198.51.100.100", 1_559_734_385, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"),
        (FIRST, "203.0.113.203", 1_559_734_700, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"),
        (NEW, V6, 1_559_741_961, "22681ab97d52c298010000005cf7c609a6bb79d16625507a"),
    ],
)
def test_the_cookies_of_rfc_9018_are_made(secret: str, address: str, now_s: int, cookie: str) -> None:
    made = make_cookie(bytes.fromhex(secret), bytes.fromhex(cookie[:16]), ip_address(address).packed, now_s=now_s)
    assert made.hex() == cookie


@pytest.mark.parametrize(
    ("secret", "address", "cookie"),
    [
        (FIRST, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
        (FIRST, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"),
        (OLD, V6, "22681ab97d52c298010000005cf7c57926556bd0934c72f8"),
    ],
)
def test_the_cookies_of_rfc_9018_are_taken_whatever_is_in_what_is_reserved(
    secret: str, address: str, cookie: str
) -> None:
    told, source = bytes.fromhex(cookie), ip_address(address).packed
    made_s = int(cookie[24:32], 16)
    assert is_good(bytes.fromhex(secret), told, source, now_s=made_s + 60)
    assert not is_good(bytes.fromhex(NEW), told, source, now_s=made_s + 60)
    assert not is_good(bytes.fromhex(secret), told, source[:-1] + b"\0", now_s=made_s + 60)
    for at in range(24):
        other = told[:at] + bytes((told[at] ^ 1,)) + told[at + 1 :]
        assert not is_good(bytes.fromhex(secret), other, source, now_s=made_s + 60)


def test_a_cookie_lives_an_hour_and_may_be_five_minutes_ahead() -> None:
    cookies = Cookies(b"m" * 32)
    cookie = cookies.make(CLIENT, HERE, now_s=NOW_S)
    for ahead_s, good in ((-AHEAD_S, True), (-AHEAD_S - 1, False), (GOOD_S, True), (GOOD_S + 1, False)):
        assert Cookies(b"m" * 32).prove(cookie, HERE, now_s=NOW_S + ahead_s) is good
    assert cookies.prove(cookie, HERE, now_s=NOW_S + GOOD_S)
    assert not cookies.prove(cookie, HERE, now_s=NOW_S + GOOD_S + 1), "what was found good ends too"


def test_time_is_told_across_the_end_of_32_bits() -> None:
    end = 1 << 32
    cookie = make_cookie(b"k" * 16, CLIENT, HERE, now_s=end - 10)
    assert age_of(cookie, now_s=end + 20) == 30
    assert is_good(b"k" * 16, cookie, HERE, now_s=end + 20)


def test_secrets_roll_over_with_the_day_and_yesterdays_is_taken() -> None:
    cookies, midnight = Cookies(b"m" * 32), NOW_S // SECRET_S * SECRET_S
    before = cookies.make(CLIENT, HERE, now_s=midnight - 1)
    after = cookies.make(CLIENT, HERE, now_s=midnight)
    assert before[16:] != after[16:]
    assert Cookies(b"m" * 32).prove(before, HERE, now_s=midnight + 60)
    assert Cookies(b"m" * 32).prove(after, HERE, now_s=midnight + 60)
    assert not Cookies(b"n" * 32).prove(after, HERE, now_s=midnight + 60), "another mesh"


def test_a_cookie_is_worth_nothing_elsewhere_even_once_it_was_found_good() -> None:
    cookies = Cookies(b"m" * 32)
    cookie = cookies.make(CLIENT, HERE, now_s=NOW_S)
    assert cookies.prove(cookie, HERE, now_s=NOW_S)
    assert not cookies.prove(cookie, b"\xc0\0\x02\x08", now_s=NOW_S)
    assert not cookies.prove(cookie[:16], HERE, now_s=NOW_S)


def test_as_many_as_agreed_are_remembered() -> None:
    cookies = Cookies(b"m" * 32, kept_max=20)
    for number in range(200):
        client = number.to_bytes(8, "big")
        assert cookies.prove(cookies.make(client, HERE, now_s=NOW_S), HERE, now_s=NOW_S)
        assert len(cookies) <= 20
