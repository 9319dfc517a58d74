"""One window for both forms and both ports: whatever order numbers come in, each is good once and none that is old."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trinity_admission.replay import WIDTH
from trinity_udp.allowance import Allowance
from trinity_udp.desk import Desk
from trinity_udp.drops import Drop, Tally
from trinity_udp.totals import KeptTotals, Totals, UsageTotals
from udp.counter import UNIX_S
from udp.office import A, Office, holder


class Replay(RuleBasedStateMachine):
    """Datagrams of one session at the two ports of a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.office = Office(holder(), burst=10**6, session_burst=10**6, per_s=10**6)
        self.tally = Tally()
        kept = KeptTotals(kept_ms=10**6, kept_max=9)
        allowances = {
            name: Allowance(per_s=1e6, burst=10**6, prefixes_max=10) for name in ("allowance", "session_allowance")
        }
        self.reports: Desk[Any, Any] = Desk(
            purpose=UsageTotals(kept), own_ports={2680}, tally=self.tally, doors=self.office.doors, **allowances
        )
        held = self.office.keys.keyring.get(A.key_id)
        assert held is not None
        kept.keep(held.principal, Totals(1, 2, 3, UNIX_S), mono_ns=self.office.keys.clock.monotonic_ns())
        self.seen: set[int] = set()
        self.answers = 0

    @rule(
        sequence=st.one_of(st.integers(0, 200), st.integers(2**32 - 80, 2**32 - 1)),
        binary=st.booleans(),
        reports=st.booleans(),
    )
    def send(self, sequence: int, binary: bool, reports: bool) -> None:
        office, clock = self.office, self.office.keys.clock
        clock.move(0.000_001)
        office.sequence = sequence - 1
        if binary:
            datagram = office.binary(payload=b"") if reports else office.binary("BTC")
        else:
            datagram = office.line("USAGE" if reports else "GET BTC USD")
        if reports:
            reply = self.reports.handle(
                datagram, "192.0.2.7", 40_000, mono_ns=clock.monotonic_ns(), unix_ns=clock.unix_ns()
            ).data
        else:
            reply = office.ask_bytes(datagram)
        fresh = sequence not in self.seen and sequence > max(self.seen, default=0) - WIDTH
        assert bool(reply) is fresh
        self.seen.add(sequence)
        self.answers += fresh

    @invariant()
    def every_answer_is_counted_and_every_silence(self) -> None:
        assert sum(self.office.counted().values()) == self.answers
        silent = self.tally.dropped[Drop.SESSION_REPLAY] + self.office.counter.tally.dropped[Drop.SESSION_REPLAY]
        assert sum(self.office.counter.dropped().values()) + sum(self.tally.dropped.values()) == silent


TestReplay = Replay.TestCase
TestReplay.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
