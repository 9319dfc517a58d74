"""Numbers that processes share: found by fingerprint, begun anew with the first process, never waited for."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from price.virtual_clock import VirtualClock
from trinity_admission.buckets import Bucket
from trinity_admission.shared_rows import SharedRows
from trinity_admission.shared_state import SharedState, SharedWindow

CLOCK = "boot-1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "rates"


def table(path: Path, *, rows: int = 64, width: int = 1, clock_id: str = CLOCK) -> SharedRows:
    return SharedRows.open(path, rows=rows, width=width, clock_id=clock_id)


def place(rows: SharedRows, fingerprint: int, **how: Any) -> tuple[Any, int]:
    found = rows.row(fingerprint, **how)
    assert found is not None
    return found


def test_two_that_open_the_table_see_the_same_numbers(path: Path) -> None:
    one, two = table(path), table(path)
    cells, at = place(one, 7)
    cells[at] = 41
    other, there = place(two, 7)
    assert other[there] == 41
    assert place(two, 8)[0][place(two, 8)[1]] == 0
    one.close()
    assert other[there] == 41
    two.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_first_to_open_it_begins_it_anew(path: Path) -> None:
    one = table(path)
    cells, at = place(one, 7)
    cells[at] = 41
    one.close()
    two = table(path)
    cells, at = place(two, 7)
    assert cells[at] == 0
    two.close()


@pytest.mark.parametrize("other", [{"rows": 65}, {"width": 2}, {"clock_id": "boot-2"}])
def test_a_table_of_another_form_is_not_mixed_up_with(path: Path, other: dict[str, Any]) -> None:
    one = table(path)
    with pytest.raises(ValueError, match="in use by processes with other settings"):
        table(path, **other)
    one.close()
    two = table(path, **other)
    two.close()


def test_a_table_that_is_full_says_so_and_goes_on_for_those_in_it(path: Path) -> None:
    rows = table(path, rows=8)
    for fingerprint in range(1, 9):
        cells, at = place(rows, fingerprint)
        cells[at] = fingerprint
    assert rows.row(99) is None
    assert rows.refused == 1
    assert [place(rows, number)[0][place(rows, number)[1]] for number in range(1, 9)] == list(range(1, 9))
    rows.close()


def test_rows_that_are_over_make_room(path: Path) -> None:
    rows = table(path, rows=4, width=2)
    for fingerprint in range(1, 5):
        cells, at = place(rows, fingerprint, over_at=0, now=0)
        cells[at], cells[at + 1] = 100 + fingerprint, 7
    assert rows.row(9, over_at=0, now=101) is None
    cells, at = place(rows, 9, over_at=0, now=102)
    assert (cells[at - 1], cells[at], cells[at + 1]) == (9, 0, 0)
    cells[at] = 500
    again, there = place(rows, 2, over_at=0, now=102)
    assert (again[there], again[there + 1]) == (102, 7)
    assert rows.row(1, over_at=0, now=102) is None
    rows.close()


def test_who_sits_on_the_lock_holds_nobody_up(path: Path) -> None:
    rows = table(path)
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sitter:
        assert sitter.stdout is not None
        assert sitter.stdout.readline() == "held\n"
        assert rows.row(5) is None
        assert sitter.stdin is not None
        sitter.stdin.close()
    assert rows.row(5) is not None
    rows.close()


@given(st.lists(st.integers(1, 2**64 - 1), max_size=200))
def test_each_fingerprint_has_its_own_row_whatever_comes(tmp_path_factory: Any, fingerprints: list[int]) -> None:
    rows = table(tmp_path_factory.mktemp("rows") / "rates", rows=300)
    places = {fingerprint: place(rows, fingerprint)[1] for fingerprint in fingerprints}
    assert len(set(places.values())) == len(places)
    assert all(place(rows, fingerprint)[1] == at for fingerprint, at in places.items())
    rows.close()


class Worker:
    """A process that shares buckets and windows, and does what it is told."""

    CODE = """
import sys
from pathlib import Path
from trinity_admission.buckets import Bucket
from trinity_admission.shared_state import SharedState
from trinity_mesh.clock import SystemClock

with SharedState(Path(sys.argv[1]), clock=SystemClock(), clock_id="boot-1") as state:
    buckets, windows = {}, {}
    print("ready", flush=True)
    for line in sys.stdin:
        what, name, number = line.split()
        if what == "take":
            if name not in buckets:
                cells, at = state.cell_of(name)
                buckets[name] = Bucket(rate_per_s=1, burst=10, cells=cells, at=at)
            print(sum(buckets[name].take(10**12) == 0 for _ in range(int(number))), flush=True)
        else:
            if name not in windows:
                windows[name] = state.window_of(int(name), 2_000_000_000)
            print(int(windows[name].take(int(number))), flush=True)
"""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, what: str, name: str, number: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {name} {number}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def workers(path: Path) -> Iterator[list[Worker]]:
    made = [Worker(path), Worker(path)]
    yield made
    for worker in made:
        worker.end()


def test_processes_share_one_bucket_a_key_and_one_window_a_session(workers: list[Worker], path: Path) -> None:
    one, two = workers
    assert one.tell("take", "a", 6) == 6
    assert two.tell("take", "a", 6) == 4
    assert two.tell("take", "b", 20) == 10
    assert one.tell("take", "b", 1) == 0
    assert one.tell("window", "77", 5) == 1
    assert two.tell("window", "77", 5) == 0
    assert two.tell("window", "77", 6) == 1
    assert one.tell("window", "77", 6) == 0
    assert one.tell("window", "78", 6) == 1
    one.end(kill=True)
    assert two.tell("take", "a", 1) == 0, "a killed process takes nothing with it"
    workers[0] = Worker(path)
    assert workers[0].tell("take", "a", 1) == 0
    assert workers[0].tell("window", "77", 6) == 0


def test_a_window_whose_row_went_to_another_session_lets_nothing_in(path: Path) -> None:
    clock = VirtualClock()
    now_s = clock.unix_ns() // 10**9
    with SharedState(path, clock=clock, clock_id=CLOCK, windows=1) as state:
        first = state.window_of(1, now_s + 8)
        assert isinstance(first, SharedWindow)
        assert first.take(1)
        assert not isinstance(state.window_of(2, now_s + 8), SharedWindow), "there is no room, so it has its own"
        clock.move(8 + 61)
        second = state.window_of(2, now_s + 3_600)
        assert isinstance(second, SharedWindow)
        assert second.take(1)
        assert not first.take(2)
        assert not second.take(1)
        assert second.take(2)


def test_buckets_in_the_table_keep_times_of_any_machine(path: Path) -> None:
    with SharedState(path, clock=VirtualClock(), clock_id=CLOCK) as state:
        cell = state.cell_of("key")
        assert cell is not None
        bucket = Bucket(rate_per_s=1, burst=100_000_000, cells=cell[0], at=cell[1])
        assert bucket.take(2**62) == 0
        assert bucket.standing(2**62)[0] == 99_999_999


def test_a_place_where_no_file_can_be_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SharedState(tmp_path / "file" / "rates", clock=VirtualClock(), clock_id=CLOCK)
    (tmp_path / "rates.windows").mkdir()
    with pytest.raises(OSError, match="windows"):
        SharedState(tmp_path / "rates", clock=VirtualClock(), clock_id=CLOCK)
    with (tmp_path / "rates").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
