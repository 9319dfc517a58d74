"""Settings are checked before anything starts, and say what is wrong."""

from __future__ import annotations

import pytest

from trinity_mesh.config import ConfigError, load
from trinity_price.config import PriceConfig


def test_the_defaults_are_good() -> None:
    config = load(PriceConfig, section="price", values={}, environ={})
    assert config.flush_ms == 3
    assert config.mirror.url == ""


def test_the_environment_reaches_every_depth() -> None:
    environ = {
        "TRINITY_PRICE_FEEDS": '["unix:/a", "unix:/b"]',
        "TRINITY_PRICE_MIRROR_URL": "unix:///v",
        "TRINITY_PRICE_BOOK_FRESH_MS": "7000",
        "TRINITY_PRICE_LIVE_WAIT_MS": "900",
    }
    config = load(PriceConfig, section="price", values={"flush_ms": 2}, environ=environ)
    assert config.feeds == ("unix:/a", "unix:/b")
    assert (config.mirror.url, config.book.fresh_ms, config.live.wait_ms, config.flush_ms) == (
        "unix:///v",
        7_000,
        900,
        2,
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"flush_ms": -1}, "flush_ms"),
        ({"feeds": []}, "feeds"),
        ({"feeds": ["unix:/a", "unix:/a"]}, "feeds"),
        ({"feeds": [""]}, "feeds"),
        ({"listen": ""}, "listen"),
        ({"feed_silence_ms": 1_000}, "feed_silence_ms"),
        ({"streams_max": 0}, "streams_max"),
        ({"snapshot_prices_max": 0}, "snapshot_prices_max"),
        ({"mirror": {"ttl_ms": 1}}, "mirror.ttl_ms"),
        ({"mirror": {"timeout_ms": 0}}, "mirror.timeout_ms"),
        ({"live": {"wait_ms": 0}}, "live.wait_ms"),
        ({"live": {"remembered_max": 0}}, "live.remembered_max"),
        ({"book": {"fresh_ms": 1}}, "fresh_ms"),
        ({"flushms": 1}, "did you mean flush_ms"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(PriceConfig, section="price", values=values, environ={})
