"""Settings come from defaults, a mapping and the environment, and what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from trinity_mesh.config import ConfigError, load


@dataclass(frozen=True, slots=True)
class Inner:
    fresh_ms: int = 10


@dataclass(frozen=True, slots=True)
class Settings:
    flush_ms: int = 5
    address: str = "unix:/x"
    venues: tuple[str, ...] = ()
    book: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if not 1 <= self.flush_ms <= 1_000:
            raise ValueError("flush_ms must be between 1 and 1000")


def test_defaults_hold_where_nothing_is_said() -> None:
    assert load(Settings, section="feeds", values={}, environ={}) == Settings()


def test_the_environment_wins_over_the_mapping() -> None:
    environ = {"TRINITY_FEEDS_FLUSH_MS": "9", "TRINITY_FEEDS_BOOK_FRESH_MS": "77", "TRINITY_FEEDS_VENUES": '["okx"]'}
    loaded = load(Settings, section="feeds", values={"flush_ms": 7, "address": "a:1"}, environ=environ)
    assert loaded == Settings(9, "a:1", ("okx",), Inner(77))


@pytest.mark.parametrize(
    ("values", "environ", "says"),
    [
        ({"flush_sm": 1}, {}, "did you mean flush_ms"),
        ({"book": {"fresh": 1}}, {}, r"feeds\.book"),
        ({}, {"TRINITY_FEEDS_FLUSH_MS": "soon"}, "flush_ms"),
        ({"flush_ms": 0}, {}, "between 1 and 1000"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(Settings, section="feeds", values=values, environ=environ)
