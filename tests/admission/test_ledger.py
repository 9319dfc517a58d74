"""The ledger: every answer is counted once, in its hour, and where it cannot be counted it is not given."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.ledger_stage import BTC, ETH, LEFT_S, SOL, START_HOUR, Kind, all_free, counted_in, files_end_at, is_free
from price.virtual_clock import VirtualClock, until, until_moving
from trinity_admission import ledger_file
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import Durability, LedgerConfig
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S


def made(spool: Path, clock: VirtualClock, **settings: Any) -> Ledger:
    known = {"slots_per_file": 8, "durability": Durability.PROCESS}
    return Ledger(LedgerConfig(**{**known, **settings}), spool=spool, clock=clock)


def refused(ledger: Ledger, kind: Kind) -> Reason:
    with pytest.raises(TrinityError) as caught:
        ledger.count(ledger.slot(*kind))
    return caught.value.reason


async def test_every_answer_is_counted_where_it_belongs(tmp_path: Path) -> None:
    async with made(tmp_path, VirtualClock()) as ledger:
        btc = ledger.slot(*BTC)
        ledger.count(btc)
        ledger.count(btc, 41)
        ledger.count(ledger.slot(*ETH))
        ledger.count(ledger.slot(*SOL), 7)
        assert ledger.slot(*BTC) is btc
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 42, (ETH, START_HOUR): 1, (SOL, START_HOUR): 7}


async def test_an_answer_belongs_to_the_hour_of_the_wall_clock_when_it_is_counted(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock) as ledger:
        btc = ledger.slot(*BTC)
        ledger.count(btc)
        clock.jump_wall(LEFT_S - 1e-6)
        ledger.count(btc)
        clock.jump_wall(1e-6)
        ledger.count(btc, 10)
        clock.jump_wall(5 * HOUR_S)
        ledger.count(btc, 100)
        clock.jump_wall(-6 * HOUR_S)  # set back: the clock is believed, as it was before
        ledger.count(btc, 1_000)
        assert counted_in(tmp_path) == {
            (BTC, START_HOUR): 2,
            (BTC, START_HOUR + HOUR_S): 10,
            (BTC, START_HOUR + 6 * HOUR_S): 100,
            (BTC, START_HOUR + 0 * HOUR_S): 2 + 1_000,
        }


async def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    async with made(tmp_path, VirtualClock()) as ledger:
        kinds: list[Kind] = [("key", 1, "GetPrice", f"A{number}", 1) for number in range(20)]
        for kind in kinds:
            ledger.count(ledger.slot(*kind))
        for kind in kinds:
            ledger.count(ledger.slot(*kind))
        assert len(ledger.incarnations) == 3
        assert counted_in(tmp_path) == {(kind, START_HOUR): 2 for kind in kinds}


async def test_the_next_file_is_made_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock) as ledger:
        for number in range(6):
            ledger.slot("key", 1, "GetPrice", f"A{number}", 1)
        await until_moving(clock, lambda: not ledger._files.wants_spare())
        monkeypatch.setattr(ledger_file, "_allocate", None)  # none can be made any more
        for number in range(16):
            ledger.count(ledger.slot("key", 1, "GetPrice", f"A{number}", 1))
        assert len(ledger.incarnations) == 2


async def test_without_room_what_is_new_is_refused_and_what_is_known_goes_on(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock, slots_per_file=2, files_max=1) as ledger:
        btc = ledger.slot(*BTC)
        ledger.count(btc)
        ledger.count(ledger.slot(*ETH))
        assert refused(ledger, SOL) is Reason.LEDGER_FULL
        assert refused(ledger, SOL) is Reason.LEDGER_FULL
        assert ledger.refused >= 2
        clock.jump_wall(LEFT_S)  # the next hour has no room either: counting goes on in the one before
        ledger.count(btc, 5)
        ledger.count(ledger.slot(*ETH), 5)
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 6, (ETH, START_HOUR): 6}


async def test_a_known_kind_moves_to_its_hour_as_soon_as_there_is_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    blocker = tmp_path / "somebody-elses.uctr"
    async with made(tmp_path, clock, slots_per_file=1, spool_mib_max=1) as ledger:
        btc = ledger.slot(*BTC)
        ledger.count(btc)
        blocker.write_bytes(bytes(1 << 20))
        clock.jump_wall(LEFT_S)
        ledger.count(btc)
        assert refused(ledger, ETH) is Reason.LEDGER_FULL
        blocker.unlink()
        ledger.count(btc)  # no new attempt so soon
        clock.move(1.1)
        ledger.count(btc, 10)
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 3, (BTC, START_HOUR + HOUR_S): 10}


async def test_a_full_disk_refuses_what_is_new_until_there_is_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock, slots_per_file=1) as ledger:
        with files_end_at(0):
            ledger.count(ledger.slot(*BTC))
            ledger.count(ledger.slot(*BTC))
            # A spare may have been made before the disk was full.
            reasons = [refused(ledger, SOL)]
        assert reasons == [Reason.LEDGER_FULL]
        clock.move(1.1)
        ledger.count(ledger.slot(*SOL))
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 2, (SOL, START_HOUR): 1}


async def test_without_any_room_the_process_starts_and_refuses(tmp_path: Path) -> None:
    clock = VirtualClock()
    with files_end_at(0):
        ledger = made(tmp_path / "spool", clock)
        await ledger.start()
        assert refused(ledger, BTC) is Reason.LEDGER_FULL
    clock.move(1.1)
    ledger.count(ledger.slot(*BTC))
    await ledger.close()
    assert counted_in(tmp_path / "spool") == {(BTC, START_HOUR): 1}


async def test_a_spool_that_is_full_of_others_files_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "somebody-elses.uctr").write_bytes(bytes(1 << 20))
    async with made(tmp_path, VirtualClock(), spool_mib_max=1) as ledger:
        assert refused(ledger, BTC) is Reason.LEDGER_FULL


async def test_after_the_end_nothing_is_counted_and_every_file_is_free(tmp_path: Path) -> None:
    ledger = made(tmp_path, VirtualClock())
    await ledger.start()
    btc = ledger.slot(*BTC)
    ledger.count(btc)
    await ledger.close()
    with pytest.raises(TrinityError) as caught:
        ledger.count(btc)
    assert caught.value.reason is Reason.STOPPING
    with pytest.raises(TrinityError):
        ledger.slot(*ETH)
    assert all_free(tmp_path)
    assert counted_in(tmp_path) == {(BTC, START_HOUR): 1}


async def test_answers_that_never_left_are_made_good_by_the_next_ones(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock) as ledger:
        btc = ledger.slot(*BTC)
        ledger.count(btc, 5)
        ledger.give_back(btc)
        ledger.give_back(btc, 3)
        ledger.count(btc)
        ledger.count(btc)
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 5}
        clock.jump_wall(LEFT_S)
        ledger.count(btc, 4)
        ledger.count(btc)
        assert counted_in(tmp_path) == {(BTC, START_HOUR): 5, (BTC, START_HOUR + HOUR_S): 3}


async def test_several_are_counted_at_once_also_where_an_hour_begins_or_answers_are_owed(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock) as ledger:
        both = ledger.slot(*BTC), ledger.slot(*ETH)
        assert ledger.count_each(both, clock.unix_ns())
        ledger.give_back(both[0])
        assert ledger.count_each(both, clock.unix_ns())
        clock.jump_wall(LEFT_S)
        assert ledger.count_each(both, clock.unix_ns())
        assert ledger.count_each(both, clock.unix_ns())
        assert counted_in(tmp_path) == {
            (BTC, START_HOUR): 1,
            (ETH, START_HOUR): 2,
            (BTC, START_HOUR + HOUR_S): 2,
            (ETH, START_HOUR + HOUR_S): 2,
        }


async def test_where_one_of_several_cannot_be_counted_none_is(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock, slots_per_file=1, spool_mib_max=1) as ledger:
        btc, eth = ledger.slot(*BTC), ledger.slot(*ETH)
        ledger.count(eth)
        for left_s in (LEFT_S, HOUR_S):
            clock.jump_wall(left_s)
            ledger.count(btc)
            await clock.advance(1)
        await until_moving(clock, lambda: eth.file is None)
        before = counted_in(tmp_path).total()
        blocker = tmp_path / "somebody-elses.uctr"
        blocker.write_bytes(bytes(1 << 20))
        assert not ledger.count_each((btc, eth), clock.unix_ns())
        blocker.unlink()
        ledger.count(btc)  # that one is free
        assert counted_in(tmp_path).total() == before
        ledger.count(btc)
        assert counted_in(tmp_path).total() == before + 1


async def test_after_the_end_several_are_not_counted_either(tmp_path: Path) -> None:
    ledger = made(tmp_path, clock := VirtualClock())
    await ledger.start()
    both = ledger.slot(*BTC), ledger.slot(*ETH)
    await ledger.close()
    assert not ledger.count_each(both, clock.unix_ns())
    assert not counted_in(tmp_path)


async def test_a_file_in_which_nothing_counts_any_more_is_given_up(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock, slots_per_file=2) as ledger:
        first = ledger.incarnations[0]
        btc, eth = ledger.slot(*BTC), ledger.slot(*ETH)
        ledger.count(btc)
        ledger.count(eth)
        ledger.count(ledger.slot(*SOL))
        clock.jump_wall(LEFT_S)
        ledger.count(btc)  # the other two are idle from now on
        await clock.advance(1)
        assert first in ledger.incarnations, "it may go on for an hour"
        clock.jump_wall(HOUR_S)
        ledger.count(btc)
        await until_moving(clock, lambda: first not in ledger.incarnations)
        await until(lambda: is_free(tmp_path / f"{first}.uctr"))
        ledger.count(eth)
        ledger.count(ledger.slot(*SOL))
        hours = [START_HOUR + hour * HOUR_S for hour in range(3)]
        assert counted_in(tmp_path) == {
            **{(BTC, hour): 1 for hour in hours},
            **{(kind, hour): 1 for kind in (ETH, SOL) for hour in (hours[0], hours[2])},
        }


async def test_a_file_that_is_old_is_followed_though_it_has_room(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with made(tmp_path, clock, file_hours_max=1) as ledger:
        first = ledger.incarnations
        clock.move(HOUR_S)
        await clock.advance(1)
        assert ledger.incarnations == first, "one in which nothing was counted does not age"
        ledger.count(ledger.slot(*BTC))
        clock.move(HOUR_S)
        await until_moving(clock, lambda: len(ledger.incarnations) == 2)
        ledger.count(ledger.slot(*ETH))
        reader_of_first = ledger_file.LedgerReader(tmp_path / f"{first[0]}.uctr")
        assert len(list(reader_of_first.changed())) == 1
        reader_of_first.close()


async def test_what_cannot_be_described_is_no_kind_and_takes_no_room(tmp_path: Path) -> None:
    async with made(tmp_path, VirtualClock(), slots_per_file=1, files_max=1) as ledger:
        for wrong in [("", 1, "GetPrice", "BTC", 1), ("key", 1, "Get Price", "BTC", 1), ("key", 9, "GetPrice", "", 1)]:
            with pytest.raises(ValueError, match="no counter"):
                ledger.slot(*wrong)
        ledger.count(ledger.slot(*BTC))


class Disk:
    """Stands between the ledger and the disk: counts what is written, holds it up, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.begun = 0
        self.gate = threading.Event()
        self.gate.set()
        self.fails = False
        monkeypatch.setattr(ledger_file, "_fdatasync", self._write)

    def _write(self, fd: int) -> None:
        self.begun += 1
        assert self.gate.wait(30)
        if self.fails:
            raise OSError(5, "Input/output error")
        os.fdatasync(fd)
        self.writes += 1


