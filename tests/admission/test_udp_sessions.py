"""Sessions of datagrams: proven by their MAC, in time, once, and no longer than their key is good."""

from __future__ import annotations

from typing import Any

import pytest

from admission.stage import DAY_MS, PEPPER, change, make_key, record_of, snapshot
from price.virtual_clock import VirtualClock
from trinity_admission.keyring import Keyring
from trinity_admission.udp_sessions import Claim, UdpSessions, Unproven
from trinity_core.keys import KeyText
from trinity_core.udp_mac import text_mac
from trinity_core.udp_session import SESSION_S, UdpSession, open_session

MASTER = b"m" * 32
A, B = make_key(1), make_key(2)
LINE = b"GET BTC USD"


class Ends:
    """Both ends of sessions: an account service that opens them, clients that use them, an endpoint that judges."""

    def __init__(self, *keys: KeyText, sessions_max: int = 100) -> None:
        self.clock = VirtualClock()
        self.keyring = Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=100)
        self.say(snapshot(*(record_of(key) for key in keys or (A, B)), version=1))
        self.sessions = UdpSessions(master=MASTER, keyring=self.keyring, sessions_max=sessions_max)
        self.nonce = 0

    def say(self, batch: Any) -> None:
        self.keyring.receive(batch, mono_ns=self.clock.monotonic_ns())

    @property
    def now_s(self) -> int:
        return self.clock.unix_ns() // 10**9

    def open(self, key: KeyText = A) -> UdpSession:
        self.nonce += 1
        return open_session(MASTER, key_id=key.key_id, now_s=self.now_s, nonce=self.nonce)

    def claim(self, session: UdpSession, sequence: int = 1, *, ago_s: int = 0, line: bytes = LINE) -> Claim:
        mac = text_mac(session.key(MASTER), line)
        return Claim(session.session_id, self.now_s - ago_s, sequence, mac, line)

    def judge(self, claim: Claim) -> str:
        found = self.sessions.prove(claim, mono_ns=self.clock.monotonic_ns(), unix_ns=self.clock.unix_ns())
        return found.value if isinstance(found, Unproven) else found.key_id


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_a_line_with_the_right_mac_is_its_keys(ends: Ends) -> None:
    session = ends.open()
    assert ends.judge(ends.claim(session)) == A.key_id
    assert ends.judge(ends.claim(session, 2)) == A.key_id
    assert ends.judge(ends.claim(ends.open(B))) == B.key_id


def test_a_line_that_comes_twice_is_taken_once(ends: Ends) -> None:
    session = ends.open()
    claim = ends.claim(session, 5)
    assert [ends.judge(claim) for _ in range(3)] == [A.key_id, "session_replay", "session_replay"]
    assert ends.judge(ends.claim(session, 4)) == A.key_id
    assert ends.judge(ends.claim(ends.open(), 5)) == A.key_id, "another session counts for itself"


@pytest.mark.parametrize(("ago_s", "good"), [(30, True), (31, False), (-30, True), (-31, False), (10**9, False)])
def test_a_line_must_be_of_this_minute(ends: Ends, ago_s: int, good: bool) -> None:
    assert (ends.judge(ends.claim(ends.open(), ago_s=ago_s)) == A.key_id) == good


def test_whatever_is_changed_in_a_line_its_mac_is_wrong(ends: Ends) -> None:
    session = ends.open()
    claim = ends.claim(session)
    wrong = bytes([claim.mac[0] ^ 1]) + claim.mac[1:]
    assert ends.judge(Claim(claim.session_id, claim.unix_s, 1, claim.mac, b"GET ETH USD")) == "session_mac"
    assert ends.judge(Claim(claim.session_id, claim.unix_s, 1, wrong, claim.signed)) == "session_mac"
    assert ends.judge(Claim(claim.session_id, claim.unix_s, 1, b"", claim.signed)) == "session_mac"
    other = ends.open(B)
    assert ends.judge(Claim(other.session_id, claim.unix_s, 1, claim.mac, claim.signed)) == "session_mac"
    assert ends.judge(claim) == A.key_id, "and none of it spoilt the good one"


