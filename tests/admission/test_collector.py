"""The collector: what was counted is told until it is taken, whoever dies, and files go only then."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from admission.ledger_stage import BTC, ETH, SOL, START_HOUR, counted_in
from admission.usage_twin import UsageTwin
from price.virtual_clock import VirtualClock, until_moving
from trinity_admission.collector import Collector
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import CollectorConfig, Durability, LedgerConfig
from trinity_admission.ledger_file import LedgerFile
from trinity_admission.ledger_format import Layout
from trinity_core.usage import Counted

DAY_S = 86_400


def made_ledger(spool: Path, clock: VirtualClock) -> Ledger:
    return Ledger(LedgerConfig(slots_per_file=100, durability=Durability.PROCESS), spool=spool, clock=clock)


def made_collector(spool: Path, clock: VirtualClock, twin: UsageTwin, **settings: Any) -> Collector:
    config = CollectorConfig(**{"drain_ms": 0, "backoff_ms_max": 400, **settings})
    return Collector(config, spool=spool, record=twin.record, clock=clock, rng=random.Random(7))


@asynccontextmanager
async def collecting(spool: Path, clock: VirtualClock, twin: UsageTwin, **settings: Any) -> AsyncIterator[Collector]:
    """A collector whose end drains nothing, so that tests see what was done before."""
    collector = made_collector(spool, clock, twin, **settings)
    async with collector:
        yield collector


def left_by_the_dead(spool: Path, *, name: str = "incarnation-0", assets: tuple[str, ...] = ("BTC",)) -> LedgerFile:
    """A file whose process counted one, two, three … answers and is no more, once it is closed."""
    spool.mkdir(exist_ok=True)
    file = LedgerFile.create(spool, Layout(name, 100, 0))
    for number, asset in enumerate(assets, 1):
        file.cells[file.add(Counted("key-1", START_HOUR, 1, "GetPrice", asset, 1))] += number
    return file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.uctr"))


async def test_what_is_counted_is_told_and_only_what_changed_is_told_again(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    async with collecting(tmp_path, clock, twin), made_ledger(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*BTC), 3)
        ledger.count(ledger.slot(*ETH))
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 3, (ETH, START_HOUR): 1})
        told = len(twin.requests)
        await clock.advance(5)
        assert len(twin.requests) == told
        ledger.count(ledger.slot(*ETH))
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 3, (ETH, START_HOUR): 2})
        assert [counter.asset for counter in twin.requests[-1].counters] == ["ETH"]
        assert names(tmp_path) == [f"{name}.uctr" for name in ledger.incarnations], "a file in use stays"


async def test_what_the_dead_left_is_told_and_goes_only_after_the_answer(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    left_by_the_dead(tmp_path, assets=("BTC", "ETH")).close()
    twin.gate.clear()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: twin.requests)
        await clock.advance(1)
        assert names(tmp_path) == ["incarnation-0.uctr"]
        twin.gate.set()
        await until_moving(clock, lambda: collector.files_done == 1)
        assert names(tmp_path) == []
        assert names(tmp_path / "done") == ["incarnation-0.uctr"]
    assert twin.sums == {(BTC, START_HOUR): 1, (ETH, START_HOUR): 2}


async def test_a_service_that_is_away_is_told_as_soon_as_it_is_back(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.away = True
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector, made_ledger(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*ETH), 5)
        await until_moving(clock, lambda: collector.failures >= 5)
        assert len(names(tmp_path)) == 2
        assert not twin.slots
        twin.away = False
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 1, (ETH, START_HOUR): 5})
        await until_moving(clock, lambda: names(tmp_path / "done") == ["incarnation-0.uctr"])


async def test_an_error_that_nobody_foresaw_does_not_end_collecting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.bug = True
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.failures >= 3)
        assert caplog.text.count("ZeroDivisionError") >= 1
        twin.bug = False
        await until_moving(clock, lambda: collector.files_done == 1)
    assert twin.sums == {(BTC, START_HOUR): 1}


async def test_an_answer_that_never_comes_back_changes_nothing(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.mute = True
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.failures >= 3)
        assert names(tmp_path / "done") == []
        twin.mute = False
        await until_moving(clock, lambda: collector.files_done == 1)
    assert twin.sums == {(BTC, START_HOUR): 1}


async def test_many_counters_are_told_in_bounded_messages(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    left_by_the_dead(tmp_path, assets=tuple(f"A{number}" for number in range(100))).close()
    async with collecting(tmp_path, clock, twin, batch_max=7) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert max(len(request.counters) for request in twin.requests) == 7
    assert sum(twin.sums.values()) == 100 * 101 // 2


async def test_one_process_collects_and_when_it_ends_another_does(tmp_path: Path) -> None:
    clock, first_twin, second_twin = VirtualClock(), UsageTwin(), UsageTwin()
    async with made_ledger(tmp_path, clock) as ledger:
        slot = ledger.slot(*BTC)
        async with collecting(tmp_path, clock, second_twin) as second:
            async with collecting(tmp_path, clock, first_twin) as first:
                ledger.count(slot)
                await until_moving(clock, lambda: first_twin.slots or second_twin.slots)
                await clock.advance(5)
                assert first.leading != second.leading
                assert bool(first_twin.slots) != bool(second_twin.slots)
                if second.leading:
                    first, second = second, first
            ledger.count(slot)
            await until_moving(clock, lambda: second.leading or first.leading)
            await until_moving(clock, lambda: (BTC, START_HOUR) in second_twin.sums)
            await until_moving(clock, lambda: second_twin.sums[BTC, START_HOUR] == 2)


async def test_two_that_collect_at_once_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    for number in range(20):
        left_by_the_dead(tmp_path, name=f"incarnation-{number}", assets=("BTC", "ETH")).close()
    monkeypatch.setattr("trinity_admission.spool.Spool.lead", lambda spool: True)
    async with collecting(tmp_path, clock, twin) as one, collecting(tmp_path, clock, twin) as two:
        await until_moving(clock, lambda: len(names(tmp_path / "done")) == 20)
        assert one.files_done + two.files_done == 20
    assert twin.sums == {(BTC, START_HOUR): 20, (ETH, START_HOUR): 40}


async def test_what_is_refused_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.poison = "DOGE"
    left_by_the_dead(tmp_path, assets=("BTC", "ETH", "DOGE", "SOL")).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert sum(twin.sums.values()) == 1 + 2 + 4
    assert names(tmp_path / "refused") == ["incarnation-0.uctr"], "people must look at it"
    assert names(tmp_path / "done") == []


async def test_a_file_that_makes_the_service_fail_does_not_hold_up_the_others(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.broken = "DOGE"
    left_by_the_dead(tmp_path, name="incarnation-0", assets=("DOGE",)).close()
    left_by_the_dead(tmp_path, name="incarnation-1").close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: names(tmp_path / "done") == ["incarnation-1.uctr"])
        assert names(tmp_path) == ["incarnation-0.uctr"]
        twin.broken = ""
        await until_moving(clock, lambda: collector.files_done == 2)


async def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    (tmp_path / "broken.uctr").write_bytes(b"no ledger file")
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert names(tmp_path / "refused") == ["broken.uctr"]
    assert twin.sums == {(BTC, START_HOUR): 1}


async def test_a_file_that_cannot_be_moved_does_not_hold_up_the_others(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    for folder in ("done", "refused"):
        (tmp_path / folder).write_text("in the way")
    (tmp_path / "broken.uctr").write_bytes(b"no ledger file")
    for number in range(3):
        left_by_the_dead(tmp_path, name=f"incarnation-{number}").close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 3})
        told = len(twin.requests)
        await clock.advance(10)
        assert len(twin.requests) == told, "what is recorded is not told again"
        assert len(names(tmp_path)) == 4
        (tmp_path / "done").unlink()
        await until_moving(clock, lambda: collector.files_done == 3)
    assert names(tmp_path) == ["broken.uctr"]


async def test_answers_that_nobody_can_read_are_not_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    file = left_by_the_dead(tmp_path, assets=("BTC", "ETH"))
    with (tmp_path / "incarnation-0.uctr").open("r+b") as raw:
        raw.seek(file.layout.entry_at(1) + 30)
        raw.write(b"torn")
    file.close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert twin.sums == {(BTC, START_HOUR): 1}
    assert names(tmp_path / "refused") == ["incarnation-0.uctr"]
    assert "has 2 answers of which nobody knows what they were" in caplog.text


async def test_counters_of_final_hours_are_told_of_and_do_not_come_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.final = 1
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert "1 counters of hours that are final" in caplog.text
    assert names(tmp_path / "done") == ["incarnation-0.uctr"]


async def test_everything_is_told_again_now_and_then_for_a_database_that_was_restored(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    async with collecting(tmp_path, clock, twin, resend_s=60), made_ledger(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*BTC), 3)
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 3})
        twin.slots.clear()  # restored to before it was told
        await clock.advance(30)
        assert not twin.slots
        await until_moving(clock, lambda: twin.sums == {(BTC, START_HOUR): 3}, step_s=1)


async def test_a_file_moved_back_from_done_is_told_again(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    left_by_the_dead(tmp_path).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
        twin.slots.clear()
        (tmp_path / "done" / "incarnation-0.uctr").rename(tmp_path / "incarnation-0.uctr")
        await until_moving(clock, lambda: collector.files_done == 2)
    assert twin.sums == {(BTC, START_HOUR): 1}


async def test_a_process_that_stops_waits_until_its_last_counts_are_taken(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    async with made_collector(tmp_path, clock, twin, drain_ms=60_000), made_ledger(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*SOL), 9)
    assert twin.sums == {(SOL, START_HOUR): 9}
    assert names(tmp_path) == []


async def test_a_process_that_stops_does_not_wait_for_a_service_that_is_away(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    twin.away = True
    collector = made_collector(tmp_path, clock, twin, drain_ms=50)
    async with collector, made_ledger(tmp_path, clock) as ledger:
        ledger.count(ledger.slot(*SOL), 9)
    assert counted_in(tmp_path) == {(SOL, START_HOUR): 9}
    twin.away = False
    async with collecting(tmp_path, clock, twin) as next_one:
        await until_moving(clock, lambda: next_one.files_done == 1)
    assert twin.sums == {(SOL, START_HOUR): 9}


async def test_what_another_process_has_taken_over_is_not_waited_for(tmp_path: Path) -> None:
    clock, twin, own = VirtualClock(), UsageTwin(), UsageTwin()
    async with collecting(tmp_path, clock, twin) as other:
        await until_moving(clock, lambda: other.leading)
        ledger = made_ledger(tmp_path, clock)
        async with made_collector(tmp_path, clock, own, drain_ms=60_000):
            await ledger.start()
            ledger.count(ledger.slot(*BTC))
            await until_moving(clock, lambda: twin.slots)
            twin.gate.clear()
            await ledger.close()
            told = len(twin.requests)
            await until_moving(clock, lambda: len(twin.requests) > told)
        assert other.files_done == 0, "the other is still at it"
        twin.gate.set()
        await until_moving(clock, lambda: other.files_done == 1)
    assert not own.requests
    assert twin.sums == {(BTC, START_HOUR): 1}


async def test_done_files_are_kept_for_a_while_and_not_without_bound(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    done = tmp_path / "done"
    done.mkdir()
    now_s = clock.unix_ns() // 10**9
    for name, age_days in {"old": 8, "young": 6, "younger": 2, "youngest": 1}.items():
        path = done / f"incarnation-{name}.uctr"
        path.write_bytes(bytes(1 << 20))
        os.utime(path, (now_s - age_days * DAY_S,) * 2)
    async with collecting(tmp_path, clock, twin, keep_days=7, keep_mib_max=2):
        await until_moving(clock, lambda: len(names(done)) < 4)
    assert names(done) == ["incarnation-younger.uctr", "incarnation-youngest.uctr"]
    async with collecting(tmp_path, clock, twin, keep_days=1, keep_mib_max=10):
        await until_moving(clock, lambda: names(done) == [])


async def test_a_file_in_which_nothing_was_counted_is_not_kept(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    left_by_the_dead(tmp_path, assets=()).close()
    async with collecting(tmp_path, clock, twin) as collector:
        await until_moving(clock, lambda: collector.files_done == 1)
    assert names(tmp_path) == names(tmp_path / "done") == []
    assert not twin.requests


async def test_files_that_were_never_finished_go_but_not_those_being_made(tmp_path: Path) -> None:
    clock, twin = VirtualClock(), UsageTwin()
    now_s = clock.unix_ns() // 10**9
    for name, age_s in {".killed.new": 61, ".young.new": 10}.items():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (now_s - age_s,) * 2)
    file = left_by_the_dead(tmp_path, name="slow")
    (tmp_path / "slow.uctr").rename(tmp_path / ".slow.new")  # held: its maker lives
    os.utime(tmp_path / ".slow.new", (now_s - 1_000,) * 2)
    async with collecting(tmp_path, clock, twin):
        await until_moving(clock, lambda: not (tmp_path / ".killed.new").exists())
    assert (tmp_path / ".young.new").exists()
    assert (tmp_path / ".slow.new").exists()
    file.close()
