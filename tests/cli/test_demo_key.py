"""The demo key of a data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trinity_cli.demo_key import admin_key, demo_key


def test_the_key_of_a_data_directory_stays_the_same(tmp_path: Path) -> None:
    assert demo_key(tmp_path).text == demo_key(tmp_path).text
    assert (tmp_path / "demo-key.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"key": "tbk_x"}', '{"other": "1"}', "\x00"])
def test_a_broken_file_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo-key.json").write_text(content)
    assert demo_key(tmp_path).text == demo_key(tmp_path).text


def test_a_customers_key_and_an_operators_differ(tmp_path: Path) -> None:
    assert demo_key(tmp_path).text != admin_key(tmp_path).text
