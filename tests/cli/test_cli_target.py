"""Which mesh is meant: options, environment, defaults, and ready files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trinity_cli.exits import CommandError, Exit
from trinity_cli.target import ready_path, resolve

READY = {
    "http": "h:1",
    "udp": "u:2",
    "grpc": {"price": "unix:/p", "feed": "unix:/f1, unix:/f2", "account": "unix:/a", "report": "unix:/r"},
    "key": "k",
    "pids": {"a": 1},
}


def test_the_option_wins_over_the_environment_and_that_over_the_data_directory(tmp_path: Path) -> None:
    environ = {"TRINITY_READY_FILE": "/env/ready.json", "TRINITY_DATA_DIR": "/data"}
    assert ready_path(tmp_path / "given", environ) == tmp_path / "given"
    assert ready_path(None, environ) == Path("/env/ready.json")
    del environ["TRINITY_READY_FILE"]
    assert ready_path(None, environ) == Path("/data/ready.json")
    assert ready_path(None, {}) == Path("data/ready.json")


def test_a_ready_file_names_every_part(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(json.dumps(READY))
    target = resolve("price", None, tmp_path / "ready.json")
    assert (target.price, target.feeds, target.account) == ("unix:/p", ("unix:/f1", "unix:/f2"), "unix:/a")
    assert target.report == "unix:/r"
    assert (target.http, target.udp, target.key, target.pids) == ("h:1", "u:2", "k", {"a": 1})
    assert "k'" not in repr(target), "a key is not shown"


def test_feed_addresses_may_be_a_list(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(json.dumps({"grpc": {"feed": ["unix:/f1", "unix:/f2"]}}))
    assert resolve("feeds", None, tmp_path / "ready.json").feeds == ("unix:/f1", "unix:/f2")


def test_an_address_is_the_address_of_what_the_command_asks() -> None:
    assert resolve("price", "h:1", None).price == "h:1"
    assert resolve("udp", "h:1", None).udp == "h:1"
    assert resolve("account", "h:1", None).account == "h:1"
    assert resolve("report", "h:1", None).report == "h:1"
    assert resolve("feeds", "h:1,h:2", None).feeds == ("h:1", "h:2")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", "null", '{"grpc": 7}', '{"grpc": []}', '{"pids": {"a": "b"}}', '{"pids": 3}', "\xff", "{}"],
)
def test_a_file_that_is_no_ready_file_is_said_to_be_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(content, encoding="latin-1")
    with pytest.raises(CommandError, match="ready") as caught:
        resolve("price", None, tmp_path / "ready.json")
    assert caught.value.code is Exit.UNREACHABLE


def test_without_a_ready_file_the_message_tells_how_to_start_a_mesh(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"ready\.json does not exist") as caught:
        resolve("price", None, None, {"TRINITY_DATA_DIR": str(tmp_path)})
    assert "trinity up" in caught.value.hint
