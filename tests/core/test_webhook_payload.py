"""Bodies of deliveries: what they say, exactly, and that a change is rendered once."""

from __future__ import annotations

import json
from decimal import Decimal

from trinity_core.prices import State
from trinity_core.venues import Venue
from trinity_core.webhook_alerts import Alert
from trinity_core.webhook_challenge import answer_in, is_answered, make_challenge
from trinity_core.webhook_payload import TickBodies, alert_body, challenge_body, moment, trial_body
from trinity_core.webhook_rules import Change, Direction
from trinity_core.webhook_ticks import Item
from trinity_core.webhooks import alert_id, make_id, shard_of

T = 1_790_000_000_123_456_789
SHOWN = {
    "asset": "BTC",
    "quote": "USD",
    "price": "0.00000001230",
    "state": "fresh",
    "confidence": "0",
    "spread_bps": "1.50",
    "sources": ["coinbase", "kraken"],
    "venue_time": None,
    "receive_time": "2026-09-21T14:13:20.123456789Z",
    "sequence": 7,
    "epoch": "18446744073709551615",
}


def change(asset: str = "BTC", sequence: int = 7) -> Change:
    return Change(
        asset,
        Decimal("1.230E-8"),
        State.FRESH,
        Decimal(0),
        Decimal("1.50"),
        (Venue.COINBASE, Venue.KRAKEN),
        sequence,
        2**64 - 1,
        None,
        T,
    )


def test_ticks_say_every_digit_and_how_many_changes_they_stand_for() -> None:
    made = TickBodies(bodies_max=4).message([Item(change(), 3), Item(change("ETH", 9), 0)])
    found = json.loads(made.body)
    assert (found["type"], found["timestamp"]) == ("price.tick", "2026-09-21T14:13:20.123456789Z")
    one, other = found["data"]["prices"]
    assert one == {**SHOWN, "skipped": 3}
    assert (other["asset"], other["skipped"]) == ("ETH", 0)
    assert made.message.startswith("tck_")


def test_a_change_is_rendered_once_for_all_endpoints_and_memory_is_bounded() -> None:
    bodies = TickBodies(bodies_max=4)
    first = bodies.message([Item(change(), 0)])
    assert all(bodies.message([Item(change(), 0)]) is first for _ in range(100))
    assert bodies.message([Item(change(), 1)]).message != first.message
    assert bodies.rendered == 1
    for sequence in range(20):
        bodies.message([Item(change(sequence=sequence), 0)])
    assert (bodies.rendered, len(bodies._bodies), len(bodies._changes)) == (21, 4, 1)


def test_an_alert_says_what_happened() -> None:
    alert = Alert(2, "alert.crossing", change(), T, Direction.UP, Decimal("1E+2"), None, 4)
    found = json.loads(alert_body(alert, message="msg_1", subscription="whs_1", name="☂"))
    assert found == {
        "type": "alert.crossing",
        "timestamp": "2026-09-21T14:13:20.123456789Z",
        "data": {
            "alert": "msg_1",
            "subscription": "whs_1",
            "name": "☂",
            "number": 2,
            "direction": "up",
            "reference": "100",
            "suppressed": 4,
            "price": SHOWN,
        },
    }
    stale = Alert(1, "alert.staleness", change(), T, since_ns=T - 10**9)
    assert json.loads(alert_body(stale, message="m", subscription="s", name=""))["data"]["since"] == moment(T - 10**9)


def test_tests_and_challenges_name_their_endpoint() -> None:
    assert json.loads(trial_body(endpoint="whe_1", at_ns=T))["data"] == {"endpoint": "whe_1"}
    body = challenge_body(endpoint="whe_1", challenge="abc", at_ns=T)
    assert json.loads(body)["data"] == {"endpoint": "whe_1", "challenge": "abc"}


def test_a_challenge_is_answered_in_time_by_its_own_text() -> None:
    text, challenge = make_challenge(lambda count: bytes(range(count)), now_ns=T)
    assert text.encode() not in challenge.digest
    assert is_answered(challenge, text, now_ns=T + 899 * 10**9)
    assert not is_answered(challenge, text, now_ns=T + 900 * 10**9)
    assert not is_answered(challenge, text + "x", now_ns=T)
    assert not is_answered(challenge, "", now_ns=T)


def test_an_answer_is_the_text_or_an_object_with_it() -> None:
    assert answer_in(b" abc\n") == "abc"
    assert answer_in(b'{"challenge": "abc", "more": 1}') == "abc"
    for other in (b"", b"{", b'{"challenge": 5}', b'{"other": "abc"}', b"\xff\xfe", b"[" * 2000):
        assert answer_in(other) != "abc"


def test_an_alerts_id_follows_from_what_it_is_and_from_nothing_else() -> None:
    one = alert_id(subscription="whs_1", rule_version=1, asset="BTC", number=1)
    assert one == alert_id(subscription="whs_1", rule_version=1, asset="BTC", number=1)
    others = [
        alert_id(subscription="whs_2", rule_version=1, asset="BTC", number=1),
        alert_id(subscription="whs_1", rule_version=2, asset="BTC", number=1),
        alert_id(subscription="whs_1", rule_version=1, asset="ETH", number=1),
        alert_id(subscription="whs_1", rule_version=1, asset="BTC", number=2),
    ]
    assert len({one, *others}) == 5


def test_a_part_is_the_same_in_every_process_and_all_are_used() -> None:
    parts = [shard_of(make_id("whe_", number.to_bytes(15, "big"))) for number in range(2_000)]
    assert parts[:4] == [shard_of(make_id("whe_", number.to_bytes(15, "big"))) for number in range(4)]
    assert set(parts) == set(range(64))
