"""The replica of the keys: what a batch does to it, and what becomes of a presented key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admission.stage import PEPPER, change, make_key, record_of, snapshot
from trinity.account.v1 import account_pb2
from trinity_admission.keyring import Keyring, WatchBrokenError
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import KeyText, digest_of
from trinity_core.udp_session import tag_of_key
from trinity_core.usage import Transport

NOW_S = 1_790_000_000
AGE_MS = 60_000


def open_ring(*batches: account_pb2.WatchKeysResponse, keys_max: int = 100) -> Keyring:
    ring = Keyring(pepper=PEPPER, age_max_ms=AGE_MS, keys_max=keys_max)
    for batch in batches:
        ring.receive(batch, mono_ns=0)
    return ring


def verdict(ring: Keyring, text: str, *, mono_s: float = 1, unix_s: float = NOW_S) -> str:
    try:
        return ring.find(text, mono_ns=round(mono_s * 1e9), unix_ns=round(unix_s * 1e9)).key_id
    except TrinityError as error:
        return str(error.reason)


A, B, C = make_key(1), make_key(2), make_key(3)


def test_a_key_is_found_with_everything_it_may_do() -> None:
    record = record_of(A, assets=["BTC"], transports=[1, 2], allowed_networks=["10.0.0.0/8"], monthly_quota=5)
    held = open_ring(snapshot(record)).find(A.text, mono_ns=0, unix_ns=0)
    assert (held.key_id, held.associate, held.rate_per_s, held.burst) == (A.key_id, "acme", 10, 20)
    assert held.principal.scopes == {"prices.read"}
    assert held.assets == {"BTC"}
    assert held.transports == {Transport.HTTP, Transport.UDP}
    assert held.networks is not None
    assert held.networks.hold("10.1.2.3")
    assert held.monthly_quota == 5
    assert A.text not in repr(held)
    assert record.digest.hex() not in repr(held)


def test_an_unknown_a_wrong_and_a_revoked_key_cannot_be_told_apart() -> None:
    wrong = KeyText(A.env, A.key_id, A.text)
    secret = make_key(9).text.split("_")[3]
    ring = open_ring(snapshot(record_of(A), record_of(B)), change(record_of(B, revoked=True), version=8))
    told = set()
    for text in (make_key(8).text, f"tbk_test_{A.key_id}_{secret}", B.text, "tbk_", "", "é" * 80, wrong.text[:-1]):
        with pytest.raises(TrinityError) as caught:
            ring.find(text, mono_ns=0, unix_ns=0)
        error = caught.value
        told.add((error.reason, error.message, tuple(error.metadata), error.retry_after_ms))
    assert told == {(Reason.INVALID_KEY, "this key is not known; check it, or ask for a new one", (), None)}


def test_an_unknown_id_costs_as_much_as_a_wrong_secret() -> None:
    calls = []

    def digest(text: str, pepper: bytes) -> bytes:
        calls.append(text)
        return digest_of(text, pepper)

    ring = Keyring(pepper=PEPPER, age_max_ms=AGE_MS, keys_max=10, digest=digest)
    ring.receive(snapshot(record_of(A)), mono_ns=0)
    for key in (make_key(8), B, A):
        verdict(ring, key.text)
        assert calls.pop() == key.text
        assert not calls
    # A key of A's id with another secret, its check in order: the work is the same.
    forged = make_key(8)
    ring.receive(change(record_of(forged, digest=A.digest(PEPPER)), version=8), mono_ns=0)
    assert verdict(ring, forged.text) == "INVALID_KEY"
    assert calls == [forged.text]


def test_what_fails_its_own_check_costs_no_digest() -> None:
    calls = []
    ring = Keyring(pepper=PEPPER, age_max_ms=AGE_MS, keys_max=10, digest=lambda text, _: calls.append(text) or b"")  # type: ignore[func-returns-value]
    ring.receive(snapshot(record_of(A)), mono_ns=0)
    mistyped = A.text[:-10] + ("a" if A.text[-10] != "a" else "b") + A.text[-9:]
    for text in (mistyped, A.text + "x", A.text.lower(), "Bearer " + A.text, A.text + "\n"):
        assert verdict(ring, text) == "INVALID_KEY"
    assert calls == []


@given(st.text(max_size=200))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    assert verdict(open_ring(snapshot(record_of(A))), text) == "INVALID_KEY"


def test_a_revocation_works_with_the_batch_that_says_so() -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)))
    held = ring.find(A.text, mono_ns=0, unix_ns=0)
    ring.receive(change(record_of(A, revoked=True), version=8), mono_ns=0)
    assert held.dropped
    assert verdict(ring, A.text) == "INVALID_KEY"
    assert verdict(ring, B.text) == B.key_id
    with pytest.raises(TrinityError, match="INVALID_KEY"):
        ring.judge(held, mono_ns=0, unix_ns=0)


def test_a_revocation_inside_a_snapshot_does_not_wait_for_its_end() -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)))
    ring.receive(snapshot(record_of(A, revoked=True), complete=False), mono_ns=0)
    assert verdict(ring, A.text) == "INVALID_KEY"
    assert verdict(ring, B.text) == B.key_id


def test_what_a_whole_snapshot_does_not_name_is_unknown() -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)))
    ring.receive(snapshot(record_of(C), complete=False), mono_ns=0)
    assert [verdict(ring, key.text) for key in (A, B, C)] == [A.key_id, B.key_id, "INVALID_KEY"]
    ring.receive(snapshot(record_of(B), version=9), mono_ns=0)
    assert [verdict(ring, key.text) for key in (A, B, C)] == ["INVALID_KEY", B.key_id, C.key_id]
    assert ring.version == 9
    assert len(ring) == 2


def test_a_record_that_did_not_change_stays_the_same_object() -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)))
    a, b = ring.get(A.key_id), ring.get(B.key_id)
    ring.receive(snapshot(record_of(A), record_of(B, rate_per_s=11), version=9), mono_ns=0)
    assert ring.get(A.key_id) is a
    assert ring.get(B.key_id) is not b
    assert b is not None
    assert b.dropped
    assert ring.judge(b, mono_ns=0, unix_ns=0).rate_per_s == 11


def test_expiry_and_grace_are_judged_by_the_wall_clock_at_each_request() -> None:
    ring = open_ring(snapshot(record_of(A, expire_s=NOW_S + 10)))
    assert verdict(ring, A.text, unix_s=NOW_S + 9.999) == A.key_id
    assert verdict(ring, A.text, unix_s=NOW_S + 10) == "INVALID_KEY"
    assert verdict(ring, A.text, unix_s=NOW_S) == A.key_id, "a clock that was set back gives the key its time again"
    held = ring.find(A.text, mono_ns=0, unix_ns=NOW_S * 10**9)
    with pytest.raises(TrinityError, match="INVALID_KEY"):
        ring.judge(held, mono_ns=0, unix_ns=(NOW_S + 10) * 10**9)


def test_records_hold_until_their_age_bound_and_heartbeats_keep_them_young() -> None:
    ring = open_ring(snapshot(record_of(A)))
    assert verdict(ring, A.text, mono_s=60) == A.key_id
    assert verdict(ring, A.text, mono_s=60.1) == "BACKEND_UNAVAILABLE", "nobody is told that a good key is wrong"
    ring.receive(change(version=7), mono_ns=50 * 10**9)
    assert verdict(ring, A.text, mono_s=110) == A.key_id
    held = ring.find(A.text, mono_ns=110 * 10**9, unix_ns=0)
    with pytest.raises(TrinityError, match="BACKEND_UNAVAILABLE"):
        ring.judge(held, mono_ns=111 * 10**9, unix_ns=0)


def test_the_wall_clock_has_no_part_in_the_age_bound() -> None:
    ring = open_ring(snapshot(record_of(A)))
    assert verdict(ring, A.text, mono_s=59, unix_s=NOW_S + 10**9) == A.key_id


def test_before_the_first_snapshot_a_key_cannot_be_judged() -> None:
    ring = open_ring()
    assert verdict(ring, A.text) == "BACKEND_UNAVAILABLE"
    ring.receive(change(version=3), mono_ns=0)
    assert verdict(ring, A.text) == "BACKEND_UNAVAILABLE", "a heartbeat is no snapshot"
    ring.receive(snapshot(record_of(A), complete=False), mono_ns=0)
    assert verdict(ring, A.text) == "BACKEND_UNAVAILABLE"
    assert verdict(ring, "tbk_nonsense") == "INVALID_KEY"


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([change(record_of(A), version=3)], "before any snapshot"),
        ([snapshot(complete=False), change(version=8)], "before the snapshot was complete"),
        ([snapshot(version=7), change(version=6)], "6 came after 7"),
    ],
)
def test_a_stream_that_breaks_its_rules_is_not_believed(batches: list[account_pb2.WatchKeysResponse], why: str) -> None:
    with pytest.raises(WatchBrokenError, match=why):
        open_ring(*batches)


def test_a_stream_resumes_after_the_version_held_unless_it_was_not_to_be_believed() -> None:
    ring = open_ring()
    assert ring.opened() == 0
    ring.receive(snapshot(record_of(A)), mono_ns=0)
    assert ring.opened() == 7
    ring.receive(snapshot(record_of(B), complete=False), mono_ns=0)
    assert ring.opening
    assert ring.opened() == 7, "half a snapshot counts for nothing"
    assert not ring.opening
    assert verdict(ring, A.text) == A.key_id
    ring.distrust()
    assert ring.opened() == 0
    assert verdict(ring, A.text) == A.key_id, "what was known goes on meanwhile"


@pytest.mark.parametrize(
    "fields",
    [
        {"digest": b"short"},
        {"associate": ""},
        {"allowed_networks": ["not a network"]},
        {"allowed_networks": ["10.0.0.0/8"] * 65},
        {"rate_per_s": 0},
        {"burst": 0},
        {"transports": [9]},
    ],
)
def test_a_record_that_makes_no_sense_ends_its_key(fields: dict[str, object]) -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)), change(record_of(A, **fields), version=8))
    assert verdict(ring, A.text) == "INVALID_KEY"
    assert verdict(ring, B.text) == B.key_id
    assert ring.refused == 1


def test_no_record_gives_a_key_the_scope_of_the_mesh() -> None:
    held = open_ring(snapshot(record_of(A, scopes=["mesh", "admin"]))).find(A.text, mono_ns=0, unix_ns=0)
    assert not held.principal.holds("mesh")


def test_the_replica_is_bounded() -> None:
    keys = [make_key(number) for number in range(100, 105)]
    ring = open_ring(snapshot(*(record_of(key) for key in keys)), keys_max=3)
    assert len(ring) == 3
    assert ring.refused == 2
    ring.receive(change(record_of(keys[4]), record_of(keys[0], rate_per_s=99), version=8), mono_ns=0)
    assert len(ring) == 3
    assert verdict(ring, keys[4].text) == "INVALID_KEY"
    held = ring.get(keys[0].key_id)
    assert held is not None
    assert held.rate_per_s == 99, "those held are still kept up to date"


def test_keys_are_found_by_the_tag_of_their_sessions() -> None:
    ring = open_ring(snapshot(record_of(A), record_of(B)))
    assert ring.with_tag(tag_of_key(A.key_id)) == (A.key_id,)
    ring.receive(change(record_of(A, revoked=True), version=8), mono_ns=0)
    assert ring.with_tag(tag_of_key(A.key_id)) == ()
    assert ring.with_tag(tag_of_key(B.key_id)) == (B.key_id,)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=40))
def test_whatever_comes_the_replica_is_what_the_last_words_say(steps: list[tuple[int, int]]) -> None:
    keys = [make_key(number) for number in range(200, 205)]
    ring, valid = open_ring(snapshot(version=0)), dict[int, int]()
    for version, (which, what) in enumerate(steps, start=1):
        ring.receive(change(record_of(keys[which], burst=version, revoked=what == 0), version=version), mono_ns=0)
        if what == 0:
            valid.pop(which, None)
        else:
            valid[which] = version
    found = {number: ring.get(key.key_id) for number, key in enumerate(keys)}
    assert {number: held.burst for number, held in found.items() if held is not None} == valid
    for number, key in enumerate(keys):
        assert ring.with_tag(tag_of_key(key.key_id)) == ((key.key_id,) if number in valid else ())
