"""One ledger file: allocated, locked, whole before it has a name, and readable by others at any time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from admission.ledger_stage import files_end_at, is_free
from trinity_admission import ledger_file
from trinity_admission.ledger_file import LedgerFile, LedgerReader
from trinity_admission.ledger_format import Layout
from trinity_core.usage import Counted

BTC = Counted("key-1", 3_600, 1, "GetPrice", "BTC", 1)
ETH = Counted("key-1", 3_600, 1, "GetPrice", "ETH", 1)


def made(spool: Path, *, slots: int = 100, name: str = "incarnation-0") -> LedgerFile:
    return LedgerFile.create(spool, Layout(name, slots, 0))


def everything(reader: LedgerReader) -> dict[Counted | None, int]:
    return {reader.counted(slot): value for slot, value in reader.changed()}


def test_every_block_is_on_the_disk_before_the_first_count(tmp_path: Path) -> None:
    file = made(tmp_path)
    stat = (tmp_path / "incarnation-0.uctr").stat()
    assert stat.st_size == file.layout.file_bytes
    assert stat.st_blocks * 512 >= stat.st_size
    assert stat.st_mode & 0o777 == 0o600
    file.close()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_is_written_to_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(fd: int, offset: int, size: int) -> None:
        raise OSError(number, "cannot")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    file = made(tmp_path)
    stat = (tmp_path / "incarnation-0.uctr").stat()
    assert stat.st_blocks * 512 >= stat.st_size == file.layout.file_bytes
    file.close()


def test_without_room_there_is_no_file_and_no_rest_of_one(tmp_path: Path) -> None:
    with files_end_at(8_192), pytest.raises(OSError, match="File too large"):
        made(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_locked_for_its_life_and_free_after_it(tmp_path: Path) -> None:
    file = made(tmp_path)
    assert not is_free(tmp_path / "incarnation-0.uctr")
    file.close()
    assert is_free(tmp_path / "incarnation-0.uctr")


def test_a_file_has_no_name_before_it_is_whole_and_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def looking(fd: int, size: int) -> None:
        seen.extend((path.name, is_free_raw(path)) for path in tmp_path.iterdir())
        os.truncate(fd, size)

    def is_free_raw(path: Path) -> bool:
        import fcntl

        with path.open("rb") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    monkeypatch.setattr(ledger_file, "_allocate", looking)
    made(tmp_path).close()
    assert seen == [(".incarnation-0.new", False)]


def test_a_reader_sees_what_is_counted_while_it_is_counted(tmp_path: Path) -> None:
    file = made(tmp_path)
    reader = LedgerReader(tmp_path / "incarnation-0.uctr")
    assert everything(reader) == {}
    btc, eth = file.add(BTC), file.add(ETH)
    assert everything(reader) == {}, "nothing was counted yet"
    file.cells[btc] += 3
    file.cells[eth] += (1 << 63) + 5
    assert everything(reader) == {BTC: 3, ETH: (1 << 63) + 5}
    reader.confirm(eth, (1 << 63) + 5)
    assert everything(reader) == {BTC: 3}
    file.cells[eth] += 1
    assert everything(reader) == {BTC: 3, ETH: (1 << 63) + 6}
    reader.confirm(btc, 3)
    reader.confirm(eth, (1 << 63) + 6)
    assert everything(reader) == {}
    reader.forget()
    assert everything(reader) == {BTC: 3, ETH: (1 << 63) + 6}
    reader.close()
    file.close()


@pytest.mark.parametrize("slots", [1, 63, 64, 65, 200])
def test_the_last_slot_is_read_like_the_first(tmp_path: Path, slots: int) -> None:
    file = made(tmp_path, slots=slots)
    reader = LedgerReader(tmp_path / "incarnation-0.uctr")
    for slot in range(slots):
        assert not file.full
        file.cells[file.add(Counted("k", 3_600 * slot, 1, "GetPrice", "", 4))] += slot + 1
    assert file.full
    assert [value for _, value in reader.changed()] == list(range(1, slots + 1))
    assert reader.counted(slots - 1) == Counted("k", 3_600 * (slots - 1), 1, "GetPrice", "", 4)
    reader.close()
    file.close()


def test_a_slot_whose_entry_was_cut_short_reads_as_nothing(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.cells[file.add(BTC)] += 1
    path = tmp_path / "incarnation-0.uctr"
    with path.open("r+b") as raw:
        raw.seek(file.layout.entry_at(0) + 20)
        raw.write(bytes(20))
    reader = LedgerReader(path)
    assert everything(reader) == {None: 1}
    reader.close()
    file.close()


def test_a_file_that_lost_its_end_is_refused_instead_of_killing_its_reader(tmp_path: Path) -> None:
    file = made(tmp_path)
    path = tmp_path / "incarnation-0.uctr"
    file.close()
    os.truncate(path, 4_096)
    with pytest.raises(ValueError, match="shorter than its header says"):
        LedgerReader(path)


def test_a_reader_notices_that_its_file_was_moved_or_replaced(tmp_path: Path) -> None:
    made(tmp_path).close()
    path = tmp_path / "incarnation-0.uctr"
    reader = LedgerReader(path)
    assert reader.in_place()
    path.rename(tmp_path / "elsewhere")
    assert not reader.in_place()
    made(tmp_path).close()
    assert not reader.in_place()
    reader.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from trinity_admission.ledger_file import LedgerFile
from trinity_admission.ledger_format import Layout
from trinity_core.usage import Counted

file = LedgerFile.create(Path(sys.argv[1]), Layout("incarnation-0", 100, 0))
slot = file.add(Counted("key-1", 3600, 1, "GetPrice", "BTC", 1))
for _ in range(12345):
    file.cells[slot] += 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_process_counted_before_it_was_killed_is_there_and_its_file_is_free(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    reader = LedgerReader(tmp_path / "incarnation-0.uctr")
    assert reader.orphaned()
    assert everything(reader) == {BTC: 12_345}
    reader.close()
