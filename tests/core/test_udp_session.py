"""UDP sessions: found by their id alone, never alive after their end, derived alike everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.udp_session import (
    NONCE_BITS,
    SESSION_S,
    find_session,
    open_session,
    parse_session_id,
    tag_of_key,
    tag_of_session,
)

MASTER = bytes(range(32))
KEY_ID = "0c7bgy9rbydg"
NOW_S = 1_767_322_800

VECTORS = [
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "0c7bgy9rbydg",
        1767322800,
        12345,
        "c849916030392a0c",
        1767326400,
        "8a6915f591c60da9335927bc87b83a0dc74ed0f3b841ca3b7d811ce9cab10cd2",
    ),
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "0c7bgy9rbydg",
        1767322807,
        262143,
        "c8499163ffff9d71",
        1767326400,
        "4efa8583d6b8e93b99ca7ce88aa1cbd7213c0e133d6343d7b6fd2bc2427b943b",
    ),
    (
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "000000000000",
        2000000000,
        0,
        "f7b1110800008d0f",
        2000003600,
        "9f2635bf8b896a11c48322ad9abb6e00194aa8392fb50c33731d9faabded6e97",
    ),
]
"""Master, key id, now, nonce; session id, expiry, session key. Made with openssl and a shell's arithmetic."""

key_ids = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=12)
nonces = st.integers(0, (1 << NONCE_BITS) - 1)
times = st.integers(1_700_000_000, 4_000_000_000)


@pytest.mark.parametrize(("master", "key_id", "now_s", "nonce", "session_id", "expire_s", "key"), VECTORS)
def test_ids_and_keys_are_the_documented_bytes(
    master: str, key_id: str, now_s: int, nonce: int, session_id: str, expire_s: int, key: str
) -> None:
    secret = bytes.fromhex(master)
    session = open_session(secret, key_id=key_id, now_s=now_s, nonce=nonce)
    assert (session.text, session.expire_s, session.key(secret).hex()) == (session_id, expire_s, key)
    assert find_session(secret, int(session_id, 16), [key_id], now_s=now_s) == session


@given(key_ids, times, nonces, st.integers(0, SESSION_S - 9))
def test_a_session_is_found_by_its_id_among_the_keys_of_its_tag_until_its_end(
    key_id: str, now_s: int, nonce: int, later_s: int
) -> None:
    session = open_session(MASTER, key_id=key_id, now_s=now_s, nonce=nonce)
    assert tag_of_session(session.session_id) == tag_of_key(key_id)
    assert SESSION_S - 8 < session.expire_s - now_s <= SESSION_S
    assert find_session(MASTER, session.session_id, [key_id, KEY_ID], now_s=now_s + later_s) == session


@given(key_ids, times, nonces, st.integers(-60, 0))
def test_a_clock_that_is_behind_by_a_minute_finds_it_too(key_id: str, now_s: int, nonce: int, skew_s: int) -> None:
    session = open_session(MASTER, key_id=key_id, now_s=now_s, nonce=nonce)
    assert find_session(MASTER, session.session_id, [key_id], now_s=now_s + skew_s) == session


def test_a_session_never_comes_to_life_again() -> None:
    session = open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7)
    assert find_session(MASTER, session.session_id, [KEY_ID], now_s=session.expire_s - 1) == session
    for later_s in range(0, 60 * 3_600, 5):
        assert find_session(MASTER, session.session_id, [KEY_ID], now_s=session.expire_s + later_s) is None


def test_a_session_does_not_outlive_its_key() -> None:
    session = open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7, expire_s_max=NOW_S + 100)
    assert NOW_S + 92 < session.expire_s <= NOW_S + 100
    assert open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7, expire_s_max=NOW_S + 10**9).expire_s > NOW_S + 100


def test_an_id_is_good_for_one_key_and_under_one_master_only() -> None:
    session = open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7)
    others = [f"{number:012d}" for number in range(50)]
    assert find_session(MASTER, session.session_id, others, now_s=NOW_S) is None
    assert find_session(bytes(32), session.session_id, [KEY_ID], now_s=NOW_S) is None
    assert find_session(MASTER, session.session_id, [], now_s=NOW_S) is None


def test_no_altered_bit_of_an_id_leads_to_the_same_key_of_the_session() -> None:
    session = open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7)
    for bit in range(64):
        altered = find_session(MASTER, session.session_id ^ 1 << bit, [KEY_ID], now_s=NOW_S)
        assert altered is None or altered.key(MASTER) != session.key(MASTER)
    refused = sum(
        find_session(MASTER, session.session_id ^ 1 << bit, [KEY_ID], now_s=NOW_S) is None for bit in range(64)
    )
    assert refused == 64


def test_sessions_of_one_second_differ_by_their_nonce_and_so_do_their_keys() -> None:
    sessions = [open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=nonce) for nonce in range(500)]
    assert len({session.session_id for session in sessions}) == 500
    assert len({session.key(MASTER) for session in sessions}) == 500


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**33))
def test_no_number_breaks_the_search(session_id: int, now_s: int) -> None:
    found = find_session(MASTER, session_id, [KEY_ID], now_s=now_s)
    assert found is None or found.expire_s > now_s


@pytest.mark.parametrize(
    "text",
    ["", "0" * 15, "0" * 17, "0x" + "0" * 14, "+" + "0" * 15, "g" * 16, "0" * 15 + "\n", "٠" * 16, "_" + "0" * 15],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_session_id(text) is None


@given(st.integers(0, 2**64 - 1))
def test_an_id_is_read_in_either_case(session_id: int) -> None:
    text = f"{session_id:016x}"
    assert parse_session_id(text) == parse_session_id(text.upper()) == session_id


def test_the_master_is_not_in_the_repr() -> None:
    session = open_session(MASTER, key_id=KEY_ID, now_s=NOW_S, nonce=7)
    assert session.key(MASTER).hex() not in repr(session)