async def test_interval_writes_to_the_disk_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, clock = Disk(monkeypatch), VirtualClock()
    async with made(tmp_path, clock, durability=Durability.INTERVAL, sync_ms=100) as ledger:
        began_ns = clock.monotonic_ns()
        ledger.count(ledger.slot(*BTC))
        await ledger.committed()  # waits for nothing
        await clock.advance(0.099)
        assert disk.begun == 0
        await until_moving(clock, lambda: disk.writes >= 3)
        assert disk.begun <= (clock.monotonic_ns() - began_ns) // 100_000_000
        before = disk.writes
    assert disk.writes > before, "once more at the end"


async def test_process_never_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, clock = Disk(monkeypatch), VirtualClock()
    async with made(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*BTC))
        await ledger.committed()
        await clock.advance(10)
    assert disk.begun == 0


async def test_strict_lets_many_answers_leave_after_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    async with made(tmp_path, VirtualClock(), durability=Durability.STRICT) as ledger:
        assert ledger.strict
        slot = ledger.slot(*BTC)

        async def answer() -> None:
            ledger.count(slot)
            await ledger.committed()

        await asyncio.gather(*(answer() for _ in range(1_000)))
        assert disk.writes == 1


async def test_strict_never_lets_an_answer_leave_after_a_write_that_began_before_its_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with made(tmp_path, VirtualClock(), durability=Durability.STRICT) as ledger:
        slot = ledger.slot(*BTC)
        disk.gate.clear()
        ledger.count(slot)
        first = asyncio.create_task(ledger.committed())
        await until(lambda: disk.begun == 1)
        ledger.count(slot)  # under way already, the write may have passed this page
        second = asyncio.create_task(ledger.committed())
        await asyncio.sleep(0)
        disk.gate.set()
        await first
        assert not second.done()
        await second
        assert disk.writes == 2


