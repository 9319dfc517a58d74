"""The shared secrets: made once, read by their owner alone, never shown."""

from __future__ import annotations

import json
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_bytes
from threading import Barrier

import pytest

from trinity_mesh.config import ConfigError
from trinity_mesh.secrets_file import MeshSecrets, load_secrets, make_secrets


def test_secrets_are_made_once_and_are_the_same_ever_after(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = make_secrets(path)
    assert make_secrets(path) == load_secrets(path) == made
    assert len({made.pepper, made.udp_master, made.cursor}) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_make_the_file_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    together = Barrier(8)

    def slow(count: int) -> bytes:
        """Nobody has linked its file before all have found that there is none."""
        if not path.exists():
            together.wait()
        return token_bytes(count)

    def make(_: int) -> bytes:
        return make_secrets(path, random_bytes=slow).pepper

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, range(8))) == {load_secrets(path).pepper}
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_shown(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets.json")
    for text in (repr(made), str(made)):
        assert made.pepper.hex() not in text
        assert repr(made.pepper) not in text


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    make_secrets(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secrets(path)


GOOD = {"pepper": "aa" * 32, "udp_master": "bb" * 32, "cursor": "cc" * 32}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"aa"',
        json.dumps({**GOOD, "pepper": "aa" * 31}),
        json.dumps({**GOOD, "pepper": "zz" * 32}),
        json.dumps({**GOOD, "pepper": 7}),
        json.dumps({"pepper": "aa" * 32}),
        json.dumps(GOOD)[:-1],
        "\xff",
    ],
)
def test_a_file_of_another_form_is_refused_without_showing_it_and_never_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text, "latin-1")
    path.chmod(0o600)
    for read in (load_secrets, make_secrets):
        with pytest.raises(ConfigError, match="must be a JSON object") as raised:
            read(path)
        shown = "".join(traceback.format_exception(raised.value))
        assert "aa" * 31 not in shown
        assert "bb" * 31 not in shown
    assert path.read_text("latin-1") == text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        load_secrets(tmp_path / "nowhere.json")


def test_short_secrets_are_refused() -> None:
    with pytest.raises(ValueError, match="udp_master"):
        MeshSecrets(b"p" * 32, b"u" * 31, b"c" * 32)
