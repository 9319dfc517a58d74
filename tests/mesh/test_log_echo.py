"""What children print reaches one place as JSON lines, whole and in order."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trinity_mesh.childlog import ChildLog
from trinity_mesh.log_echo import LINE_BYTES_MAX, LogEcho


def echoed(*pieces: bytes) -> list[bytes]:
    told = bytearray()
    echo = LogEcho("postgres", told.extend)
    for piece in pieces:
        echo(piece)
    return bytes(told).splitlines()


def test_a_json_line_stays_as_it_is_and_text_becomes_one() -> None:
    assert echoed(b'{"part": "price", "message": "up"}\n', b"LOG:  ready\r\n") == [
        b'{"part": "price", "message": "up"}',
        b'{"part": "postgres", "message": "LOG:  ready"}',
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)), st.data())
def test_lines_are_whole_however_they_were_cut(lines: list[str], data: st.DataObject) -> None:
    text = "".join(f"x{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert [json.loads(line)["message"] for line in echoed(*pieces)] == [f"x{line}" for line in lines]


def test_a_line_without_end_is_passed_on_in_bounded_pieces() -> None:
    told = echoed(*[b"y" * 1_000] * 100)
    assert sum(len(json.loads(line)["message"]) for line in told) == 100_000 // LINE_BYTES_MAX * LINE_BYTES_MAX
    assert all(len(line) < LINE_BYTES_MAX + 100 for line in told)


def test_a_log_file_and_its_echo_hold_the_same_though_nobody_takes_the_echo(tmp_path: Path) -> None:
    def refuse(_: bytes) -> None:
        raise BrokenPipeError

    log = ChildLog(tmp_path / "a.log", bytes_max=1_000, echo=LogEcho("a", refuse))
    log.write(b"one\ntwo\n")
    assert (tmp_path / "a.log").read_bytes() == b"one\ntwo\n"
