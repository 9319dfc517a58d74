"""Totals at the desk: what is kept and for how long, the bound of bytes, and the real services behind them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.database import HOUR, T0, connect, empty, make_database
from report.small_report import ACME, ADMIN, GLOBEX, SmallReport
from stores import Stores, shared_stores
from trinity.usage.v1 import usage_pb2
from trinity_admission.principal import Principal
from trinity_core.errors import Reason, TrinityError
from trinity_udp.allowance import Allowance
from trinity_udp.asking import TotalsReader
from trinity_udp.desk import Desk
from trinity_udp.doors import OpenDoors
from trinity_udp.drops import Tally
from trinity_udp.totals import KeptTotals, Totals, UsageTotals
from usage.small_usage import ChosenWall
from usage.small_usage import serving as usage_serving

DAY_S = 86_400
TOTALS = Totals(1, 2, None, T0)
AWAY = TrinityError(Reason.BACKEND_UNAVAILABLE, "away")


def holder(number: int) -> Principal:
    return Principal(f"key{number}", "acme", frozenset({"reports.read"}))


def test_as_many_holders_as_agreed_are_remembered_and_the_oldest_is_forgotten_first() -> None:
    kept = KeptTotals(kept_ms=1_000, kept_max=3)
    for number in range(1_000):
        kept.keep(holder(number), TOTALS, mono_ns=number)
        assert len(kept) <= 3
    assert [kept.get(holder(n), mono_ns=999, unix_s=T0) is None for n in (996, 997, 998, 999)] == [True, *[False] * 3]


@pytest.mark.parametrize("outcome", [TOTALS, AWAY])
def test_an_outcome_is_kept_for_its_time_and_a_newer_one_takes_its_place(outcome: Totals | TrinityError) -> None:
    kept = KeptTotals(kept_ms=1_000, kept_max=1)
    kept.keep(holder(1), outcome, mono_ns=5)
    assert kept.get(holder(1), mono_ns=1_000_000_004, unix_s=T0) is outcome
    kept.keep(holder(1), TOTALS, mono_ns=10)
    assert kept.get(holder(1), mono_ns=1_000_000_009, unix_s=T0) is TOTALS
    assert kept.get(holder(1), mono_ns=1_000_000_010, unix_s=T0) is None
    assert len(kept) == 0


def test_totals_are_forgotten_with_their_day_whichever_way_the_clock_was_set() -> None:
    for unix_s, known in ((T0 + DAY_S - 1, True), (T0 + DAY_S, False), (T0 - 1, False)):
        kept = KeptTotals(kept_ms=1_000, kept_max=1)
        kept.keep(holder(1), TOTALS, mono_ns=0)
        assert (kept.get(holder(1), mono_ns=0, unix_s=unix_s) is TOTALS) is known


def test_a_key_whose_rights_changed_is_asked_for_anew() -> None:
    kept = KeptTotals(kept_ms=1_000, kept_max=9)
    kept.keep(holder(1), TOTALS, mono_ns=0)
    assert kept.get(Principal("key1", "acme", frozenset({"admin"})), mono_ns=0, unix_s=T0) is None


WORDS = st.sampled_from(
    ["USAGE", "usage", "GET", "BTC", "PING", "TIME", "HELP", "id=7", "id=", "s=1", "x=y", "OK", "-"]
)
TEXTS = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=70).map("\n".join).map(str.encode)


@settings(max_examples=300, deadline=None)
@given(datagram=st.one_of(st.binary(max_size=1_300), TEXTS))
def test_no_datagram_from_a_stranger_earns_more_than_three_bytes_a_byte_or_asks_a_service(datagram: bytes) -> None:
    desk = Desk(
        purpose=UsageTotals(KeptTotals(kept_ms=1, kept_max=1)),
        allowance=Allowance(per_s=50, burst=500, prefixes_max=10),
        session_allowance=Allowance(per_s=50, burst=500, prefixes_max=10),
        own_ports={2680},
        tally=Tally(),
        doors=OpenDoors(),
    )
    reply = desk.handle(datagram, "192.0.2.7", 40_000, mono_ns=10**9, unix_ns=T0 * 10**9)
    assert len(reply.data) <= 3 * len(datagram)
    assert not reply.deferred
    again = desk.handle(reply.data, "192.0.2.8", 40_000, mono_ns=10**9, unix_ns=T0 * 10**9)
    assert again.data == b"", "an answer was answered"


COUNTERS = [
    usage_pb2.Counter(
        slot=slot, key_id=key_id, hour_unix=hour, transport=2, method="SummarizeUsage", outcome=outcome, count=count
    )
    for slot, (hour, key_id, outcome, count) in enumerate(
        [
            (T0 - HOUR, "acmekey00001", 1, 1_000),
            (T0, "acmekey00001", 1, 100),
            (T0 + 24 * HOUR, "acmekey00001", 4, 20),
            (T0 + 26 * HOUR, "acmekey00001", 5, 7),
            (T0 + 26 * HOUR, "acmekey00001", 3, 3),
            (T0 + 24 * HOUR, "acmekey00002", 1, 50_000),
            (T0 + 24 * HOUR, "globexkey001", 1, 600_000),
        ]
    )
]
"""What a gateway's ledger says: one row of the month before, one of refusals, one of another key, one of another's."""


@pytest.fixture(scope="module")
def stores() -> Stores:
    return shared_stores("wheels")


@pytest.fixture(scope="module")
def made_database(stores: Stores) -> str:
    return make_database(stores)


async def test_the_real_services_tell_the_totals_of_the_key_alone(made_database: str) -> None:
    await empty(made_database)
    connection = await connect(made_database)
    await connection.execute("UPDATE plans SET monthly_quota = 100000 WHERE plan = 'demo'")
    await connection.close()
    wall = ChosenWall()
    wall.jump_wall(T0 + 27 * HOUR - wall.unix_ns() / 1e9)
    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        async with (
            SmallReport(made_database).running() as report,
            usage_serving(Path(folder), made_database, clock=wall) as quota,
        ):
            await quota.stub.RecordUsage(usage_pb2.RecordUsageRequest(incarnation="gateway-1", counters=COUNTERS))
            reader = TotalsReader(reports=report.channel, quotas=quota.channel, clock=wall, timeout_ms=20_000)
            assert await reader(ACME) == Totals(23, 123, 100_000 - 50_123, T0 + 27 * HOUR), (
                "the quota is the associate's"
            )
            assert await reader(GLOBEX) == Totals(600_000, 600_000, 0, T0 + 27 * HOUR)
            assert await reader(ADMIN) == Totals(0, 0, None, T0 + 27 * HOUR), "an operator's are no sum of everybody's"
            with pytest.raises(TrinityError, match="MISSING_SCOPE"):
                await reader(Principal("acmekey00001", "acme", frozenset({"prices.read"})))
