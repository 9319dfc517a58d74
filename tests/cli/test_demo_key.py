"""The demo key of a data directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trinity_cli.demo_key import admin_key, demo_key, write_keys_file


def test_the_key_of_a_data_directory_stays_the_same(tmp_path: Path) -> None:
    assert demo_key(tmp_path).text == demo_key(tmp_path).text
    assert (tmp_path / "demo-key.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"key": "tbk_x"}', '{"other": "1"}', "\x00"])
def test_a_broken_file_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo-key.json").write_text(content)
    assert demo_key(tmp_path).text == demo_key(tmp_path).text


def test_the_gateways_file_holds_a_hash_and_never_the_key(tmp_path: Path) -> None:
    key = demo_key(tmp_path)
    write_keys_file(tmp_path / "keys.json", {key: ["prices.read"]})
    text = (tmp_path / "keys.json").read_text()
    assert key.text not in text
    assert json.loads(text)["keys"][0]["key_sha256"] == key.sha256


def test_a_customers_key_and_an_operators_differ(tmp_path: Path) -> None:
    assert demo_key(tmp_path).text != admin_key(tmp_path).text