def test_a_session_that_was_never_opened_is_unknown(ends: Ends) -> None:
    session = ends.open()
    for bit in range(64):
        forged = Claim(session.session_id ^ 1 << bit, ends.now_s, 1, text_mac(session.key(MASTER), LINE), LINE)
        assert ends.judge(forged) in ("session_unknown", "session_mac")
    foreign = open_session(b"x" * 32, key_id=A.key_id, now_s=ends.now_s, nonce=1)
    assert ends.judge(ends.claim(foreign)) == "session_unknown"
    assert len(ends.sessions) == 0, "nothing is kept of what was not proven"


def test_a_session_ends_with_its_hour(ends: Ends) -> None:
    session = ends.open()
    assert ends.judge(ends.claim(session, 1)) == A.key_id
    ends.clock.move(session.expire_s - ends.now_s - 1)
    assert ends.judge(ends.claim(session, 2)) == A.key_id
    ends.clock.move(1)
    assert ends.judge(ends.claim(session, 3)) == "session_unknown"
    late = Ends()
    late.clock.move(SESSION_S)
    assert late.judge(late.claim(session)) == "session_unknown"


def test_a_revoked_keys_sessions_stop_with_the_revocation(ends: Ends) -> None:
    session, young = ends.open(), ends.open()
    assert ends.judge(ends.claim(session, 1)) == A.key_id
    ends.say(change(record_of(A, revoked=True), version=2))
    assert ends.judge(ends.claim(session, 2)) == "session_key"
    assert ends.judge(ends.claim(young, 1)) == "session_unknown"


def test_a_key_past_its_end_or_its_age_bound_has_no_sessions(ends: Ends) -> None:
    ends.say(change(record_of(A, expire_s=ends.now_s + 10), version=2))
    session, other = ends.open(), ends.open(B)
    assert ends.judge(ends.claim(session, 1)) == A.key_id
    assert ends.judge(ends.claim(other, 1)) == B.key_id
    ends.clock.move(10)
    assert ends.judge(ends.claim(session, 2)) == "session_key"
    ends.clock.jump_wall(-86_401)
    ends.clock.move(86_401)
    assert ends.judge(ends.claim(other, 2)) == "session_key"


def test_sessions_are_bounded_and_no_key_has_more_than_its_part(ends: Ends) -> None:
    ends = Ends(sessions_max=8)
    told = [ends.judge(ends.claim(ends.open())) for _ in range(4)]
    assert told == [A.key_id, A.key_id, "sessions_full", "sessions_full"]
    assert ends.judge(ends.claim(ends.open(B))) == B.key_id
    ends.clock.move(62)
    assert ends.judge(ends.claim(ends.open())) == A.key_id, "idle ones make room"
    assert len(ends.sessions) == 1


def test_a_session_is_not_forgotten_while_its_lines_could_be_sent_again(ends: Ends) -> None:
    ends = Ends(sessions_max=4)
    session = ends.open()
    claim = ends.claim(session, 1, ago_s=-30)
    assert ends.judge(claim) == A.key_id
    ends.clock.move(60)
    assert ends.judge(ends.claim(ends.open())) == "sessions_full"
    assert ends.judge(claim) == "session_replay"
    ends.clock.move(1)
    assert ends.judge(claim) == "session_time"


def test_guesses_leave_no_state(ends: Ends) -> None:
    session = ends.open()
    for number in range(2_000):
        ends.judge(Claim(number << 16, ends.now_s, 1, b"0" * 16, LINE))
        ends.judge(Claim(session.session_id, ends.now_s, number, b"0" * 16, LINE))
    assert len(ends.sessions) == 0
    assert ends.judge(ends.claim(session, 1)) == A.key_id
