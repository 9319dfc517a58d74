"""A setting that makes no sense is named before anything starts."""

from __future__ import annotations

import pytest

from trinity_mesh.config import ConfigError, load
from trinity_sync.config import SyncConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at", "1:00"),
        ("at", "24:00"),
        ("at", "01:60"),
        ("at", "noon"),
        ("time_zone", "America/Nowhere"),
        ("time_zone", ""),
        ("time_zone", "../../etc/passwd"),
        ("increment_s", -1),
        ("history_days", -1),
        ("lasts_s", 0),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        load(SyncConfig, section="sync", values={name: value}, environ={})


def test_the_environment_names_the_stores() -> None:
    config = load(
        SyncConfig,
        section="sync",
        values={},
        environ={"TRINITY_SYNC_VALKEY_URL": "unix:///run/v", "TRINITY_SYNC_AT": "23:59"},
    )
    assert (config.valkey.url, config.at) == ("unix:///run/v", "23:59")
