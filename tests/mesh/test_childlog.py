"""A child's log: bounded, its tail at hand, never in the child's way."""

from __future__ import annotations

from pathlib import Path

from trinity_mesh.childlog import ChildLog


def test_the_tail_is_whole_lines_and_the_last_unfinished_one(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "a.log", bytes_max=1_000, tail_lines=3)
    for piece in (b"one\ntw", b"o\nthr", b"ee", b"\nfour\nfi", b"ve"):
        log.write(piece)
    assert log.tail() == ("two", "three", "four", "five")
    log.close()
    assert (tmp_path / "a.log").read_bytes() == b"one\ntwo\nthree\nfour\nfive"


def test_an_endless_line_is_cut_in_the_tail_only(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "a.log", bytes_max=100_000)
    for _ in range(100):
        log.write(b"x" * 500)
    log.close()
    assert [len(line) for line in log.tail()] == [500]
    assert (tmp_path / "a.log").stat().st_size == 50_000


def test_what_is_not_text_is_shown_all_the_same(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "a.log", bytes_max=1_000)
    log.write(b"\xff\xfe broken\n")
    log.close()
    assert log.tail() == ("\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} broken",)


def test_the_file_and_its_predecessor_are_bounded_and_lose_only_the_oldest(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "a.log", bytes_max=100)
    for number in range(100):
        log.write(b"line %03d\n" % number)
    log.close()
    kept = (tmp_path / "a.log.1").read_bytes() + (tmp_path / "a.log").read_bytes()
    assert len(kept) <= 200
    assert kept.endswith(b"line 098\nline 099\n")
    lines = kept.split()[1::2]
    assert lines == sorted(lines)


def test_a_log_goes_on_where_an_earlier_one_ended(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = ChildLog(tmp_path / "a.log", bytes_max=100)
        log.write(text)
        log.close()
    assert (tmp_path / "a.log").read_bytes() == b"first\nsecond\n"


def test_a_log_that_cannot_be_written_is_counted_and_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "a.log").mkdir()
    log = ChildLog(tmp_path / "a.log", bytes_max=100)
    log.write(b"lost\n")
    assert log.lost_bytes == 5
    assert log.tail() == ("lost",)
