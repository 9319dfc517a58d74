"""The board by itself: what streams are handed, and what resumes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trinity.account.v1 import account_pb2
from trinity_account.board import Encoded, KeyBoard, encoded
from trinity_account.encoding import batch, record_to_bytes
from trinity_core.accounts import KeyRecord
from trinity_core.usage import Transport

NOW_NS = 1_000


def record(number: int, version: int, **changes: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "key_id": f"{number:012d}",
        "digest": bytes([number]) * 32,
        "associate": "acme",
        "scopes": ("prices.read",),
        "allowed_networks": (),
        "assets": (),
        "transports": (Transport.UDP,),
        "rate_per_s": 10,
        "burst": 20,
        "monthly_quota": 0,
        "expire_time_ns": None,
        "revoked": False,
        "version": version,
        **changes,
    }
    return KeyRecord(**fields)


def apply(board: KeyBoard, reading: list[Encoded], version: int) -> list[str]:
    changed = board.apply(reading)
    board.confirm(version)
    return changed


def ids(records: list[bytes] | None) -> list[tuple[int, bool]]:
    assert records is not None
    messages = [account_pb2.KeyRecord.FromString(each) for each in records]
    return [(int(message.key_id), message.revoked) for message in messages]


def filled(*records: KeyRecord, ended_max: int = 100) -> KeyBoard:
    board = KeyBoard(ended_max=ended_max)
    board.begin_anew(encoded(records), 10)
    return board


def test_a_batch_reads_as_its_message_however_long_its_records_are() -> None:
    records = [record(1, 1), record(2, 2, allowed_networks=tuple(f"10.{n}.0.0/16" for n in range(64)))]
    data = batch([record_to_bytes(each) for each in records], version=7, snapshot=True, complete=True)
    message = account_pb2.WatchKeysResponse.FromString(data)
    assert [key.key_id for key in message.keys] == [each.key_id for each in records]
    assert list(message.keys[1].allowed_networks) == list(records[1].allowed_networks)
    assert (message.version, message.snapshot, message.snapshot_complete) == (7, True, True)
    assert list(message.keys[0].transports) == [account_pb2.TRANSPORT_UDP]
    assert account_pb2.WatchKeysResponse.FromString(batch([], version=1)).version == 1


@given(st.integers(0, 40_000))
def test_records_of_any_length_are_framed_as_protobuf_does(length: int) -> None:
    payload = account_pb2.KeyRecord(associate="x" * length).SerializeToString()
    message = account_pb2.WatchKeysResponse.FromString(batch([payload, payload], version=0))
    assert [len(key.associate) for key in message.keys] == [length, length]


def test_valid_keys_are_those_that_have_not_ended() -> None:
    board = filled(record(1, 1), record(2, 2, expire_time_ns=NOW_NS), record(3, 3, expire_time_ns=NOW_NS + 1))
    apply(board, encoded([record(4, 11, revoked=True)]), 11)
    assert ids(board.valid(NOW_NS)) == [(1, False), (3, False)]


def test_what_is_older_than_what_is_known_is_not_taken() -> None:
    board = filled(record(1, 9, burst=9))
    assert apply(board, encoded([record(1, 8, burst=8)]), 11) == []
    found = board.find("000000000001")
    assert found is not None
    assert found.burst == 9


def test_a_stream_is_handed_what_came_after_it_newest_state_only() -> None:
    board = filled(record(1, 1), record(2, 2))
    order = board.order
    apply(board, encoded([record(1, 11, burst=1)]), 11)
    apply(board, encoded([record(3, 12)]), 12)
    apply(board, encoded([record(1, 13, revoked=True)]), 13)
    assert ids(board.after(order)) == [(3, False), (1, True)]
    assert board.after(board.order) == []


def test_a_record_that_says_nothing_new_is_sent_to_nobody() -> None:
    board = filled(record(1, 1))
    order = board.order
    assert apply(board, encoded([record(1, 11)]), 11) == []
    assert board.after(order) == []
    assert ids(board.since(10)) == [(1, False)], "who resumes is told all the same"


def test_a_replica_resumes_between_the_beginning_and_now_only() -> None:
    board = filled(record(1, 1))
    apply(board, encoded([record(2, 12)]), 12)
    assert board.since(9) is None
    assert ids(board.since(10)) == [(2, False)]
    assert board.since(12) == []
    assert board.since(13) is None


def test_keys_that_a_new_beginning_does_not_name_have_ended() -> None:
    board = filled(record(1, 1), record(2, 2), record(3, 3, burst=3))
    order = board.order
    changed = board.begin_anew(encoded([record(1, 1), record(3, 2, burst=5)]), 5)
    assert sorted(changed) == ["000000000002", "000000000003"]
    assert sorted(ids(board.after(order))) == [(2, True), (3, False)]
    assert ids(board.valid(NOW_NS)) == [(1, False), (3, False)]
    assert board.version == 5
    assert board.since(4) is None, "versions of another past mean nothing"
    assert board.since(5) is not None
    assert board.begin_anew(encoded([record(1, 1), record(3, 2, burst=5)]), 6) == []


def test_copies_are_replaced_by_the_truth() -> None:
    board = KeyBoard(ended_max=10)
    copies = {each.key_id: record_to_bytes(each) for each in (record(1, 1), record(2, 2), record(3, 3, revoked=True))}
    board.begin_with_copies(copies.items())
    assert board.version == 0
    assert ids(board.valid(NOW_NS)) == [(1, False), (2, False)]
    board.begin_anew(encoded([record(1, 1, burst=1)]), 5)
    assert ids(board.valid(NOW_NS)) == [(1, False)]
    assert ids(board.after(0)) == [(3, True), (1, False), (2, True)]


def test_ended_keys_are_forgotten_oldest_first_and_nobody_resumes_over_the_gap() -> None:
    board = filled(*(record(number, number) for number in range(1, 9)), ended_max=3)
    for number in range(1, 7):
        apply(board, encoded([record(number, 10 + number, revoked=True)]), 10 + number)
    assert board.prune(NOW_NS) == 3
    assert board.prune(NOW_NS) == 0
    assert len(board) == 5
    assert ids(board.valid(NOW_NS)) == [(7, False), (8, False)]
    assert board.since(12) is None
    assert ids(board.since(13)) == [(4, True), (5, True), (6, True)]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.booleans()), max_size=40), st.integers(0, 40))
def test_whoever_follows_in_any_steps_ends_with_what_is_on_the_board(
    changes: list[tuple[int, int, bool]], joined: int
) -> None:
    board = filled(record(1, 1), record(2, 2))
    streamed: dict[int, bytes] = {}
    resumed: dict[int, bytes] = {}
    order, version = 0, 10

    def take(into: dict[int, bytes], records: list[bytes] | None) -> None:
        assert records is not None
        for data in records:
            into[int(account_pb2.KeyRecord.FromString(data).key_id)] = data

    take(streamed, board.valid(NOW_NS))
    take(resumed, board.valid(NOW_NS))
    order = board.order
    for step, (number, burst, revoked) in enumerate(changes):
        apply(board, encoded([record(number, 11 + step, burst=burst, revoked=revoked)]), 11 + step)
        if step % 3 == 0:
            take(streamed, board.after(order))
            order = board.order
        if step == joined:
            take(resumed, board.since(version))
            version = board.version
    take(streamed, board.after(order))
    take(resumed, board.since(version))
    assert streamed == resumed == {int(key_id): data for key_id, data in board.records()}