async def test_strict_lets_nothing_leave_once_the_disk_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with made(tmp_path, VirtualClock(), durability=Durability.STRICT) as ledger:
        ledger.count(ledger.slot(*BTC))
        await ledger.committed()
        for disk.fails in (True, False):  # what the kernel dropped once, it does not write later
            ledger.count(ledger.slot(*BTC))
            with pytest.raises(TrinityError) as caught:
                await ledger.committed()
            assert caught.value.reason is Reason.LEDGER_FULL
        assert ledger.disk_failures == 1


async def test_who_waits_for_the_disk_when_the_process_stops_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    ledger = made(tmp_path, VirtualClock(), durability=Durability.STRICT)
    await ledger.start()
    disk.gate.clear()
    ledger.count(ledger.slot(*BTC))
    waiting = [asyncio.create_task(ledger.committed())]
    await until(lambda: disk.begun == 1)
    waiting.append(asyncio.create_task(ledger.committed()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(ledger.close())
    await asyncio.sleep(0)
    disk.gate.set()
    await asyncio.gather(closing, *waiting)
    with pytest.raises(TrinityError):
        await ledger.committed()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 11), st.integers(1, 5)),
        st.tuples(st.just("give back"), st.integers(0, 11), st.integers(1, 3)),
        st.tuples(st.just("jump"), st.integers(-4 * HOUR_S, 4 * HOUR_S), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 3), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(1, 4), st.integers(1, 5))
def test_whatever_happens_the_files_hold_what_left(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], slots: int, files: int
) -> None:
    spool = tmp_path_factory.mktemp("spool")
    left: Counter[Kind] = Counter()
    owed: Counter[Kind] = Counter()

    async def play() -> None:
        clock = VirtualClock()
        async with made(spool, clock, slots_per_file=slots, files_max=files, file_hours_max=1) as ledger:
            known: dict[int, Any] = {}
            for what, which, n in steps:
                kind: Kind = ("key", 1, "GetPrice", f"A{which}", 1)
                if what == "count":
                    try:
                        # Some callers keep what they were given, some ask every time.
                        slot = known[which] if which % 2 and which in known else ledger.slot(*kind)
                        known[which] = slot
                        ledger.count(slot, n)
                    except TrinityError as error:
                        assert error.reason is Reason.LEDGER_FULL
                    else:
                        left[kind] += n
                elif what == "give back" and which in known and left[kind] - owed[kind] >= n:
                    ledger.give_back(known[which], n)
                    owed[kind] += n
                elif what == "jump":
                    clock.jump_wall(which)
                elif what == "wait":
                    await clock.advance(which / 2)

    asyncio.run(play())
    found: Counter[Kind] = Counter()
    for (kind, hour), n in counted_in(spool).items():
        assert hour % HOUR_S == 0
        found[kind] += n
    for kind in left.keys() | found.keys():
        assert left[kind] - owed[kind] <= found[kind] <= left[kind]
